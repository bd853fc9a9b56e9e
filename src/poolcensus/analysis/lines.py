"""Reads lines of a snapshot's records, and parses only as much of each as a comparison needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from poolcensus.format.codec import dumps, loads

if TYPE_CHECKING:
    from poolcensus.format.schema import Schema
    from poolcensus.model import JsonObject

# The head while there is none. No line begins with this byte.
_NO_HEAD: Final = b"\xff"


class RecordLines:
    """Reads the target and the item of each line of a snapshot's records.

    The records of a page all begin with the same bytes, up to their item: the *head*. It is parsed once, for
    the first record. A line whose keys are in another order is parsed as a whole.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._item = schema.operation.item
        self._key = dumps(schema.operation.item) + b":"
        # Quotes in texts are escaped, so these bytes are always a key and the start of its object.
        self._mark = b"," + self._key + b"{"
        self._usual_start = re.compile(
            re.escape(self._key + b"{" + dumps(schema.operation.identity)) + rb':"([^"\\]+)"[,}]'
        )
        self._head = _NO_HEAD
        self._target = ("", "")

    def target_of(self, line: bytes) -> tuple[str, str]:
        """Return the account ID and the region of a line. Raises `ValueError` if the line is not a record.

        Consecutive lines of one target return the same tuple object.
        """
        if not line.startswith(self._head):
            self._read_head(line)
        return self._target

    def check(self, line: bytes) -> None:
        """Raise `ValueError` if the line is not a record."""
        self._schema.decode_record(line)

    def text_of(self, line: bytes) -> bytes:
        """Return the item of a line as a text for `item_of`.

        `target_of` must have been called with the line just before. If two texts are equal, their items are
        equal.
        """
        if self._head is _NO_HEAD:
            _, record = self._schema.decode_record(line)
            return self._key + dumps(record.pool) + b"}"
        return line[len(self._head) - len(self._key) - 1 :].rstrip()

    def item_of(self, text: bytes) -> JsonObject:
        """Return the item of a text. Raises `ValueError` if it has none."""
        record = loads(b"{" + text)
        item = record.get(self._item) if isinstance(record, dict) else None
        if not isinstance(item, dict):
            raise ValueError(f"{self._item} is not an object")  # noqa: TRY004 - the value is the file's
        # If a key occurs twice, `identity_of` may have read another value than this.
        match = self._usual_start.match(text)
        if match and item.get(self._schema.operation.identity) != match[1].decode():
            raise ValueError(f"a {self._item} or its {self._schema.operation.identity} is there twice")
        return item

    def identity_of(self, text: bytes) -> str:
        """Return the identity of a text's item. Raises `ValueError` if it has none."""
        if match := self._usual_start.match(text):
            return match[1].decode()
        identity = self.item_of(text).get(self._schema.operation.identity)
        if not isinstance(identity, str):
            raise ValueError(f"a {self._item} has no {self._schema.operation.identity}")  # noqa: TRY004 - so is this
        return identity

    def _read_head(self, line: bytes) -> None:
        self._head = _NO_HEAD
        at = line.find(self._mark)
        target = self._target_in(line[:at] + b"}") if at > 0 else None
        if target is not None:
            self._head = line[: at + len(self._mark)]
        else:
            _, record = self._schema.decode_record(line)
            target = (record.account_id, record.region)
        if target != self._target:
            self._target = target

    def _target_in(self, head: bytes) -> tuple[str, str] | None:
        try:
            record = loads(head)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        account_id, region = record.get("account_id"), record.get("region")
        if isinstance(account_id, str) and isinstance(region, str):
            return account_id, region
        return None

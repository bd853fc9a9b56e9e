"""Lines of a snapshot's records, told apart and compared without parsing more of them than needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from poolcensus.format.codec import dumps, loads

if TYPE_CHECKING:
    from poolcensus.format.schema import Schema
    from poolcensus.model import JsonObject

# No line begins with it.
_NO_HEAD: Final = b"\xff"


class RecordLines:
    """Reads the lines of one snapshot's records: whose each is, and its item.

    The records of a page have all that stands before their item in common, their *head*. It is parsed once,
    for the first of them. Lines that are written in another order of keys are parsed whole.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._item = schema.operation.item
        self._key = dumps(schema.operation.item) + b":"
        # A quote inside of a text is escaped, so that this is always a key and its object.
        self._mark = b"," + self._key + b"{"
        self._usual_start = re.compile(
            re.escape(self._key + b"{" + dumps(schema.operation.identity)) + rb':"([^"\\]+)"[,}]'
        )
        self._head = _NO_HEAD
        self._target = ("", "")

    def target_of(self, line: bytes) -> tuple[str, str]:
        """Return account id and region of a line. Raises `ValueError` for a line that is no record.

        Lines of one target that follow one another give the same tuple.
        """
        if not line.startswith(self._head):
            self._read_head(line)
        return self._target

    def check(self, line: bytes) -> None:
        """Raise `ValueError` for a line that is no record."""
        self._schema.decode_record(line)

    def text_of(self, line: bytes) -> bytes:
        """Return what `item_of` takes, of the line that `target_of` was given last.

        Equal texts are of equal items.
        """
        if self._head is _NO_HEAD:
            _, record = self._schema.decode_record(line)
            return self._key + dumps(record.pool) + b"}"
        return line[len(self._head) - len(self._key) - 1 :].rstrip()

    def item_of(self, text: bytes) -> JsonObject:
        """Return the item of a text. Raises `ValueError` where there is none."""
        record = loads(b"{" + text)
        item = record.get(self._item) if isinstance(record, dict) else None
        if not isinstance(item, dict):
            raise ValueError(f"{self._item} is not an object")  # noqa: TRY004 - the value is the file's
        # Where a key is there twice, `identity_of` may have seen another item.
        match = self._usual_start.match(text)
        if match and item.get(self._schema.operation.identity) != match[1].decode():
            raise ValueError(f"a {self._item} or its {self._schema.operation.identity} is there twice")
        return item

    def identity_of(self, text: bytes) -> str:
        """Return the identity of the item of a text. Raises `ValueError` where there is none."""
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

"""The schema of a snapshot's lines: records and the ledger, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from poolcensus.format.codec import dumps, loads
from poolcensus.format.fields import (
    count_of,
    object_of,
    seconds_of,
    text_of,
    text_or_none,
    time_of,
    value_of,
)
from poolcensus.format.times import rfc3339
from poolcensus.model import Outcome, PoolRecord, TargetResult

if TYPE_CHECKING:
    from poolcensus.model import JsonObject, JsonValue, OperationInfo, Page

TARGETS_NAME: Final = "targets.ndjson"


class Schema(msgspec.Struct, frozen=True):
    """The lines of a snapshot's files, in both directions: their keys depend on its operation.

    Keys that this version does not know are passed over.
    """

    operation: OperationInfo

    @property
    def records_name(self) -> str:
        """The name of the file of the records, without the suffix of its compression."""
        return f"{self.operation.items}.ndjson"

    def encoder(self, snapshot_id: str, partition: str) -> PageEncoder:
        """Return the encoder of a snapshot's records."""
        return PageEncoder(snapshot_id, partition, self.operation.item)

    def record_object(self, snapshot_id: str, record: PoolRecord) -> JsonObject:
        """Return a record as its line has it."""
        return {
            "snapshot_id": snapshot_id,
            "collected_at": rfc3339(record.collected_at),
            "partition": record.partition,
            "account_id": record.account_id,
            "account_name": record.account_name,
            **_place_of_account(record.organization, record.ou_path, record.account_tags),
            "region": record.region,
            self.operation.item: record.pool,
        }

    def result_object(self, result: TargetResult) -> JsonObject:
        """Return a result as its line has it. `seconds` are rounded to milliseconds."""
        return {
            "account_id": result.account_id,
            "account_name": result.account_name,
            **_place_of_account(result.organization, result.ou_path, result.account_tags),
            "region": result.region,
            "operation": result.operation or self.operation.name,
            "outcome": str(result.outcome),
            self.operation.items: result.pools,
            "pages": result.pages,
            "attempts": result.attempts,
            "throttles": result.throttles,
            "seconds": round(result.seconds, 3),
            "error_code": result.error_code,
            "error_message": result.error_message,
            "request_id": result.request_id,
        }

    def encode_result(self, result: TargetResult) -> bytes:
        """Return a line of the ledger."""
        return dumps(self.result_object(result)) + b"\n"

    def decode_record(self, line: bytes) -> tuple[str, PoolRecord]:
        """Return the snapshot id and the record of a line. Raises `ValueError` for any other line."""
        record = object_of(loads(line), "the line")
        return text_of(record, "snapshot_id"), PoolRecord(
            collected_at=time_of(record, "collected_at"),
            partition=text_of(record, "partition"),
            account_id=text_of(record, "account_id"),
            account_name=text_or_none(record, "account_name"),
            region=text_of(record, "region"),
            pool=object_of(value_of(record, self.operation.item), self.operation.item),
            ou_path=text_or_none(record, "ou_path", missing=True),
            account_tags=_tags(record),
            organization=text_or_none(record, "organization", missing=True),
        )

    def decode_result(self, line: bytes) -> TargetResult:
        """Return the content of a line of the ledger. Raises `ValueError` for any other line."""
        record = object_of(loads(line), "the line")
        return TargetResult(
            account_id=text_of(record, "account_id"),
            account_name=text_or_none(record, "account_name"),
            region=text_of(record, "region"),
            outcome=Outcome(text_of(record, "outcome")),
            pools=count_of(record, self.operation.items),
            pages=count_of(record, "pages"),
            attempts=count_of(record, "attempts"),
            throttles=count_of(record, "throttles"),
            seconds=seconds_of(record),
            error_code=text_or_none(record, "error_code"),
            error_message=text_or_none(record, "error_message"),
            request_id=text_or_none(record, "request_id"),
            operation=text_of(record, "operation") if "operation" in record else self.operation.name,
            ou_path=text_or_none(record, "ou_path", missing=True),
            account_tags=_tags(record),
            organization=text_or_none(record, "organization", missing=True),
        )

    def target_of(self, line: bytes) -> tuple[str, str]:
        """Return the account id and the region of a line of the ledger, and look at nothing else.

        Raises `ValueError` for a line that is none.
        """
        try:
            name = _decode_target_name(line)
        except ValueError:
            # What a lone surrogate in another key is to msgspec it is not to `loads`.
            result = self.decode_result(line)
            return result.account_id, result.region
        return name.account_id, name.region


class _TargetName(msgspec.Struct):
    """The keys of a ledger's line that say which target it is of."""

    account_id: str
    region: str


_decode_target_name: Final = msgspec.json.Decoder(_TargetName).decode


class PageEncoder:
    """Turns pages into the lines of one snapshot's records."""

    __slots__ = ("_item", "_partition", "_snapshot_id")

    def __init__(self, snapshot_id: str, partition: str, item: str) -> None:
        self._snapshot_id = snapshot_id
        self._partition = partition
        self._item = item

    def encode(self, page: Page) -> bytes:
        """Return the page's records, a line each; nothing for a page without items.

        Raises `ValueError` where an item can't be written as JSON.
        """
        items = page.pools
        if not items:
            return b""
        account = page.target.account
        # What the records of a page have in common is written once: all of a record up to its item.
        record = dumps(
            {
                "snapshot_id": self._snapshot_id,
                "collected_at": rfc3339(page.received_at),
                "partition": self._partition,
                "account_id": account.id,
                "account_name": account.name,
                **_place_of_account(account.organization, account.ou_path, account.tags),
                "region": page.target.region,
                self._item: 0,
            }
        )
        head = record.removesuffix(b"0}")
        between = b"}\n" + head
        try:
            body = between.join(map(orjson.dumps, items))
        except TypeError:
            body = self._join_slowly(between, items)
        return b"".join((head, body, b"}\n"))

    def _join_slowly(self, between: bytes, items: tuple[JsonObject, ...]) -> bytes:
        try:
            return between.join(map(dumps, items))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"a {self._item} can't be written as JSON: {error}") from error


def _place_of_account(
    organization: str | None, ou_path: str | None, tags: tuple[tuple[str, str], ...] | None
) -> dict[str, JsonValue]:
    """Return the keys of what was asked for beyond an account's id and name."""
    place: dict[str, JsonValue] = {}
    if organization is not None:
        place["organization"] = organization
    if ou_path is not None:
        place["ou_path"] = ou_path
    if tags is not None:
        place["account_tags"] = dict(tags)
    return place


def _tags(holder: JsonObject) -> tuple[tuple[str, str], ...] | None:
    value = holder.get("account_tags")
    if value is None:
        return None
    tags = object_of(value, "account_tags")
    return tuple((key, text_of(tags, key)) for key in tags)

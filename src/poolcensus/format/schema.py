"""The schema of a snapshot's lines, records and ledger lines, for writing and for reading."""

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
    """Encodes and decodes the lines of a snapshot's files, whose keys depend on its operation.

    Unknown keys are ignored.
    """

    operation: OperationInfo

    @property
    def records_name(self) -> str:
        """The name of the file of records, without the suffix of a compression."""
        return f"{self.operation.items}.ndjson"

    def encoder(self, snapshot_id: str, partition: str) -> PageEncoder:
        """Return an encoder for the records of a snapshot."""
        return PageEncoder(snapshot_id, partition, self.operation.item)

    def record_object(self, snapshot_id: str, record: PoolRecord) -> JsonObject:
        """Return a record as a JSON object."""
        return {
            "snapshot_id": snapshot_id,
            "collected_at": rfc3339(record.collected_at),
            "partition": record.partition,
            "account_id": record.account_id,
            "account_name": record.account_name,
            **_optional_fields(record.organization, record.ou_path, record.account_tags),
            "region": record.region,
            self.operation.item: record.pool,
        }

    def result_object(self, result: TargetResult) -> JsonObject:
        """Return a result as a JSON object. `seconds` is rounded to milliseconds."""
        return {
            "account_id": result.account_id,
            "account_name": result.account_name,
            **_optional_fields(result.organization, result.ou_path, result.account_tags),
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
        """Return a result as a ledger line."""
        return dumps(self.result_object(result)) + b"\n"

    def decode_record(self, line: bytes) -> tuple[str, PoolRecord]:
        """Return the snapshot ID and the record of a line. Raises `ValueError` if it is not a record."""
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
        """Return the result of a ledger line. Raises `ValueError` if it is not one."""
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
        """Return the account ID and the region of a ledger line, without checking its other fields.

        Raises `ValueError` if it is not a ledger line.
        """
        try:
            name = _decode_target_name(line)
        except ValueError:
            # msgspec refuses lone surrogates in other fields; `loads` accepts them.
            result = self.decode_result(line)
            return result.account_id, result.region
        return name.account_id, name.region


class _TargetName(msgspec.Struct):
    """The fields of a ledger line that identify its target."""

    account_id: str
    region: str


_decode_target_name: Final = msgspec.json.Decoder(_TargetName).decode


class PageEncoder:
    """Encodes pages as the record lines of one snapshot."""

    __slots__ = ("_item", "_partition", "_snapshot_id")

    def __init__(self, snapshot_id: str, partition: str, item: str) -> None:
        self._snapshot_id = snapshot_id
        self._partition = partition
        self._item = item

    def encode(self, page: Page) -> bytes:
        """Return the records of a page, one per line. Raises `ValueError` if an item can't be encoded."""
        items = page.pools
        if not items:
            return b""
        account = page.target.account
        # The records of a page are equal up to their item, so that part is encoded once.
        record = dumps(
            {
                "snapshot_id": self._snapshot_id,
                "collected_at": rfc3339(page.received_at),
                "partition": self._partition,
                "account_id": account.id,
                "account_name": account.name,
                **_optional_fields(account.organization, account.ou_path, account.tags),
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


def _optional_fields(
    organization: str | None, ou_path: str | None, tags: tuple[tuple[str, str], ...] | None
) -> dict[str, JsonValue]:
    """Return the fields of an account that are only there if they are known."""
    found: dict[str, JsonValue] = {}
    if organization is not None:
        found["organization"] = organization
    if ou_path is not None:
        found["ou_path"] = ou_path
    if tags is not None:
        found["account_tags"] = dict(tags)
    return found


def _tags(holder: JsonObject) -> tuple[tuple[str, str], ...] | None:
    value = holder.get("account_tags")
    if value is None:
        return None
    tags = object_of(value, "account_tags")
    return tuple((key, text_of(tags, key)) for key in tags)

"""The schema of a snapshot: records, ledger lines and the manifest, in both directions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import orjson

from poolcensus.format.codec import dumps, loads
from poolcensus.format.times import parse_rfc3339, rfc3339
from poolcensus.model import (
    Caller,
    FileEntry,
    JsonObject,
    JsonValue,
    KnownGap,
    Manifest,
    OperationInfo,
    OrganizationInfo,
    Outcome,
    Page,
    PoolRecord,
    Shard,
    SkippedAccount,
    SnapshotStatus,
    TargetResult,
    Totals,
)

if TYPE_CHECKING:
    from datetime import datetime

SCHEMA_VERSION: Final = 2
TARGETS_NAME: Final = "targets.ndjson"
MANIFEST_NAME: Final = "manifest.json"
REFUSED_NAME: Final = "refused.json"

# Snapshots of version 1 are of one operation, and don't name it.
_OF_VERSION_1: Final = OperationInfo("workspaces:DescribeWorkspacesPools", "pool", "pools", "PoolId")
_TOTALS_KEYS: Final = tuple(Totals.__dataclass_fields__)
# The field of results and totals whose key is what the operation calls its items.
_ITEMS_FIELD: Final = "pools"


@dataclass(frozen=True, slots=True)
class Schema:
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
            "outcome": result.outcome.value,
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
        record = _object(loads(line), "the line")
        return _text(record, "snapshot_id"), PoolRecord(
            collected_at=_time(record, "collected_at"),
            partition=_text(record, "partition"),
            account_id=_text(record, "account_id"),
            account_name=_text_or_none(record, "account_name"),
            region=_text(record, "region"),
            pool=_object(_get(record, self.operation.item), self.operation.item),
            ou_path=_text_or_none(record, "ou_path", missing=True),
            account_tags=_tags(record),
            organization=_text_or_none(record, "organization", missing=True),
        )

    def decode_result(self, line: bytes) -> TargetResult:
        """Return the content of a line of the ledger. Raises `ValueError` for any other line."""
        record = _object(loads(line), "the line")
        return TargetResult(
            account_id=_text(record, "account_id"),
            account_name=_text_or_none(record, "account_name"),
            region=_text(record, "region"),
            outcome=Outcome(_text(record, "outcome")),
            pools=_count(record, self.operation.items),
            pages=_count(record, "pages"),
            attempts=_count(record, "attempts"),
            throttles=_count(record, "throttles"),
            seconds=_seconds(record),
            error_code=_text_or_none(record, "error_code"),
            error_message=_text_or_none(record, "error_message"),
            request_id=_text_or_none(record, "request_id"),
            operation=_text(record, "operation") if "operation" in record else self.operation.name,
            ou_path=_text_or_none(record, "ou_path", missing=True),
            account_tags=_tags(record),
            organization=_text_or_none(record, "organization", missing=True),
        )


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


def encode_manifest(manifest: Manifest) -> bytes:
    """manifest.json, indented for people."""
    return _indented(manifest_object(manifest))


def encode_refused(manifest: Manifest, reason: str) -> bytes:
    """refused.json: the manifest that a run would have had, and the reason why it was not published."""
    return _indented({**manifest_object(manifest), "refused": reason})


def manifest_object(manifest: Manifest) -> dict[str, object]:
    """Return a manifest as its file has it."""
    caller, shard = manifest.caller, manifest.shard
    return {
        "schema_version": manifest.schema_version,
        "snapshot_id": manifest.snapshot_id,
        "status": manifest.status.value,
        "started_at": rfc3339(manifest.started_at),
        "finished_at": rfc3339(manifest.finished_at),
        "tool": manifest.tool,
        "caller": caller_object(caller),
        "organization_id": manifest.organization_id,
        "operation": asdict(manifest.operation),
        "request": manifest.request,
        "accounts": {
            "planned": manifest.accounts_planned,
            "skipped": [
                {"account_id": account.id, "account_name": account.name, "reason": account.reason}
                for account in manifest.accounts_skipped
            ],
        },
        "totals": {_key(name, manifest.operation): count for name, count in asdict(manifest.totals).items()},
        "outcomes": {outcome.value: count for outcome, count in manifest.outcomes.items()},
        "files": [asdict(file) for file in manifest.files],
        "shard": None if shard is None else asdict(shard),
        **_gaps_of(manifest),
        **_organizations_of(manifest),
    }


def caller_object(caller: Caller) -> JsonObject:
    """Return a caller, as a manifest has it."""
    return {"account": caller.account_id, "arn": caller.arn, "partition": caller.partition}


def organization_object(organization: OrganizationInfo) -> JsonObject:
    """Return one of several Organizations, as a manifest has it."""
    return {
        "name": organization.name,
        "organization_id": organization.id,
        "caller": caller_object(organization.caller),
        "accounts_planned": organization.accounts_planned,
    }


def _organizations_of(manifest: Manifest) -> dict[str, object]:
    organizations = [organization_object(each) for each in manifest.organizations]
    return {"organizations": organizations} if organizations else {}


def _gaps_of(manifest: Manifest) -> dict[str, object]:
    gaps = [{**asdict(gap), "outcomes": [*map(str, gap.outcomes)]} for gap in manifest.known_gaps]
    return {"known_gaps": gaps} if gaps else {}


def _indented(content: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(content, indent=2, allow_nan=False).encode("ascii") + b"\n"


class NewerSchemaError(ValueError):
    """A manifest of a schema that this version does not know."""


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest that `data` holds.

    Keys that this version does not know are passed over. Raises `NewerSchemaError` for a newer schema
    and `ValueError` for anything that is not a manifest.
    """
    content = _object(loads(data), "the manifest")
    version = _count(content, "schema_version")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"schema_version is {version}, and this version reads {SCHEMA_VERSION}")
    if version < 1:
        raise ValueError(f"schema_version is {version}")
    if version == 1 and "operation" in content:
        raise ValueError("schema_version is 1, which names no operation")
    accounts = _object(_get(content, "accounts"), "accounts")
    totals = _object(_get(content, "totals"), "totals")
    outcomes = _object(_get(content, "outcomes"), "outcomes")
    shard = _get(content, "shard")
    operation = _OF_VERSION_1 if version == 1 else decode_operation(_get(content, "operation"))
    return Manifest(
        schema_version=version,
        snapshot_id=_text(content, "snapshot_id"),
        status=SnapshotStatus(_text(content, "status")),
        started_at=_time(content, "started_at"),
        finished_at=_time(content, "finished_at"),
        tool=_text(content, "tool"),
        caller=_caller(content),
        organization_id=_text_or_none(content, "organization_id"),
        operation=operation,
        request=_object(_get(content, "request"), "request"),
        accounts_planned=_count(accounts, "planned"),
        accounts_skipped=tuple(_skipped(item) for item in _list(accounts, "skipped")),
        totals=Totals(**{name: _count(totals, _key(name, operation)) for name in _TOTALS_KEYS}),
        outcomes={Outcome(key): _count(outcomes, key) for key in outcomes},
        files=tuple(_file(item) for item in _list(content, "files")),
        shard=None if shard is None else _shard(shard),
        known_gaps=tuple(_gap(item) for item in _list(content, "known_gaps", missing=True)),
        organizations=tuple(_organization(item) for item in _list(content, "organizations", missing=True)),
    )


def decode_refused(data: bytes) -> tuple[Manifest, str]:
    """Return the manifest and the reason in a refused.json. Raises what `decode_manifest` does."""
    return decode_manifest(data), _text(_object(loads(data), "the manifest"), "refused")


def _key(name: str, operation: OperationInfo) -> str:
    return operation.items if name == _ITEMS_FIELD else name


def decode_operation(value: JsonValue) -> OperationInfo:
    """Return what a manifest or a journal says of its operation. Raises `ValueError`."""
    operation = _object(value, "operation")
    info = OperationInfo(**{name: _text(operation, name) for name in OperationInfo.__dataclass_fields__})
    # It is part of a file's name.
    if not info.items.isidentifier():
        raise ValueError("items is not a name")
    return info


def _tags(holder: JsonObject) -> tuple[tuple[str, str], ...] | None:
    value = holder.get("account_tags")
    if value is None:
        return None
    tags = _object(value, "account_tags")
    return tuple((key, _text(tags, key)) for key in tags)


def _skipped(value: JsonValue) -> SkippedAccount:
    account = _object(value, "a skipped account")
    return SkippedAccount(
        id=_text(account, "account_id"),
        name=_text_or_none(account, "account_name"),
        reason=_text(account, "reason"),
    )


def _file(value: JsonValue) -> FileEntry:
    file = _object(value, "a file")
    return FileEntry(
        name=_text(file, "name"),
        bytes=_count(file, "bytes"),
        records=_count(file, "records"),
        sha256=_text(file, "sha256"),
    )


def _caller(holder: JsonObject) -> Caller:
    caller = _object(_get(holder, "caller"), "caller")
    return Caller(
        account_id=_text(caller, "account"), arn=_text(caller, "arn"), partition=_text(caller, "partition")
    )


def _organization(value: JsonValue) -> OrganizationInfo:
    organization = _object(value, "an organization")
    return OrganizationInfo(
        name=_text(organization, "name"),
        id=_text_or_none(organization, "organization_id"),
        caller=_caller(organization),
        accounts_planned=_count(organization, "accounts_planned"),
    )


def _gap(value: JsonValue) -> KnownGap:
    gap = _object(value, "a known gap")
    return KnownGap(
        accounts=_texts(gap, "accounts"),
        regions=_texts(gap, "regions"),
        outcomes=tuple(map(Outcome, _texts(gap, "outcomes"))),
        reason=_text_or_none(gap, "reason", missing=True),
        targets=_count(gap, "targets"),
    )


def _shard(value: JsonValue) -> Shard:
    shard = _object(value, "shard")
    return Shard(index=_count(shard, "index"), count=_count(shard, "count"))


def _get(holder: JsonObject, key: str) -> JsonValue:
    try:
        return holder[key]
    except KeyError:
        raise ValueError(f"{key} is missing") from None


def _object(value: JsonValue, name: str) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{name} is not an object")


def _list(holder: JsonObject, key: str, *, missing: bool = False) -> list[JsonValue]:
    value = holder.get(key, []) if missing else _get(holder, key)
    if isinstance(value, list):
        return value
    raise ValueError(f"{key} is not a list")


def _texts(holder: JsonObject, key: str) -> tuple[str, ...]:
    values = _list(holder, key)
    texts = tuple(each for each in values if isinstance(each, str))
    if len(texts) < len(values):
        raise ValueError(f"{key} is not a list of texts")
    return texts


def _text(holder: JsonObject, key: str) -> str:
    value = _get(holder, key)
    if isinstance(value, str):
        return value
    raise ValueError(f"{key} is not text")


def _text_or_none(holder: JsonObject, key: str, *, missing: bool = False) -> str | None:
    value = holder.get(key) if missing else _get(holder, key)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{key} is neither text nor null")


def _time(holder: JsonObject, key: str) -> datetime:
    try:
        return parse_rfc3339(_text(holder, key))
    except ValueError as error:
        raise ValueError(f"{key} is not a time: {error}") from None


def _count(holder: JsonObject, key: str) -> int:
    value = _get(holder, key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{key} is not a count")


def _seconds(holder: JsonObject) -> float:
    value = _get(holder, "seconds")
    # The bound keeps float() from overflowing on a damaged line.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12:
        return float(value)
    raise ValueError("seconds is not a number of seconds")

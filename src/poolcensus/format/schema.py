"""The bytes of a snapshot: pool lines, ledger lines and the manifest, each way."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import orjson

from poolcensus.format.codec import dumps, loads
from poolcensus.model import (
    Caller,
    FileEntry,
    JsonObject,
    JsonValue,
    Manifest,
    Outcome,
    Page,
    PoolRecord,
    Shard,
    SkippedAccount,
    SnapshotStatus,
    TargetResult,
    Totals,
)

SCHEMA_VERSION: Final = 1
POOLS_NAME: Final = "pools.ndjson"
TARGETS_NAME: Final = "targets.ndjson"
MANIFEST_NAME: Final = "manifest.json"
REFUSED_NAME: Final = "refused.json"

_RECORD_KEYS: Final = frozenset(
    {"snapshot_id", "collected_at", "partition", "account_id", "account_name", "region", "pool"}
)
_LEDGER_KEYS: Final = frozenset(TargetResult.__dataclass_fields__)
_TOTALS_KEYS: Final = tuple(Totals.__dataclass_fields__)


class PageEncoder:
    """Turns pages into lines of pools.ndjson, for one snapshot."""

    __slots__ = ("_partition", "_snapshot_id")

    def __init__(self, snapshot_id: str, partition: str) -> None:
        self._snapshot_id = snapshot_id
        self._partition = partition

    def encode(self, page: Page) -> bytes:
        """The page's records, a line each; empty for a page without pools.

        Raises `ValueError` where a pool can't be written as JSON.
        """
        pools = page.pools
        if not pools:
            return b""
        account = page.target.account
        # What the records of a page have in common is written once: all of a record up to its pool.
        record = dumps(
            {
                "snapshot_id": self._snapshot_id,
                "collected_at": page.received_at,
                "partition": self._partition,
                "account_id": account.id,
                "account_name": account.name,
                "region": page.target.region,
                "pool": 0,
            }
        )
        head = record.removesuffix(b"0}")
        between = b"}\n" + head
        try:
            body = between.join(map(orjson.dumps, pools))
        except TypeError:
            body = _join_slowly(between, pools)
        return b"".join((head, body, b"}\n"))


def _join_slowly(between: bytes, pools: tuple[JsonObject, ...]) -> bytes:
    try:
        return between.join(map(dumps, pools))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a pool can't be written as JSON: {error}") from error


def encode_result(result: TargetResult) -> bytes:
    """A line of the ledger. `seconds` are rounded to milliseconds."""
    return (
        dumps(
            {
                "account_id": result.account_id,
                "account_name": result.account_name,
                "region": result.region,
                "outcome": result.outcome.value,
                "pools": result.pools,
                "pages": result.pages,
                "attempts": result.attempts,
                "throttles": result.throttles,
                "seconds": round(result.seconds, 3),
                "error_code": result.error_code,
                "error_message": result.error_message,
                "request_id": result.request_id,
            }
        )
        + b"\n"
    )


def decode_record(line: bytes) -> tuple[str, PoolRecord]:
    """The snapshot id and the record of a line of pools.ndjson. Raises `ValueError` for any other line."""
    record = _object(loads(line), "the line")
    if record.keys() != _RECORD_KEYS:
        raise ValueError(_wrong_keys(record, _RECORD_KEYS))
    return _text(record, "snapshot_id"), PoolRecord(
        collected_at=_text(record, "collected_at"),
        partition=_text(record, "partition"),
        account_id=_text(record, "account_id"),
        account_name=_text_or_none(record, "account_name"),
        region=_text(record, "region"),
        pool=_object(record["pool"], "pool"),
    )


def decode_result(line: bytes) -> TargetResult:
    """The content of a line of the ledger. Raises `ValueError` for any other line."""
    record = _object(loads(line), "the line")
    if record.keys() != _LEDGER_KEYS:
        raise ValueError(_wrong_keys(record, _LEDGER_KEYS))
    return TargetResult(
        account_id=_text(record, "account_id"),
        account_name=_text_or_none(record, "account_name"),
        region=_text(record, "region"),
        outcome=Outcome(_text(record, "outcome")),
        pools=_count(record, "pools"),
        pages=_count(record, "pages"),
        attempts=_count(record, "attempts"),
        throttles=_count(record, "throttles"),
        seconds=_seconds(record),
        error_code=_text_or_none(record, "error_code"),
        error_message=_text_or_none(record, "error_message"),
        request_id=_text_or_none(record, "request_id"),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """manifest.json, indented for people."""
    return _indented(_manifest_content(manifest))


def encode_refused(manifest: Manifest, reason: str) -> bytes:
    """refused.json: the manifest that a run would have had, and the reason why it was not published."""
    return _indented({**_manifest_content(manifest), "refused": reason})


def _manifest_content(manifest: Manifest) -> dict[str, object]:
    caller, shard = manifest.caller, manifest.shard
    return {
        "schema_version": manifest.schema_version,
        "snapshot_id": manifest.snapshot_id,
        "status": manifest.status.value,
        "started_at": manifest.started_at,
        "finished_at": manifest.finished_at,
        "tool": manifest.tool,
        "caller": {"account": caller.account_id, "arn": caller.arn, "partition": caller.partition},
        "organization_id": manifest.organization_id,
        "request": manifest.request,
        "accounts": {
            "planned": manifest.accounts_planned,
            "skipped": [
                {"account_id": account.id, "account_name": account.name, "reason": account.reason}
                for account in manifest.accounts_skipped
            ],
        },
        "totals": asdict(manifest.totals),
        "outcomes": {outcome.value: count for outcome, count in manifest.outcomes.items()},
        "files": [asdict(file) for file in manifest.files],
        "shard": None if shard is None else asdict(shard),
    }


def _indented(content: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(content, indent=2, allow_nan=False).encode("ascii") + b"\n"


class NewerSchemaError(ValueError):
    """A manifest of a schema that this version does not know."""


def decode_manifest(data: bytes) -> Manifest:
    """The manifest that `data` holds.

    Keys that this version does not know are passed over. Raises `NewerSchemaError` for a newer schema
    and `ValueError` for anything that is not a manifest.
    """
    content = _object(loads(data), "the manifest")
    version = _count(content, "schema_version")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"schema_version is {version}, and this version reads {SCHEMA_VERSION}")
    caller = _object(_get(content, "caller"), "caller")
    accounts = _object(_get(content, "accounts"), "accounts")
    totals = _object(_get(content, "totals"), "totals")
    outcomes = _object(_get(content, "outcomes"), "outcomes")
    shard = _get(content, "shard")
    return Manifest(
        schema_version=version,
        snapshot_id=_text(content, "snapshot_id"),
        status=SnapshotStatus(_text(content, "status")),
        started_at=_text(content, "started_at"),
        finished_at=_text(content, "finished_at"),
        tool=_text(content, "tool"),
        caller=Caller(
            account_id=_text(caller, "account"),
            arn=_text(caller, "arn"),
            partition=_text(caller, "partition"),
        ),
        organization_id=_text_or_none(content, "organization_id"),
        request=_object(_get(content, "request"), "request"),
        accounts_planned=_count(accounts, "planned"),
        accounts_skipped=tuple(_skipped(item) for item in _list(accounts, "skipped")),
        totals=Totals(**{key: _count(totals, key) for key in _TOTALS_KEYS}),
        outcomes={Outcome(key): _count(outcomes, key) for key in outcomes},
        files=tuple(_file(item) for item in _list(content, "files")),
        shard=None if shard is None else _shard(shard),
    )


def decode_refused(data: bytes) -> tuple[Manifest, str]:
    """The manifest and the reason in a refused.json. Raises what `decode_manifest` does."""
    return decode_manifest(data), _text(_object(loads(data), "the manifest"), "refused")


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


def _shard(value: JsonValue) -> Shard:
    shard = _object(value, "shard")
    return Shard(index=_count(shard, "index"), count=_count(shard, "count"))


def _wrong_keys(found: JsonObject, wanted: frozenset[str]) -> str:
    missing = ", ".join(sorted(wanted - found.keys()))
    more = ", ".join(repr(key) for key in sorted(found.keys() - wanted)[:5])
    return "; ".join(
        part for part in (missing and f"missing: {missing}", more and f"not expected: {more}") if part
    )


def _get(holder: JsonObject, key: str) -> JsonValue:
    try:
        return holder[key]
    except KeyError:
        raise ValueError(f"{key} is missing") from None


def _object(value: JsonValue, name: str) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{name} is not an object")


def _list(holder: JsonObject, key: str) -> list[JsonValue]:
    value = _get(holder, key)
    if isinstance(value, list):
        return value
    raise ValueError(f"{key} is not a list")


def _text(holder: JsonObject, key: str) -> str:
    value = _get(holder, key)
    if isinstance(value, str):
        return value
    raise ValueError(f"{key} is not text")


def _text_or_none(holder: JsonObject, key: str) -> str | None:
    value = _get(holder, key)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{key} is neither text nor null")


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

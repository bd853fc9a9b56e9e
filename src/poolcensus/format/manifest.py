"""The schema of manifest.json, for writing and for reading."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Final

import orjson

from poolcensus.format.codec import loads
from poolcensus.format.fields import (
    count_of,
    list_of,
    object_of,
    text_of,
    text_or_none,
    texts_of,
    time_of,
    value_of,
)
from poolcensus.format.times import rfc3339
from poolcensus.model import (
    Caller,
    FileEntry,
    KnownGap,
    Manifest,
    OperationInfo,
    OrganizationInfo,
    Outcome,
    PublishingRule,
    Shard,
    SkippedAccount,
    SnapshotStatus,
    Totals,
)

if TYPE_CHECKING:
    from poolcensus.model import JsonObject, JsonValue

SCHEMA_VERSION: Final = 2
MANIFEST_NAME: Final = "manifest.json"
REFUSED_NAME: Final = "refused.json"

# Snapshots of schema version 1 are all of this operation, and don't name it.
_OF_VERSION_1: Final = OperationInfo("workspaces:DescribeWorkspacesPools", "pool", "pools", "PoolId")
_TOTALS_KEYS: Final = tuple(each.name for each in fields(Totals))
# The field of results and totals whose key is the operation's name for its items.
_ITEMS_FIELD: Final = "pools"


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the content of manifest.json, indented for people."""
    return _indented(manifest_object(manifest))


def encode_refused(manifest: Manifest, rule: PublishingRule) -> bytes:
    """Return the content of refused.json: a run's manifest, and the rule that forbids publishing it."""
    return _indented({**manifest_object(manifest), "refused": str(rule)})


def manifest_object(manifest: Manifest) -> dict[str, object]:
    """Return a manifest as a JSON object."""
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
    """Return a caller as a JSON object."""
    return {"account": caller.account_id, "arn": caller.arn, "partition": caller.partition}


def organization_object(organization: OrganizationInfo) -> JsonObject:
    """Return an Organization as a JSON object."""
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
    """The manifest has a newer schema than this version can read."""


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest of a manifest.json.

    Unknown keys are ignored. Raises `NewerSchemaError` for a newer schema, and `ValueError` if the data is
    not a manifest.
    """
    content = object_of(loads(data), "the manifest")
    version = count_of(content, "schema_version")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"schema_version is {version}, and this version reads 1 to {SCHEMA_VERSION}")
    if version < 1:
        raise ValueError(f"schema_version is {version}")
    if version == 1 and "operation" in content:
        raise ValueError("schema_version is 1, which names no operation")
    accounts = object_of(value_of(content, "accounts"), "accounts")
    totals = object_of(value_of(content, "totals"), "totals")
    outcomes = object_of(value_of(content, "outcomes"), "outcomes")
    shard = value_of(content, "shard")
    operation = _OF_VERSION_1 if version == 1 else decode_operation(value_of(content, "operation"))
    return Manifest(
        schema_version=version,
        snapshot_id=text_of(content, "snapshot_id"),
        status=SnapshotStatus(text_of(content, "status")),
        started_at=time_of(content, "started_at"),
        finished_at=time_of(content, "finished_at"),
        tool=text_of(content, "tool"),
        caller=_caller(content),
        organization_id=text_or_none(content, "organization_id"),
        operation=operation,
        request=object_of(value_of(content, "request"), "request"),
        accounts_planned=count_of(accounts, "planned"),
        accounts_skipped=tuple(_skipped(item) for item in list_of(accounts, "skipped")),
        totals=Totals(**{name: count_of(totals, _key(name, operation)) for name in _TOTALS_KEYS}),
        outcomes={Outcome(key): count_of(outcomes, key) for key in outcomes},
        files=tuple(_file(item) for item in list_of(content, "files")),
        shard=None if shard is None else _shard(shard),
        known_gaps=tuple(_gap(item) for item in list_of(content, "known_gaps", missing=True)),
        organizations=tuple(_organization(item) for item in list_of(content, "organizations", missing=True)),
    )


def decode_refused(data: bytes) -> tuple[Manifest, PublishingRule]:
    """Return the manifest and the rule of a refused.json. Raises the same errors as `decode_manifest`."""
    manifest = decode_manifest(data)
    setting, _, allowed = text_of(object_of(loads(data), "the manifest"), "refused").partition(" ")
    return manifest, PublishingRule(setting, allowed or None)


def _key(name: str, operation: OperationInfo) -> str:
    return operation.items if name == _ITEMS_FIELD else name


def decode_operation(value: JsonValue) -> OperationInfo:
    """Return the operation of a manifest or a journal. Raises `ValueError` if the value is not one."""
    operation = object_of(value, "operation")
    info = OperationInfo(**{each.name: text_of(operation, each.name) for each in fields(OperationInfo)})
    # It becomes part of a file name.
    if not info.items.isidentifier():
        raise ValueError("items is not a name")
    return info


def _skipped(value: JsonValue) -> SkippedAccount:
    account = object_of(value, "a skipped account")
    return SkippedAccount(
        id=text_of(account, "account_id"),
        name=text_or_none(account, "account_name"),
        reason=text_of(account, "reason"),
    )


def _file(value: JsonValue) -> FileEntry:
    file = object_of(value, "a file")
    return FileEntry(
        name=text_of(file, "name"),
        bytes=count_of(file, "bytes"),
        records=count_of(file, "records"),
        sha256=text_of(file, "sha256"),
    )


def _caller(holder: JsonObject) -> Caller:
    caller = object_of(value_of(holder, "caller"), "caller")
    return Caller(
        account_id=text_of(caller, "account"),
        arn=text_of(caller, "arn"),
        partition=text_of(caller, "partition"),
    )


def _organization(value: JsonValue) -> OrganizationInfo:
    organization = object_of(value, "an organization")
    return OrganizationInfo(
        name=text_of(organization, "name"),
        id=text_or_none(organization, "organization_id"),
        caller=_caller(organization),
        accounts_planned=count_of(organization, "accounts_planned"),
    )


def _gap(value: JsonValue) -> KnownGap:
    gap = object_of(value, "a known gap")
    return KnownGap(
        accounts=texts_of(gap, "accounts"),
        regions=texts_of(gap, "regions"),
        outcomes=tuple(map(Outcome, texts_of(gap, "outcomes"))),
        reason=text_or_none(gap, "reason", missing=True),
        targets=count_of(gap, "targets"),
    )


def _shard(value: JsonValue) -> Shard:
    shard = object_of(value, "shard")
    return Shard(
        index=count_of(shard, "index"),
        count=count_of(shard, "count"),
        accounts_digest=text_or_none(shard, "accounts_digest", missing=True),
    )

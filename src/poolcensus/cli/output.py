"""JSON on standard output, for programs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from poolcensus.cli.trouble import on_terminal, with_options
from poolcensus.format import codec
from poolcensus.format.manifest import caller_object, organization_object
from poolcensus.format.text import printable_json
from poolcensus.format.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from poolcensus.model import Account, JsonObject
    from poolcensus.planned import Plan
    from poolcensus.snapshot import LockHolder, SnapshotInfo
    from poolcensus.snapshot.retention import Decision

# Few enough that the first lines appear soon.
_LINES_AT_ONCE: Final = 200


def json_text(line: bytes) -> str:
    """Return a line of JSON as text without its newline. On a terminal, escape control characters."""
    text = line.decode().rstrip("\n")
    return printable_json(text) if on_terminal(sys.stdout) else text


def write_line(value: object) -> None:
    """Write one line of JSON."""
    click.echo(json_text(codec.dumps(value)).encode())


def write_lines(lines: Iterable[str], *, to_stderr: bool = False) -> int:
    """Write lines, and return their number. Some hundreds are written at once: each write is flushed."""
    rest, written = iter(lines), 0
    while part := list(islice(rest, _LINES_AT_ONCE)):
        click.echo("\n".join(part), err=to_stderr)
        written += len(part)
    return written


def info_object(info: SnapshotInfo, now: datetime) -> JsonObject:
    """Return a listed snapshot as JSON. `now` decides whether it is dated in the future."""
    shard = info.scope.shard
    return {
        "snapshot_id": info.id,
        "status": info.status.value,
        "started_at": rfc3339(info.started_at),
        "finished_at": rfc3339(info.finished_at),
        "targets": info.targets,
        "covered": info.covered,
        "failed": info.failed,
        "pools": info.pools,
        "bytes": info.bytes,
        "scope": info.scope.summary,
        "request": info.scope.request,
        "shard": None if shard is None else {"index": shard.index, "count": shard.count},
        "future": info.moment.is_ahead(now),
    }


def decision_object(decision: Decision, error: str | None) -> JsonObject:
    """Return the decision about a snapshot as JSON. `error` says why it could not be removed."""
    return {
        "snapshot_id": decision.snapshot_id,
        "action": "keep" if decision.keep else "remove",
        "reasons": [each.value for each in decision.reasons],
        "scope": decision.scope.summary,
        "error": None if error is None else with_options(error),
    }


def unlock_object(dest: str, holder: LockHolder | None) -> JsonObject:
    """Return as JSON whether a lock was removed, and whose it was."""
    return {
        "dest": dest,
        "removed": holder is not None,
        "started_at": holder.started_text if holder is not None else None,
        "host": holder.host if holder is not None else None,
        "pid": holder.pid if holder is not None else None,
    }


def plan_object(plan: Plan) -> JsonObject:
    """Return the plan as JSON, with the names that the manifest uses."""
    return {
        "caller": caller_object(plan.caller),
        "organization_id": plan.organization_id,
        **({"organizations": [*map(organization_object, plan.organizations)]} if plan.organizations else {}),
        "accounts": {
            "planned": [_account_object(each) for each in plan.accounts],
            "skipped": [
                {"account_id": each.id, "account_name": each.name, "reason": each.reason}
                for each in plan.skipped
            ],
        },
        "regions": [*plan.regions],
        "targets": plan.targets,
        "region_disabled": plan.region_disabled,
        "region_status_unknown": [*plan.region_status_unknown],
        "region_status_reasons": dict(plan.region_status_reasons),
        "calls": dict(plan.calls),
        "services": dict(plan.services),
        "estimate": None if plan.estimate is None else asdict(plan.estimate),
    }


def _account_object(account: Account) -> JsonObject:
    described: JsonObject = {"account_id": account.id, "account_name": account.name}
    if account.organization is not None:
        described["organization"] = account.organization
    if account.ou_path is not None:
        described["ou_path"] = account.ou_path
    if account.tags is not None:
        described["account_tags"] = dict(account.tags)
    if account.regions is not None:
        described["regions"] = [*account.regions]
    return described

"""Makes a plan, with an estimate of its time that is based on the newest snapshot at the destination."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from poolcensus.config.values import RegionStatusSource
from poolcensus.errors import FatalError, SnapshotError
from poolcensus.loops import in_thread
from poolcensus.model import Outcome
from poolcensus.scope.estimate import LastRun, Limits, estimate
from poolcensus.scope.joining import naming
from poolcensus.scope.opening import check_accounts, check_any
from poolcensus.scope.planning import joined_plan, plan_of
from poolcensus.snapshot import Scope, Snapshot
from poolcensus.storage.naming import LATEST, STANDARD_OUTPUT, is_local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.config import Settings
    from poolcensus.operations import Operation
    from poolcensus.planned import Plan
    from poolcensus.scope.opening import Opened

_READ = (Outcome.OK, Outcome.EMPTY)


async def make_plan(organizations: Sequence[Opened], settings: Settings, operation: Operation) -> Plan:
    """Return what a run would do, with an estimate of its time. Raises a FatalError if no account matches."""
    plans = []
    for opened in organizations:
        with naming(opened.name):
            async with aclosing(opened.listing.accounts()) as batches:
                accounts = tuple([account async for batch in batches for account in batch])
            check_accounts(len(accounts), opened)
            plans.append(await plan_of(opened, operation, accounts))
    check_any(sum(len(each.accounts) for each in plans), organizations, settings)
    return await _with_estimate(joined_plan(plans), settings, operation)


async def _with_estimate(plan: Plan, settings: Settings, operation: Operation) -> Plan:
    last = None
    # A plan does not need the destination: it may not exist yet, or not be readable.
    with suppress(SnapshotError, FatalError):
        last = await in_thread(_last_run, plan, settings, operation)
    limits = Limits(
        settings.concurrency,
        settings.per_region,
        len(plan.regions),
        one_account=any(
            each.region_status is RegionStatusSource.MANAGEMENT
            for each in settings.by_organization().values()
        ),
        concurrent_runs=settings.concurrent_runs,
    )
    return replace(plan, estimate=estimate(plan.calls, operation.iam_action, plan.targets, limits, last))


def _last_run(plan: Plan, settings: Settings, operation: Operation) -> LastRun | None:
    """Return the figures of the newest snapshot, or None if it has another scope or operation. Blocks."""
    place = settings.dest
    if place == STANDARD_OUTPUT:
        return None
    snapshot = Snapshot.open(LATEST, place, settings=settings)
    manifest = snapshot.manifest
    asked = Scope.asked(
        settings.request(), settings.shard, plan.caller, plan.organization_id, plan.organizations
    )
    if manifest.operation != operation.info or Scope.of(manifest) != asked:
        return None
    # Only from a folder. From a bucket, the ledger would have to be downloaded.
    long = snapshot.long_targets() if is_local(place) else {}
    return LastRun(
        snapshot_id=manifest.snapshot_id,
        targets=manifest.totals.targets,
        read=sum(manifest.outcomes.get(each, 0) for each in _READ),
        pages=manifest.totals.pages,
        longest=max(long.values(), default=1),
        seconds=(manifest.finished_at - manifest.started_at).total_seconds(),
    )

"""Gathers the data of a report from the snapshots at a destination."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.diff import diff
from poolcensus.analysis.ledger import Ledger
from poolcensus.analysis.report.contents import read_contents
from poolcensus.analysis.report.facts import Comparison, Facts, History, UnreadSnapshot
from poolcensus.analysis.report.history import walk
from poolcensus.analysis.report.missing import missing_items
from poolcensus.analysis.report.worklist import worklist
from poolcensus.analysis.selection import home_of
from poolcensus.errors import SnapshotError
from poolcensus.operations import facets_of, operation_named
from poolcensus.results.expected_failures import KnownGaps
from poolcensus.results.failure_tally import FailureTally
from poolcensus.snapshot.order import moment_of
from poolcensus.snapshot.series import open_series

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from poolcensus.config import Settings
    from poolcensus.snapshot import Snapshot

MOST_CHANGES: Final = 5_000
"""How many changes are kept in memory. More are only counted. A page shows as many as fit into its size."""
MOST_ACCOUNTS: Final = 50_000
"""The most that an organization can have: https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html"""


def gather(snapshot: Snapshot, now: datetime, settings: Settings | None) -> Facts:
    """Return the data of a report on a snapshot, as of `now`. Blocks.

    Raises `SnapshotError` if the snapshot can't be read, and `DestinationError` or another `FatalError` if a
    bucket can't be read. Earlier snapshots that can't be read are in the result, with the reason.
    """
    dest = home_of(snapshot)
    earlier, unreadable, others = _earlier(snapshot, dest, settings)
    manifest = snapshot.manifest
    facets = facets_of(manifest.operation)
    with snapshot:
        found = walk([snapshot, *earlier], facets)
        ledger = Ledger.read("this snapshot", snapshot)
        missing = missing_items(ledger, found.sightings, found.snapshots)
        gaps = KnownGaps(manifest.known_gaps)
        unexpected = (each for each in snapshot.uncovered() if not gaps.take(each))
        tally = FailureTally(operation_named(manifest.operation.name), unexpected)
        unread = [*found.unread, *(UnreadSnapshot(each, why) for each, why in unreadable.items())]
        return Facts(
            info=snapshot.info,
            location=snapshot.location,
            operation=manifest.operation,
            facets=facets,
            organization_id=manifest.organization_id,
            caller=manifest.caller.arn,
            made_at=now,
            dest=dest,
            outcomes=tuple(
                (outcome.value, outcome.covered, count)
                for outcome, count in manifest.outcomes.items()
                if count
            ),
            accounts=manifest.accounts_planned,
            skipped=manifest.accounts_skipped,
            failures=tally.groups(MOST_ACCOUNTS),
            contents=read_contents(snapshot, facets),
            history=History(found.points[::-1], tuple(sorted(unread, key=lambda each: each.id)), others),
            comparison=_comparison(found.snapshots[1], snapshot) if len(found.snapshots) > 1 else None,
            worklist=worklist(found, missing, facets),
        )


def _earlier(
    snapshot: Snapshot, dest: str, settings: Settings | None
) -> tuple[list[Snapshot], Mapping[str, str], int]:
    """Return the earlier snapshots of the same scope, the newest first.

    Also returns the reasons why other earlier snapshots can't be read, by ID, and the number of earlier
    snapshots of other scopes.
    """
    series = open_series(dest, settings=settings)
    before = [
        each
        for each in series.snapshots
        if each.id != snapshot.id and each.info.moment < snapshot.info.moment
    ]
    alike = [each for each in before if each.info.group == snapshot.info.group]
    unreadable = {
        each: why
        for each, why in series.unreadable.items()
        if each != snapshot.id and moment_of(each) < snapshot.info.moment
    }
    return alike[::-1], unreadable, len(before) - len(alike)


def _comparison(before: Snapshot, snapshot: Snapshot) -> Comparison:
    found = diff(before, snapshot)
    try:
        changes = (each for each in found if not each.is_expected)
        first = tuple(islice(changes, MOST_CHANGES))
        for _ in changes:
            pass
    except SnapshotError as error:
        return Comparison(before.id, problem=str(error))
    return Comparison(before.id, first, found.statistics, found.warnings)

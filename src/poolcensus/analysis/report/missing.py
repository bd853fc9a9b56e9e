"""Items that the newest snapshot can't list: their target is not covered, or can list none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.analysis.ledger import known_pools
from poolcensus.errors import SnapshotError
from poolcensus.model import HIDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poolcensus.analysis.ledger import Ledger
    from poolcensus.analysis.report.activity import Key
    from poolcensus.analysis.report.history import Sighting
    from poolcensus.snapshot import Snapshot


def missing_items(
    ledger: Ledger, sightings: Mapping[Key, Sighting], snapshots: Sequence[Snapshot]
) -> dict[Key, str]:
    """Return the items that may be there though the newest snapshot does not list them, with the reason.

    `ledger` is that of the newest snapshot, and the numbers of the sightings are indices of `snapshots`. An
    item is gone where its target was covered, without it, by the newest snapshot or by one after its last
    sighting. Blocks.
    """
    missing: dict[Key, str] = {}
    for key, sighting in sightings.items():
        if sighting.last == 0:
            continue
        account_id, region, _ = key
        entry = ledger.entry(account_id, region)
        if known_pools(entry) is None:
            reason = ledger.absence(account_id) if entry is None else entry.outcome.value
            missing[key] = reason
    for key in _gone(missing, sightings, snapshots):
        del missing[key]
    return missing


def _gone(
    missing: Mapping[Key, str], sightings: Mapping[Key, Sighting], snapshots: Sequence[Snapshot]
) -> set[Key]:
    """Return those of the missing items that a snapshot between did not find in a target that it covered."""
    by_target: dict[tuple[str, str], list[Key]] = {}
    for key in missing:
        by_target.setdefault(key[:2], []).append(key)
    gone: set[Key] = set()
    for number in range(1, max((sightings[key].last for key in missing), default=0)):
        # Of a target, the newest snapshot that covered it decides for all items last seen before.
        waiting = {
            target for target, keys in by_target.items() if any(sightings[key].last > number for key in keys)
        }
        if not waiting:
            break
        for target in _covered(snapshots[number], waiting):
            keys = by_target.pop(target)
            gone.update(key for key in keys if sightings[key].last > number)
    return gone


def _covered(snapshot: Snapshot, targets: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of the targets whose items the snapshot knows. None where its ledger can't be read."""
    try:
        return {
            target
            for result in snapshot.targets()
            if (target := (result.account_id, result.region)) in targets
            and result.outcome.covered
            and result.outcome not in HIDING
        }
    except SnapshotError:
        return set()

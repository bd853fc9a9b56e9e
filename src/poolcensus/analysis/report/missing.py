"""Finds items that the newest snapshot can't list: it does not cover their target, or can list none in it."""

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
    """Return the items that the newest snapshot does not list, but that may still exist, with the reason.

    Blocks. `ledger` is the ledger of the newest snapshot. The numbers of the sightings are indices into
    `snapshots`. An item no longer exists if a snapshot after its last sighting covers its target, but does
    not list the item.
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
    """Return the missing items that no longer exist.

    Between the item's last sighting and the newest snapshot, another one covered its target, but did not list
    it.
    """
    by_target: dict[tuple[str, str], list[Key]] = {}
    for key in missing:
        by_target.setdefault(key[:2], []).append(key)
    gone: set[Key] = set()
    for number in range(1, max((sightings[key].last for key in missing), default=0)):
        # For each target, the newest snapshot that covered it decides about all items last seen before.
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
    """Return the targets whose items the snapshot knows. If its ledger can't be read, there are none."""
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

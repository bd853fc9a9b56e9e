"""Checks by their manifests whether two snapshots can be compared."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from poolcensus.errors import IncomparableSnapshotsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import Caller, Manifest
    from poolcensus.snapshot import Snapshot

# The settings that choose among the pools of a target. A pool that was not asked for looks like one that was
# removed.
_CHOOSING_POOLS: Final = frozenset({"pool_ids", "filters"})


def check_comparable(a: Snapshot, b: Snapshot) -> None:
    """Raise `IncomparableSnapshotsError` if differences between the snapshots would be meaningless."""
    if a.manifest.operation != b.manifest.operation:
        raise IncomparableSnapshotsError(
            f"Snapshots of different operations can't be compared: A ({a.id}) is of"
            f" {a.manifest.operation.name}, B ({b.id}) of {b.manifest.operation.name}."
        )
    partitions = _partitions(a.manifest), _partitions(b.manifest)
    if partitions[0].isdisjoint(partitions[1]):
        words = [" and ".join(sorted(each)) for each in partitions]
        raise IncomparableSnapshotsError(
            f"Snapshots of different partitions can't be compared: A ({a.id}) is of {words[0]}, B"
            f" ({b.id}) of {words[1]}, and an account ID in one is another account in the other."
        )
    differing = _CHOOSING_POOLS.intersection(b.info.scope.differing(a.info.scope))
    if differing:
        names = " and ".join(f"`{name}`" for name in sorted(differing))
        raise IncomparableSnapshotsError(
            f"A ({a.id}) and B ({b.id}) were asked for different pools by {names}: a pool that was not asked"
            " for can't be told from one that was removed. Compare snapshots that were asked for the same"
            " pools."
        )


def warnings_of(a: Snapshot, b: Snapshot) -> Iterator[str]:
    """Yield a sentence for each reason why the differences may mislead."""
    if a.info.moment > b.info.moment:
        yield (
            f"A ({a.id}) is newer than B ({b.id}): what is called added was there before, and what is called"
            f" removed came later. Run 'poolcensus diff {_typed(b)} {_typed(a)}' for the usual direction."
        )
    organizations = _organizations(a.manifest), _organizations(b.manifest)
    scopes = a.info.scope, b.info.scope
    if all(organizations) and organizations[0] != organizations[1]:
        ids = [", ".join(sorted(each)) for each in organizations]
        yield (
            f"The snapshots are of different Organizations, A of {ids[0]} and B of"
            f" {ids[1]}: an account that only one of them has is unknown."
        )
    elif scopes[0] != scopes[1]:
        words = [each.in_a_sentence for each in scopes]
        if words[0] == words[1]:
            names = ", ".join(scopes[1].differing(scopes[0])) or "whose accounts they are"
            what = f"Both snapshots cover {words[0]}, but they differ in {names}"
        else:
            what = f"A covers {words[0]}, B covers {words[1]}"
        yield f"{what}: what only one of them was asked to cover is unknown."
    for name, snapshot in (("A", a), ("B", b)):
        totals = snapshot.manifest.totals
        if not totals.targets:
            yield f"{name} ({snapshot.id}) has no targets: nothing can be compared."
        elif not totals.covered:
            which = "does not cover its only target"
            if totals.targets > 1:
                which = f"covers none of its {totals.targets:,} targets"
            yield (
                f"{name} ({snapshot.id}) {which}: nothing can be compared. Run"
                f" 'poolcensus show {_typed(snapshot)} --failures' to see why."
            )


def _typed(snapshot: Snapshot) -> str:
    """Return a snapshot's location as an argument for the shell.

    A path without a slash gets `./` before it, because an ID alone is looked up at the destination.
    """
    place = snapshot.location
    if snapshot.path is not None and (place.startswith("-") or "/" not in place):
        place = f"./{place}"
    return shlex.quote(place)


def _partitions(manifest: Manifest) -> frozenset[str]:
    return frozenset(each.partition for each in _callers(manifest))


def _callers(manifest: Manifest) -> Iterator[Caller]:
    yield manifest.caller
    for each in manifest.organizations:
        yield each.caller


def _organizations(manifest: Manifest) -> frozenset[str]:
    """Return the IDs of a snapshot's Organizations, as far as they are known."""
    found = {manifest.organization_id, *(each.id for each in manifest.organizations)}
    return frozenset(each for each in found if each is not None)

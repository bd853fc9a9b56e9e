"""Checks that snapshots are all the shards of one run, and combines what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import islice, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from poolcensus.config.narrowing import NARROWING, may_have_none
from poolcensus.errors import MergeError
from poolcensus.model import Shard
from poolcensus.snapshot.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poolcensus.model import KnownGap, Manifest, OrganizationInfo
    from poolcensus.snapshot.reader import Snapshot

# Shards of one run may run one after the other. Between shards of two daily runs, more time passes than this.
LONGEST_GAP: Final = timedelta(hours=12)

_NAMED: Final = 10
# The path of a list of accounts may differ between machines. The digest tells whether the lists are the same.
_SAID_BY_DIGEST: Final = frozenset({"accounts_snapshot"})
_NONE: Final = Shard(0, 0)


def in_order(parts: Sequence[Snapshot]) -> list[Snapshot]:
    """Return the shards in the order of their numbers. Raises MergeError unless they are all of one run."""
    shards = {each.location: _shard(each) for each in parts}
    first = parts[0]
    for each in parts[1:]:
        if (difference := _difference(first.manifest, each.manifest)) is not None:
            raise MergeError(f"{first.location} and {each.location} {difference}")
    by_index: dict[int, Snapshot] = {}
    for each in parts:
        other = by_index.setdefault(shards[each.location].index, each)
        if other is not each:
            both = f"{other.location} and {each.location}"
            if other.id == each.id:
                raise MergeError(f"{both} are the same snapshot: name each shard once")
            raise MergeError(f"{both} overlap: both are shard {shards[each.location].index}")
    count = shards[first.location].count
    if missing := count - len(by_index):
        # A manifest may claim any number of shards, so don't search for more than the message names.
        absent = [*islice((index for index in range(1, count + 1) if index not in by_index), _NAMED)]
        if missing == 1:
            raise MergeError(f"shard {absent[0]:,} of {count:,} is missing")
        named = ", ".join(map(str, absent)) + (", …" if missing > _NAMED else "")
        raise MergeError(f"{missing:,} of {count:,} shards are missing: {named}")
    _check_breaks(parts)
    _check_accounts([each.manifest for each in parts])
    return [by_index[index] for index in sorted(by_index)]


def joined_organizations(manifests: Sequence[Manifest]) -> Iterator[OrganizationInfo]:
    """Yield the Organizations of a run of several, with the number of their accounts in all shards."""
    counts: Counter[str] = Counter()
    found: dict[str, OrganizationInfo] = {}
    for manifest in manifests:
        for each in manifest.organizations:
            counts[each.name] += each.accounts_planned
            found.setdefault(each.name, each)
    return (replace(each, accounts_planned=counts[name]) for name, each in found.items())


def _shard(part: Snapshot) -> Shard:
    shard = part.manifest.shard
    if shard is None:
        raise MergeError(f"{part.location} is no shard: it was made without `shard`")
    if shard.accounts_digest is None:
        raise MergeError(f"{part.location} was made by an earlier version, which did not name its accounts")
    if not 1 <= shard.index <= shard.count:
        raise MergeError(f"{part.location} calls itself shard {shard.index} of {shard.count}: it is damaged")
    return shard


def _difference(one: Manifest, other: Manifest) -> str | None:
    """Return in words why two shards belong to different runs, or None if they may belong to one."""
    return next(_differences(one, other), None)


def _differences(one: Manifest, other: Manifest) -> Iterator[str]:
    if one.schema_version != other.schema_version:
        yield f"are of schema_version {one.schema_version} and {other.schema_version}"
    if one.operation != other.operation:
        yield f"are of {one.operation.name} and {other.operation.name}"
    if one.tool != other.tool:
        # The program has the list of regions, so another version may query other regions.
        yield f"were made by {one.tool} and {other.tool}, which may not ask in the same regions"
    mine, its = one.shard or _NONE, other.shard or _NONE
    if mine.count != its.count:
        yield f"are of runs in {mine.count} and in {its.count} shards"
    if _callers(one) != _callers(other):
        yield "were made by callers of different accounts or for different Organizations"
    asked = "were asked for different things: they differ in"
    names = [each for each in Scope.of(one).differing(Scope.of(other)) if each not in _SAID_BY_DIGEST]
    if names:
        yield f"{asked} {', '.join(names)}"
    if _gaps(one) != _gaps(other):
        yield f"{asked} known_gaps"
    if mine.accounts_digest != its.accounts_digest:
        yield (
            "were made from different lists of accounts, or from one that was written anew: an account may be"
            " in none of them. Write one list for all shards with 'poolcensus plan --output FILE', and give"
            " it to each as `accounts_snapshot`."
        )


def _gaps(manifest: Manifest) -> list[KnownGap]:
    return [replace(each, targets=0) for each in manifest.known_gaps]


def _callers(manifest: Manifest) -> Sequence[tuple[str | None, str, str, str | None]]:
    """Return the callers and their Organizations. ARNs are left out, since each role session has its own."""
    if not manifest.organizations:
        caller = manifest.caller
        return [(None, caller.account_id, caller.partition, manifest.organization_id)]
    # Sorted, so that the order of the tables does not matter.
    return sorted(
        (
            (each.name, each.caller.account_id, each.caller.partition, each.id)
            for each in manifest.organizations
        ),
        key=itemgetter(0),
    )


def _check_accounts(manifests: Sequence[Manifest]) -> None:
    """Raise MergeError if no shard has an account, which a single shard can't tell."""
    settings = "Check `account_tags`, `account_names`, `ous` and `accounts`."
    if not any(each.accounts_planned for each in manifests):
        raise MergeError(f"no shard has an account. {settings}")
    reasons = {skipped.reason for manifest in manifests for skipped in manifest.accounts_skipped}
    for each in joined_organizations(manifests):
        if not each.accounts_planned and not may_have_none(_for_all(manifests[0], each.name), reasons):
            raise MergeError(f"no shard has an account of Organization {each.name}. {settings}")


def _for_all(manifest: Manifest, organization: str) -> frozenset[str]:
    """Return the settings that narrow the accounts of all Organizations, and not by this one's table."""
    asked = manifest.request
    listed = asked.get("organizations")
    tables = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    own = [each for each in tables if each.get("name") == organization]
    return frozenset(
        key for key in NARROWING if asked.get(key) and all(each.get(key) == asked[key] for each in own)
    )


def _check_breaks(parts: Sequence[Snapshot]) -> None:
    """Raise MergeError if too much time passed between two shards for them to belong to one run."""
    in_time = sorted(parts, key=lambda each: each.manifest.started_at)
    ended = in_time[0].manifest.finished_at
    for before, after in pairwise(in_time):
        if after.manifest.started_at - ended > LONGEST_GAP:
            hours = LONGEST_GAP.total_seconds() / 3600
            raise MergeError(
                f"{after.location} began more than {hours:g} hours after {before.location} and the others had"
                " ended: they are of different runs"
            )
        ended = max(ended, after.manifest.finished_at)

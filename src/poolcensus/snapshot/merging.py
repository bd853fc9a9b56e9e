"""Joins the shards of one run into one snapshot."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import anyio

from poolcensus.config import Settings
from poolcensus.errors import MergeError
from poolcensus.format.ids import new_snapshot_id
from poolcensus.loops import in_thread, require_asyncio
from poolcensus.model import Compression, Manifest, TargetResult, Totals
from poolcensus.results.expected_failures import KnownGaps
from poolcensus.snapshot.adoption import adopt
from poolcensus.snapshot.hidden import NOTHING_HIDDEN, Hidden, HiddenTargets, find_hidden
from poolcensus.snapshot.reader import Snapshot
from poolcensus.snapshot.shard_opening import open_shards
from poolcensus.snapshot.shards import in_order, joined_organizations
from poolcensus.snapshot.writer import RunDescription, SnapshotWriter
from poolcensus.storage.base import ABORT_SECONDS, Repository
from poolcensus.storage.destination import open_repository, open_source
from poolcensus.storage.sources import Sources
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from poolcensus.snapshot.info import SnapshotInfo

_log = logging.getLogger("poolcensus")


async def merge(
    parts: Sequence[str | os.PathLike[str]],
    dest: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
) -> Snapshot:
    """Join the shards of one run into one snapshot, publish it at `dest`, and return it.

    Each of `parts` names a snapshot as for `Snapshot.open`, looked up at `dest`, or a destination, whose
    latest snapshot is used. The parts are read once, never kept in memory as a whole, and not changed.
    `settings` says how to access a bucket, and how to compress the snapshot.

    Raises `MergeError` unless the parts are all shards of one run, `SnapshotError` if a part is missing or
    damaged, and the errors of publishing. In all these cases nothing is published.
    """
    require_asyncio()
    return await Merging(parts, dest, settings).run()


class Merging:
    """One run of `merge`, and its results."""

    def __init__(
        self,
        parts: Sequence[str | os.PathLike[str]],
        dest: str | os.PathLike[str],
        settings: Settings | None,
    ) -> None:
        self._parts = parts
        self._dest = dest
        self._settings = settings
        self._sources = Sources(settings)
        self._writer: SnapshotWriter | None = None
        self._owners: dict[str, str] = {}
        self._accounts: Counter[str | None] = Counter()
        self._hidden_targets = HiddenTargets()
        self.hidden: Hidden = NOTHING_HIDDEN

    @property
    def published(self) -> Snapshot | None:
        """The published snapshot, even if `run` was cancelled after publishing, or None."""
        manifest = self._writer.manifest if self._writer is not None else None
        if manifest is None:
            return None
        return Snapshot(open_source(self._dest, self._settings).files(manifest.snapshot_id), manifest)

    @property
    def before(self) -> SnapshotInfo | None:
        """The newest other snapshot at the destination, known once this one is published."""
        return self._writer.before if self._writer is not None else None

    async def run(self) -> Snapshot:
        """Join the shards. Raises the errors of `merge`."""
        if not self._parts:
            raise MergeError("no shards were named")
        try:
            parts = in_order(await open_shards(self._parts, self._dest, self._sources))
            async with open_repository(self._dest, self._settings) as repository:
                await self._join(parts, repository)
        finally:
            with anyio.move_on_after(ABORT_SECONDS, shield=True):
                await in_thread(self._sources.close)
        published = self.published
        if published is None:
            raise RuntimeError("what was joined is not published")
        return published

    async def _join(self, parts: Sequence[Snapshot], repository: Repository) -> None:
        shards = [each.manifest for each in parts]
        # All shards have the same known gaps.
        gaps = KnownGaps(shards[0].known_gaps)
        draft = await repository.draft(new_snapshot_id(min(each.started_at for each in shards)))
        async with SnapshotWriter(
            draft,
            partition=shards[0].caller.partition,
            operation=shards[0].operation,
            compression=self._settings.compress if self._settings is not None else Compression.NONE,
        ) as writer:
            self._writer = writer
            for part in parts:
                claim = partial(self._claim, part.location, gaps)
                await adopt(part, draft.snapshot_id, writer, writer.done, claim)
            ids = {each.id for each in parts}
            self.hidden = await find_hidden(repository, self._hidden_targets, but=ids)
            await writer.publish(_describe(shards, self._accounts, gaps))

    def _claim(self, part: str, gaps: KnownGaps, result: TargetResult) -> None:
        """Record a target. Raises MergeError if another shard has its account."""
        if result.account_id not in self._owners:
            self._accounts[result.organization] += 1
        gaps.take(result)
        owner = self._owners.setdefault(result.account_id, part)
        if owner != part:
            raise MergeError(f"{owner} and {part} overlap: both have account {result.account_id}")
        self._hidden_targets.add(result)


def _describe(shards: Sequence[Manifest], accounts: Counter[str | None], gaps: KnownGaps) -> RunDescription:
    """Describe the run of the shards. `accounts` is the number of accounts by Organization."""
    first = shards[0]
    skipped = dict.fromkeys(account for each in shards for account in each.accounts_skipped)
    return RunDescription(
        started_at=min(each.started_at for each in shards),
        finished_at=max(each.finished_at for each in shards),
        tool=TOOL,
        caller=first.caller,
        organization_id=first.organization_id,
        request=first.request,
        accounts_planned=accounts.total(),
        accounts_skipped=tuple(sorted(skipped, key=attrgetter("id"))),
        totals=Totals.of(each.totals for each in shards),
        known_gaps=gaps.counted(),
        organizations=tuple(
            replace(each, accounts_planned=accounts[each.name]) for each in joined_organizations(shards)
        ),
    )

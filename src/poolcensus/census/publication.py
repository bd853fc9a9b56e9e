"""The snapshot of one run: writing it, resuming an interrupted run, and the rules that forbid publishing."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.census.worker_slots import WorkerSlots
from poolcensus.errors import DestinationError, NotPublishedError
from poolcensus.format.text import counted
from poolcensus.format.times import rfc3339, utc_now
from poolcensus.loops import in_thread
from poolcensus.model import OrganizationInfo, PublishingRule
from poolcensus.snapshot import (
    JournalHeader,
    RunDescription,
    Snapshot,
    SnapshotWriter,
    interrupted_run,
    long_targets,
    new_snapshot_id,
)
from poolcensus.snapshot.hidden import NOTHING_HIDDEN, find_hidden
from poolcensus.snapshot.shards import LONGEST_GAP
from poolcensus.storage.destination import check_resume, open_store, published_files
from poolcensus.storage.naming import STANDARD_OUTPUT, is_local
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from poolcensus.census.run import Run
    from poolcensus.config import Settings
    from poolcensus.model import Caller, JsonObject, Manifest, Target, TargetResult
    from poolcensus.operations import Operation
    from poolcensus.scope.joining import Joined
    from poolcensus.scope.opening import Opened
    from poolcensus.snapshot import Interrupted, SnapshotInfo
    from poolcensus.snapshot.hidden import Hidden
    from poolcensus.storage.base import Draft, Store
    from poolcensus.workers import Workers

_log = logging.getLogger("poolcensus")

# Hours after which resuming is warned about. A nightly run may find the run of the night before, and `merge`
# does not join a shard that began so long after the others had ended.
_HOURS: Final = LONGEST_GAP / timedelta(hours=1)
_CONTINUING_LATE: Final = (
    "Continuing the interrupted run %s, which began more than %g hours ago, at %s: what it had finished is as"
    " it was then. To start anew, run 'poolcensus collect --no-resume'."
)


class Publication:
    """The snapshot of one run of `collect`, from its draft to its commit.

    `place` is the destination. The snapshot gets a new ID, unless `snapshot_id` is given.
    """

    def __init__(
        self,
        settings: Settings,
        operation: Operation,
        run: Run,
        place: str,
        *,
        snapshot_id: str | None = None,
    ) -> None:
        self._settings = settings
        self._operation = operation
        self._run = run
        self._place = place
        self._started = utc_now()
        self._writer: SnapshotWriter | None = None
        # A run that resumes takes the ID of the interrupted run.
        self.run_id = snapshot_id or new_snapshot_id(self._started)
        self.hidden: Hidden = NOTHING_HIDDEN

    @property
    def resumable(self) -> bool:
        """Whether the run was interrupted, and can be resumed."""
        return self._writer is not None and self._writer.suspended

    @property
    def published(self) -> Snapshot | None:
        """The snapshot, or None before it is published."""
        manifest = self._writer.manifest if self._writer is not None else None
        return self.snapshot(manifest) if manifest is not None else None

    @property
    def before(self) -> SnapshotInfo | None:
        """The newest other snapshot at the destination, or None before this one is published."""
        return self._writer.before if self._writer is not None else None

    def store(self, joined: Joined) -> Store:
        """Return the store of the destination. Raises SettingsError if it can't do what the settings ask."""
        check_resume(self._settings, self._place)
        return open_store(self._place, self._settings, joined.session)

    def snapshot(self, manifest: Manifest) -> Snapshot:
        """Return the published snapshot, for reading."""
        files = published_files(self._place, manifest.snapshot_id, self._settings)
        return Snapshot(files, manifest, self._run.uncovered if self._place == STANDARD_OUTPUT else None)

    async def collect(
        self, organizations: Sequence[Opened], store: Store, workers: Workers | None = None
    ) -> Manifest:
        """Run all targets, on `workers` if given, publish the snapshot, and return its manifest."""
        asked = self._asked([each.aws.caller for each in organizations])
        resuming: AbstractAsyncContextManager[Interrupted | None] = nullcontext()
        if self._settings.resume:
            resuming = interrupted_run(store, asked)
        async with resuming as interrupted:
            header = self._header(asked, interrupted)
            self.run_id = header.snapshot_id
            draft = await store.draft(header.snapshot_id)
            return await self._publish(
                organizations, store, draft, header, interrupted=interrupted, workers=workers
            )

    def _header(self, asked: JsonObject, interrupted: Interrupted | None) -> JournalHeader:
        if interrupted is not None:
            header = interrupted.header
            if self._started - header.started_at > LONGEST_GAP:
                _log.warning(_CONTINUING_LATE, header.snapshot_id, _HOURS, rfc3339(header.started_at))
            else:
                _log.info("Continuing the interrupted run %s", header.snapshot_id)
            return msgspec.structs.replace(header, compression=self._settings.compress)
        return JournalHeader(
            snapshot_id=self.run_id,
            started_at=self._started,
            compression=self._settings.compress,
            operation=self._operation.info,
            asked=asked,
        )

    async def _publish(
        self,
        organizations: Sequence[Opened],
        store: Store,
        draft: Draft,
        header: JournalHeader,
        *,
        interrupted: Interrupted | None,
        workers: Workers | None,
    ) -> Manifest:
        async with SnapshotWriter(
            draft,
            partition=organizations[0].aws.caller.partition,
            operation=self._operation.info,
            partitions={each.name: each.aws.caller.partition for each in organizations},
            compression=self._settings.compress,
            journal=header,
        ) as writer:
            self._writer = writer
            former = _PreviousRun(interrupted, writer) if interrupted is not None else None
            spread = None
            if workers is not None:
                from poolcensus.census.spread import Spread  # noqa: PLC0415 - for runs that have workers

                spread = Spread(workers, WorkerSlots(workers), header.snapshot_id, writer)
            await self._run.take(organizations, writer, await _long_targets(self._place), former, spread)
            self.hidden = await find_hidden(store, self._run.hidden_targets)
            rule = self._forbidding_rule()
            if rule is not None and self._place == STANDARD_OUTPUT:
                raise self._not_published(rule, None)
            with _keeping_ledger() if rule is not None else nullcontext():
                manifest = await writer.publish(
                    self._describe(organizations, header),
                    planned=self._run.totals.targets,
                    refused_by=rule,
                )
            if rule is not None:
                raise self._not_published(rule, writer.kept)
        return manifest

    def _describe(self, organizations: Sequence[Opened], header: JournalHeader) -> RunDescription:
        run, first, shard = self._run, organizations[0], self._settings.shard
        return RunDescription(
            started_at=header.started_at,
            finished_at=utc_now(),
            tool=TOOL,
            caller=first.aws.caller,
            organization_id=first.listing.organization_id,
            request=self._settings.request(),
            accounts_planned=run.accounts,
            accounts_skipped=tuple(skipped for each in organizations for skipped in each.listing.skipped),
            totals=run.totals,
            shard=replace(shard, accounts_digest=run.accounts_digest) if shard is not None else None,
            known_gaps=run.known_gaps.counted(),
            organizations=tuple(_infos(organizations, run)),
        )

    def _asked(self, callers: Sequence[Caller]) -> JsonObject:
        """Return what this run was asked to do.

        A run resumes only an interrupted run with the same request.
        """
        settings = self._settings
        return {
            **settings.request(),
            "operation": self._operation.iam_action,
            "page_size": settings.page_size,
            "include_ou_path": settings.include_ou_path,
            "include_account_tags": settings.include_account_tags,
            "endpoint_url": _endpoints(settings),
            "shard": f"{shard.index}/{shard.count}" if (shard := settings.shard) is not None else None,
            "partition": ", ".join(each.partition for each in callers),
            "caller": ", ".join(each.account_id for each in callers),
        }

    def _forbidding_rule(self) -> PublishingRule | None:
        """Return the rule that forbids publishing the snapshot, or None."""
        run, settings = self._run, self._settings
        if settings.strict and run.failed:
            return PublishingRule("strict")
        if settings.max_failed is not None and not settings.max_failed.allows(run.failed, run.totals.targets):
            return PublishingRule("max_failed", str(settings.max_failed))
        return None

    def _not_published(self, rule: PublishingRule, kept: str | None) -> NotPublishedError:
        run = self._run
        failed, targets = run.failed, run.totals.targets
        set_to = "is set" if rule.allowed is None else f"allows {rule.allowed}"
        return NotPublishedError(
            f"Snapshot not published: {failed:,} of {counted(targets, 'target')} failed and `{rule.setting}`"
            f" {set_to}.",
            uncovered=run.uncovered,
            count=failed,
            failures=run.failures,
            ledger=kept,
            dest=self._place if kept is not None else None,
        )


def _endpoints(settings: Settings) -> str | None:
    """Return the endpoint URLs that are set. In a run of several Organizations, each follows their name."""
    named = (
        f"{name} {each.endpoint_url}"
        for name, each in settings.by_organization().items()
        if name is not None and each.endpoint_url is not None
    )
    return ", ".join(named) or settings.endpoint_url


def _infos(organizations: Sequence[Opened], run: Run) -> Iterator[OrganizationInfo]:
    for opened, accounts in zip(organizations, run.accounts_of_each, strict=True):
        if opened.name is not None:
            yield OrganizationInfo(opened.name, opened.listing.organization_id, opened.aws.caller, accounts)


@contextmanager
def _keeping_ledger() -> Iterator[None]:
    try:
        yield
    except DestinationError as error:
        _log.warning("The ledger of this run could not be kept: %s", error)


class _PreviousRun:
    """Copies the finished targets of an interrupted run into the writer of the run that resumes it."""

    def __init__(self, interrupted: Interrupted, writer: SnapshotWriter) -> None:
        self._interrupted = interrupted
        self._writer = writer
        self.has = interrupted.has

    async def restore(self, target: Target) -> TargetResult | None:
        return await self._interrupted.restore(target, self._writer)


async def _long_targets(place: str) -> Mapping[tuple[str, str], int]:
    return await in_thread(long_targets, place) if is_local(place) else {}

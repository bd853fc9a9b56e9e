"""The interfaces of an engine: the engine itself, its sink, the run that it continues, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from poolcensus.config import Settings
    from poolcensus.engine.counts import RunCounts
    from poolcensus.engine.deadlines import Deadline
    from poolcensus.model import Page, Progress, Target, TargetResult


class Sink(Protocol):
    """The destination of a run's pages and results.

    For each target the engine calls `page` for its pages, in order, and then `done` exactly once. Both return
    at once, even if the sink is full: the engine awaits `room` before it makes a call. So no target is ever
    half done. An exception that a sink raises ends the run, except a CallError of `page`, which ends the
    target.
    """

    def full(self) -> bool:
        """Return whether no call should be made now. Calls in flight may still end."""

    async def room(self) -> None:
        """Wait until the sink is not full."""

    def page(self, page: Page) -> None:
        """Take a page of an open target."""

    def done(self, result: TargetResult, target: Target) -> None:
        """Take the result of a target. Unless its outcome is `ok`, its pages are dropped."""


class TargetEngine(Protocol):
    """Runs the targets of one Organization into a sink, each to exactly one outcome."""

    @property
    def counts(self) -> RunCounts:
        """The counts of the run so far."""

    async def run(self) -> None:
        """Run every target to its outcome. Raises the FatalError that ended the run early."""

    def progress(self) -> Progress:
        """Return the progress of the run."""


class PreviousRun(Protocol):
    """An interrupted run that this one continues."""

    def has(self, target: Target) -> bool:
        """Return whether it may have finished a target."""

    async def restore(self, target: Target) -> TargetResult | None:
        """Copy a finished target's records into the sink, and return its result.

        Return None for a target that was not finished.
        """


class EngineLimits(msgspec.Struct, frozen=True):
    """The limits of a run. `target_timeout` is in seconds; `deadline` is when the run has to end."""

    concurrency: int
    per_account: int
    per_region: int
    target_timeout: float
    deadline: Deadline

    @classmethod
    def of(cls, settings: Settings, deadline: Deadline) -> EngineLimits:
        """Return the limits in the settings, with a deadline."""
        return cls(
            concurrency=settings.concurrency,
            per_account=settings.per_account,
            per_region=settings.per_region,
            target_timeout=settings.target_timeout,
            deadline=deadline,
        )

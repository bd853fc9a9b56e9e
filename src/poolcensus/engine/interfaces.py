"""What an engine is, and what it is given: where pages go, what a former run has done, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from poolcensus.config import Settings
    from poolcensus.engine.counts import RunCounts
    from poolcensus.engine.deadlines import Deadline
    from poolcensus.model import Page, Progress, Target, TargetResult


class Sink(Protocol):
    """Where a run puts what it sees.

    The pages of a target come in order, one at a time, and then exactly one result. All are taken at once,
    even where the sink is full: whoever has more to put, or calls for it, waits for room first. So no target
    is ever half done. What a sink raises ends the run, but for the CallError of a page, which ends its
    target.
    """

    def full(self) -> bool:
        """Whether nothing should be called for at the moment. Calls that are under way may still end."""

    async def room(self) -> None:
        """Wait until it is not full."""

    def page(self, page: Page) -> None:
        """Take one page of a target that is still being read."""

    def done(self, result: TargetResult, target: Target) -> None:
        """Take a target's end: its pages count if the outcome is `ok`, and are void otherwise."""


class TargetEngine(Protocol):
    """Runs the targets of one Organization into a sink, each to exactly one outcome."""

    @property
    def counts(self) -> RunCounts:
        """What the run has come to so far."""

    async def run(self) -> None:
        """Run every target to its outcome. Raises the FatalError that ended the run early."""

    def progress(self) -> Progress:
        """Where the run is."""


class PreviousRun(Protocol):
    """A run that was interrupted before this one, which goes on with it."""

    def has(self, target: Target) -> bool:
        """Whether it may have finished a target."""

    async def restore(self, target: Target) -> TargetResult | None:
        """Put into the sink what the former run read of a target, and say how the target ended.

        None for a target that it has not finished.
        """


class EngineLimits(msgspec.Struct, frozen=True):
    """How much is open at a time, how long a target may take, in seconds, and when the run ends."""

    concurrency: int
    per_account: int
    per_region: int
    target_timeout: float
    deadline: Deadline

    @classmethod
    def of(cls, settings: Settings, deadline: Deadline) -> EngineLimits:
        """Return the limits that settings give to a run with this deadline."""
        return cls(
            concurrency=settings.concurrency,
            per_account=settings.per_account,
            per_region=settings.per_region,
            target_timeout=settings.target_timeout,
            deadline=deadline,
        )

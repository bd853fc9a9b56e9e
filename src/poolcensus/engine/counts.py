"""What the run of an Organization has come to so far."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from poolcensus.aws.call import CallCounts
from poolcensus.model import Outcome, Progress, Totals, count_covered

if TYPE_CHECKING:
    from poolcensus.model import Target, TargetResult
    from poolcensus.scope.listing import ListsAccounts


class RunCounts:
    """Counts accounts and targets, how these have ended, and the calls that were made for them.

    The engine adds to `accounts` and `targets` as they are listed, and sets `listed` once all of them are.
    `done` counts the targets that have a result. `calls` are those of this process, which counts them itself.
    """

    def __init__(self, listing: ListsAccounts, calls: CallCounts) -> None:
        self._listing = listing
        self._calls = calls
        # Those of the run that this one goes on with, and of workers.
        self._calls_of_others = CallCounts()
        self._started = time.monotonic()
        self.listed = False
        self.accounts = 0
        self.targets = 0
        self.done = 0
        self._pools = 0
        self._pages = 0
        self.outcomes: Counter[Outcome] = Counter()

    def take(self, result: TargetResult) -> None:
        """Count a target that has ended."""
        self.done += 1
        self._pools += result.pools
        self._pages += result.pages
        self.outcomes[result.outcome] += 1

    def take_unfinished(self, targets: int) -> None:
        """Count targets that have no result, since the run ended early."""
        # A count of zero would say that there are some.
        if targets:
            self.outcomes[Outcome.CANCELLED] += targets

    def add_former_calls(self, restored: TargetResult) -> None:
        """Add the calls that the run before this one has made for a target that was covered.

        Each of its pages, or the refusal that says that there is none, took one; the others were retries.
        """
        self._calls_of_others.requests += restored.attempts
        self._calls_of_others.retries += max(restored.attempts - max(restored.pages, 1), 0)
        self._calls_of_others.throttles += restored.throttles

    def add_calls_of_worker(self, part: Totals) -> None:
        """Add the calls that a worker has made for its part of the run."""
        others = self._calls_of_others
        others.requests += part.requests
        others.retries += part.retries
        others.throttles += part.throttles
        others.assume_role_calls += part.assume_role_calls

    def totals(self) -> Totals:
        """Return what the run has come to."""
        calls, others = self._calls, self._calls_of_others
        return Totals(
            targets=self.targets,
            covered=count_covered(self.outcomes),
            pools=self._pools,
            pages=self._pages,
            requests=calls.requests + others.requests,
            retries=calls.retries + others.retries,
            throttles=calls.throttles + others.throttles,
            assume_role_calls=calls.assume_role_calls + others.assume_role_calls,
        )

    def progress(self, in_flight: int, slowest: tuple[tuple[Target, float], ...] = ()) -> Progress:
        """Return where the run is, with what is in flight and the open targets that have run longest."""
        return Progress(
            elapsed=time.monotonic() - self._started,
            listing=not self.listed,
            accounts=self.accounts,
            skipped=len(self._listing.skipped),
            totals=self.totals(),
            done=self.done,
            uncovered=self.outcomes.total() - count_covered(self.outcomes),
            in_flight=in_flight,
            slowest=slowest,
        )

"""The counts of a run over one Organization."""

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
    """Counts the accounts and targets of a run, the outcomes, and the requests that were sent.

    The engine adds to `accounts` and `targets` as accounts are listed, and sets `listed` after the last one.
    `done` counts the targets that have a result. `calls` is updated by the client of this process.
    """

    def __init__(self, listing: ListsAccounts, calls: CallCounts) -> None:
        self._listing = listing
        self._calls = calls
        # Requests of the interrupted run that this one continues, and of workers.
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
        """Count targets that have no result because the run ended early."""
        # With a count of zero, the outcome would still be listed in the manifest.
        if targets:
            self.outcomes[Outcome.CANCELLED] += targets

    def add_former_calls(self, restored: TargetResult) -> None:
        """Add the requests that the interrupted run sent for a covered target.

        Each page took one request, and so did a refusal in place of a page. The others were retries.
        """
        self._calls_of_others.requests += restored.attempts
        self._calls_of_others.retries += max(restored.attempts - max(restored.pages, 1), 0)
        self._calls_of_others.throttles += restored.throttles

    def add_calls_of_worker(self, part: Totals | CallCounts) -> None:
        """Add the requests that a worker sent for its part of the run."""
        others = self._calls_of_others
        others.requests += part.requests
        others.retries += part.retries
        others.throttles += part.throttles
        others.assume_role_calls += part.assume_role_calls

    def totals(self) -> Totals:
        """Return the totals of the run so far."""
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
        """Return the progress of the run, given the calls in flight and the slowest open targets."""
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

"""The retry quota of an endpoint: bounds the retries of all calls to it together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RetryQuota:
    """The retry quota of the AWS SDKs' standard retry mode, extended by a time.

    A retry costs 5, and a retry after a timeout 10. A call that succeeds gives back what its last retry cost,
    or 1 if it needed none. When the quota is used up, calls are still retried until none has succeeded for
    `patience` seconds. Hundreds of calls that fail together use up any quota in a moment, but most services
    that go down are back soon. More calls don't help one that is not.

    A retry after a throttle costs nothing. If calls have been throttled for `patience` seconds, without a
    pause of half that time and without a success, a throttled call ends after `UNDER_THROTTLING` attempts, as
    many as in the standard retry mode. Attempts that failed for other reasons count too.
    """

    RETRY = 5
    TIMEOUT = 10
    NO_RETRY = 1
    UNDER_THROTTLING = 3

    def __init__(self, capacity: int, *, patience: float, clock: Callable[[], float]) -> None:
        self._capacity = capacity
        self._left = capacity
        self._patience = patience
        self._clock = clock
        self._failing_since: float | None = None
        self._throttling_since: float | None = None
        self._throttled_at = float("-inf")

    def spend(self, cost: int) -> bool:
        """Pay for a retry, and return whether it may be made. A retry without a cost always may."""
        if not cost:
            return True
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        if cost > self._left:
            return now - self._failing_since < self._patience
        self._left -= cost
        return True

    def is_enough_throttling(self, attempts: int) -> bool:
        """Record a throttle, and return whether a call has made enough attempts."""
        now = self._clock()
        # Half of the time is longer than the longest wait before a retry. After such a pause without calls,
        # earlier throttles say nothing about the present.
        if self._throttling_since is None or now - self._throttled_at > self._patience / 2:
            self._throttling_since = now
        self._throttled_at = now
        return attempts >= self.UNDER_THROTTLING and now - self._throttling_since >= self._patience

    def succeeded(self, last_cost: int) -> None:
        """Give back quota after a call succeeded. `last_cost` is the cost of its last retry, or 0."""
        self._failing_since = self._throttling_since = None
        self._left = min(self._capacity, self._left + (last_cost or self.NO_RETRY))

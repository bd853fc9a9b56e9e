"""How much retrying a service is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RetryQuota:
    """How much retrying a service is worth: the quota of the AWS SDKs' standard retry mode, and some time.

    A retry costs 5, one after a timeout 10. A call that succeeds gives back what its last retry cost,
    or 1 where it needed none. With nothing left, calls are tried again until none has succeeded for
    `patience` seconds: hundreds that fail together spend any quota in a moment, and most services that go
    down are back before long. One that is not is not helped by more calls.

    A retry after a throttle costs nothing. Where calls have been throttled for `patience` seconds, never half
    of it apart, and none has succeeded, a call that is throttled ends if it has made `UNDER_THROTTLING`
    attempts, as many as in the standard retry mode. Those that failed for other reasons count too.
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
        """Pay for a retry, and say whether it may be made. One that costs nothing says nothing of failing."""
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
        """Note a throttle, and say whether a call that has made so many attempts has made enough."""
        now = self._clock()
        # Half of it is longer than the longest wait before a retry: nothing was asked for all that time, and
        # what was throttled before says nothing of now.
        if self._throttling_since is None or now - self._throttled_at > self._patience / 2:
            self._throttling_since = now
        self._throttled_at = now
        return attempts >= self.UNDER_THROTTLING and now - self._throttling_since >= self._patience

    def succeeded(self, last_cost: int) -> None:
        """Give back what the last retry of a call cost; 0 for a call that was not tried again."""
        self._failing_since = self._throttling_since = None
        self._left = min(self._capacity, self._left + (last_cost or self.NO_RETRY))

"""How much retrying a service is worth."""

from __future__ import annotations


class RetryQuota:
    """How much retrying a service is worth: the quota of the AWS SDKs' standard retry mode.

    A retry costs 5, one after a timeout 10. A call that succeeds gives back what its last retry cost,
    or 1 where it needed none. With nothing left no call is tried again: a service that is down is not
    helped by more calls.
    """

    RETRY = 5
    TIMEOUT = 10
    NO_RETRY = 1

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._left = capacity

    def spend(self, cost: int) -> bool:
        """Pay for a retry, and say whether there was enough."""
        if cost > self._left:
            return False
        self._left -= cost
        return True

    def succeeded(self, last_cost: int) -> None:
        """Give back what the last retry of a call cost; 0 for a call that was not tried again."""
        self._left = min(self._capacity, self._left + (last_cost or self.NO_RETRY))

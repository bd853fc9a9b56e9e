"""Which regions have stopped answering, so that a dead one costs a few accounts' waits and not everyone's."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple


class Endpoint(NamedTuple):
    """A service in a region."""

    region: str
    service: str


class RegionHealth:
    """Gives a region up when several accounts in a row could not reach it at all.

    A host name that does not exist looks like a connection that may work in a moment. One account can't
    tell them apart; a few can: a region is given up once `accounts` different accounts have each failed
    `attempts` times since the region last sent any reply. A region that has answered before gets twice as
    many attempts, for a network that drops out for a moment.
    """

    def __init__(self, *, accounts: int, attempts: int = 3) -> None:
        self._accounts = accounts
        self._attempts = attempts
        self._failures: defaultdict[Endpoint, Counter[str]] = defaultdict(Counter)
        self._answered: set[Endpoint] = set()
        self._given_up: dict[Endpoint, str] = {}
        self._unsupported: dict[Endpoint, str] = {}

    def replied(self, endpoint: Endpoint) -> None:
        """The region sent a reply, whatever it said."""
        self._answered.add(endpoint)
        if endpoint in self._failures:
            del self._failures[endpoint]

    def failed(self, endpoint: Endpoint, account_id: str, why: str) -> None:
        """A call to the region got no reply."""
        failures = self._failures[endpoint]
        failures[account_id] += 1
        needed = self._attempts * (2 if endpoint in self._answered else 1)
        if sum(count >= needed for count in failures.values()) >= self._accounts:
            self._given_up[endpoint] = why

    def given_up(self, endpoint: Endpoint) -> str | None:
        """Why the region is not called any more, or None."""
        return self._given_up.get(endpoint)

    def lacks_operation(self, endpoint: Endpoint, why: str) -> None:
        """The region said that it does not know the operation: that is so for every account."""
        self._unsupported[endpoint] = why

    def unsupported(self, endpoint: Endpoint) -> str | None:
        """What the region said when it was found not to offer the operation, or None."""
        return self._unsupported.get(endpoint)

"""Which regions have stopped answering, so that a dead one costs a few accounts' waits and not everyone's."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Endpoint(NamedTuple):
    """A service in a region."""

    region: str
    service: str


class RegionHealth:
    """Gives a region up when several accounts in a row could not reach it at all.

    A host name that does not exist looks like a connection that may work in a moment. One account can't
    tell them apart; a few can: a region is given up once `accounts` different accounts have each failed
    `attempts` times since the region last sent any reply. One that has answered before may only be away for
    a moment: it is given up after `patience` seconds without a reply, not sooner.
    """

    def __init__(
        self,
        *,
        accounts: int,
        attempts: int = 3,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._attempts = attempts
        self._patience = patience
        self._clock = clock
        self._failures: defaultdict[Endpoint, Counter[str]] = defaultdict(Counter)
        self._silent_since: dict[Endpoint, float] = {}
        self._answered: set[Endpoint] = set()
        self._given_up: dict[Endpoint, str] = {}
        self._served: set[Endpoint] = set()
        self._without_operation: defaultdict[Endpoint, set[str]] = defaultdict(set)
        self._unsupported: dict[Endpoint, str] = {}

    def replied(self, endpoint: Endpoint) -> None:
        """The region sent a reply, whatever it said."""
        self._answered.add(endpoint)
        self._given_up.pop(endpoint, None)
        if endpoint in self._failures:
            del self._failures[endpoint]
            del self._silent_since[endpoint]

    def failed(self, endpoint: Endpoint, account_id: str, why: str) -> None:
        """A call to the region got no reply."""
        now = self._clock()
        silent_since = self._silent_since.setdefault(endpoint, now)
        failures = self._failures[endpoint]
        failures[account_id] += 1
        if endpoint in self._answered and now - silent_since < self._patience:
            return
        if sum(count >= self._attempts for count in failures.values()) >= self._accounts:
            self._given_up[endpoint] = why

    def given_up(self, endpoint: Endpoint) -> str | None:
        """Why the region is not called any more, or None."""
        return self._given_up.get(endpoint)

    def served(self, endpoint: Endpoint) -> None:
        """The operation has worked in the region: it is offered there, whatever other accounts are told."""
        if endpoint not in self._served:
            self._served.add(endpoint)
            self._without_operation.pop(endpoint, None)
            self._unsupported.pop(endpoint, None)

    def lacks_operation(self, endpoint: Endpoint, account_id: str, why: str) -> None:
        """The region told an account that it does not know the operation.

        Where several have heard that and it has never worked for any, it is so for every account.
        """
        if endpoint in self._served:
            return
        told = self._without_operation[endpoint]
        told.add(account_id)
        if len(told) >= self._accounts:
            self._unsupported[endpoint] = why

    def unsupported(self, endpoint: Endpoint) -> str | None:
        """What the region said when it was found not to offer the operation, or None."""
        return self._unsupported.get(endpoint)

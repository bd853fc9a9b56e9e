"""Circuit breakers: calls to what has stopped answering wait, and go on when it answers again.

A service of a region that is silent holds up nothing else: its calls hold no place while they wait, and
single probes go out. What is still silent when everything else is done gets one last round.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.errors import NoReply, SilentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_log = logging.getLogger("poolcensus")

# The first probe follows at once, since most silences are connections that broke together. Later ones come
# often enough that a service which is back is noticed within seconds, and seldom enough to be no load.
_FIRST_PROBE = 0.1
_LONGEST_BETWEEN_PROBES = 5.0
PATIENCE: Final = 60.0
"""Seconds for which a service that has answered before is waited for, and a network in which nothing answers.

They may only be away for a moment: a proxy or VPN that restarts takes less.
"""
# One that has never answered while others do may be closed for good, such as by a firewall. It is waited for
# as long as a load balancer takes to put another host in the place of one that is gone.
_PATIENCE_WITH_THE_UNKNOWN = 5.0
# What answers now and then would use up this patience again and again: a reply gives back this much of it.
_PATIENCE_FOR_A_REPLY = 0.1
# Between two calls a target has none under way for a moment: a task begins, or a result is handed on.
_QUIET = 0.25
# Calls that are refused at once have failed by the thousand in a second. Where each takes its whole time to
# fail, those that are sent at the beginning are the round: the others would make a dead region cost minutes.
_LAST_ROUND = 1.0
# Ten times a second is often enough for what lasts seconds, and only while a circuit is open.
_TICK = 0.1


class Endpoint(NamedTuple):
    """A service in a region."""

    region: str
    service: str


class State(Enum):
    """What becomes of calls: they are sent; they wait, but for probes; they are sent for the last time."""

    CLOSED = "closed"
    OPEN = "open"
    LAST_ROUND = "last round"


class Work:
    """Counts what is being done: `with work` while it is, `with work.resting` while it waits in silence."""

    __slots__ = ("count", "resting")

    def __init__(self) -> None:
        self.count = 0
        self.resting = _Resting(self)

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class _Resting:
    __slots__ = ("_work",)

    def __init__(self, work: Work) -> None:
        self._work = work

    def __enter__(self) -> None:
        self._work.count -= 1

    def __exit__(self, *_: object) -> None:
        self._work.count += 1


class _Circuit:
    __slots__ = (
        "accounts",
        "between_probes",
        "endpoint",
        "network_answers",
        "next_probe",
        "round_ends",
        "silent_since",
        "state",
        "waiting",
        "why",
    )

    def __init__(self, endpoint: Endpoint, silent_since: float) -> None:
        self.endpoint = endpoint
        self.silent_since = silent_since
        self.state = State.CLOSED
        self.accounts: set[str] = set()
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.between_probes = _FIRST_PROBE
        self.next_probe = 0.0
        self.round_ends = 0.0
        self.network_answers = False
        self.why = ""


class CircuitBreakers:
    """A circuit breaker for each service of a region that calls have failed to reach.

    A circuit opens once calls for `accounts` different accounts have got no reply, with no reply to anyone in
    between: one account's trouble is its own. Any reply closes it.

    Once silent endpoints are all that is left to call, by the count of `work`, either they or the network
    may be away. `in_doubt` is set then, and the engine calls something that should answer. If anything
    answers, a circuit is due for its last round after five seconds of silence. If nothing does, or if an
    endpoint has answered earlier in the run, it is due after a minute. All last rounds begin together, since
    one that comes back is work again, during which others may come back; `last_round_begun` is set then.
    """

    def __init__(self, *, accounts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._clock = clock
        self._circuits: dict[Endpoint, _Circuit] = {}
        self._answered: set[Endpoint] = set()
        self._in_need: Counter[Endpoint] = Counter()
        self._patience_used: dict[Endpoint, float] = {}
        self._ticked = 0.0
        self._last_reply = float("-inf")
        self._quiet_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.work = Work()
        self.in_doubt = asyncio.Event()
        self.last_round_begun = asyncio.Event()

    @property
    def accounts(self) -> int:
        """For how many accounts calls have to fail until a circuit opens."""
        return self._accounts

    def now(self) -> float:
        """Return the time on the clock of the breakers, in seconds."""
        return self._clock()

    @property
    def last_reply(self) -> float:
        """When anything last answered, on the clock of the breakers."""
        return self._last_reply

    @property
    def answered(self) -> frozenset[Endpoint]:
        """What has answered in the run, without what is silent now."""
        return frozenset(each for each in self._answered if self.state(each) is State.CLOSED)

    def add_answered(self, endpoints: Iterable[Endpoint]) -> None:
        """Add what has answered others of the same run."""
        self._answered.update(endpoints)

    def state(self, endpoint: Endpoint) -> State:
        """Return the state of a circuit."""
        circuit = self._circuits.get(endpoint)
        return State.CLOSED if circuit is None else circuit.state

    @property
    def regions_in_last_round(self) -> frozenset[str]:
        """The regions of the services that have their last round, or had it."""
        return frozenset(
            endpoint.region
            for endpoint, circuit in self._circuits.items()
            if circuit.state is State.LAST_ROUND
        )

    def is_the_network(self, endpoint: Endpoint) -> bool:
        """Whether nothing else answered either when an endpoint's last round began."""
        circuit = self._circuits.get(endpoint)
        return circuit is not None and circuit.state is State.LAST_ROUND and not circuit.network_answers

    def replied(self, endpoint: Endpoint) -> None:
        """Note a reply, whatever it says."""
        self._last_reply = self._clock()
        self._answered.add(endpoint)
        if self._patience_used and (used := self._patience_used.pop(endpoint, 0.0)) > _PATIENCE_FOR_A_REPLY:
            self._patience_used[endpoint] = used - _PATIENCE_FOR_A_REPLY
        if self._circuits and (circuit := self._circuits.pop(endpoint, None)) is not None:
            if circuit.state is not State.CLOSED:
                _log.info(
                    "%s in %s answers again",
                    endpoint.service,
                    endpoint.region,
                    extra=_fields(circuit, State.CLOSED),
                )
            circuit.state = State.CLOSED
            _release(circuit)

    def failed(self, endpoint: Endpoint, account_id: str, sent_at: float, why: str) -> None:
        """Note a call that got no reply, and when it was sent."""
        circuit = self._circuits.get(endpoint)
        if circuit is None:
            circuit = self._circuits[endpoint] = _Circuit(endpoint, sent_at)
        circuit.why = why
        circuit.accounts.add(account_id)
        if circuit.state is State.OPEN:
            # A probe may have taken longer than the time to the next.
            circuit.next_probe = max(circuit.next_probe, self._clock() + circuit.between_probes)
        if circuit.state is State.CLOSED and len(circuit.accounts) >= self._accounts:
            circuit.state = State.OPEN
            _log.info(
                "%s in %s does not answer, and its calls wait: %s",
                endpoint.service,
                endpoint.region,
                why,
                extra=_fields(circuit, State.OPEN),
            )
            circuit.next_probe = self._clock() + circuit.between_probes
            if self._timer is None:
                self._tick()

    @contextmanager
    def need(self, endpoint: Endpoint) -> Iterator[None]:
        """Count a call that has no other way than to wait until an endpoint answers."""
        self._in_need[endpoint] += 1
        try:
            yield
        finally:
            self._in_need[endpoint] -= 1

    async def admit(self, endpoint: Endpoint, *, optional: bool = False) -> None:
        """Wait until a call may be sent: as a probe, in the last round, or since the circuit is closed.

        An `optional` call does not wait. Raises SilentError for a call that is not to be sent.
        """
        circuit = self._circuits.get(endpoint)
        if circuit is None or circuit.state is State.CLOSED:
            return
        if circuit.state is State.LAST_ROUND:
            self.refuse_after_last_round(endpoint)
            return
        now = self._clock()
        if not circuit.waiting and now >= circuit.next_probe:
            _probing(circuit, now)
            return
        if optional:
            raise _not_sent(circuit, now)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        circuit.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in circuit.waiting:
                circuit.waiting.remove(turn)
            else:
                # The probe that it was to be is another's.
                circuit.next_probe = now
            raise

    def is_over(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint has had its last round."""
        circuit = self._circuits.get(endpoint)
        return (
            circuit is not None and circuit.state is State.LAST_ROUND and self._clock() >= circuit.round_ends
        )

    def refuse_after_last_round(self, endpoint: Endpoint) -> None:
        """Raise SilentError where an endpoint has had its last round."""
        if self.is_over(endpoint):
            raise _not_sent(self._circuits[endpoint], self._clock())

    def close(self) -> None:
        """Stop the timer. Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        now = self._clock()
        is_open = [each for each in self._circuits.values() if each.state is State.OPEN]
        if not is_open:
            self._quiet_since = None
            return
        for circuit in is_open:
            if now >= circuit.next_probe and circuit.waiting:
                _probing(circuit, now)
                _release(circuit, 1)
        if self.work.count > 0:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= _QUIET:
            self._end_silence(is_open, now, answered=self._last_reply >= self._quiet_since)
        self._ticked = now
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _end_silence(self, is_open: list[_Circuit], now: float, *, answered: bool) -> None:
        due: list[_Circuit] = []
        hoped_for = False
        for circuit in is_open:
            endpoint = circuit.endpoint
            used = self._patience_used.get(endpoint, 0.0)
            is_known = endpoint in self._answered or not answered
            patience = PATIENCE if is_known else _PATIENCE_WITH_THE_UNKNOWN
            if now - circuit.silent_since >= patience or used >= patience:
                due.append(circuit)
                continue
            if endpoint not in self._answered:
                self.in_doubt.set()
            if self._in_need[endpoint]:
                hoped_for = True
                self._patience_used[endpoint] = used + now - self._ticked
        if not hoped_for:
            for circuit in due:
                circuit.network_answers = answered
                self._begin_last_round(circuit, now)

    def _begin_last_round(self, circuit: _Circuit, now: float) -> None:
        circuit.state = State.LAST_ROUND
        circuit.round_ends = now + _LAST_ROUND
        endpoint = circuit.endpoint
        _log.info(
            "%s in %s still does not answer, and its calls are sent for the last time: %s",
            endpoint.service,
            endpoint.region,
            circuit.why,
            extra=_fields(circuit, State.LAST_ROUND),
        )
        _release(circuit)
        self.last_round_begun.set()


def _fields(circuit: _Circuit, state: State) -> dict[str, object]:
    endpoint = circuit.endpoint
    return {"service": endpoint.service, "region": endpoint.region, "circuit_breaker": state.value}


def _probing(circuit: _Circuit, now: float) -> None:
    circuit.next_probe = now + circuit.between_probes
    circuit.between_probes = min(2 * circuit.between_probes, _LONGEST_BETWEEN_PROBES)


def _release(circuit: _Circuit, count: int | None = None) -> None:
    """Let the first so many go, or all of them."""
    left = len(circuit.waiting) if count is None else count
    while circuit.waiting and left:
        turn = circuit.waiting.popleft()
        # One that is done was cancelled, and is about to say so itself.
        if not turn.done():
            turn.set_result(None)
            left -= 1


def _not_sent(circuit: _Circuit, now: float) -> SilentError:
    service, region = circuit.endpoint.service, circuit.endpoint.region
    silence = now - circuit.silent_since
    return SilentError(
        f"not called: {service} in {region} has answered no call for {silence:,.0f} s (last: {circuit.why})",
        code=NoReply.SILENT,
    )

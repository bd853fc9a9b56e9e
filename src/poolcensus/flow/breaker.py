"""Circuit breakers: calls to an endpoint that has stopped answering wait until it answers again.

A silent endpoint holds up nothing else. Its calls hold no place while they wait, and only single probes are
sent. An endpoint that is still silent when everything else is done gets one last round of calls.
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

# Seconds. The first probe follows at once, since most silences are connections that broke at the same time.
# Later probes are frequent enough to notice within seconds that a service is back, and no load for it.
_FIRST_PROBE = 0.1
_LONGEST_BETWEEN_PROBES = 5.0
PATIENCE: Final = 60.0
"""Seconds to wait for an endpoint that has answered before, or for a network in which nothing answers.

They may be away for a moment only: a proxy or VPN restarts in less time.
"""
# Seconds to wait for an endpoint that has never answered, while others answer. It may be unreachable for
# good, for instance behind a firewall. A load balancer takes about as long to replace a host that is gone.
_PATIENCE_WITH_THE_UNKNOWN = 5.0
# An endpoint that answers now and then could be waited for without end, so the seconds that were spent on it
# add up. A reply gives back only this many of them.
_PATIENCE_FOR_A_REPLY = 0.1
# Seconds without work before silent endpoints count as all that is left. Between two calls a target has none
# in flight for a moment: a task begins, or a result is handed on.
_QUIET = 0.25
# How many seconds a last round lasts. If calls are refused at once, thousands of them fail in that time. If
# each call takes its whole timeout, only those that were sent in the first second are the round: otherwise a
# dead region would cost minutes.
_LAST_ROUND = 1.0
# Seconds between two checks. They only happen while a circuit is open, for silences that last seconds.
_TICK = 0.1


class Endpoint(NamedTuple):
    """A service in a region."""

    region: str
    service: str


class State(Enum):
    """The state of a circuit: calls are sent, wait (except probes), or are sent for the last time."""

    CLOSED = "closed"
    OPEN = "open"
    LAST_ROUND = "last round"


class Work:
    """Counts the work in hand: `with work` surrounds work, and `with work.resting` a wait inside it."""

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
    """A circuit breaker for each endpoint that calls have failed to reach.

    A circuit opens when calls for `accounts` different accounts have got no reply, with no reply to any call
    in between: a failure of one account alone may be that account's own. Any reply closes the circuit.

    When only silent endpoints are left to call, as `work` counts it, either they are down or the network is.
    `in_doubt` is set then, and the engine makes a call that should be answered. If anything answers, a
    circuit is due for its last round after five seconds of silence. If nothing answers, or if the endpoint
    has answered earlier in the run, it is due after a minute. All last rounds begin together, and
    `last_round_begun` is set: an endpoint that comes back means new work, and others may come back meanwhile.
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
        """For how many different accounts calls have to fail until a circuit opens."""
        return self._accounts

    def now(self) -> float:
        """Return the time in seconds, on the clock of the breakers."""
        return self._clock()

    @property
    def last_reply(self) -> float:
        """The time of the last reply from anything, on the clock of the breakers."""
        return self._last_reply

    @property
    def answered(self) -> frozenset[Endpoint]:
        """The endpoints that have answered in the run, except those that are silent now."""
        return frozenset(each for each in self._answered if self.state(each) is State.CLOSED)

    def add_answered(self, endpoints: Iterable[Endpoint]) -> None:
        """Add endpoints that have answered other processes of the same run."""
        self._answered.update(endpoints)

    def state(self, endpoint: Endpoint) -> State:
        """Return the state of a circuit."""
        circuit = self._circuits.get(endpoint)
        return State.CLOSED if circuit is None else circuit.state

    @property
    def regions_in_last_round(self) -> frozenset[str]:
        """The regions of the endpoints whose last round has begun."""
        return frozenset(
            endpoint.region
            for endpoint, circuit in self._circuits.items()
            if circuit.state is State.LAST_ROUND
        )

    def is_the_network(self, endpoint: Endpoint) -> bool:
        """Return whether nothing else answered either when the endpoint's last round began."""
        circuit = self._circuits.get(endpoint)
        return circuit is not None and circuit.state is State.LAST_ROUND and not circuit.network_answers

    def replied(self, endpoint: Endpoint) -> None:
        """Record a reply of an endpoint, whatever it says."""
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
                    extra=_log_fields(circuit, State.CLOSED),
                )
            circuit.state = State.CLOSED
            _release(circuit)

    def failed(self, endpoint: Endpoint, account_id: str, sent_at: float, why: str) -> None:
        """Record a call that got no reply. `sent_at` is on the clock of the breakers, `why` a clause."""
        circuit = self._circuits.get(endpoint)
        if circuit is None:
            circuit = self._circuits[endpoint] = _Circuit(endpoint, sent_at)
        circuit.why = why
        circuit.accounts.add(account_id)
        if circuit.state is State.OPEN:
            # The probe may have taken longer than the time until the next one.
            circuit.next_probe = max(circuit.next_probe, self._clock() + circuit.between_probes)
        if circuit.state is State.CLOSED and len(circuit.accounts) >= self._accounts:
            circuit.state = State.OPEN
            _log.info(
                "%s in %s does not answer, and its calls wait: %s",
                endpoint.service,
                endpoint.region,
                why,
                extra=_log_fields(circuit, State.OPEN),
            )
            circuit.next_probe = self._clock() + circuit.between_probes
            if self._timer is None:
                self._tick()

    @contextmanager
    def need(self, endpoint: Endpoint) -> Iterator[None]:
        """Count a call that depends on an endpoint, during the block."""
        self._in_need[endpoint] += 1
        try:
            yield
        finally:
            self._in_need[endpoint] -= 1

    async def admit(self, endpoint: Endpoint, *, optional: bool = False) -> None:
        """Wait until a call may be sent: as a probe, in the last round, or because the circuit is closed.

        An `optional` call does not wait. Raises SilentError if the call must not be sent.
        """
        circuit = self._circuits.get(endpoint)
        if circuit is None or circuit.state is State.CLOSED:
            return
        if circuit.state is State.LAST_ROUND:
            self.refuse_after_last_round(endpoint)
            return
        now = self._clock()
        if not circuit.waiting and now >= circuit.next_probe:
            _schedule_next_probe(circuit, now)
            return
        if optional:
            raise _silent_error(circuit, now)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        circuit.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in circuit.waiting:
                circuit.waiting.remove(turn)
            else:
                # The call was to be a probe. Let another call be that probe at once.
                circuit.next_probe = now
            raise

    def is_over(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint's last round is over."""
        circuit = self._circuits.get(endpoint)
        return (
            circuit is not None and circuit.state is State.LAST_ROUND and self._clock() >= circuit.round_ends
        )

    def refuse_after_last_round(self, endpoint: Endpoint) -> None:
        """Raise SilentError if the endpoint's last round is over."""
        if self.is_over(endpoint):
            raise _silent_error(self._circuits[endpoint], self._clock())

    def close(self) -> None:
        """Stop the timer. No call may be waiting any more."""
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
                _schedule_next_probe(circuit, now)
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
            extra=_log_fields(circuit, State.LAST_ROUND),
        )
        _release(circuit)
        self.last_round_begun.set()


def _log_fields(circuit: _Circuit, state: State) -> dict[str, object]:
    endpoint = circuit.endpoint
    return {"service": endpoint.service, "region": endpoint.region, "circuit_breaker": state.value}


def _schedule_next_probe(circuit: _Circuit, now: float) -> None:
    circuit.next_probe = now + circuit.between_probes
    circuit.between_probes = min(2 * circuit.between_probes, _LONGEST_BETWEEN_PROBES)


def _release(circuit: _Circuit, count: int | None = None) -> None:
    """Wake the first `count` of the waiting calls, or all of them."""
    left = len(circuit.waiting) if count is None else count
    while circuit.waiting and left:
        turn = circuit.waiting.popleft()
        # A future that is done belongs to a call that was cancelled.
        if not turn.done():
            turn.set_result(None)
            left -= 1


def _silent_error(circuit: _Circuit, now: float) -> SilentError:
    service, region = circuit.endpoint.service, circuit.endpoint.region
    silence = now - circuit.silent_since
    return SilentError(
        f"not called: {service} in {region} has answered no call for {silence:,.0f} s (last: {circuit.why})",
        code=NoReply.SILENT,
    )

"""Calls of the client to simulated services, on an event loop with a virtual clock.

Everything between a call and its reply is the code of a real run: retries, rates, places and signatures.
Only the service and the time are simulated.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter, defaultdict
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from poolcensus.aws.call import Call, CallWatch
from poolcensus.aws.client import Client
from poolcensus.aws.confirmation import ConfirmationElsewhere
from poolcensus.aws.credentials.identity import identity_of
from poolcensus.aws.credentials.recognition import Recognition
from poolcensus.aws.credentials.roles import Redaction, Role
from poolcensus.aws.signing import Clock, Credentials, RequestTemplate, SdkOperation
from poolcensus.aws.telemetry import CallTelemetry
from poolcensus.aws.transport.protocol import Headers, Reply
from poolcensus.config.values import Secret
from poolcensus.errors import (
    AccessDeniedError,
    AssumeRoleError,
    BadResponseError,
    CallError,
    ExpiredError,
    FatalError,
    HeldBackError,
    LocalLimitError,
    NoRouteError,
    RegionDisabledError,
    RegionUnsupportedError,
    ServerError,
    ServiceError,
    SilentError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
    copy_of_error,
    first_reason_raised,
)
from poolcensus.flow.breaker import _PATIENCE_WITH_THE_UNKNOWN, CircuitBreakers, Endpoint
from poolcensus.flow.concurrency import CallKey, ConcurrencyLimiter
from poolcensus.flow.rate import RateLimits
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.flow.singleflight import SingleFlight
from poolcensus.flow.windows import Pauses, Window
from poolcensus.model import Outcome
from poolcensus.operations import WORKSPACES_POOLS
from virtual_time import now, on_virtual_time

if TYPE_CHECKING:
    from poolcensus.aws.call import CallObserver, Confirmation
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.transport.protocol import Transport


THROTTLED = Reply(400, {}, b'{"__type":"ThrottlingException","message":"Rate exceeded"}')
FINE = Reply(200, {}, b"{}")
CUT_OFF = BadResponseError("the reply from h was cut off", code="TruncatedReply", status=200)


@dataclass
class _Bucket:
    """A token bucket: allows `rate` calls a second, and `burst` at once."""

    rate: float
    burst: float
    tokens: float = 0.0
    last: float = float("-inf")

    def takes(self) -> bool:
        self.tokens = min(self.burst, self.tokens + (now() - self.last) * self.rate)
        self.last = now()
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Service:
    """A service with a token bucket for each account, which is the body of a call. `answer` overrides it."""

    def __init__(self, *, rate: float = 1e9, burst: float = 1e9, latency: float = 0.1) -> None:
        self._buckets: defaultdict[bytes, _Bucket] = defaultdict(lambda: _Bucket(rate, burst))
        self._latency = latency
        self.calls = 0
        self.throttled = 0
        self.in_flight = 0
        self.peak = 0
        self.signed_by: list[str] = []
        self.script: list[Reply | Exception] = []

    async def send(
        self,
        template: RequestTemplate,
        body: bytes,
        credentials: Credentials,
        stamp: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the transport's own signature
    ) -> Reply:
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.signed_by.append(credentials.access_key_id)
        try:
            await anyio.sleep(self._latency)
        finally:
            self.in_flight -= 1
        if (said := self.answer()) is not None:
            return said
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise copy_of_error(answer)
            return answer
        if self._buckets[body].takes():
            return FINE
        self.throttled += 1
        return THROTTLED

    def answer(self) -> Reply | None:
        return None


class Source:
    """Credentials that last for `lives` seconds, and take `takes` seconds to be renewed."""

    by_call: ClassVar[bool] = False

    def __init__(self, *, lives: float = float("inf"), takes: float = 0.0) -> None:
        self._lives = lives
        self._takes = takes
        self._until = float("-inf")
        self._credentials: Credentials | None = None
        self._flights: SingleFlight[str, Credentials] = SingleFlight()
        self.renewals = 0
        self.known_at: dict[str, float] = {}

    def current(self) -> Credentials | None:
        return self._credentials if now() < self._until else None

    async def get(self) -> Credentials:
        return self.current() or await self._flights.run("", self._renew)

    async def _renew(self) -> Credentials:
        await anyio.sleep(self._takes)
        self.renewals += 1
        self._credentials = Credentials(f"KEY{self.renewals}", "secret")
        self._until = now() + self._lives
        return self._credentials

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._until = float("-inf")

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        self.known_at[region] = sent_at

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        return any(at >= since for each, at in self.known_at.items() if each != region)


# The example of AWS's documentation.
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
# It has the form of a request ID.
TOKEN = "IQoJb3JpZ2luX2Vj" * 7
EXTERNAL_ID = "EXT/CANARY+secret=12345"
TEMPLATE = RequestTemplate(
    "POST",
    "https://h/",
    "h",
    "/",
    {},
    "workspaces",
    "us-east-1",
    None,
    SdkOperation("workspaces", "us-east-1", "describe_workspaces_pools"),
)


def client_of(
    service: Service,
    *,
    total: int = 1000,
    accounts: int = 3,
    policy: RetryPolicy | None = None,
    observer: CallObserver | None = None,
) -> Client:
    return Client(
        transport=cast("Transport", service),
        clock=Clock(),
        retrier=Retrier(policy or RetryPolicy(), clock=now, jitter=random.Random(7).random),
        limiter=ConcurrencyLimiter(total=total, per_account=total, per_region=total),
        rates=RateLimits(1, now),
        pauses=Pauses(),
        breakers=CircuitBreakers(accounts=accounts, clock=now),
        attempt_timeout=30.0,
        observer=observer,
    )


def call_of(
    account: str,
    source: Source | None = None,
    *,
    about: str | None = None,
    region: str = "us-east-1",
    begun: bool = False,
) -> Call[str]:
    body = account.encode()
    key = CallKey(account, region, "workspaces")
    return Call(TEMPLATE, body, key, source or Source(), parse, about, begun=begun)


def parse(reply: Reply) -> str:
    if reply.body != b"{}":
        raise BadResponseError("not the result", code="BadResponse", status=reply.status)
    return "parsed"


class Finding(NamedTuple):
    """The result of calls against a limit."""

    seconds: float
    share_throttled: float
    lost: int


def run_against_limit(
    *, accounts: int = 1, callers: int = 1, calls: int, rate: float, burst: float, latency: float = 0.1
) -> Finding:
    """Make `calls` calls for each account. Each of its callers makes one call after the other."""

    async def main() -> Finding:
        service = Service(rate=rate, burst=burst, latency=latency)
        client = client_of(service)
        lost = 0

        async def work(account: str, caller: int) -> None:
            nonlocal lost
            for number in range(calls // callers + (caller < calls % callers)):
                # Several callers of one key call for other accounts, as AssumeRole does. A single caller
                # reads page after page.
                if callers > 1:
                    call = call_of(account, about=str(caller))
                else:
                    call = call_of(account, begun=number > 0)
                try:
                    await client.call(call, watch=CallWatch())
                except ThrottledError:
                    lost += 1

        async with anyio.create_task_group() as group:
            for account in range(accounts):
                for caller in range(callers):
                    group.start_soon(work, str(account), caller)
        return Finding(now(), service.throttled / service.calls, lost)

    return on_virtual_time(main)


@pytest.mark.parametrize("latency", [0.02, 0.1, 0.3])
def test_a_limit_of_two_a_second_is_found_and_used(latency: float) -> None:
    found = run_against_limit(calls=100, rate=2, burst=5, latency=latency)
    assert found.seconds <= 1.3 * (100 - 5) / 2
    # It would be two thirds with backoff alone.
    assert found.share_throttled <= 0.25
    assert found.lost == 0


@pytest.mark.parametrize(
    ("callers", "calls", "rate", "burst"),
    [(8, 100, 2, 5), (32, 100, 2, 5), (64, 500, 5, 2), (256, 2000, 100, 100)],
)
def test_many_callers_of_one_key_share_a_limit(callers: int, calls: int, rate: float, burst: float) -> None:
    found = run_against_limit(callers=callers, calls=calls, rate=rate, burst=burst)
    assert found.seconds <= 2 * (calls - burst) / rate
    assert found.lost == 0


def test_a_burst_of_refusals_does_not_stall_a_fast_service() -> None:
    # As in a large census: 256 first calls to STS at once, whose limit is hundreds of calls a second.
    found = run_against_limit(callers=256, calls=5000, rate=600, burst=600)
    assert found.seconds <= 3 * (5000 - 600) / 600
    assert found.lost == 0


def test_many_accounts_with_a_low_limit_each_end_together() -> None:
    found = run_against_limit(accounts=50, calls=21, rate=2, burst=5)
    assert found.seconds <= 2 * (21 - 5) / 2
    assert found.lost == 0


def test_a_service_without_a_limit_is_not_slowed() -> None:
    found = run_against_limit(accounts=3, calls=50, rate=1e9, burst=1e9)
    assert found.seconds == pytest.approx(50 * 0.1)
    assert found.share_throttled == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(400, {}, b'{"__type":"AccessDeniedException"}'), AccessDeniedError),
        (Reply(500, {}, b"{}"), ServerError),
        (UnreachableError("no route", code="ConnectError"), UnreachableError),
    ],
)
def test_calls_that_fail_for_other_reasons_hold_back_none(
    answer: Reply | Exception, error: type[CallError]
) -> None:
    async def main() -> None:
        service = Service()
        client = client_of(service, policy=RetryPolicy(max_attempts=1), accounts=1000)
        service.script = [THROTTLED, *[answer] * 200]
        with pytest.raises(ThrottledError):
            await _call(client, call_of("first"))
        for number in range(200):
            with pytest.raises(error):
                await _call(client, call_of(str(number)))
        assert now() == pytest.approx(201 * 0.1)

    on_virtual_time(main)


@pytest.mark.parametrize("name", [b"x-amzn-ErrorType", b"X-AMZN-ERRORTYPE"])
def test_a_reply_whose_headers_name_an_error_is_no_result(name: bytes) -> None:
    async def main() -> None:
        service = Service()
        others = [(b"content-length", b"2"), (b"x-amzn-requestid", b"1"), (b"content-encoding", b"identity")]
        service.script = [Reply(200, Headers(others), b"{}")]
        client = client_of(service, policy=RetryPolicy(max_attempts=1))
        await _call(client, call_of("first"))
        service.script = [Reply(200, Headers([*others, (name, b"AccessDeniedException:")]), b"{}")]
        with pytest.raises(BadResponseError, match="names an error, though its status is 200") as caught:
            await _call(client, call_of("second"))
        assert (caught.value.code, caught.value.request_id) == ("AccessDeniedException", "1")

    on_virtual_time(main)


def test_credentials_that_end_in_the_queue_are_renewed_and_the_call_goes_on() -> None:
    async def main() -> None:
        # Sessions last a second, and the queue takes ten, so the credentials of nearly every call have ended.
        service = Service(latency=0.5)
        client = client_of(service, total=2)
        sources = [Source(lives=1.0, takes=0.1) for _ in range(40)]
        async with anyio.create_task_group() as group:
            for number, source in enumerate(sources):
                group.start_soon(_call, client, call_of(str(number), source))
        assert service.calls == 40
        # Twenty turns of half a second, and the time of renewals.
        assert now() < 20

    on_virtual_time(main)


def test_a_call_that_had_its_place_does_not_queue_anew_for_its_new_credentials() -> None:
    async def main() -> None:
        service = Service(latency=0.5)
        client = client_of(service, total=2)

        async def busy(account: str) -> None:
            for _ in range(10):
                await _call(client, call_of(account))

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(busy, str(number))
            await anyio.sleep(1)
            # Sessions last a second, and the queue always takes ten.
            source = Source(lives=1.0, takes=0.1)
            await _call(client, call_of("short of time", source))
            assert now() < 15
            assert source.renewals <= 3
            group.cancel_scope.cancel()

    on_virtual_time(main)


def test_no_place_is_held_while_credentials_are_renewed() -> None:
    async def main() -> None:
        service = Service(latency=1.0)
        client = client_of(service, total=1)
        slow = Source(lives=12.5, takes=12.0)
        await slow.get()
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call_of("before"))
            await anyio.sleep(0.2)
            # The credentials end while the call waits for its place.
            slow._until = now() + 0.1
            group.start_soon(_call, client, call_of("slow", slow))
            await anyio.sleep(2)
            await _call(client, call_of("after"))
            assert now() < 20
        assert service.calls == 3

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("source", "renewals"),
    # With the second source, each attempt begins with a renewal that has nothing to do with the queue.
    [(Source(lives=0.4, takes=2.0), 10), (Source(lives=0.0, takes=2.0), 13)],
)
def test_sessions_that_end_before_a_call_can_be_sent_end_the_call(source: Source, renewals: int) -> None:
    async def main() -> None:
        service = Service(latency=0.5)
        client = client_of(service, total=1)
        watch = CallWatch(deadline=30.0)

        async def busy() -> None:
            for _ in range(200):
                await _call(client, call_of("busy", begun=True))

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(busy)
            await anyio.sleep(1)
            with pytest.raises(ExpiredError, match="sessions end before a call can be sent") as caught:
                await client.call(call_of("short", source, begun=True), watch=watch)
            assert source.renewals <= renewals
            # Another call of the same target may use up as many.
            with pytest.raises(ExpiredError, match="9 have, one after the other"):
                await client.call(call_of("short", source, begun=True), watch=watch)
            group.cancel_scope.cancel()
        assert caught.value.code == "SessionsTooShort"
        assert "9 have, one after the other" in caught.value.message
        assert watch.attempts == 0

    on_virtual_time(main)


def test_only_sessions_that_end_unused_one_after_the_other_end_a_call() -> None:
    class FailingForOne(Service):
        """A service that fails for one account until a time."""

        until = 80.0

        async def send(self, template: RequestTemplate, body: bytes, *others: Any, **options: Any) -> Reply:
            reply = await super().send(template, body, *others, **options)
            return Reply(503, {}, b"") if body == b"short" and now() < self.until else reply

    async def main() -> None:
        service = FailingForOne(latency=2.0)
        client = client_of(service, total=1)

        async def busy(account: str) -> None:
            for _ in range(200):
                await _call(client, call_of(account))

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(busy, str(number))
            await anyio.sleep(1)
            source, watch = Source(lives=3.0), CallWatch()
            assert await client.call(call_of("short", source), watch=watch) == "parsed"
            # In each attempt and for each page, one of two sessions ends in the queue.
            assert watch.attempts > 6
            assert source.renewals == 2 * watch.attempts
            for pages in range(1, 7):
                await anyio.sleep(3)
                attempts, renewals = watch.attempts, source.renewals
                assert await client.call(call_of("short", source), watch=watch) == "parsed"
                assert (watch.attempts, source.renewals) == (attempts + 1, renewals + 2), pages
            group.cancel_scope.cancel()

    on_virtual_time(main)


async def _call(client: Client, call: Call[str]) -> None:
    assert await client.call(call, watch=CallWatch()) == "parsed"


def test_a_complaint_that_credentials_have_expired_renews_them_at_once() -> None:
    async def main() -> None:
        service, source = Service(), Source()
        service.script = [Reply(400, {}, b'{"__type":"ExpiredTokenException"}')]
        watch = CallWatch()
        await client_of(service).call(call_of("a", source), watch=watch)
        assert service.signed_by == ["KEY1", "KEY2"]
        assert watch.attempts == 2
        assert now() == pytest.approx(0.2)

    on_virtual_time(main)


def test_credentials_that_are_never_good_end_the_call() -> None:
    async def main() -> None:
        service = Service()
        service.script = [Reply(400, {}, b'{"__type":"ExpiredTokenException"}')] * 99
        with pytest.raises(ExpiredError):
            await client_of(service).call(call_of("a"), watch=CallWatch())
        assert service.calls == 4

    on_virtual_time(main)


def test_attempts_retries_and_throttles_are_counted() -> None:
    async def main() -> None:
        service = Service()
        service.script = [THROTTLED, Reply(500, {}, b""), Reply(200, {}, b"<html>"), THROTTLED]
        client, watch = client_of(service), CallWatch()
        assert await client.call(call_of("a"), watch=watch) == "parsed"
        assert (watch.attempts, watch.throttles) == (5, 2)
        counts = client.counts
        assert (counts.requests, counts.retries, counts.throttles) == (5, 4, 2)
        assert client.in_flight == 0

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(400, {}, b'{"__type":"AccessDeniedException"}'), AccessDeniedError),
        (Reply(400, {}, b'{"__type":"UnknownOperationException"}'), RegionUnsupportedError),
    ],
)
def test_what_would_not_help_is_not_tried_again(answer: Reply, kind: type[CallError]) -> None:
    async def main() -> None:
        service = Service()
        service.script = [answer] * 9
        with pytest.raises(kind):
            await client_of(service).call(call_of("a"), watch=CallWatch())
        assert service.calls == 1

    on_virtual_time(main)


def test_nothing_is_held_while_a_call_waits_for_its_retry() -> None:
    async def main() -> None:
        service = Service()
        service.script = [Reply(500, {"Retry-After": "15"}, b"")]
        client = client_of(service, total=1)
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call_of("a"))
            await anyio.sleep(1)
            assert client.in_flight == 0
            assert client.pauses.count == 1
            await _call(client, call_of("b"))
            assert now() < 2
        assert now() > 15
        assert client.pauses.count == 0

    on_virtual_time(main)


def test_a_target_that_has_no_time_left_is_not_tried_again() -> None:
    async def main() -> None:
        service = Service()
        service.script = [Reply(500, {"Retry-After": "10"}, b"")] * 99
        with pytest.raises(ServerError):
            await client_of(service).call(call_of("a"), watch=CallWatch(deadline=25.0))
        assert service.calls == 3
        assert now() < 25

    on_virtual_time(main)


def test_what_one_account_is_told_says_nothing_of_the_others() -> None:
    async def main() -> None:
        service = Service()
        service.script = [Reply(400, {}, b'{"__type":"UnknownOperationException"}')] * 6
        client = client_of(service)
        for account in "abcdef":
            with pytest.raises(RegionUnsupportedError):
                await client.call(call_of(account), watch=CallWatch())
        await _call(client, call_of("g"))
        assert service.calls == 7

    on_virtual_time(main)


def test_a_clock_that_is_off_is_corrected_and_the_call_made_again() -> None:
    async def main() -> None:
        service = Service()
        head = {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}
        service.script = [
            Reply(403, head, b'{"__type":"InvalidSignatureException","message":"Signature expired"}')
        ]
        client = client_of(service)
        await _call(client, call_of("a"))
        assert service.calls == 2
        clock: Any = client._clock
        assert clock.stamp(Endpoint("us-east-1", "workspaces")).startswith("2100")

    on_virtual_time(main)


def test_a_region_whose_clock_is_off_has_a_time_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    class ByItsClock(Service):
        """A service that refuses times more than five minutes off the clock of a call's region."""

        ahead: ClassVar = {b"ap-south-1": 1200.0}
        refused: ClassVar[Counter[bytes]] = Counter()

        async def send(self, template: RequestTemplate, body: bytes, *others: Any, **options: Any) -> Reply:
            stamp = datetime.strptime(others[-1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            there = time.time() + self.ahead.get(body, 0.0)
            await super().send(template, body, *others, **options)
            if abs(stamp - there) < 300:
                return FINE
            self.refused[body] += 1
            said = b'{"__type":"InvalidSignatureException","message":"Signature expired"}'
            return Reply(403, {"Date": formatdate(there, usegmt=True)}, said)

    async def main() -> None:
        service = ByItsClock()
        client = client_of(service)
        for region in ("eu-west-1", "ap-south-1", "us-east-1", "eu-west-1") * 5:
            await _call(client, msgspec.structs.replace(call_of("a", region=region), body=region.encode()))
        assert service.refused == {b"ap-south-1": 1, b"us-east-1": 1}

    on_virtual_time(main)
    wrong, right = (each for each in caplog.messages if "clock" in each)
    assert re.search(r"clock is 1(199|200) s behind", wrong)
    assert "agrees with AWS's" in right


def test_a_clock_that_jumps_to_and_fro_is_told_of_twice(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        service = Service()
        client = client_of(service)
        for ahead in (400, 0, 400, 0):
            date = formatdate(time.time() + ahead, usegmt=True)
            said = b'{"__type":"InvalidSignatureException","message":"Signature expired"}'
            service.script = [Reply(403, {"Date": date}, said)]
            await _call(client, call_of("a"))
        assert service.calls == 8

    on_virtual_time(main)
    wrong, right = (each for each in caplog.messages if "clock" in each)
    assert "s behind AWS's" in wrong
    assert "agrees with AWS's" in right


def test_never_more_in_flight_than_there_are_places() -> None:
    async def main() -> None:
        service = Service()
        client = client_of(service, total=7)
        async with anyio.create_task_group() as group:
            for account in range(60):
                group.start_soon(_call, client, call_of(str(account)))
        assert service.peak == 7
        assert now() == pytest.approx(0.1 * 9)

    on_virtual_time(main)


def test_those_that_share_places_count_their_own_calls() -> None:
    async def main() -> None:
        first, second = (client_of(Service(), total=4) for _ in range(2))
        second.limiter = first.limiter
        async with anyio.create_task_group() as group:
            for account in range(3):
                group.start_soon(_call, first, call_of(str(account)))
            group.start_soon(_call, second, call_of("of the second"))
            await anyio.sleep(0.05)
            assert (first.in_flight, second.in_flight, first.limiter._in_flight) == (3, 1, 4)
        assert (first.in_flight, second.in_flight) == (0, 0)

    on_virtual_time(main)


class Gone(Service):
    """A service that does not answer between two times. Calls fail after `takes` seconds then."""

    def __init__(self, *, first: float = 0.0, last: float, takes: float = 0.01) -> None:
        super().__init__(latency=0.01)
        self._first, self._last, self._takes = first, last, takes
        self.unanswered = 0

    async def send(self, *arguments: Any, **options: Any) -> Reply:
        if self._first <= now() < self._last:
            self.unanswered += 1
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            try:
                await anyio.sleep(self._takes)
            finally:
                self.in_flight -= 1
            raise UnreachableError("no answer", code="ConnectError")
        return await super().send(*arguments, **options)


async def answer_elsewhere(client: Client) -> None:
    """Let another endpoint answer whenever it is in doubt whether the network is down."""
    while True:
        await client.breakers.in_doubt.wait()
        client.breakers.in_doubt.clear()
        client.breakers.replied(Endpoint("eu-west-1", "workspaces"))


async def ends_of(client: Client, calls: int, **options: Any) -> Counter[type[CallError] | None]:
    """Make `calls` calls of different accounts at once, and count how they end. None stands for a reply."""
    ends: Counter[type[CallError] | None] = Counter()

    async def ask(account: str) -> None:
        try:
            await client.call(call_of(account, **options), watch=CallWatch())
        except CallError as error:
            ends[type(error)] += 1
        else:
            ends[None] += 1

    async with anyio.create_task_group() as group:
        for account in range(calls):
            group.start_soon(ask, str(account))
    client.breakers.close()
    return ends


def test_a_service_that_is_away_for_a_while_costs_no_call_and_few_probes() -> None:
    async def main() -> None:
        service = Gone(last=25.0)
        client = client_of(service)
        # Other work is in hand, so there is no last round.
        with client.work:
            ends = await ends_of(client, 100)
        assert ends == {None: 100}
        # The first attempt of each call, and then a probe every few seconds.
        assert 100 < service.unanswered < 115
        assert now() < 25 + 6

    on_virtual_time(main)


def test_calls_that_wait_in_silence_hold_no_place() -> None:
    async def main() -> None:
        service = Gone(last=1000.0)
        client = client_of(service, total=4)
        with client.work:
            async with anyio.create_task_group() as group:
                group.start_soon(ends_of, client, 50)
                await anyio.sleep(20)
                assert client.in_flight <= 1
                assert client.pauses.silent in {49, 50}
                group.cancel_scope.cancel()
        assert (client.in_flight, client.pauses.count, client.pauses.silent) == (0, 0, 0)
        assert not client.pauses.silent_of
        assert client.work.count == 0

    on_virtual_time(main)


def test_what_stays_silent_has_its_last_calls_when_all_else_is_done() -> None:
    async def main() -> None:
        service = Gone(last=float("inf"))
        client = client_of(service)
        ends: Counter[type[CallError] | None] = Counter()

        async def ask() -> None:
            ends.update(await ends_of(client, 50))

        async with anyio.create_task_group() as group:
            with client.work:
                group.start_soon(ask)
                await anyio.sleep(40)
                before = service.unanswered
                assert not ends
                # A reply while there was other work does not show that the network is up now.
                client.breakers.replied(Endpoint("eu-west-1", "workspaces"))
            await anyio.sleep(0.5)
            assert not ends
            before_last = now()
            group.start_soon(answer_elsewhere, client)
            while len(ends) == 0:
                await anyio.sleep(0.1)
            group.cancel_scope.cancel()
        assert now() - before_last < 2
        assert ends == {SilentError: 50}
        # One more may be a probe.
        assert 50 * 3 <= service.unanswered - before <= 50 * 3 + 1

    on_virtual_time(main)


def test_a_last_round_that_is_answered_is_not_the_last() -> None:
    async def main() -> None:
        # The last round begins while calls still fail slowly. Then the service is back.
        service = Gone(last=1.2, takes=1.0)
        client = client_of(service, total=8)
        async with anyio.create_task_group() as group:
            group.start_soon(answer_elsewhere, client)
            ends = await ends_of(client, 40)
            group.cancel_scope.cancel()
        assert ends[None] >= 30

    on_virtual_time(main)


def test_a_round_in_which_each_call_takes_long_to_fail_has_an_end() -> None:
    async def main() -> None:
        service = Gone(last=float("inf"), takes=30.0)
        client = client_of(service, total=10)
        async with anyio.create_task_group() as group:
            group.start_soon(answer_elsewhere, client)
            ends = await ends_of(client, 200)
            group.cancel_scope.cancel()
        assert ends == {SilentError: 200}
        # Ten at a time, 200 calls would take ten minutes to fail.
        assert now() < 130

    on_virtual_time(main)


def test_a_network_in_which_nothing_answers_is_waited_for_a_minute() -> None:
    async def main() -> None:
        service = Gone(last=50.0)
        client = client_of(service)
        assert await ends_of(client, 20) == {None: 20}
        service = Gone(last=float("inf"))
        client, began = client_of(service), now()
        assert await ends_of(client, 20) == {SilentError: 20}
        assert 60 <= now() - began < 65

    on_virtual_time(main)


def test_one_account_s_trouble_is_its_own() -> None:
    async def main() -> None:
        service = Gone(last=float("inf"))
        client = client_of(service)
        call = call_of("a")
        for _ in range(2):
            with pytest.raises(UnreachableError):
                await client.call(call, watch=CallWatch())
        assert service.unanswered == 2 * 12

    on_virtual_time(main)


def test_an_optional_call_does_not_wait_for_what_is_silent() -> None:
    async def main() -> None:
        service = Gone(last=float("inf"))
        client = client_of(service)
        with client.work:
            async with anyio.create_task_group() as group:
                group.start_soon(ends_of, client, 10)
                await anyio.sleep(3)
                before = now()
                call = msgspec.structs.replace(call_of("x"), optional=True)
                with pytest.raises(SilentError):
                    await client.call(call, watch=CallWatch())
                assert now() == before
                group.cancel_scope.cancel()

    on_virtual_time(main)


def test_a_call_that_has_another_way_is_not_sent_to_a_service_that_throttles_all() -> None:
    async def main() -> None:
        service = Service(burst=0.5, rate=0)
        client = client_of(service)
        ends: Counter[tuple[type[CallError], Outcome]] = Counter()
        said: set[tuple[bool, str]] = set()

        async def ask(number: int) -> None:
            call, watch = msgspec.structs.replace(call_of(str(number)), queues=False), CallWatch()
            with pytest.raises(CallError) as caught:
                await client.call(call, watch=watch)
            ends[caught.type, caught.value.outcome] += 1
            if caught.type is HeldBackError:
                said.add((watch.attempts > 0, caught.value.message))

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
                await anyio.sleep(0.01)
        # The first calls were sent, and throttled themselves.
        assert ends.total() == 100
        assert ends[HeldBackError, Outcome.THROTTLED] > 90
        assert said == {
            (False, "not called: workspaces in us-east-1 throttles all calls"),
            (True, "not called again: workspaces in us-east-1 throttles all calls"),
        }
        assert service.calls < 60

    on_virtual_time(main)


def test_the_time_of_a_silence_is_not_the_targets() -> None:
    async def main() -> None:
        service = Gone(last=300.0)
        client = client_of(service)
        watch = CallWatch(deadline=20.0)
        with client.work:
            async with anyio.create_task_group() as group:
                group.start_soon(ends_of, client, 5)
                await anyio.sleep(1)
                await client.call(call_of("x"), watch=watch)
        assert watch.deadline > 300

    on_virtual_time(main)


def test_the_time_in_which_the_only_place_is_left_to_others_is_not_the_targets() -> None:
    async def main() -> None:
        service = Service(latency=1.0)
        service.script = [Reply(503, {}, b"")]
        client = client_of(service, total=1)
        silent = CallKey("silent", "eu-west-1", "workspaces")
        await client.limiter.acquire(silent, doubtful=True)
        await anyio.sleep(30)
        client.limiter.release(silent, doubtful=True)
        watch = CallWatch(deadline=now() + 20)

        async def call_on() -> None:
            while True:
                await client.call(call_of("other"), watch=CallWatch())

        async with anyio.create_task_group() as group:
            group.start_soon(partial(client.call, call_of("answered"), watch=watch))
            await anyio.sleep(0.5)
            group.start_soon(call_on)
            while watch.attempts < 2 or watch.failing:
                await anyio.sleep(1)
            group.cancel_scope.cancel()
        assert watch.deadline > now() > 100

    on_virtual_time(main)


class Flapping(Service):
    """A service that answers one call in twenty."""

    async def send(self, *arguments: Any, **options: Any) -> Reply:
        answers = self.calls % 20 == 19
        reply = await super().send(*arguments, **options)
        if not answers:
            raise UnreachableError("no answer", code="ConnectError")
        return reply


def test_what_answers_now_and_then_is_not_waited_for_without_end() -> None:
    async def main() -> None:
        client = client_of(Flapping(latency=0.01), total=4, policy=RetryPolicy(max_attempts=3))
        ends = await ends_of(client, 200)
        assert sum(ends.values()) == 200
        # It was silent for a minute in all, and its replies gave back some of that.
        assert 60 < now() < 180

    on_virtual_time(main)


class Failing(Service):
    """A service that only answers errors until a time."""

    def __init__(self, *, until: float) -> None:
        super().__init__()
        self._until = until

    def answer(self) -> Reply | None:
        return None if now() >= self._until else Reply(503, {}, b"")


@pytest.mark.parametrize("until", [2.0, 5.0, 50.0])
def test_hundreds_of_calls_survive_a_service_that_fails_for_less_than_a_minute(until: float) -> None:
    async def main() -> None:
        # All calls together use up the quota within two seconds.
        client = client_of(Failing(until=until), total=64)
        assert await ends_of(client, 400) == {None: 400}

    on_virtual_time(main)


def test_a_service_that_refuses_is_not_down() -> None:
    class Refusing(Service):
        """A service that fails every other call, and refuses the others."""

        def answer(self) -> Reply:
            if self.calls % 2:
                return Reply(503, {}, b"")
            return Reply(400, {}, b'{"__type":"AccessDeniedException","message":"no"}')

    async def main() -> None:
        client = client_of(Refusing(), total=1)
        # Each call needs a retry. Without the refusals, the quota of 500 and the minute would be used up.
        for account in range(180):
            with pytest.raises(AccessDeniedError):
                await client.call(call_of(str(account)), watch=CallWatch())
            await anyio.sleep(1)
        client.breakers.close()

    on_virtual_time(main)


def test_what_has_failed_for_a_minute_is_tried_once_by_each_call() -> None:
    async def main() -> None:
        service = Failing(until=float("inf"))
        client = client_of(service, total=64)
        assert await ends_of(client, 400) == {ServerError: 400}
        assert 60 < now() < 90
        calls = service.calls
        assert await ends_of(client, 400) == {ServerError: 400}
        assert service.calls == calls + 400

    on_virtual_time(main)


def test_what_has_throttled_all_calls_for_a_minute_is_tried_three_times_by_each() -> None:
    async def main() -> None:
        client = client_of(Service(rate=0, burst=0))
        assert await ends_of(client, 300) == {ThrottledError: 300}
        # With five calls a second, twelve attempts of each call would take 720 s.
        assert client.counts.requests <= 300 * 3 + 60 * 5 + 10
        calls = client.counts.requests
        assert await ends_of(client, 100) == {ThrottledError: 100}
        assert client.counts.requests == calls + 300

    on_virtual_time(main)


def test_throttles_of_long_ago_take_no_attempts_from_calls_that_are_throttled_now() -> None:
    class Throttling(Service):
        """A service that throttles all calls in the first second, and from second 100 to 105."""

        def answer(self) -> Reply:
            return THROTTLED if now() < 1 or 100 <= now() < 105 else FINE

    async def main() -> None:
        client = client_of(Throttling())
        with pytest.raises(ThrottledError):
            await client.call(call_of("a"), watch=CallWatch(deadline=0.2))
        await anyio.sleep(100 - now())
        assert await ends_of(client, 4) == {None: 4}

    on_virtual_time(main)


def test_nothing_has_its_last_round_while_work_waits_for_what_may_come_back() -> None:
    async def main() -> None:
        client = client_of(Gone(last=20.0))
        # One region has answered before. The other never has, although others have answered since it was
        # called.
        client.breakers.replied(Endpoint("us-east-1", "workspaces"))
        ends: Counter[type[CallError] | None] = Counter()

        async def ask(region: str) -> None:
            ends.update(await ends_of(client, 20, region=region))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "us-east-1")
            group.start_soon(ask, "eu-west-1")
            await anyio.sleep(0.5)
            client.breakers.replied(Endpoint("eu-west-2", "workspaces"))
        assert ends == {None: 40}

    on_virtual_time(main)


def test_what_has_answered_others_of_the_run_is_waited_for_a_minute() -> None:
    async def main() -> None:
        client = client_of(Gone(last=50.0))
        here, silent = Endpoint("us-east-1", "workspaces"), Endpoint("eu-west-2", "workspaces")
        client.breakers.add_answered([here, silent])
        async with anyio.create_task_group() as group:
            group.start_soon(answer_elsewhere, client)
            for account in ("a", "b", "c"):
                client.breakers.failed(silent, account, now(), "no answer")
            assert await ends_of(client, 20) == {None: 20}
            group.cancel_scope.cancel()
        assert client.breakers.answered == {here}

    on_virtual_time(main)


def test_a_silence_in_which_nobody_waits_puts_off_no_last_round() -> None:
    async def main() -> None:
        client = client_of(Gone(last=float("inf")))
        other = Endpoint("us-east-1", "account")
        client.breakers.replied(other)
        for account in ("a", "b", "c"):
            client.breakers.failed(other, account, now(), "no answer")
        async with anyio.create_task_group() as group:
            group.start_soon(ends_of, client, 20)
            await anyio.sleep(0.5)
            client.breakers.replied(Endpoint("eu-west-2", "workspaces"))
        # Not the minute that the run would wait for the other endpoint.
        assert now() < _PATIENCE_WITH_THE_UNKNOWN + 1

    on_virtual_time(main)


@pytest.mark.parametrize(("away", "lost"), [(1.2, False), (4.0, False), (60.0, True)])
def test_a_region_that_is_away_for_seconds_at_the_start_of_a_small_run_loses_nothing(
    away: float, lost: bool
) -> None:
    async def main() -> None:
        client = client_of(Gone(last=away))
        async with anyio.create_task_group() as group:
            group.start_soon(answer_elsewhere, client)
            ends = await ends_of(client, 30)
            group.cancel_scope.cancel()
        assert (None not in ends) is lost
        assert ends.total() == 30
        assert now() < 8

    on_virtual_time(main)


def test_an_optional_call_that_is_a_probe_is_sent_once() -> None:
    async def main() -> None:
        # Each call takes longer to fail than the time between two probes.
        service = Gone(last=float("inf"), takes=30.0)
        client = client_of(service)
        call = call_of("x")
        for account in ("a", "b", "c"):
            client.breakers.failed(call.endpoint, account, now(), "no answer")
        await anyio.sleep(1)
        with client.work, pytest.raises(SilentError):
            await client.call(msgspec.structs.replace(call, optional=True), watch=CallWatch())
        client.breakers.close()
        assert service.unanswered == 1

    on_virtual_time(main)


def test_what_is_asked_only_to_see_whether_anything_answers_is_never_work() -> None:
    async def main() -> None:
        client = client_of(Gone(last=float("inf"), takes=10.0))
        counts: set[int] = set()
        call = msgspec.structs.replace(call_of("x", Source(takes=1.0)), optional=True, idle=True)
        for account in ("a", "b", "c"):
            client.breakers.failed(call.endpoint, account, now(), "no answer")

        async def ask() -> None:
            with pytest.raises(SilentError):
                await client.call(call, watch=CallWatch())

        async with anyio.create_task_group() as group:
            await anyio.sleep(1)
            group.start_soon(ask)
            for _ in range(12):
                counts.add(client.work.count)
                await anyio.sleep(1)
        client.breakers.close()
        assert counts == {0}

    on_virtual_time(main)


def test_credentials_that_come_without_a_call_are_work_while_they_are_waited_for() -> None:
    async def main() -> None:
        client = client_of(Service())
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call_of("a", Source(takes=5.0)))
            await anyio.sleep(1)
            assert client.work.count == 1
        assert client.work.count == 0

    on_virtual_time(main)


def test_the_time_in_which_credentials_are_waited_for_is_not_the_targets() -> None:
    async def main() -> None:
        watch = CallWatch(deadline=20.0)
        client = client_of(Service())
        async with anyio.create_task_group() as group:
            group.start_soon(partial(client.call, call_of("a", Source(takes=100.0)), watch=watch))
            await anyio.sleep(50)
            assert watch.waits
        assert not watch.waits
        assert watch.deadline == pytest.approx(120.0)

    on_virtual_time(main)


@pytest.mark.parametrize("awaited", [True, False])
def test_the_time_in_the_queue_of_a_pace_is_not_that_of_a_call_that_targets_wait_for(awaited: bool) -> None:
    async def main() -> None:
        client = client_of(Service(rate=1, burst=1))
        given_up: list[CallWatch] = []

        async def ask(number: int) -> None:
            watch = CallWatch(deadline=120.0)
            call = msgspec.structs.replace(call_of("caller", about=str(number)), awaited=awaited)
            try:
                await client.call(call, watch=watch)
            except ThrottledError:
                given_up.append(watch)

        async with anyio.create_task_group() as group:
            for number in range(250):
                group.start_soon(ask, number)
        had_no_time = any(each.attempts < RetryPolicy().max_attempts for each in given_up)
        assert had_no_time is not awaited

    on_virtual_time(main)


def test_without_a_route_the_run_ends_in_one_sentence() -> None:
    async def main() -> None:
        service = Service()
        service.script = [NoRouteError("network is unreachable", code="NoRoute") for _ in range(9999)]
        client = client_of(service)
        with pytest.raises(FatalError), first_reason_raised():
            await ends_of(client, 20)
        client.breakers.close()
        # If others answer, a missing route to one region only fails that region.
        client = client_of(service)
        async with anyio.create_task_group() as group:
            group.start_soon(answer_elsewhere, client)
            assert await ends_of(client, 20) == {SilentError: 20}
            group.cancel_scope.cancel()

    on_virtual_time(main)


def test_a_shortage_of_this_machine_is_waited_for_and_is_nobodys_silence() -> None:
    async def main() -> None:
        service = Service()
        service.script = [LocalLimitError("too many open files", code="LocalLimit") for _ in range(500)]
        client = client_of(service)
        assert await ends_of(client, 20) == {None: 20}
        assert (client.counts.retries, client.counts.requests) == (0, 20)
        service.script = [LocalLimitError("too many open files", code="LocalLimit") for _ in range(99999)]
        began = now()
        with pytest.raises(FatalError), first_reason_raised():
            await ends_of(client_of(service), 20)
        assert 60 <= now() - began < 65

    on_virtual_time(main)


def test_a_call_pauses_for_a_shortage_only_while_there_is_one() -> None:
    async def main() -> None:
        service = Service(latency=1.0)
        service.script = [LocalLimitError("too many open files", code="LocalLimit")]
        client = client_of(service, total=1)
        source = Source(lives=2.0)
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call_of("short", source))
            # While that call pauses, another takes the only place, so the session ends in the queue.
            await anyio.sleep(1.1)
            group.start_soon(_call, client, call_of("other"))
        assert source.renewals == 2
        # The only place is used for three seconds, and the first call has paused for 0.1 s.
        assert now() == pytest.approx(3.1)

    on_virtual_time(main)


@pytest.mark.parametrize("shortages", [0, 9])
def test_what_was_not_sent_has_not_got_through_a_service_that_throttles(shortages: int) -> None:
    async def main() -> None:
        service = Service()
        client = client_of(service, policy=RetryPolicy(max_attempts=1))
        service.script = [THROTTLED]
        with pytest.raises(ThrottledError):
            await _call(client, call_of("throttled"))
        # So long that only the calls from now on count.
        await anyio.sleep(60)
        service.script = [LocalLimitError("too many open files", code="LocalLimit")] * shortages
        await _call(client, call_of("one that gets through"))
        before = service.calls
        async with anyio.create_task_group() as group:
            group.start_soon(ends_of, client, 20)
            await anyio.sleep(0.05)
            # Four calls, and one and a half for the one that got through. It counts as sent, too, unless its
            # turn was seconds ago.
            assert service.calls - before == (6 if shortages else 5)
            group.cancel_scope.cancel()

    on_virtual_time(main)


def test_a_call_whose_role_is_refused_takes_no_turn_from_others() -> None:
    class Refused(Source):
        def current(self) -> Credentials | None:
            return None

        async def get(self) -> Credentials:
            raise AssumeRoleError("no role", code="AccessDenied")

    async def main() -> None:
        service = Service(latency=0)
        client = client_of(service, policy=RetryPolicy(max_attempts=1))
        # After these throttles, the next call has to wait for a fifth of a second.
        service.script = [THROTTLED] * 5
        for number in range(5):
            with pytest.raises(ThrottledError):
                await _call(client, call_of(f"throttled {number}"))
        assert now() == 0
        for _ in range(3):
            with pytest.raises(AssumeRoleError):
                await client.call(call_of("1", Refused()), watch=CallWatch())
        await client.call(call_of("2"), watch=CallWatch())
        assert now() == pytest.approx(0.2)

    on_virtual_time(main)


def test_a_wait_inside_of_another_counts_once() -> None:
    times = iter((10.0, 15.0))
    watch = CallWatch(deadline=100.0)

    def clock() -> float:
        return next(times)

    with watch.waiting(clock), watch.waiting(clock):
        assert watch.waits
    assert (watch.waits, watch.deadline) == (False, 105.0)


UNKNOWN = Reply(400, {}, b'{"__type":"UnrecognizedClientException","message":"invalid"}')


@pytest.mark.parametrize("may_be_disabled", [True, False])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_region_is_off_only_where_the_same_credentials_work_elsewhere(
    may_be_disabled: bool, elsewhere: bool
) -> None:
    async def main() -> None:
        service, source = Service(), Source()
        client = client_of(service)
        await source.get()
        off = may_be_disabled and elsewhere
        service.script = [*[FINE] * elsewhere, *[UNKNOWN] * 99]
        async with anyio.create_task_group() as group:
            if elsewhere:
                # Sent at the same time, and answered first.
                group.start_soon(_call, client, call_of("a", source, region="eu-west-1"))
                await checkpoint()
            watch = CallWatch(region_may_be_disabled=may_be_disabled)
            with pytest.raises(RegionDisabledError if off else UnrecognizedCredentialsError):
                await client.call(call_of("a", source), watch=watch)
        # Two calls, since a new session may not be recognized at first.
        assert service.calls == elsewhere + (2 if off else 5)

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Reply(403, {}, b"<html>blocked by the proxy</html>"), AccessDeniedError),
        (Reply(403, {}, b'{"__type":"SignatureDoesNotMatch","message":"check your key"}'), ServiceError),
    ],
)
def test_a_refusal_that_does_not_know_who_asks_is_no_proof_of_credentials(
    refusal: Reply, kind: type[CallError]
) -> None:
    async def main() -> None:
        service, source = Service(), Source()
        client = client_of(service)
        service.script = [refusal]
        with pytest.raises(kind):
            await client.call(call_of("a", source, region="eu-west-1"), watch=CallWatch())
        service.script = [UNKNOWN] * 99
        with pytest.raises(UnrecognizedCredentialsError):
            await client.call(call_of("a", source), watch=CallWatch(region_may_be_disabled=True))

    on_virtual_time(main)


def test_new_credentials_that_a_region_does_not_know_yet_are_tried_again() -> None:
    async def main() -> None:
        service = Service()
        service.script = [UNKNOWN] * 3
        await _call(client_of(service), call_of("a"))
        assert service.calls == 4

    on_virtual_time(main)


@pytest.mark.parametrize("is_off", [True, False])
@pytest.mark.parametrize("attempts", [1, 4])
def test_a_region_that_does_not_know_a_session_yet_is_not_off(attempts: int, is_off: bool) -> None:
    async def main() -> None:
        service, source = Service(), Source()
        client = client_of(service, policy=RetryPolicy(max_attempts=attempts))
        credentials = await source.get()

        class Played:
            async def seek(self, call: Call[object]) -> None:
                source.recognized(credentials, "us-east-1", now())

        client.confirmation = cast("Confirmation", Played())
        service.script = [UNKNOWN] * (9 if is_off else 1)
        watch = CallWatch(region_may_be_disabled=True)
        with pytest.raises(RegionDisabledError) if is_off else nullcontext():
            await client.call(call_of("1", source, region="af-south-1"), watch=watch)
        assert service.calls == 2

    on_virtual_time(main)


def test_nobody_is_asked_whether_credentials_are_good_that_another_call_has_shown_to_be() -> None:
    async def main() -> None:
        service, source = Service(), Source()
        client = client_of(service)
        await source.get()

        class Unneeded:
            async def seek(self, call: Call[object]) -> None:
                pytest.fail("another region has answered meanwhile")

        client.confirmation = cast("Confirmation", Unneeded())
        service.script = [FINE, *[UNKNOWN] * 9]
        async with anyio.create_task_group() as group:
            # Sent at the same time, and answered first.
            group.start_soon(_call, client, call_of("a", source, region="eu-west-1"))
            await checkpoint()
            with pytest.raises(RegionDisabledError):
                await client.call(call_of("a", source), watch=CallWatch(region_may_be_disabled=True))
        assert service.calls == 3

    on_virtual_time(main)


def test_nobody_is_told_what_is_to_be_taken_out_of_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "poolcensus")

    def redact(error: CallError, *others: str) -> None:
        error.message = error.message.replace("hush", "***")
        error.args = (error.message,)

    async def run() -> None:
        service = Service()
        broken = b'{"__type":"InternalServerException","message":"hush"}'
        refusal = b'{"__type":"AccessDeniedException","message":"hush"}'
        service.script = [
            Reply(500, {}, broken),
            UnreachableError("hush", code="Reset"),
            Reply(400, {}, refusal),
        ]
        client = client_of(service, observer=CallTelemetry.of_run(None))
        call = msgspec.structs.replace(call_of("000000000001"), redact=redact)
        with pytest.raises(CallError, match=r"\*\*\*"):
            await client.call(call, watch=CallWatch())

    on_virtual_time(run)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 5
    assert "hush" not in repr(told)


@pytest.mark.parametrize(
    "before", ["The token ", "x" * 700, "x" * 995, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" * 22]
)
def test_keys_that_a_service_repeats_are_taken_out_of_what_it_says(before: str) -> None:
    token = "IQoJb3JpZ2luX2Vj" * 25

    class Kept(Source):
        async def _renew(self) -> Credentials:
            self._until = float("inf")
            self._credentials = Credentials("ASIAEXAMPLE", SECRET, token)
            return self._credentials

    async def main() -> None:
        service = Service()
        message = f"{before}{token} and the key {SECRET}"
        body = json.dumps({"__type": f"No{SECRET}Exception", "message": message}).encode()
        service.script = [Reply(400, {}, body)]
        with pytest.raises(CallError) as caught:
            await client_of(service).call(call_of("a", Kept()), watch=CallWatch())
        said = f"{caught.value} {caught.value.message} {caught.value.code}"
        assert before[:900] in said or SECRET in before
        for known in (token[:5], SECRET[:5]):
            assert known not in said

    on_virtual_time(main)


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("secret", [TOKEN, EXTERNAL_ID])
def test_secrets_that_a_proxy_puts_into_the_request_id_are_not_told(
    caplog: pytest.LogCaptureFixture, status: int, secret: str
) -> None:
    caplog.set_level("DEBUG", "poolcensus")

    class Kept(Source):
        async def _renew(self) -> Credentials:
            self._until = float("inf")
            self._credentials = Credentials("ASIAEXAMPLE", SECRET, TOKEN)
            return self._credentials

    async def main() -> None:
        service = Service()
        service.script = [Reply(status, Headers([(b"x-amzn-requestid", secret.encode())]), b"{}")]
        client = client_of(service, observer=CallTelemetry.of_run(None))
        redaction = Redaction(Role("arn:aws:iam::1:role/r", Secret(EXTERNAL_ID)))
        call = msgspec.structs.replace(call_of("a", Kept()), redact=redaction)
        with nullcontext() if status == 200 else pytest.raises(AccessDeniedError) as caught:
            await client.call(call, watch=CallWatch())
        if caught is not None:
            assert caught.value.request_id == "***"

    on_virtual_time(main)
    (record,) = caplog.records
    assert "request ***" in record.getMessage()
    assert secret not in f"{record.getMessage()} {record.__dict__!r}"


@pytest.mark.parametrize("good", [True, False])
def test_a_region_is_off_only_for_keys_that_are_good_now(good: bool) -> None:
    async def main() -> None:
        unknown = Reply(400, {}, b'{"__type":"UnrecognizedClientException","message":"invalid"}')
        service, source, watch = Service(), Source(), CallWatch(region_may_be_disabled=True)
        client = client_of(service)
        credentials = await source.get()
        source.recognized(credentials, "us-east-1", now())
        await anyio.sleep(1)

        class Played:
            sought = 0

            async def seek(self, call: Call[object]) -> None:
                self.sought += 1
                if good:
                    source.recognized(credentials, "us-east-1", now())

        client.confirmation = cast("Confirmation", Played())
        service.script = [unknown] * 9
        error = RegionDisabledError if good else UnrecognizedCredentialsError
        with pytest.raises(error):
            await client.call(call_of("1", source, region="af-south-1"), watch=watch)
        assert service.calls == (2 if good else 5)

    on_virtual_time(main)


def test_a_confirmation_that_waits_for_what_is_silent_puts_off_no_last_round() -> None:
    async def main() -> None:
        class Silent(Service):
            async def send(self, template: RequestTemplate, *arguments: Any, **options: Any) -> Reply:
                await super().send(template, *arguments, **options)
                if template is TEMPLATE:
                    raise UnreachableError("no answer", code="ConnectError")
                return Reply(400, {}, b'{"__type":"UnrecognizedClientException","message":"invalid"}')

        class Played:
            async def seek(self, call: Call[object]) -> None:
                with suppress(SilentError):
                    await client.call(call_of("1", source), watch=CallWatch())

        client = client_of(Silent())
        client.confirmation = cast("Confirmation", Played())
        source, elsewhere = Source(), replace(TEMPLATE, host="elsewhere")
        call = msgspec.structs.replace(call_of("1", source, region="af-south-1"), template=elsewhere)
        async with anyio.create_task_group() as group:
            group.start_soon(ends_of, client, 5)
            with anyio.fail_after(300), pytest.raises(UnrecognizedCredentialsError):
                await client.call(call, watch=CallWatch(region_may_be_disabled=True))
        assert client.work.count == 0

    on_virtual_time(main)


class Sought:
    """A confirmation that only counts its calls."""

    def __init__(self) -> None:
        self.times = 0

    async def seek(self, call: Call[object]) -> None:
        self.times += 1


def test_credentials_are_sought_elsewhere_only_while_they_are_in_doubt() -> None:
    async def main() -> None:
        service, source, watch, sought = Service(), Source(), CallWatch(region_may_be_disabled=True), Sought()
        client = client_of(service)
        client.confirmation = cast("Confirmation", sought)
        call = call_of("1", source, region="af-south-1")
        service.script = [UNKNOWN, FINE, THROTTLED, THROTTLED, FINE]

        await client.call(call, watch=watch)
        assert sought.times == 1
        # The region recognizes the credentials by now, and a throttled page does not change that.
        await client.call(call, watch=watch)
        assert sought.times == 1

    on_virtual_time(main)


def test_a_reply_that_takes_long_says_that_the_credentials_were_known_as_the_call_was_sent() -> None:
    async def main() -> None:
        service, source, sought = Service(latency=5.0), Source(), Sought()
        client = client_of(service)
        client.confirmation = cast("Confirmation", sought)
        service.script = [FINE, *[UNKNOWN] * 9]
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call_of("1", source))
            await anyio.sleep(1)
            # The session may have been revoked in the meantime.
            watch = CallWatch(region_may_be_disabled=True)
            with pytest.raises(UnrecognizedCredentialsError):
                await client.call(call_of("1", source, region="af-south-1"), watch=watch)
        assert sought.times == 5

    on_virtual_time(main)


def test_what_is_known_of_credentials_is_the_last_call_that_was_sent() -> None:
    known, credentials = Recognition(), Credentials("KEY", "secret")
    known.recognized(credentials, "us-east-1", 5.0)
    # This call was sent earlier and answered later.
    known.recognized(credentials, "us-east-1", 3.0)
    assert known.recognized_elsewhere(credentials, "af-south-1", 5.0)
    assert not known.recognized_elsewhere(credentials, "af-south-1", 5.1)


class Session(Source):
    """The credentials of a role, which records separately for each session whether it is recognized."""

    by_call: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.known: set[Credentials] = set()

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        self.known.add(credentials)
        super().recognized(credentials, region, sent_at)

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        return credentials in self.known and super().recognized_elsewhere(credentials, region, since)


class Templates:
    """An SDK with the same template for every region."""

    async def template(self, service: str, region: str, method: str) -> RequestTemplate:
        return TEMPLATE


def test_a_region_that_does_not_know_a_new_session_yet_is_not_taken_for_a_disabled_one() -> None:
    class Spreading(Service):
        """A service that does not recognize the session in the first four seconds."""

        def answer(self) -> Reply:
            return FINE if now() > 4 else UNKNOWN

    async def main() -> None:
        service, source = Spreading(), Source()
        credentials = await source.get()

        class Played:
            async def seek(self, call: Call[object]) -> None:
                source.recognized(credentials, "us-east-1", now())

        client = client_of(service)
        client.confirmation = cast("Confirmation", Played())
        call = call_of("1", source, region="af-south-1")
        assert await client.call(call, watch=CallWatch(region_may_be_disabled=True)) == "parsed"
        assert service.calls == 2

    on_virtual_time(main)


def test_a_profile_is_not_lost_for_a_network_that_is_away_for_some_seconds() -> None:
    identity = (
        b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>111122223333</Account>"
        b"<Arn>arn:aws:iam::111122223333:user/audit</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )

    class Blip(Service):
        """A service that resets connections for ten seconds."""

        def answer(self) -> Reply:
            if now() < 10:
                raise UnreachableError("no answer from here: reset", code="ConnectionClosed")
            return Reply(200, {}, identity)

    async def main() -> None:
        caller = await identity_of(cast("Sdk", Templates()), client_of(Blip()), Source(), "us-east-1")
        assert caller.account_id == "111122223333"

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("answer", "others"),
    [
        (UNKNOWN, 1),
        (THROTTLED, 1),
        (Reply(200, {}, b"<html>"), 1),
        (CUT_OFF, 1),
        (Reply(500, {}, b""), 0),
        (UnreachableError("reset", code="ConnectionClosed"), 0),
    ],
)
def test_others_are_opened_in_the_region_of_a_call_that_does_not_wait_for_the_region(
    answer: Reply | Exception, others: int
) -> None:
    async def main() -> None:
        service = Service()
        service.script = [answer]
        client = client_of(service)
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call_of("a"))
            await anyio.sleep(0.11)
            assert (client.pauses.count, client.pauses.in_region["us-east-1"]) == (1, others)
        assert (client.pauses.count, client.pauses.in_region["us-east-1"]) == (0, 0)

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("answer", "rests"),
    [
        (Reply(500, {}, b""), True),
        (CUT_OFF, True),
        (UnreachableError("reset", code="ConnectionClosed"), True),
        (UNKNOWN, False),
        (THROTTLED, False),
    ],
)
def test_a_role_rests_after_what_may_not_befall_those_of_others(
    answer: Reply | Exception, rests: bool
) -> None:
    async def main() -> None:
        service = Service()
        service.script = [answer]
        client = client_of(service)
        call = msgspec.structs.replace(call_of("caller", about="b"), awaited=True)
        async with anyio.create_task_group() as group:
            group.start_soon(_call, client, call)
            await anyio.sleep(0.11)
            assert dict(client.pauses.resting) == ({"b": 1} if rests else {})
            assert client.pauses.room.is_set() is rests
            assert client.pauses.count == 0
        assert not client.pauses.resting

    on_virtual_time(main)


@pytest.mark.parametrize("bad", [Reply(200, {}, b"<html>"), CUT_OFF])
def test_a_reply_makes_room_in_its_region_once_whatever_it_is(bad: Reply | Exception) -> None:
    async def main() -> None:
        service = Service()
        service.script = [bad] * 3
        window = Window(1, 100, asyncio.Event())
        await client_of(service).call(call_of("a"), watch=CallWatch(window=window))
        assert (service.calls, window.size) == (4, 1 + 4)

    on_virtual_time(main)


def test_what_cuts_off_each_reply_is_not_silent() -> None:
    async def main() -> None:
        service = Gone(last=2.0)
        service.script = [CUT_OFF] * 999
        client = client_of(service)
        assert await ends_of(client, 30) == {BadResponseError: 30}
        assert len(service.script) == 999 - 30 * 6

    on_virtual_time(main)


def test_a_session_is_not_renewed_for_two_refusals_that_follow_each_other_at_once() -> None:
    async def main() -> None:
        service, source, watch = Service(), Session(), CallWatch()
        service.script = [UNKNOWN, UNKNOWN]
        client = client_of(service, policy=RetryPolicy(max_unrecognized=1))
        for _ in range(2):
            with pytest.raises(UnrecognizedCredentialsError):
                await client.call(call_of("1", source), watch=watch)
        assert source.current() is not None
        assert source.renewals == 1

    on_virtual_time(main)


@pytest.mark.parametrize("was_known", [True, False])
@pytest.mark.parametrize("region", ["us-east-1", "af-south-1"])
def test_a_session_that_is_known_nowhere_is_renewed_in_time(region: str, was_known: bool) -> None:
    class Revoking(Service):
        """A service that only recognizes the second session."""

        def answer(self) -> Reply:
            return FINE if source.renewals == 2 else UNKNOWN

    source = Session()

    async def main() -> None:
        service = Revoking()
        client = client_of(service)
        client.confirmation = ConfirmationElsewhere(cast("Sdk", Templates()), client, "us-east-1")
        credentials = await source.get()
        if was_known:
            source.recognized(credentials, "us-east-1", now())
        await anyio.sleep(1)
        call = msgspec.structs.replace(call_of("1", source, region=region), operation=WORKSPACES_POOLS)
        watch = CallWatch(region_may_be_disabled=region == "af-south-1")
        assert await client.call(call, watch=watch) == "parsed"
        # The second refusal shows that the session is not just new.
        assert (source.renewals, watch.attempts) == (2, 3)

    on_virtual_time(main)


def test_a_session_that_only_one_region_does_not_know_is_kept() -> None:
    class Refusing(Service):
        """A service that does not recognize the session, while another region does."""

        def answer(self) -> Reply:
            if (credentials := source.current()) is not None:
                source.recognized(credentials, "eu-west-1", now())
            return UNKNOWN

    source = Session()

    async def main() -> None:
        with pytest.raises(UnrecognizedCredentialsError):
            await client_of(Refusing()).call(call_of("1", source), watch=CallWatch())
        assert source.renewals == 1

    on_virtual_time(main)

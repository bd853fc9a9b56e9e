"""Calls that are cancelled at any moment, while endpoints fall silent and come back, leave nothing behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.aws.call import Call, CallWatch
from poolcensus.aws.client import Client
from poolcensus.aws.signing import Clock, Credentials, RequestTemplate, SdkOperation
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import BadResponseError, CensusError, LocalLimitError, UnreachableError
from poolcensus.flow.breaker import CircuitBreakers, Endpoint
from poolcensus.flow.concurrency import CallKey, ConcurrencyLimiter
from poolcensus.flow.rate import RateLimits
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.flow.windows import Pauses
from virtual_time import now, on_virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.aws.transport.protocol import Transport

REGIONS = ("us-east-1", "eu-west-1")
LATENCY = 0.1
# In seconds of the virtual clock, of which the longest patience with what is silent takes 60.
LONGEST_RUN = 2_000


class Made(NamedTuple):
    """A call of a run, when it is made, and when it is cancelled if it has not ended by then.

    It is cancelled `turns` turns of the loop after that: in between, a call learns what another one has done.
    """

    account: str
    region: str
    starts: float
    cancelled: float | None
    turns: int
    begun: bool
    kind: str


class Silence(NamedTuple):
    """When a region does not answer."""

    region: str
    first: float
    lasts: float


# The steps are as long as calls take, so that cancellations often come at critical moments.
_MOMENTS = st.integers(0, 40).map(lambda steps: steps * LATENCY / 2)
_CALLS = st.lists(
    st.builds(
        Made,
        account=st.sampled_from("abcd"),
        region=st.sampled_from(REGIONS),
        starts=_MOMENTS,
        cancelled=st.none() | _MOMENTS,
        turns=st.integers(0, 8),
        begun=st.booleans(),
        kind=st.sampled_from(["", "", "awaited", "optional", "idle"]),
    ),
    min_size=1,
    max_size=16,
)
_SILENCES = st.lists(
    st.builds(
        Silence,
        region=st.sampled_from(REGIONS),
        first=_MOMENTS,
        lasts=st.sampled_from([LATENCY, 1.0, 10.0, 1e9]),
    ),
    max_size=3,
)
_ANSWERS = st.lists(st.sampled_from(["fine", "throttled", "expired", "bad", "limit", "denied"]), max_size=12)
_REPLIES = {
    "throttled": Reply(400, {}, b'{"__type":"ThrottlingException","message":"Rate exceeded"}'),
    "expired": Reply(400, {}, b'{"__type":"ExpiredTokenException","message":"expired"}'),
    "denied": Reply(400, {}, b'{"__type":"AccessDeniedException","message":"no"}'),
    "bad": Reply(200, {}, b"?"),
    "fine": Reply(200, {}, b"{}"),
}


class Service:
    """A service that falls silent and comes back. Otherwise it follows a script, then succeeds."""

    def __init__(self, silences: Sequence[Silence], answers: Sequence[str]) -> None:
        self._silences = silences
        self._answers = list(answers)
        self.in_flight: Counter[str] = Counter()
        self.fine = 0
        self.requests = 0

    async def send(
        self,
        template: RequestTemplate,
        body: bytes,
        credentials: Credentials,
        stamp: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the transport's own signature
    ) -> Reply:
        account = body.decode()
        self.requests += 1
        self.in_flight[account] += 1
        assert self.in_flight[account] <= 1
        assert self.in_flight.total() <= 2
        try:
            await anyio.sleep(LATENCY)
        finally:
            self.in_flight[account] -= 1
        if any(
            each.region == template.region and each.first <= now() < each.first + each.lasts
            for each in self._silences
        ):
            raise UnreachableError("no answer", code="ConnectError")
        answer = self._answers.pop(0) if self._answers else "fine"
        if answer == "limit":
            # The request was never sent.
            self.requests -= 1
            raise LocalLimitError("no descriptor left", code="EMFILE")
        self.fine += answer == "fine"
        return _REPLIES[answer]


class Source:
    """The credentials of an account, whose renewal takes as long as a call."""

    by_call: ClassVar[bool] = True

    def __init__(self) -> None:
        self._credentials: Credentials | None = None

    def current(self) -> Credentials | None:
        return self._credentials

    async def get(self) -> Credentials:
        await anyio.sleep(LATENCY)
        self._credentials = Credentials("KEY", "secret")
        return self._credentials

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._credentials = None

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        pass

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        return True


def parse(reply: Reply) -> str:
    if reply.body != b"{}":
        raise BadResponseError("not the result", code="BadResponse", status=reply.status)
    return "parsed"


def call_of(made: Made, source: Source) -> Call[str]:
    operation = SdkOperation("workspaces", made.region, "describe_workspaces_pools")
    template = RequestTemplate("POST", "https://h/", "h", "/", {}, "workspaces", made.region, None, operation)
    body = made.account.encode()
    return Call(
        template,
        body,
        CallKey(made.account, made.region, "workspaces"),
        source,
        parse,
        begun=made.begun,
        awaited=made.kind == "awaited",
        optional=made.kind == "optional",
        idle=made.kind == "idle",
    )


def cancel_later(task: asyncio.Task[str], turns: int) -> None:
    if turns:
        asyncio.get_running_loop().call_soon(cancel_later, task, turns - 1)
    else:
        task.cancel()


def check_nothing_is_left(client: Client) -> None:
    limiter, pauses, breakers = client.limiter, client.pauses, client.breakers
    assert (limiter._in_flight, limiter._accounts) == (0, {})
    assert not limiter._ahead.by_endpoint
    assert not limiter._behind.by_endpoint
    assert not any(limiter._endpoints.values())
    assert (client.work.count, pauses.count, pauses.silent, pauses.silent_of) == (0, 0, 0, {})
    assert not any(pauses.in_region.values())
    assert not any(breakers._in_need.values())
    assert not any(each.waiting for each in breakers._circuits.values())


@settings(max_examples=150)
@given(calls=_CALLS, silences=_SILENCES, answers=_ANSWERS)
def test_a_call_ends_once_and_leaves_nothing_behind_whenever_it_is_cancelled(
    calls: list[Made], silences: list[Silence], answers: list[str]
) -> None:
    async def main() -> None:
        service = Service(silences, answers)
        breakers = CircuitBreakers(accounts=2, clock=now)
        client = Client(
            transport=cast("Transport", service),
            clock=Clock(),
            retrier=Retrier(RetryPolicy(max_attempts=4), clock=now, jitter=random.Random(7).random),
            limiter=ConcurrencyLimiter(total=2, per_account=1, per_region=2),
            rates=RateLimits(1, now),
            pauses=Pauses(),
            breakers=breakers,
            attempt_timeout=30.0,
        )
        sources = {each.account: Source() for each in calls}

        async def make(made: Made) -> str:
            await anyio.sleep(made.starts)
            try:
                return await client.call(call_of(made, sources[made.account]), watch=CallWatch())
            except CensusError as error:
                return type(error).__name__

        async def answer_elsewhere() -> None:
            while True:
                await breakers.in_doubt.wait()
                breakers.in_doubt.clear()
                breakers.replied(Endpoint("ap-south-1", "workspaces"))

        beside = asyncio.create_task(answer_elsewhere())
        tasks = [asyncio.create_task(make(each)) for each in calls]
        loop = asyncio.get_running_loop()
        for made, task in zip(calls, tasks, strict=True):
            if made.cancelled is not None:
                loop.call_at(made.cancelled, cancel_later, task, made.turns)
        with anyio.fail_after(LONGEST_RUN):
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        beside.cancel()
        await asyncio.wait([beside])
        breakers.close()

        for made, end in zip(calls, ends, strict=True):
            assert isinstance(end, str) or (
                isinstance(end, asyncio.CancelledError) and made.cancelled is not None
            )
        # A call that has its result is not made again; one that is cancelled may have had it already.
        cancelled = sum(not isinstance(end, str) for end in ends)
        assert ends.count("parsed") <= service.fine <= ends.count("parsed") + cancelled
        assert client.counts.requests == service.requests
        check_nothing_is_left(client)

    on_virtual_time(main)

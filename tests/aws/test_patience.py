"""A run that starts while nothing answers waits for a minute, and reports it. Other callers don't wait."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import anyio
import pytest

from poolcensus.aws.credentials.identity import identify
from poolcensus.aws.credentials.patience import Waiting
from poolcensus.errors import (
    AccessDeniedError,
    CallError,
    CallTimeoutError,
    FatalError,
    NoReply,
    NoRouteError,
    NoSuchNameError,
    ServerError,
    SilentError,
    ThrottledError,
    UnreachableError,
)
from poolcensus.model import Caller
from virtual_time import now, on_virtual_time

if TYPE_CHECKING:
    from poolcensus.aws.call import Call, CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk

FIRST, SECOND = "us-east-1", "us-east-2"
CALLER = Caller("000000000001", "arn:aws:iam::000000000001:user/census", "aws")
REFUSED = UnreachableError("no answer from sts: Connection refused", code=NoReply.CONNECT)
PASSING: tuple[CallError, ...] = (
    REFUSED,
    UnreachableError("no answer from sts: the name does not resolve", code=NoReply.NAME),
    UnreachableError("no answer from sts: the proxy closed the connection", code=NoReply.PROXY),
    UnreachableError("no answer from sts: the proxy refused", code=NoReply.PROXY, status=502),
    NoRouteError("no answer from sts: Network is unreachable", code=NoReply.NO_ROUTE),
    CallTimeoutError("no answer from sts within 20 s", code=NoReply.TIMEOUT),
    SilentError("not called", code=NoReply.SILENT),
)
FOR_GOOD: tuple[CallError, ...] = (
    NoSuchNameError("no answer from sts: the name does not resolve", code=NoReply.NAME),
    UnreachableError("no answer from sts: its certificate is not trusted", code=NoReply.CERTIFICATE),
    UnreachableError("no answer from sts: the proxy refused", code=NoReply.PROXY, status=407),
    UnreachableError("no answer from sts: wrong version number", code=NoReply.TLS),
    AccessDeniedError("no", code="AccessDenied", status=403),
    ThrottledError("slow down", code="Throttling", status=400),
    ServerError("broken", code="500", status=500),
)


class Sts:
    """A client whose STS fails with `error` until a time, after each call has taken `seconds`."""

    def __init__(
        self, error: CallError, until: float, *, seconds: float = 0.5, proxy: str | None = None
    ) -> None:
        self.calls: list[tuple[str, float]] = []
        self._error = error
        self._until = until
        self._seconds = seconds
        self._proxy = proxy

    async def call(self, call: Call[object], **_: object) -> Caller:
        self.calls.append((call.key.region, now()))
        await anyio.sleep(self._seconds)
        if now() < self._until:
            raise self._error
        return CALLER

    async def template(self, _service: str, region: str, _method: str) -> SimpleNamespace:
        return SimpleNamespace(url=f"https://sts.{region}", proxy=self._proxy)

    async def identify(self, waiting: Waiting | None, second: str | None = None) -> tuple[Caller, str]:
        source = cast("CredentialSource", None)
        return await identify(cast("Sdk", self), cast("Client", self), source, FIRST, second, waiting=waiting)


@pytest.mark.parametrize("error", PASSING)
@pytest.mark.parametrize("away", [1.0, 30.0, 59.0])
def test_a_network_that_is_back_within_a_minute_costs_only_time(error: CallError, away: float) -> None:
    async def main() -> None:
        sts = Sts(error, away)
        assert await sts.identify(Waiting()) == (CALLER, FIRST)
        # It is noticed soon that STS is back, with few calls before.
        assert now() <= away + 6.5
        assert len(sts.calls) < 20

    on_virtual_time(main)


@pytest.mark.parametrize("error", PASSING)
@pytest.mark.parametrize("second", [None, SECOND])
def test_a_network_that_stays_away_is_waited_for_a_minute(error: CallError, second: str | None) -> None:
    async def main() -> None:
        with pytest.raises(FatalError):
            await Sts(error, float("inf")).identify(Waiting(), second)
        assert 60 <= now() < 62

    on_virtual_time(main)


def test_the_second_region_is_asked_each_time_too() -> None:
    async def main() -> None:
        sts = Sts(REFUSED, 20.0)
        await sts.identify(Waiting(), SECOND)
        regions = [region for region, _ in sts.calls]
        assert regions[:4] == [FIRST, SECOND, FIRST, SECOND]

    on_virtual_time(main)


@pytest.mark.parametrize("error", [*PASSING, *FOR_GOOD])
def test_who_diagnoses_is_told_at_once(error: CallError) -> None:
    async def main() -> None:
        with pytest.raises(FatalError):
            await Sts(error, float("inf")).identify(None)
        assert now() == 0.5

    on_virtual_time(main)


@pytest.mark.parametrize("error", FOR_GOOD)
def test_what_does_not_pass_is_not_waited_for(error: CallError) -> None:
    async def main() -> None:
        waiting = Waiting()
        with pytest.raises(FatalError):
            await Sts(error, float("inf")).identify(waiting)
        assert now() == 0.5
        assert waiting.what is None

    on_virtual_time(main)


def test_the_name_of_a_proxy_may_come_back() -> None:
    async def main() -> None:
        sts = Sts(FOR_GOOD[0], 20.0, proxy="http://proxy:3128")
        assert await sts.identify(Waiting()) == (CALLER, FIRST)

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, f"STS in {FIRST} can't be reached yet: {REFUSED.message}. Trying for a minute."),
        (20.0, f"STS in {FIRST} does not answer yet. Trying for a minute."),
    ],
)
def test_it_is_said_after_some_seconds_and_no_longer_than_it_lasts(
    caplog: pytest.LogCaptureFixture, seconds: float, words: str
) -> None:
    caplog.set_level(logging.INFO, "poolcensus")

    async def main() -> None:
        waiting = Waiting()
        task = asyncio.create_task(Sts(REFUSED, 10.0, seconds=seconds).identify(waiting))
        await anyio.sleep(2.9)
        said = [waiting.what]
        await anyio.sleep(0.2)
        said.append(waiting.what)
        await task
        assert [*said, waiting.what] == [None, words, None]

    on_virtual_time(main)
    assert caplog.messages == [words]
    assert caplog.records[0].levelno == logging.INFO


def test_a_blip_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "poolcensus")
    on_virtual_time(lambda: Sts(REFUSED, 1.5).identify(Waiting()))
    assert not caplog.messages


def test_a_deadline_ends_the_wait() -> None:
    async def main() -> None:
        waiting = Waiting()
        with anyio.move_on_after(10) as scope:
            await Sts(REFUSED, float("inf")).identify(waiting)
        assert scope.cancelled_caught
        assert now() == 10
        assert waiting.what is None

    on_virtual_time(main)

"""Which runs wait where nothing answers as they begin, and who sees that they do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
import pytest

import poolcensus
from poolcensus.aws.credentials import identity
from poolcensus.aws.credentials.patience import Patience
from poolcensus.census import Census
from poolcensus.errors import FatalError
from poolcensus.flow.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine

    from census_lab import Lab
    from poolcensus.config import Settings

    Start = Callable[..., Coroutine[None, None, Lab]]


@pytest.fixture
async def here(lab: Start, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A simulator that nobody reaches: at the endpoint URL nobody listens."""
    here = await lab(accounts=1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(identity, "_PATIENCE", RetryPolicy(max_attempts=1))
    return here


async def _read(stream: AsyncIterable[object]) -> None:
    async for _ in stream:
        raise AssertionError("nobody listens")


async def _collect(settings: Settings) -> None:
    async with Census(settings) as census:
        await census.collect()


async def _pools(settings: Settings) -> None:
    async with Census(settings) as census:
        await _read(census.pools())


async def _events(settings: Settings) -> None:
    async with Census(settings) as census:
        await _read(census.events())


async def _plan(settings: Settings) -> None:
    async with Census(settings) as census:
        await census.plan()


async def _targets(settings: Settings) -> None:
    async with Census(settings) as census:
        await _read(census.targets())


async def _diagnose(settings: Settings) -> None:
    async with poolcensus.diagnose(settings) as findings:
        caller, *_ = [each async for each in findings]
    raise FatalError(str(caller.message))


@pytest.mark.parametrize(
    ("run", "waits"),
    [
        *((_collect, True), (_pools, True), (_events, True)),
        *((_plan, False), (_targets, False), (_diagnose, False)),
    ],
)
async def test_runs_wait_and_questions_are_answered_at_once(
    here: Lab,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Settings], Coroutine[None, None, None]],
    waits: bool,
) -> None:
    waited_for: list[str] = []

    async def lasts(_: Patience, error: Exception, template: object) -> bool:
        waited_for.append(str(error))
        return False

    monkeypatch.setattr(Patience, "lasts", lasts)
    with pytest.raises(FatalError, match="STS can't be reached: .*Connection refused"):
        await run(here.settings())
    assert bool(waited_for) is waits


async def test_the_progress_says_what_a_run_waits_for(here: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolcensus.aws.credentials.patience._TOLD_AFTER", 0.0)
    async with Census(here.settings()) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        with anyio.fail_after(10):
            while "can't be reached yet" not in str(census.progress().waits_for):
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert census.progress().waits_for is None


async def test_the_deadline_of_a_run_ends_the_wait(here: Lab) -> None:
    with anyio.fail_after(10), pytest.raises(FatalError, match="deadline of 0.3 s passed before AWS"):
        await _collect(here.settings(deadline=0.3))

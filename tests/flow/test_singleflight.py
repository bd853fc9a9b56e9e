"""One computation, shared by all callers at the same time."""

from __future__ import annotations

import errno
import pickle
import socket
import traceback
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.lowlevel import checkpoint

from poolcensus.errors import (
    AssumeRoleError,
    CallerExpiredError,
    CredentialsError,
    DestinationError,
    FatalError,
    ServerError,
    ServiceError,
    copy_of_error,
)
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable


async def _settle() -> None:
    for _ in range(6):
        await checkpoint()


class Work:
    """A computation that counts its runs and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.go = anyio.Event()
        self.error = error

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return run


async def test_many_waiters_have_one_computation() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    values: list[int] = []

    async def ask() -> None:
        values.append(await flights.run("k", work))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
        await _settle()
        work.go.set()
    assert work.runs == 1
    assert values == [1] * 50


async def test_a_value_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.go.set()
    assert [await flights.run("k", work), await flights.run("k", work)] == [1, 2]


async def test_a_value_that_is_none_counts() -> None:
    flights: SingleFlight[str, None] = SingleFlight()
    runs = 0

    async def nothing() -> None:
        nonlocal runs
        runs += 1
        await _settle()

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(flights.run, "k", nothing)
    assert runs == 1


async def test_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    slow, fast = Work(), Work()
    fast.go.set()
    async with anyio.create_task_group() as group:
        group.start_soon(flights.run, "slow", slow)
        await _settle()
        with anyio.fail_after(20):
            assert await flights.run("fast", fast) == 1
        slow.go.set()


async def test_an_error_goes_to_all_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work(ValueError("no"))
    failures: list[Exception] = []

    async def ask() -> None:
        try:
            await flights.run("k", work)
        except ValueError as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)
        await _settle()
        work.go.set()
    assert work.runs == 1
    assert len({id(each) for each in failures}) == 10
    assert {each.args for each in failures} == {("no",)}
    assert all(each.__context__ is None for each in failures)
    # Its own task, and here.
    waiters = [each for each in failures if each is not work.error]
    assert {len(traceback.extract_tb(each.__traceback__)) for each in waiters} == {2}
    with pytest.raises(ValueError, match="no"):
        await flights.run("k", work)
    assert work.runs == 2


async def test_where_the_first_is_cancelled_the_next_does_it_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    values: list[int] = []
    leader = anyio.CancelScope()

    async def lead() -> None:
        with leader:
            await flights.run("k", work)

    async def ask() -> None:
        values.append(await flights.run("k", work))

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await _settle()
        for _ in range(10):
            group.start_soon(ask)
        await _settle()
        leader.cancel()
        await _settle()
        assert work.runs == 2
        work.go.set()
    assert values == [2] * 10
    assert await flights.run("k", work) == 3


async def test_a_waiter_that_is_cancelled_takes_nobody_with_it() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    values: list[int] = []

    async def ask() -> None:
        values.append(await flights.run("k", work))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await _settle()
        with anyio.CancelScope() as scope:
            group.start_soon(_cancel, scope)
            await flights.run("k", work)
        assert scope.cancelled_caught
        work.go.set()
    assert values == [1]
    assert work.runs == 1


async def _cancel(scope: anyio.CancelScope) -> None:
    await _settle()
    scope.cancel()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 2),
        OSError(errno.EACCES, "no", "file"),
        socket.gaierror(-2, "no name"),
        ServerError("failed", code="500", status=500, request_id="r", retry_after=2.0),
        AssumeRoleError.of("arn", ServiceError("no", code="AccessDenied")),
        CallerExpiredError("over", code="Expired"),
    ],
)
def test_a_copy_says_what_the_exception_says(error: Exception) -> None:
    error.__cause__ = KeyError("why")
    with pytest.raises(type(error)):
        raise error
    copy = copy_of_error(error)
    assert type(copy) is type(error)
    assert copy is not error
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))
    assert (copy.__cause__, copy.__context__, copy.__traceback__) == (error.__cause__, None, None)
    if isinstance(error, OSError) and isinstance(copy, OSError):
        assert (copy.errno, copy.strerror, copy.filename) == (error.errno, error.strerror, error.filename)


@pytest.mark.parametrize("copied", [copy_of_error, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_still_tells_what_went_wrong_from_what_to_do(
    copied: Callable[[FatalError], FatalError],
) -> None:
    for error, message in (
        (DestinationError("can't write to a; b", advice="make room"), "can't write to a; b; make room"),
        (CredentialsError("There are none.", advice="Sign in."), "There are none. Sign in."),
        (FatalError("That is all."), "That is all."),
    ):
        copy = copied(error)
        assert (type(copy), str(copy)) == (type(error), message)
        assert (copy.problem, copy.advice) == (error.problem, error.advice)

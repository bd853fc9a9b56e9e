"""One connection of the fast transport: its timer, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.aws.transport.http1 import Connection, Outbox, new_buffer
from poolcensus.errors import BadResponseError, CallTimeoutError, UnreachableError
from transport.wire import Wire, connection_to, requests_have_left

if TYPE_CHECKING:
    from poolcensus.aws.transport.protocol import Reply

pytestmark = pytest.mark.usefixtures("no_task_left")


def ok(body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), headers, body)


async def test_a_caller_that_is_cancelled_as_its_reply_arrives_leaves_no_connection_open() -> None:
    connection, wire = connection_to("here"), Wire()
    connection.connection_made(wire)
    call = asyncio.create_task(connection.exchange(b"POST / HTTP/1.1\r\n\r\n", 20))
    await requests_have_left()
    # Both in one turn of the loop: the reply is there, and nobody takes it any more.
    connection.data_received(ok(b"{}"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert wire.aborted
    assert not connection.reusable
    connection.connection_lost(None)


async def test_each_exchange_of_a_connection_has_its_own_time() -> None:
    connection, other = connection_to("here"), connection_to("there")
    connection.connection_made(Wire())
    other.connection_made(Wire())

    async def exchange(limit: float) -> asyncio.Task[Reply]:
        call = asyncio.create_task(connection.exchange(b"POST / HTTP/1.1\r\n\r\n", limit))
        await requests_have_left()
        return call

    first = await exchange(0.05)
    connection.data_received(ok(b"1"))
    assert (await first).body == b"1"
    second = await exchange(20)
    with pytest.raises(CallTimeoutError, match=r"there did not answer within 0\.1 s"):
        await other.exchange(b"POST / HTTP/1.1\r\n\r\n", 0.1)
    # The first one's time is over, and not the second's.
    connection.data_received(ok(b"2"))
    assert (await second).body == b"2"
    third = await exchange(0.1)
    with pytest.raises(CallTimeoutError, match=r"here did not answer within 0\.1 s"):
        await third
    for each in (connection, other):
        each.connection_lost(None)


@pytest.mark.parametrize("before", [0.05, 3600])
async def test_an_exchange_ends_with_its_own_limit_whatever_the_one_before_had(before: float) -> None:
    connection = connection_to("here")
    connection.connection_made(Wire())
    call = asyncio.create_task(connection.exchange(b"POST / HTTP/1.1\r\n\r\n", before))
    await requests_have_left()
    connection.data_received(ok(b"{}"))
    await call
    started = time.monotonic()
    with pytest.raises(CallTimeoutError, match=r"within 0\.3 s"), anyio.fail_after(20):
        await connection.exchange(b"POST / HTTP/1.1\r\n\r\n", 0.3)
    assert time.monotonic() - started >= 0.3
    connection.connection_lost(None)


async def test_a_connection_that_has_ended_is_not_kept_by_its_timer() -> None:
    connection = connection_to("here")
    connection.connection_made(Wire())
    call = asyncio.create_task(connection.exchange(b"POST / HTTP/1.1\r\n\r\n", 3600))
    await requests_have_left()
    connection.data_received(ok(b"{}"))
    await call
    connection.connection_lost(None)
    kept = weakref.ref(connection)
    del connection, call
    gc.collect()
    assert kept() is None


async def test_a_connection_that_was_idle_for_longer_than_its_last_limit_has_a_new_one() -> None:
    connection, other = connection_to("here"), connection_to("there")
    connection.connection_made(Wire())
    other.connection_made(Wire())
    call = asyncio.create_task(connection.exchange(b"POST / HTTP/1.1\r\n\r\n", 0.05))
    await requests_have_left()
    connection.data_received(ok(b"{}"))
    await call
    with pytest.raises(CallTimeoutError):
        await other.exchange(b"POST / HTTP/1.1\r\n\r\n", 0.1)
    assert connection.reusable
    with pytest.raises(CallTimeoutError, match="here"), anyio.fail_after(20):
        await connection.exchange(b"POST / HTTP/1.1\r\n\r\n", 0.05)
    for each in (connection, other):
        each.connection_lost(None)


REQUEST = b"POST / HTTP/1.1\r\n\r\n"


async def asked(connection: Connection, request: bytes = REQUEST) -> asyncio.Task[Reply]:
    """Return a call whose request is formed and has not left."""
    call = asyncio.create_task(connection.exchange(request, 20))
    await asyncio.sleep(0)
    return call


async def test_requests_of_one_turn_leave_together() -> None:
    outbox, wires = Outbox(), [Wire(), Wire()]
    connections = [Connection("here", new_buffer(), outbox) for _ in wires]
    requests = [b"POST /1 HTTP/1.1\r\n\r\n", b"POST /2 HTTP/1.1\r\n\r\n"]
    calls: list[asyncio.Task[Reply]] = []
    for connection, wire, request in zip(connections, wires, requests, strict=True):
        connection.connection_made(wire)
        calls.append(asyncio.create_task(connection.exchange(request, 20)))
    await asyncio.sleep(0)
    assert [wire.written for wire in wires] == [[], []]
    await asyncio.sleep(0)
    assert [wire.written for wire in wires] == [[each] for each in requests]
    for number, connection in enumerate(connections):
        connection.data_received(ok(b"%d" % number))
    assert [(await call).body for call in calls] == [b"0", b"1"]
    for connection in connections:
        connection.connection_lost(None)


async def test_a_request_whose_caller_has_gone_does_not_leave() -> None:
    connection, wire = connection_to("here"), Wire()
    connection.connection_made(wire)
    call = await asked(connection)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await requests_have_left()
    assert (wire.written, wire.aborted) == ([], True)
    connection.connection_lost(None)


async def test_what_comes_before_the_first_request_has_left_is_not_its_reply() -> None:
    connection, wire = connection_to("here"), Wire()
    connection.connection_made(wire)
    call = await asked(connection)
    connection.data_received(ok(b"{}"))
    with pytest.raises(BadResponseError, match="the reply from here is not HTTP"):
        await call
    await requests_have_left()
    assert (wire.written, wire.aborted) == ([], True)
    connection.connection_lost(None)


@pytest.mark.parametrize("is_read", [False, True])
async def test_what_comes_before_another_request_has_left_is_not_its_reply(is_read: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection, wire = connection_to("here"), Wire(ours)
        connection.connection_made(wire)
        first = await asked(connection)
        await requests_have_left()
        connection.data_received(ok(b"1"))
        assert (await first).body == b"1"
        second = await asked(connection)
        if is_read:
            connection.data_received(ok(b"2"))
        else:
            # It is there, and the loop has not looked yet.
            theirs.send(ok(b"2"))
        with pytest.raises(UnreachableError, match="here: the connection has ended"):
            await second
        await requests_have_left()
        assert (wire.written, wire.aborted) == ([REQUEST], True)
        connection.connection_lost(None)

"""Opening connections: which address, how long each phase may take, and what an error says."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.lowlevel import checkpoint

from descriptors import descriptors
from network_lab import EIGHT, listening, needs_loopback_network, note_connects, relay, resolve
from poolcensus.aws.transport import addresses, dialing
from poolcensus.aws.transport.failures import failure_of
from poolcensus.aws.transport.fast import FastTransport
from poolcensus.aws.transport.http1 import Connection
from poolcensus.aws.transport.names import look_up
from poolcensus.aws.transport.tls import Trust
from poolcensus.errors import (
    CallError,
    LocalLimitError,
    NoReply,
    NoRouteError,
    NoSuchNameError,
    UnreachableError,
)
from transport_lab import post

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from network_lab import Serve
    from poolcensus.aws.transport.protocol import Reply

pytestmark = pytest.mark.usefixtures("no_task_left")

NAME = "aws.example.com"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tell each request at which address it has arrived, for as long as requests come."""
    body = str(writer.get_extra_info("sockname")[0]).encode()
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tell a request at which address it has arrived, and close."""
    await reader.readuntil(b"\r\n\r\n")
    address = str(writer.get_extra_info("sockname")[0]).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n%s" % address)


class Watched:
    """Serves connections, and knows when the other side has closed all of them."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.open = 0
        self._quiet = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._quiet.clear()
        try:
            await self._serve(reader, writer)
        finally:
            self.open -= 1
            if not self.open:
                self._quiet.set()

    async def wait_quiet(self) -> None:
        with anyio.fail_after(20):
            await self._quiet.wait()


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what comes, and answer nothing."""
    while await reader.read(1 << 16):
        pass


def connected(then: Serve) -> Serve:
    """Be a proxy that says that it has connected to the origin."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await then(reader, writer)

    return serve


async def get(
    transport: FastTransport,
    port: int,
    *,
    scheme: str = "http",
    limit: float = 30.0,
    proxy: int | None = None,
) -> Reply:
    through = None if proxy is None else f"http://127.0.0.1:{proxy}"
    url = f"{scheme}://{NAME}:{port}/"
    return await post(transport, url, body=b"", limit=limit, proxy=through)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the name have eight addresses."""
    resolve(monkeypatch, {NAME: EIGHT})


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the name have one address."""
    resolve(monkeypatch, {NAME: EIGHT[:1]})


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    return context


def opened(connect_timeout: float = 20.0, **options: float) -> FastTransport:
    return FastTransport(connect_timeout=connect_timeout, trust=Trust(None), **options)


@needs_loopback_network
async def test_a_black_hole_does_not_use_up_the_time_of_the_others(eight: None) -> None:
    started = time.monotonic()
    async with listening(answer, addresses=EIGHT, holes=EIGHT[:3]) as port, opened(24) as transport:
        assert (await get(transport, port)).body == EIGHT[3].encode()
    # Three eighths of the limit: what they took when the limit was divided among the addresses.
    assert time.monotonic() - started < 9


@needs_loopback_network
async def test_the_whole_limit_is_for_whichever_address_answers(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, late = asyncio.get_running_loop(), asyncio.Event()
    real, waiting = loop.sock_connect, asyncio.Event()
    names: list[str] = []

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        names.append(address[0])
        if address[0] == EIGHT[-1]:
            waiting.set()
            await late.wait()
        await real(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    monkeypatch.setattr("poolcensus.aws.transport.dialing._NEXT_ADDRESS_AFTER", 0.01)
    async with listening(answer, addresses=EIGHT, holes=EIGHT[:-1]) as port, opened(8) as transport:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(get(transport, port))
            await waiting.wait()
            # An eighth of the limit and more, in which all are tried at the same time.
            loop.call_later(1.5, late.set)
        assert (await call).body == EIGHT[-1].encode()
    assert names == list(EIGHT)


@needs_loopback_network
async def test_many_at_once_try_a_black_hole_once(eight: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(answer, addresses=EIGHT, holes=EIGHT[:2]) as port, opened() as transport:
        tried = note_connects(monkeypatch, port)
        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(get, transport, port)
        assert Counter(tried) == {EIGHT[0]: 1, EIGHT[1]: 1, EIGHT[2]: 60}


@needs_loopback_network
async def test_what_was_passed_over_goes_to_the_end(eight: None, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: set[str] = set()
    async with listening(answer_once, addresses=EIGHT, holes=EIGHT[:2]) as port, opened() as transport:
        tried = note_connects(monkeypatch, port)
        loop = asyncio.get_running_loop()
        real = loop.sock_connect

        async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
            if address[0] in closed:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
            await real(sock, address)

        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        assert (await get(transport, port)).body == EIGHT[2].encode()
        assert tried == list(EIGHT[:3])
        assert (await get(transport, port)).body == EIGHT[2].encode()
        assert tried[3:] == [EIGHT[2]]
        closed.add(EIGHT[2])
        assert (await get(transport, port)).body == EIGHT[3].encode()
        # Those behind it were next, and not those that had been passed over.
        assert tried[4:] == [EIGHT[3]]


@needs_loopback_network
async def test_the_address_that_answered_stays_first_when_the_name_is_looked_up_again(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_KEPT", 0.0)
    async with listening(answer_once, addresses=EIGHT, holes=EIGHT[:2]) as port, opened() as transport:
        tried = note_connects(monkeypatch, port)
        for _ in range(3):
            assert (await get(transport, port)).body == EIGHT[2].encode()
        assert tried == [*EIGHT[:2], *[EIGHT[2]] * 3]


async def test_addresses_are_looked_up_once_for_all(one: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real, names = socket.getaddrinfo, []

    def getaddrinfo(host: bytes, *args: int, **options: int) -> object:
        names.append(host.decode())
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with listening(answer_once) as port, opened() as transport:
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(get, transport, port)
        await get(transport, port)
    assert names == [NAME]


async def test_ipv6_and_ipv4_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, {NAME: ("::1", "::2", "127.0.0.1", "127.0.0.2", "::1")})
    known = addresses.Addresses()
    found = await known.of(addresses.HostPort(NAME, 1))
    assert [each[4][0] for each in found] == ["::1", "127.0.0.1", "::2", "127.0.0.2"]


@needs_loopback_network
@pytest.mark.parametrize(("fault", "code"), [("closes", "ConnectError"), ("swallows", "TLSTimeout")])
async def test_an_address_that_fails_in_tls_is_the_last_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str, fault: str, code: str
) -> None:
    resolve(monkeypatch, {NAME: EIGHT[:2]})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("sockname")[0] != EIGHT[0]:
            await relay(inner)(reader, writer)
        elif fault == "swallows":
            await swallow(reader, writer)

    async with (
        listening(answer, tls=tls) as inner,
        listening(serve, addresses=EIGHT[:2]) as port,
        FastTransport(connect_timeout=20, trust=Trust(bundle), tls_timeout=2) as transport,
    ):
        assert (await _fails(transport, port, scheme="https")).code == code
        assert (await get(transport, port, scheme="https")).status == 200


async def _fails(
    transport: FastTransport,
    port: int,
    *,
    scheme: str = "http",
    limit: float = 30.0,
    proxy: int | None = None,
) -> CallError:
    with anyio.fail_after(20), pytest.raises(CallError) as raised:
        await get(transport, port, scheme=scheme, limit=limit, proxy=proxy)
    return raised.value


@needs_loopback_network
@pytest.mark.parametrize(("connect_timeout", "limit"), [(0.5, 30), (30, 0.5)])
async def test_a_host_of_black_holes_is_a_connect_timeout(
    eight: None, connect_timeout: float, limit: float
) -> None:
    async with (
        listening(answer, addresses=EIGHT, holes=EIGHT) as port,
        opened(connect_timeout) as transport,
    ):
        error = await _fails(transport, port, limit=limit)
    assert isinstance(error, UnreachableError)
    assert error.code == "ConnectTimeout"
    assert error.message.startswith(f"no answer from {NAME}: no connection within 0.")


@needs_loopback_network
async def test_a_host_of_black_holes_takes_a_socket_for_each_address_and_not_for_each_call(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.aws.transport.dialing._NEXT_ADDRESS_AFTER", 0.01)
    async with listening(answer, addresses=EIGHT, holes=EIGHT) as port, opened(0.5) as transport:
        tried = note_connects(monkeypatch, port)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(_fails(transport, port)) for _ in range(50)]
        assert {(await call).code for call in calls} == {"ConnectTimeout"}
        assert len(tried) <= len(EIGHT)


@pytest.mark.parametrize(("tls_timeout", "limit"), [(0.5, 30), (30, 0.5)])
async def test_a_server_that_never_speaks_tls_is_a_tls_timeout(
    one: None, tls_timeout: float, limit: float
) -> None:
    server = Watched(swallow)
    async with listening(server) as port, opened(tls_timeout=tls_timeout) as transport:
        await transport._dialer._trust.context()
        error = await _fails(transport, port, scheme="https", limit=limit)
        await server.wait_quiet()
    assert isinstance(error, UnreachableError)
    assert error.code == "TLSTimeout"
    assert error.message.startswith(f"no answer from {NAME}: no TLS handshake within 0.")


async def test_the_limit_of_tls_is_not_that_of_the_connection(
    one: None, tls: ssl.SSLContext, bundle: str
) -> None:
    # The handshake takes at least one round trip, which is longer than what a connection may take.
    async with (
        listening(answer, tls=tls) as inner,
        listening(relay(inner, 0.5)) as port,
        FastTransport(connect_timeout=0.9, trust=Trust(bundle)) as transport,
    ):
        assert (await get(transport, port, scheme="https")).status == 200


@pytest.mark.parametrize(("connect_timeout", "limit"), [(0.5, 30), (30, 0.5)])
async def test_a_proxy_that_never_connects_is_a_connect_timeout(connect_timeout: float, limit: float) -> None:
    server = Watched(swallow)
    async with listening(server) as proxy, opened(connect_timeout) as transport:
        await transport._dialer._trust.context()
        error = await _fails(transport, 443, scheme="https", limit=limit, proxy=proxy)
        await server.wait_quiet()
    assert isinstance(error, UnreachableError)
    assert error.code == "ConnectTimeout"
    assert error.message.startswith(f"no answer from {NAME}: no connection by the proxy within 0.")


@pytest.mark.parametrize(("tls_timeout", "limit"), [(0.5, 30), (30, 0.5)])
async def test_an_origin_behind_a_proxy_that_never_speaks_tls_is_a_tls_timeout(
    tls_timeout: float, limit: float
) -> None:
    server = Watched(connected(swallow))
    async with listening(server) as proxy, opened(tls_timeout=tls_timeout) as transport:
        await transport._dialer._trust.context()
        error = await _fails(transport, 443, scheme="https", limit=limit, proxy=proxy)
        await server.wait_quiet()
    assert isinstance(error, UnreachableError)
    assert error.code == "TLSTimeout"


async def test_a_name_that_is_never_resolved_is_a_name_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    try:
        async with opened(0.1) as transport:
            error = await _fails(transport, 80)
    finally:
        over.set()
    assert error.code == "NameTimeout"
    assert error.message == f"no answer from {NAME}: no address within 0.1 s"


async def test_a_look_up_that_hangs_has_one_thread_whoever_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, began = threading.Event(), []

    def getaddrinfo(*_: object, **__: object) -> object:
        began.append(threading.current_thread())
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    known, peer = addresses.Addresses(), addresses.HostPort(NAME, 80)
    try:
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await known.of(peer)
            assert scope.cancelled_caught
    finally:
        over.set()
    # Those who still wait are told how it ended, each by an error of its own.
    errors: list[BaseException] = []

    async def ask() -> None:
        with pytest.raises(socket.gaierror, match="try again") as raised:
            await known.of(peer)
        errors.append(raised.value)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
    assert len({*map(id, errors)}) == 2
    assert len(began) == 1
    # Who comes afterwards asks anew.
    await ask()
    assert len(began) == 2


async def test_a_look_up_that_fails_when_nobody_waits_any_more_is_not_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, told = threading.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def getaddrinfo(*_: object, **__: object) -> object:
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    known, peer = addresses.Addresses(), addresses.HostPort(NAME, 80)
    with anyio.move_on_after(0.01):
        await known.of(peer)
    over.set()
    with anyio.fail_after(30):
        while known._lookups:
            await anyio.sleep(0.001)
    gc.collect()
    await checkpoint()
    assert not told


@pytest.mark.parametrize("error", [UnicodeError("label too long"), MemoryError("none left")])
async def test_a_look_up_ends_whatever_it_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with anyio.fail_after(30), pytest.raises(type(error)):
        await look_up(NAME, 80)


async def test_a_look_up_that_breaks_off_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    told: list[str] = []

    def getaddrinfo(*_: object, **__: object) -> object:
        threads.append(threading.current_thread())
        raise SystemError("a bug of the C library")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))
    with anyio.fail_after(30), pytest.raises(OSError, match="broke off"):
        await look_up(NAME, 80)
    # It tells of its end before it tells of the defect.
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert told == ["a bug of the C library"]


async def test_a_look_up_that_gets_no_thread_is_a_limit_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        async with opened() as transport:
            error = await _fails(transport, 80)
    assert isinstance(error, LocalLimitError)
    assert "no thread or port left" in error.message


async def test_a_look_up_that_is_cancelled_takes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    over, told = threading.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    before = {*threading.enumerate()}
    looked_up = look_up(NAME, 80)
    (thread,) = (each for each in threading.enumerate() if each not in before)
    looked_up.cancel()
    over.set()
    thread.join()
    await checkpoint()
    assert looked_up.cancelled()
    assert not told


def test_a_look_up_that_hangs_outlives_its_loop_in_silence_and_keeps_no_process_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()
    told: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    monkeypatch.setattr(threading, "excepthook", told.append)
    before = {*threading.enumerate()}

    async def leave() -> None:
        look_up(NAME, 80)

    asyncio.run(leave())
    (thread,) = (each for each in threading.enumerate() if each not in before)
    assert thread.daemon
    over.set()
    thread.join()
    assert not told


async def test_what_one_has_found_of_addresses_stands_for_all_who_waited_for_their_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (each, 80))
        for each in ("192.0.2.1", "192.0.2.2")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    known, peer = addresses.Addresses(), addresses.HostPort(NAME, 80)
    tried: list[object] = []

    async def fail() -> None:
        first, *_ = await known.of(peer)
        tried.append(first)
        known.failed(peer, first)

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        group.start_soon(fail)
    assert tried == found


async def test_a_connection_that_the_system_gives_up_is_no_limit_of_ours(
    one: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, {EIGHT[0]: errno.ETIMEDOUT})
    async with opened() as transport:
        error = await _fails(transport, 80)
    assert (error.code, error.message) == (
        "ConnectError",
        f"no answer from {NAME}: {os.strerror(errno.ETIMEDOUT)}",
    )


def _refuse(monkeypatch: pytest.MonkeyPatch, numbers: dict[str, int]) -> None:
    """Let connections to these addresses fail with these numbers."""
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] in numbers:
            raise OSError(numbers[address[0]], f"Connect call failed {address}")
        await real(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open no further file or socket."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        last = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, last)
        highest = max(descriptors())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        while True:
            try:
                stack.callback(os.close, os.dup(last))
            except OSError:
                break
        yield


@needs_loopback_network
async def test_no_descriptor_left_is_a_limit_of_this_machine(eight: None) -> None:
    async with listening(answer, addresses=EIGHT) as port, opened() as transport:
        await transport._dialer._addresses.of(addresses.HostPort(NAME, port))
        with no_descriptor_left():
            error = await _fails(transport, port)
        assert isinstance(error, LocalLimitError)
        assert error.code == "TooManyOpenFiles"
        assert NAME in error.message
        assert "ulimit -n" in error.message
        assert (await get(transport, port)).status == 200


@pytest.mark.parametrize("said", [None, errno.EINVAL, errno.EBUSY])
async def test_a_name_that_no_descriptor_is_left_for_is_a_limit_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, said: int | None
) -> None:
    def lacks_a_file(*_: object, **__: object) -> None:
        raise OSError(said, "as the C library has it once it has looked up names")

    if said is not None:
        monkeypatch.setattr(socket, "getaddrinfo", lacks_a_file)
    async with opened() as transport:
        with no_descriptor_left(), pytest.raises(LocalLimitError) as raised:
            await post(transport, "http://localhost:1/")
    assert raised.value.code == "TooManyOpenFiles"


@pytest.mark.parametrize("kept", [0, 3])
async def test_connections_that_are_kept_give_way_when_no_descriptor_is_left(one: None, kept: int) -> None:
    both = asyncio.Barrier(kept + 1)

    async def together(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both.wait()
        await answer(reader, writer)

    async with listening(together) as other, listening(answer) as port, opened() as transport:
        async with anyio.create_task_group() as group:
            for _ in range(kept):
                group.start_soon(get, transport, other)
            await both.wait()
        assert len(transport._open) == kept
        with no_descriptor_left():
            if kept:
                assert (await get(transport, port)).status == 200
            else:
                assert isinstance(await _fails(transport, port), LocalLimitError)
        assert len(transport._open) == min(kept, 1)


async def test_a_descriptor_that_lacks_for_the_other_addresses_is_not_the_host_s_fault(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.aws.transport.dialing._NEXT_ADDRESS_AFTER", 0.01)
    loop, lacking = asyncio.get_running_loop(), ExitStack()

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        # The first has its socket, and waits for ever; the others get none.
        lacking.enter_context(no_descriptor_left())
        await asyncio.Future()

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with opened(0.5) as transport:
        with lacking:
            assert (await _fails(transport, 80)).code == "TooManyOpenFiles"


@pytest.mark.parametrize(
    ("numbers", "family", "code"),
    [
        ((errno.ENFILE,), LocalLimitError, "TooManyOpenFiles"),
        ((errno.ENOBUFS,), LocalLimitError, "LocalLimit"),
        ((errno.ENOMEM,), LocalLimitError, "LocalLimit"),
        ((errno.EADDRNOTAVAIL,), LocalLimitError, "LocalLimit"),
        ((errno.EADDRNOTAVAIL, errno.EADDRNOTAVAIL), LocalLimitError, "LocalLimit"),
        ((errno.ECONNREFUSED, errno.EMFILE, errno.ENETUNREACH), LocalLimitError, "TooManyOpenFiles"),
        ((errno.ENETUNREACH,), NoRouteError, "NoRoute"),
        ((errno.EHOSTUNREACH,), NoRouteError, "NoRoute"),
        ((errno.ENETDOWN,), NoRouteError, "NoRoute"),
        ((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETUNREACH), NoRouteError, "NoRoute"),
        # IPv6 that is switched off has no address to connect from: that is no lack of ports.
        ((errno.EADDRNOTAVAIL, errno.ENETUNREACH), NoRouteError, "NoRoute"),
        ((errno.EADDRNOTAVAIL, errno.ECONNREFUSED), UnreachableError, "ConnectError"),
        ((errno.ENETUNREACH, errno.ECONNREFUSED), UnreachableError, "ConnectError"),
        ((errno.ECONNREFUSED, errno.ECONNREFUSED), UnreachableError, "ConnectError"),
    ],
)
async def test_what_addresses_fail_with_says_whose_fault_it_is(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], family: type[CallError], code: str
) -> None:
    some = EIGHT[: len(numbers)]
    resolve(monkeypatch, {NAME: some})
    _refuse(monkeypatch, dict(zip(some, numbers, strict=True)))
    async with opened() as transport:
        error = await _fails(transport, 80)
    assert type(error) is family
    assert error.code == code
    if family is not LocalLimitError:
        words = {os.strerror(number) for number in numbers}
        assert set(error.message.removeprefix(f"no answer from {NAME}: ").split(", ")) == words


@pytest.mark.parametrize(
    ("error", "family", "code"),
    [
        (OSError(errno.EMFILE, "Too many open files"), LocalLimitError, "TooManyOpenFiles"),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), LocalLimitError, "LocalLimit"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), UnreachableError, "NameError"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NoSuchNameError, "NameError"),
    ],
)
async def test_a_name_that_can_not_be_looked_up_says_why(
    monkeypatch: pytest.MonkeyPatch, error: OSError, family: type[CallError], code: str
) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("poolcensus.aws.transport.failures.sys", SimpleNamespace(platform="linux"))
    async with opened() as transport:
        found = await _fails(transport, 80)
    assert (type(found), found.code) == (family, code)


async def test_a_machine_that_says_the_same_of_all_names_without_a_network_tells_nothing_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("poolcensus.aws.transport.failures.sys", SimpleNamespace(platform="darwin"))
    error = failure_of(NAME, socket.gaierror(socket.EAI_NONAME, "nodename nor servname provided"))
    assert type(error) is UnreachableError


@pytest.mark.parametrize("by", ["task", "scope"])
@pytest.mark.parametrize("way", ["plain", pytest.param("race", marks=needs_loopback_network), "tls", "proxy"])
# The long run leaves out fewer of the later turns.
@pytest.mark.parametrize("growth", [3, pytest.param(10, marks=pytest.mark.long)])
async def test_a_connection_that_is_cancelled_at_any_point_is_closed(
    monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str, *, way: str, by: str, growth: int
) -> None:
    some, holes = (EIGHT[:2], EIGHT[:1]) if way == "race" else (EIGHT[:1], ())
    resolve(monkeypatch, {NAME: some})
    monkeypatch.setattr("poolcensus.aws.transport.dialing._NEXT_ADDRESS_AFTER", 0.001)
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(listening(answer, tls=tls))
        ways = {"tls": relay(inner), "proxy": connected(relay(inner))}
        server = Watched(ways.get(way, answer))
        port = await stack.enter_async_context(listening(server, addresses=some, holes=holes))
        transport = await stack.enter_async_context(FastTransport(connect_timeout=20, trust=Trust(bundle)))
        scheme, proxy = ("https" if way in ways else "http"), (port if way == "proxy" else None)

        async def call() -> None:
            with scope:
                await get(transport, port, scheme=scheme, proxy=proxy)

        turns, whole = 0, False
        while not whole:
            transport._dialer._addresses = addresses.Addresses()
            scope = anyio.CancelScope()
            task = asyncio.create_task(call())
            for _ in range(turns):
                await asyncio.sleep(0)
            (task if by == "task" else scope).cancel()
            await asyncio.wait([task])
            # It may have ended in the turn in which it was to be cancelled; its connection is then kept.
            whole = not (task.cancelled() or scope.cancelled_caught)
            # The transport is still open: nobody but the call itself closes anything.
            if not whole and server.open:
                await server.wait_quiet()
            # One by one at first, where a call does something in each; later most turns only wait.
            turns += 1 + max(0, turns - 20) // growth
        assert turns > 5


@needs_loopback_network
@pytest.mark.parametrize("by", ["task", "scope"])
async def test_a_race_that_is_cancelled_as_it_ends_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    resolve(monkeypatch, {NAME: EIGHT[:2]})
    loop = asyncio.get_running_loop()
    real, scope = loop.sock_connect, anyio.CancelScope()

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        try:
            await real(sock, address)
        except asyncio.CancelledError:
            # The other address has answered, and this one is given up.
            (call if by == "task" else scope).cancel()
            raise

    async def get_in_scope() -> None:
        with scope:
            await get(transport, port)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with (
        listening(answer, addresses=EIGHT[:2], holes=EIGHT[:1]) as port,
        opened() as transport,
    ):
        call = asyncio.create_task(get_in_scope())
        await asyncio.wait([call])
        assert call.cancelled() == (by == "task")
        assert scope.cancelled_caught == (by == "scope")


async def test_a_handshake_that_is_cancelled_as_it_ends_does_not_wait_for_a_goodbye(
    monkeypatch: pytest.MonkeyPatch, one: None, tls: ssl.SSLContext, bundle: str
) -> None:
    made: list[Connection] = []
    real = Connection.connection_made

    def connection_made(connection: Connection, transport: asyncio.BaseTransport) -> None:
        real(connection, transport)
        made.append(connection)
        call.cancel()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", inner)
        answers = asyncio.create_task(relay_back(there, writer))
        while data := await reader.read(1 << 16):
            # What comes after the handshake gets lost.
            if not made:
                to_there.write(data)
        to_there.close()
        await answers

    async def relay_back(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(1 << 16):
            writer.write(data)

    monkeypatch.setattr(Connection, "connection_made", connection_made)
    async with (
        listening(answer, tls=tls) as inner,
        listening(serve) as port,
        FastTransport(connect_timeout=20, trust=Trust(bundle)) as transport,
    ):
        call = asyncio.create_task(get(transport, port, scheme="https"))
        with pytest.raises(asyncio.CancelledError):
            await call
        with anyio.fail_after(20):
            await made[0].closed


def test_a_failure_that_several_wait_for_names_the_proxy_once() -> None:
    error = UnreachableError("no answer from proxy.example: Connection refused", code=NoReply.CONNECT)
    for _ in range(2):
        with (
            pytest.raises(UnreachableError) as caught,
            dialing._naming_proxy(addresses.HostPort("proxy.example", 3128)),
        ):
            raise error
        said = "no answer from the proxy proxy.example:3128: Connection refused"
        assert (caught.value.message, str(caught.value)) == (said, said)

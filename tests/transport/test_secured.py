"""TLS of the fast transport: a reply is whole however its records arrive, and a broken one is none."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.transport.http1 import new_buffer
from poolcensus.aws.transport.secured import Secured
from poolcensus.aws.transport.tls import trusting
from poolcensus.aws.transport.tunnel import Tunnel
from poolcensus.errors import BadResponseError, UnreachableError
from transport.wire import Wire, connection_to, requests_have_left

if TYPE_CHECKING:
    from collections.abc import Iterable

    import trustme

    from poolcensus.aws.transport.protocol import Reply

pytestmark = pytest.mark.usefixtures("no_task_left")

REQUEST = b"POST / HTTP/1.1\r\n\r\n"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
# Far longer than any of these takes.
LIMIT = 20.0
# A record holds 16 KiB: one, several, and one byte more.
SIZES = (0, 1, 16_384, 16_385, 50_000)


class Socket(Wire):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = bytearray()

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.unread += data

    def is_closing(self) -> bool:
        return self.aborted

    def take(self) -> bytes:
        taken = bytes(self.unread)
        self.unread.clear()
        return taken


class Peer:
    """The server's end of one layer of TLS, in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=True)
        self.shaken = False

    def decrypt(self, data: bytes) -> bytes:
        self._received.write(data)
        plain = b""
        try:
            if not self.shaken:
                self._tls.do_handshake()
                self.shaken = True
            while piece := self._tls.read(1 << 20):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        return plain

    def encrypt(self, data: bytes) -> bytes:
        if data:
            self._tls.write(data)
        return self._to_send.read()

    def goodbye(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._to_send.read()


class Server:
    """A server beyond layers of TLS, the outermost first, and the client's connection to it."""

    def __init__(self, *contexts: ssl.SSLContext, trust: ssl.SSLContext) -> None:
        self.peers = [Peer(context) for context in contexts]
        self.socket = Socket()
        self.connection = connection_to("here")
        buffer = new_buffer()
        self.secured = [Secured(self.connection, trust, "localhost", buffer) for _ in contexts]
        for outer, inner in zip(self.secured, self.secured[1:], strict=False):
            outer.set_protocol(inner)
        self.asked = b""

    def connect(self, cuts: Iterable[int] = ()) -> None:
        self.secured[0].connection_made(self.socket)
        self.pump(cuts)

    def say(self, reply: bytes) -> bytes:
        for peer in reversed(self.peers):
            reply = peer.encrypt(reply)
        return reply

    def pump(self, cuts: Iterable[int] = ()) -> None:
        """Carry bytes both ways until nobody has any, those to the client in pieces of these sizes."""
        sizes = iter(cuts)
        while data := self.socket.take():
            for peer in self.peers:
                data = peer.decrypt(data)
            self.asked += data
            self.receive(self.say(b""), sizes)

    def receive(self, data: bytes | bytearray, cuts: Iterable[int] = ()) -> None:
        sizes = iter(cuts)
        while data:
            room = self.secured[0].get_buffer(-1)
            taken = min(next(sizes, len(room)), len(data))
            room[:taken] = data[:taken]
            self.secured[0].buffer_updated(taken)
            data = data[taken:]

    async def ask(self) -> asyncio.Task[Reply]:
        """Send a request, and see that the server has it."""
        call = asyncio.create_task(self.connection.exchange(REQUEST, LIMIT))
        await requests_have_left()
        self.pump()
        assert self.asked.endswith(REQUEST)
        return call

    def end(self) -> None:
        self.secured[0].connection_lost(None)


def connected(context: ssl.SSLContext, trust: ssl.SSLContext) -> Server:
    """Return a server beyond one layer of TLS, with the handshake done."""
    server = Server(context, trust=trust)
    server.connect()
    return server


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@pytest.fixture(scope="module")
def trust(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return trusting(str(path))


@pytest.fixture(scope="module")
def serving(authority: trustme.CA) -> dict[ssl.TLSVersion, ssl.SSLContext]:
    certificate = authority.issue_cert("localhost")
    contexts = {}
    for version in VERSIONS:
        contexts[version] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        certificate.configure_cert(context)
    return contexts


@pytest.fixture(scope="module", params=VERSIONS, ids=["1.2", "1.3"])
def context(request: pytest.FixtureRequest, serving: dict[ssl.TLSVersion, ssl.SSLContext]) -> ssl.SSLContext:
    """What the server has, for each version of TLS."""
    return serving[request.param]


@given(
    layers=st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=2),
    sizes=st.lists(st.sampled_from(SIZES) | st.integers(0, 200), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 3000), max_size=60),
)
async def test_replies_are_whole_however_their_records_arrive(
    trust: ssl.SSLContext,
    serving: dict[ssl.TLSVersion, ssl.SSLContext],
    layers: list[ssl.TLSVersion],
    sizes: list[int],
    cuts: list[int],
) -> None:
    server = Server(*(serving[each] for each in layers), trust=trust)
    server.connect(cuts)
    for seed, size in enumerate(sizes):
        body = (bytes([seed]) + b"pools") * (size // 6) + b"p" * (size % 6)
        call = await server.ask()
        server.receive(server.say(whole(body)), cuts)
        assert (await call).body == body
        assert server.connection.reusable
    assert server.asked == REQUEST * len(sizes)
    server.end()
    assert server.connection.closed.done()


async def test_what_comes_unasked_with_the_handshake_is_no_reply(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = Server(context, trust=trust)
    server.secured[0].connection_made(server.socket)
    peer = server.peers[0]
    while data := server.socket.take():
        peer.decrypt(data)
        server.receive(peer.encrypt(whole(b"{}") if peer.shaken else b""))
    await server.secured[0].handshake()
    assert server.socket.aborted
    with pytest.raises(UnreachableError):
        await server.connection.exchange(REQUEST, LIMIT)
    server.end()


async def test_a_connection_whose_server_says_goodbye_takes_no_request(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = connected(context, trust)
    server.receive(server.peers[0].goodbye())
    # At once, and not when the loop has closed the socket.
    assert not server.connection.reusable
    assert server.connection.closed.done()
    assert server.socket.aborted
    server.end()


async def test_a_goodbye_in_the_middle_of_a_reply_cuts_it_off(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = connected(context, trust)
    call = await server.ask()
    server.receive(server.say(whole(b"{}")[:-1]) + server.peers[0].goodbye())
    with pytest.raises(BadResponseError, match="was cut off"):
        await call
    server.end()


@pytest.mark.parametrize("sent", [0, 10, 60])
async def test_a_record_that_was_changed_on_the_way_is_never_part_of_a_reply(
    trust: ssl.SSLContext, context: ssl.SSLContext, sent: int
) -> None:
    server = connected(context, trust)
    call = await server.ask()
    reply = whole(b"x" * 100)
    first, second = server.say(reply[:sent]), bytearray(server.say(reply[sent:]))
    second[-1] ^= 1
    server.receive(first + second)
    error = await asyncio.gather(call, return_exceptions=True)
    if sent:
        assert isinstance(error[0], BadResponseError)
        assert "was cut off" in str(error[0])
    else:
        assert isinstance(error[0], UnreachableError)
        assert "no answer from here" in str(error[0])
    assert server.socket.aborted
    server.end()


async def test_the_server_is_told_why_it_is_refused(context: ssl.SSLContext) -> None:
    server = Server(context, trust=ssl.create_default_context())
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
        server.connect()
    with pytest.raises(ssl.SSLCertVerificationError):
        await server.secured[0].handshake()
    assert server.socket.aborted
    server.end()


@pytest.mark.parametrize("head", [b"content-length: 5\r\n", b""])
async def test_a_reset_in_the_middle_of_a_reply_cuts_it_off(
    trust: ssl.SSLContext, context: ssl.SSLContext, head: bytes
) -> None:
    server = connected(context, trust)
    call = await server.ask()
    server.receive(server.say(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n{}"))
    server.secured[0].connection_lost(ConnectionResetError())
    with pytest.raises(BadResponseError, match="was cut off"):
        await call


async def test_what_a_proxy_says_unasked_is_its_answer(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = Server(context, trust=trust)
    tunnel = Tunnel("there")
    server.secured[0].set_protocol(tunnel)
    server.connect()
    server.receive(server.say(b"junk\r\n\r\n") + server.peers[0].goodbye())
    with pytest.raises(UnreachableError, match=r"there: the proxy's answer is not HTTP"):
        await tunnel.open(b"CONNECT there:443 HTTP/1.1\r\n\r\n")
    server.end()


async def test_a_proxy_that_has_ended_is_no_way_to_the_origin() -> None:
    tunnel, socket = Tunnel("there"), Socket()
    tunnel.connection_made(socket)
    tunnel.data_received(b"HTTP/1.1 200 Connection established\r\n\r\n")
    # The loop tells of its end in the next turn.
    socket.abort()
    with pytest.raises(UnreachableError, match="there: the proxy closed the connection"):
        await tunnel.open(b"CONNECT there:443 HTTP/1.1\r\n\r\n")


async def test_what_is_above_is_told_of_the_end_once(
    trust: ssl.SSLContext, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Exception | None] = []
    server = Server(context, trust=trust)
    monkeypatch.setattr(server.connection, "connection_lost", ends.append)
    server.connect()
    server.receive(server.peers[0].goodbye())
    server.end()
    assert ends == [None]


async def test_nothing_above_is_told_of_a_handshake_that_nobody_waits_for_any_more(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = Server(context, trust=trust)
    server.secured[0].connection_made(server.socket)
    waiting = asyncio.create_task(server.secured[0].handshake())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    server.pump()
    server.receive(server.say(whole(b"{}")))
    server.end()
    with pytest.raises(UnreachableError):
        await server.connection.exchange(REQUEST, LIMIT)
    assert not server.connection.closed.done()


async def test_an_error_that_nobody_waits_for_is_not_complained_of(trust: ssl.SSLContext) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    server = Server(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trust=trust)
    server.secured[0].connection_made(server.socket)
    server.end()
    tunnel = Tunnel("there")
    tunnel.data_received(b"junk\r\n\r\n")
    del server, tunnel
    gc.collect()
    assert not complaints


async def test_a_large_reply_leaves_no_more_memory_than_is_received_at_a_time(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = Server(context, trust=trust)
    assert len(server.secured[0].get_buffer(-1)) == 32 * 1024 < len(new_buffer())


@pytest.mark.parametrize("came", [b"", b"\x16\x03\x03", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_handshake_that_ends_early_is_an_error(trust: ssl.SSLContext, came: bytes) -> None:
    server = Server(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trust=trust)
    server.secured[0].connection_made(server.socket)
    server.receive(came)
    server.end()
    with pytest.raises(OSError, match=r"closed the connection|WRONG_VERSION_NUMBER"):
        await server.secured[0].handshake()
    with pytest.raises(UnreachableError):
        await server.connection.exchange(REQUEST, LIMIT)


async def test_a_connection_that_has_ended_is_freed_at_once(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = connected(context, trust)
    call = await server.ask()
    server.receive(server.say(whole(b"{}")))
    await call
    server.end()
    assert_freed(server)


async def test_a_connection_that_a_bad_record_has_ended_is_freed_at_once(
    trust: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    server = connected(context, trust)
    record = bytearray(server.say(b"x"))
    record[-1] ^= 1
    server.receive(record)
    server.end()
    assert_freed(server)


def assert_freed(server: Server) -> None:
    left = weakref.ref(server.secured[0])
    gc.disable()
    try:
        server.secured.clear()
        assert left() is None
    finally:
        gc.enable()

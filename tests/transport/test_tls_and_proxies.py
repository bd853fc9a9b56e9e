"""TLS and proxies: whom we trust, and that only the origin reads what is meant for it."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import anyio
import pytest
import trustme

from poolcensus.aws.sdk.proxies import Proxies
from poolcensus.aws.transport import tls
from poolcensus.aws.transport.tls import Trust, trusting
from poolcensus.errors import FatalError, SettingsError, UnreachableError
from transport_lab import KINDS, SDK_LATER, opened, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def test_what_is_trusted_is_loaded_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[ssl.SSLContext] = []

    def load(_: object) -> ssl.SSLContext:
        loaded.append(ssl.create_default_context())
        return loaded[-1]

    monkeypatch.setattr(tls, "trusting", load)
    trust = Trust(None)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(trust.context)
    assert [await trust.context()] == loaded


async def test_certificates_on_a_disk_that_does_not_answer_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(tls, "_LONGEST_READ", 0.05)
    monkeypatch.setattr(tls, "trusting", lambda _: answers.wait())
    try:
        with pytest.raises(FatalError) as caught:
            await Trust("/mnt/bundle.pem").context()
    finally:
        answers.set()
    assert str(caught.value) == "The CA bundle /mnt/bundle.pem could not be read within 0.05 s."


class Origin:
    """Answers every request with an empty object, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                writer.write(REPLY)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Proxy:
    """A proxy that tunnels CONNECT and forwards plain requests to one origin, and sees all that passes."""

    def __init__(self, target: int, *, status: int = 200) -> None:
        self.target = target
        self.status = status
        self.asked: list[bytes] = []
        self.seen = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        if self.status != 200:
            writer.write(f"HTTP/1.1 {self.status} No\r\ncontent-length: 0\r\n\r\n".encode())
            writer.close()
            return
        origin_reader, origin_writer = await asyncio.open_connection("127.0.0.1", self.target)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            origin_writer.write(head)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass(reader, origin_writer))
            group.create_task(self._pass(origin_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.seen += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: Origin | Proxy, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(params=SDK_LATER)
def kind(request: pytest.FixtureRequest) -> str:
    """Which transport."""
    return str(request.param)


async def test_a_trusted_certificate_is_accepted_and_the_connection_kept(
    kind: str, authority: trustme.CA, bundle: str
) -> None:
    origin = Origin()
    async with listening(origin, server_side(authority, "localhost")) as port:
        async with opened(kind, connect_timeout=5, ca_bundle=bundle) as transport:
            for _ in range(3):
                assert (await post(transport, f"https://localhost:{port}/")).body == b"{}"
        assert origin.connections == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_unasked_over_tls_is_not_the_reply_to_the_next_request(
    kind: str, authority: trustme.CA, bundle: str
) -> None:
    origin = Origin()
    async with (
        listening(origin, server_side(authority, "localhost")) as port,
        opened(kind, connect_timeout=5, ca_bundle=bundle) as transport,
    ):
        for number in range(3):
            assert (await post(transport, f"https://localhost:{port}/")).body == b"{}"
            # It is sent at once, and the loop does not read it before the next request goes out.
            origin.writers[number].write(REPLY.replace(b"{}", b"[]"))
        assert origin.connections == 3


async def test_a_folder_of_authorities_is_a_bundle_too(
    kind: str, authority: trustme.CA, tmp_path: Path
) -> None:
    async with (
        listening(Origin(), server_side(authority, "localhost")) as port,
        opened(kind, connect_timeout=5, ca_bundle=str(tmp_path)) as transport,
    ):
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            await post(transport, f"https://localhost:{port}/")


async def test_an_unknown_authority_is_refused_before_anything_is_sent(kind: str, bundle: str) -> None:
    origin = Origin()
    async with (
        listening(origin, server_side(trustme.CA(), "localhost")) as port,
        opened(kind, connect_timeout=5, ca_bundle=bundle) as transport,
    ):
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            await post(transport, f"https://localhost:{port}/")
    assert not origin.heads


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_of_another_name_is_refused(
    kind: str, authority: trustme.CA, bundle: str
) -> None:
    origin = Origin()
    async with (
        listening(origin, server_side(authority, "elsewhere.example")) as port,
        opened(kind, connect_timeout=5, ca_bundle=bundle) as transport,
    ):
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            await post(transport, f"https://localhost:{port}/")
    assert not origin.heads


@pytest.mark.parametrize("kind", KINDS)
async def test_through_a_proxy_only_the_origin_reads_the_request(
    kind: str, authority: trustme.CA, bundle: str
) -> None:
    origin = Origin()
    async with listening(origin, server_side(authority, "localhost")) as port:
        proxy = Proxy(port)
        async with listening(proxy) as proxy_port:
            async with opened(kind, connect_timeout=5, ca_bundle=bundle) as transport:
                url = f"https://localhost:{port}/"
                for _ in range(2):
                    reply = await post(transport, url, proxy=f"http://user:p%40ss@127.0.0.1:{proxy_port}")
                    assert reply.status == 200
    assert len(proxy.asked) == 1
    assert proxy.asked[0].startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n".encode())
    assert base64.b64encode(b"user:p@ss") in proxy.asked[0]
    assert b"the-token" not in proxy.asked[0] + bytes(proxy.seen)
    assert all(b"the-token" in head and b"proxy-authorization" not in head for head in origin.heads)


@pytest.mark.parametrize("wrong", ["authority", "name"])
@pytest.mark.parametrize(
    ("kind", "by_tls"), [*((kind, False) for kind in KINDS), pytest.param("fast", True, id="fast-by-tls")]
)
async def test_the_origin_behind_a_proxy_has_to_be_trusted_and_to_have_its_name(
    kind: str, authority: trustme.CA, bundle: str, *, by_tls: bool, wrong: str
) -> None:
    origin = Origin()
    theirs = (
        server_side(trustme.CA(), "localhost")
        if wrong == "authority"
        else server_side(authority, "elsewhere.example")
    )
    of_proxy = server_side(authority, "localhost") if by_tls else None
    async with listening(origin, theirs) as port, listening(Proxy(port), of_proxy) as proxy_port:
        async with opened(kind, connect_timeout=5, ca_bundle=bundle) as transport:
            proxy = f"{'https' if by_tls else 'http'}://localhost:{proxy_port}"
            with pytest.raises(UnreachableError, match="certificate is not trusted"):
                await post(transport, f"https://localhost:{port}/", proxy=proxy)
    assert not origin.heads


@pytest.mark.parametrize("by_tls", [False, True])
async def test_a_proxy_that_ends_right_after_its_answer_is_an_error(
    authority: trustme.CA, bundle: str, *, by_tls: bool
) -> None:
    class Ending(Proxy):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            writer.close()

    tls = server_side(authority, "localhost") if by_tls else None
    async with listening(Ending(1), tls) as proxy_port:
        async with opened("fast", connect_timeout=5, ca_bundle=bundle) as transport:
            scheme = "https" if by_tls else "http"
            with pytest.raises(UnreachableError, match="closed the connection|Connection reset|Broken pipe"):
                await post(transport, "https://localhost:1/", proxy=f"{scheme}://localhost:{proxy_port}")


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
async def test_what_is_no_name_behind_a_proxy_is_said_to_be_none(host: str, bundle: str) -> None:
    async with listening(Origin()) as port:
        async with listening(Proxy(port)) as proxy_port:
            async with opened("fast", connect_timeout=5, ca_bundle=bundle) as transport:
                with pytest.raises(UnreachableError, match=r"no answer from a.*: the host name is not valid"):
                    await post(transport, f"https://{host}/", proxy=f"http://127.0.0.1:{proxy_port}")


async def test_a_proxy_that_is_reached_by_tls(kind: str, authority: trustme.CA, bundle: str) -> None:
    origin = Origin()
    async with listening(origin, server_side(authority, "localhost")) as port:
        proxy = Proxy(port)
        async with listening(proxy, server_side(authority, "localhost")) as proxy_port:
            async with opened(kind, connect_timeout=5, ca_bundle=bundle) as transport:
                url = f"https://localhost:{port}/"
                assert (await post(transport, url, proxy=f"https://localhost:{proxy_port}")).body == b"{}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("by", ["http", "https"])
async def test_a_proxy_that_is_not_there_is_named_with_its_port(scheme: str, by: str, bundle: str) -> None:
    with closing(socket.socket()) as taken:
        # Bound, and nobody listens.
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        async with opened("fast", connect_timeout=5, ca_bundle=bundle) as transport:
            with pytest.raises(UnreachableError) as caught:
                await post(transport, f"{scheme}://localhost:1/", proxy=f"{by}://u:p@{place}")
    assert caught.value.message == f"no answer from the proxy {place}: Connection refused"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_refuses_says_so(kind: str, authority: trustme.CA, bundle: str) -> None:
    async with listening(Origin(), server_side(authority, "localhost")) as port:
        async with listening(Proxy(port, status=407)) as proxy_port:
            async with opened(kind, connect_timeout=5, ca_bundle=bundle) as transport:
                with pytest.raises(UnreachableError, match="status 407"):
                    await post(
                        transport, f"https://localhost:{port}/", proxy=f"http://127.0.0.1:{proxy_port}"
                    )


async def test_plain_http_is_forwarded_with_the_whole_url(kind: str) -> None:
    origin = Origin()
    async with listening(origin) as port:
        proxy = Proxy(port)
        async with listening(proxy) as proxy_port:
            async with opened(kind, connect_timeout=5) as transport:
                url = f"http://127.0.0.1:{port}/"
                await post(transport, url, proxy=f"http://u:p@127.0.0.1:{proxy_port}")
    assert proxy.asked[0].startswith(f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\n".encode())
    assert b"proxy-authorization: basic" in proxy.asked[0].lower()


@pytest.mark.parametrize(
    "proxy",
    [
        "http://secret\r\nx-evil: 1@127.0.0.1:3128",
        "http://secret%0d%0ax-evil%3a1:p@127.0.0.1:3128",
        "http://u:secret%0A@127.0.0.1:3128",
        "http://u:secret%00@127.0.0.1:3128",
        "http://secret%3au:p@127.0.0.1:3128",
        "http://u:secret @127.0.0.1:3128",
        "http://secret\u00e9:p@127.0.0.1:3128",
    ],
)
def test_a_proxy_whose_credentials_fit_in_no_header_is_refused_without_them(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(SettingsError, match="HTTPS_PROXY") as caught:
        Proxies().of("https://sts.eu-west-1.amazonaws.com/")
    assert "secret" not in str(caught.value)


def test_a_proxy_whose_password_is_encoded_is_none_the_worse_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://u:p%40s%3As%C3%A9@127.0.0.1:3128")
    assert Proxies().of("https://sts.eu-west-1.amazonaws.com/") == "http://u:p%40s%3As%C3%A9@127.0.0.1:3128"


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://secret:p@127.0.0.1:1080",
        "socks5h://secret:p@127.0.0.1:1080",
        "SOCKS5://secret@127.0.0.1:1080",
        "socks4a://secret@127.0.0.1",
        "socks://secret@127.0.0.1:1080",
    ],
)
def test_a_socks_proxy_is_refused_as_one(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY names a SOCKS proxy.*NO_PROXY") as caught:
        Proxies().of("https://sts.eu-west-1.amazonaws.com/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "ftp://secret@127.0.0.1:3128",
        "HTTP://secret@127.0.0.1:3128",
        "unix:///secret.sock",
        "http://",
        "http:///secret",
        "http://:3128",
        "http://secret@:3128",
        "http:secret",
        "//",
        "://secret:3128",
        "http://secret:0",
        "http://secret:65536",
        "socks5:secret:1080",
    ],
)
def test_what_is_no_url_of_a_proxy_is_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(SettingsError, match="^HTTPS_PROXY is not a URL such as http://proxy") as caught:
        Proxies().of("https://sts.eu-west-1.amazonaws.com/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("//proxy.example.com", "http://proxy.example.com"),
        ("socks5.example.com:3128", "http://socks5.example.com:3128"),
        ("u:p@proxy.example.com:3128", "http://u:p@proxy.example.com:3128"),
        ("https://[::1]:3128/", "https://[::1]:3128/"),
    ],
)
def test_a_proxy_is_read_as_the_sdk_reads_it(
    monkeypatch: pytest.MonkeyPatch, written: str, read: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", written)
    assert Proxies().of("https://sts.eu-west-1.amazonaws.com/") == read


def test_a_proxy_that_a_host_does_without_is_none_of_its_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com")
    proxies = Proxies()
    assert proxies.of("https://sts.eu-west-1.amazonaws.com/") is None
    assert proxies.of("http://127.0.0.1:9/") is None
    with pytest.raises(SettingsError, match="SOCKS"):
        proxies.of("https://sts.cn-north-1.amazonaws.com.cn/")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_bundle_of_no_use_names_where_it_may_be_named(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(SettingsError, match="AWS_CA_BUNDLE, ca_bundle in the profile, or REQUESTS_CA_BUNDLE"):
        trusting(str(bundle))


def test_a_key_log_that_cannot_be_written_is_named_in_place_of_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "nowhere" / "keys"))
    with pytest.raises(
        SettingsError, match=r"SSLKEYLOGFILE names a file that can't be written to: .*nowhere"
    ):
        trusting(None)

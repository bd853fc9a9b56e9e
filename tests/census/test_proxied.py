"""Every call of a run goes by AWS's own names, through the proxy, and trusts the private CA alone.

No name of AWS resolves here: what does not go through the proxy fails.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from network_lab import listening, relay
from poolcensus.errors import FatalError
from poolcensus.flow.retry import RetryPolicy
from storage.buckets import PLACE, stored
from transport_lab import KINDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    import trustme

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

PASSWORD = "a-proxy's-p%40ssword"
REGIONS = ("us-east-1", "eu-west-1", "af-south-1")
OPERATION = {f"workspaces.{region}.amazonaws.com" for region in REGIONS}


class Proxy:
    """A proxy that knows its users, and connects every name of AWS to the simulator."""

    def __init__(self) -> None:
        self.port = 0
        self.names: set[str] = set()
        self.refused = 0
        self.hangs = False
        self.end = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://census:{PASSWORD}@127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self, here: Lab, authority: trustme.CA) -> AsyncIterator[None]:
        simulator = urlsplit(here.simulator.endpoint_url).port
        assert simulator is not None
        async with listening(relay(simulator), tls=_certificate(authority)) as aws:
            self._onward = relay(aws)
            async with listening(self._serve) as self.port:
                yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.hangs:
            await self.end.wait()
            return
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        wanted = base64.b64encode(b"census:a-proxy's-p@ssword").decode()
        if method != "CONNECT" or wanted not in head:
            self.refused += 1
            writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        assert port == "443"
        self.names.add(host)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await self._onward(reader, writer)


def _certificate(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = [
        f"{prefix}.{region}.amazonaws.com" for region in REGIONS for prefix in ("*", "*.s3", "*.s3-fips")
    ]
    authority.issue_cert(*names, "*.s3.amazonaws.com").configure_cert(context)
    return context


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


@pytest.fixture(autouse=True)
def resolved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which a name of AWS is looked up."""
    real = socket.getaddrinfo
    asked: list[object] = []

    def getaddrinfo(host: object, *args: object, **options: object) -> object:
        if "aws" in str(host):
            asked.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "a name of AWS")
        return real(host, *args, **options)  # type: ignore[arg-type] # whatever it was called with

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    assert not asked


@pytest.fixture
async def here(
    lab: Start, monkeypatch: pytest.MonkeyPatch, proxy: Proxy, authority: trustme.CA, bundle: str
) -> AsyncIterator[Lab]:
    """A simulator that is reached through the proxy alone, whose user the environment names."""
    here = await lab(accounts=6, opt_in_disabled=0.4)
    stored(here.simulator)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    async with proxy.serving(here, authority):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield here


@pytest.mark.parametrize("kind", KINDS)
async def test_all_calls_go_through_the_proxy(here: Lab, proxy: Proxy, kind: str) -> None:
    # The bucket is read by plain calls, and the loop serves it.
    await to_thread.run_sync(here.assert_exact, await here.collect(transport=kind, dest=PLACE))
    called = ("sts", "organizations", "account", "census.s3")
    names = {name.replace("s3.amazonaws", "s3.us-east-1.amazonaws") for name in proxy.names}
    assert names == OPERATION | {f"{each}.us-east-1.amazonaws.com" for each in called}
    assert not proxy.refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_REGION", "fips-us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1-fips"),
    ],
)
async def test_with_fips_every_name_is_one(  # noqa: PLR0917 - pytest gives them by name
    here: Lab,
    proxy: Proxy,
    kind: str,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)
    await to_thread.run_sync(here.assert_exact, await here.collect(transport=kind, dest=PLACE))
    assert proxy.names == {
        *(name.replace("workspaces.", "workspaces-fips.") for name in OPERATION),
        *(
            f"{each}-fips.us-east-1.amazonaws.com"
            for each in ("sts", "organizations", "account", "census.s3")
        ),
    }
    # Such as the SDK's, that a region is none.
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("fips", "configured"),
    [
        ("", "region = us-east-1\nuse_fips_endpoint = False"),
        ("-fips", "region = us-east-1\nuse_fips_endpoint = True"),
        ("-fips", "region = fips-us-east-1"),
    ],
)
async def test_the_chain_of_a_profile_goes_that_way_too(  # noqa: PLR0917 - pytest gives them by name
    here: Lab, proxy: Proxy, fips: str, configured: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile member]\nrole_arn = arn:aws:iam::000000000002:role/PoolCensusReader\n"
        f"credential_source = Environment\nca_bundle = {tmp_path / 'ca.pem'}\n{configured}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_CA_BUNDLE")
    snapshot = await here.collect(profile="member", accounts_from="self", regions="eu-west-1")
    assert [each.account_id for each in snapshot.targets()] == ["000000000002"]
    assert proxy.names == {f"sts{fips}.us-east-1.amazonaws.com", f"workspaces{fips}.eu-west-1.amazonaws.com"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_refuses_ends_the_run_and_its_password_is_not_told(
    here: Lab, proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("poolcensus.aws.credentials.identity._PATIENCE", RetryPolicy(max_attempts=1))
    monkeypatch.setattr("poolcensus.aws.credentials.patience.PATIENCE", 0.0)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("census:", "nobody:"))
    with caplog.at_level(logging.DEBUG), pytest.raises(FatalError, match="proxy") as caught:
        await here.collect(transport=kind)
    assert "407" in str(caught.value)
    assert proxy.refused
    assert not proxy.names
    told = f"{caught.value} {caught.value.__cause__!r} {caplog.text}"
    assert "ssword" not in told
    assert base64.b64encode(b"nobody:a-proxy's-p@ssword").decode() not in told


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_hangs_is_given_up(
    here: Lab, proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.aws.credentials.identity._PATIENCE", RetryPolicy(max_attempts=1))
    monkeypatch.setattr("poolcensus.aws.credentials.patience.PATIENCE", 0.0)
    proxy.hangs = True
    with pytest.raises(FatalError, match="STS can't be reached|STS gave no usable answer") as caught:
        await here.collect(transport=kind, attempt_timeout=0.3)
    assert "ssword" not in str(caught.value)
    proxy.end.set()

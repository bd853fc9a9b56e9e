"""One function for both transports: a request to a URL, signed with credentials that the test knows."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from poolcensus.aws.signing import Credentials, RequestTemplate, SdkOperation
from poolcensus.aws.transport.fast import FastTransport
from poolcensus.aws.transport.sdk import SdkTransport
from poolcensus.aws.transport.tls import Trust

if TYPE_CHECKING:
    from poolcensus.aws.transport.protocol import Reply, Transport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

KINDS = ("fast", "sdk")
SDK_LATER = ("fast", pytest.param("sdk", marks=pytest.mark.long))
"""Both transports, but the SDK's in the long run only, since it takes 100 ms to start.

The default run has the SDK's transport in another test of the same kind.
"""
both_transports = pytest.mark.parametrize("transport", KINDS, indirect=True)
"""Both transports in the default run, for tests with the fixture `transport`: one for each kind of fault."""
TOKEN = "the-token"
KEYS = Credentials("AKIAEXAMPLE", "the-secret-key", TOKEN)
_STAMP = "20261123T020000Z"
_numbers = count(1)


def opened(
    kind: str, *, connect_timeout: float = 20.0, ca_bundle: str | None = None
) -> FastTransport | SdkTransport:
    """Return a transport that is not open yet."""
    if kind == "fast":
        return FastTransport(connect_timeout=connect_timeout, trust=Trust(ca_bundle))
    trust = Trust(ca_bundle)
    return SdkTransport(profile=None, endpoint_url=None, connect_timeout=connect_timeout, trust=trust)


def by_kind(name: str, values: Iterable[str], *, sdk: Collection[str]) -> pytest.MarkDecorator:
    """Parametrize a test with transports and values. In the default run the SDK has only those of `sdk`."""
    values = list(values)
    fast = [pytest.param("fast", each, id=f"fast-{each}") for each in values]
    rest = [
        pytest.param("sdk", each, id=f"sdk-{each}", marks=() if each in sdk else pytest.mark.long)
        for each in values
    ]
    return pytest.mark.parametrize(("kind", name), [*fast, *rest])


@cache
def _region(url: str) -> str:
    """Return a region for this URL only, since clients of the SDK get their endpoint when they are made."""
    return f"region-{next(_numbers)}"


async def post(
    transport: Transport,
    url: str,
    *,
    body: bytes = b"{}",
    limit: float = 20.0,
    proxy: str | None = None,
    keys: Credentials = KEYS,
) -> Reply:
    """Send a call to a URL, with the template of a census's operation."""
    parts, region = urlsplit(url), _region(url)
    template = RequestTemplate(
        method="POST",
        url=url,
        host=parts.netloc,
        path=parts.path or "/",
        headers={
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": "WorkspacesService.DescribeWorkspacesPools",
        },
        service="workspaces",
        region=region,
        proxy=proxy,
        operation=SdkOperation("workspaces", region, "describe_workspaces_pools"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        return await transport.send(template, body, keys, _STAMP, timeout=limit)

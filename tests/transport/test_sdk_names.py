"""How aiohttp looks up names under the SDK's clients: as it does by itself."""

from __future__ import annotations

import inspect
import socket
from typing import Any

import pytest
from aiohttp import ThreadedResolver

from poolcensus.aws.transport.sdk_names import Resolver

NAME = "aws.example.com"
FOUND = (
    (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("2001:db8::1", 80, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.1", 80)),
)


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
async def test_a_name_is_looked_up_as_aiohttp_does(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily
) -> None:
    asked: list[dict[str, object]] = []
    wanted = inspect.signature(socket.getaddrinfo)

    def getaddrinfo(*args: Any, **kwargs: Any) -> object:
        given = wanted.bind(*args, **kwargs)
        given.apply_defaults()
        asked.append(given.arguments)
        return [each for each in FOUND if family in {socket.AF_UNSPEC, each[0]}]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    ours, theirs = [await each.resolve(NAME, 80, family) for each in (Resolver(), ThreadedResolver())]
    assert ours == theirs
    assert asked[0] == asked[1]


async def test_a_link_local_address_keeps_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("fe80::1", 80, 0, 1))]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        (resolved,) = await Resolver().resolve(NAME, 80, socket.AF_UNSPEC)
    # As a socket takes it.
    (read,) = socket.getaddrinfo(
        resolved["host"], resolved["port"], type=socket.SOCK_STREAM, flags=resolved["flags"]
    )
    assert read[4] == ("fe80::1", 80, 0, 1)

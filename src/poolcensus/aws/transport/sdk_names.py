"""Name resolution for aiohttp, which the SDK's clients use."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from poolcensus.aws.transport.names import look_up

_IS_ADDRESS = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """Resolves names as aiohttp does by default, but not in a thread of the event loop's executor."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await look_up(host, port, family=family, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host, host=_host_of(address), port=port, family=kind, proto=proto, flags=_IS_ADDRESS
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is kept open."""


def _host_of(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Return the address of a host, with the link that a link-local one is on."""
    host, scope = address[0], address[-1] if len(address) == 4 else 0
    return f"{host}%{scope}" if scope else host

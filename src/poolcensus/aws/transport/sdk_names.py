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
                hostname=host, host=address[0], port=port, family=kind, proto=proto, flags=_IS_ADDRESS
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is kept open."""

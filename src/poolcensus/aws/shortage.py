"""What calls do while this machine has nothing left for a connection: file descriptors, ports, memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import FatalError

if TYPE_CHECKING:
    from poolcensus.errors import LocalLimitError
    from poolcensus.flow.breaker import CircuitBreakers

_log = logging.getLogger("poolcensus")


class Shortage:
    """What a call does while nothing is left on this machine for its connection.

    That says nothing about the service: the call waits, and others end and give back what they used.
    """

    # Connections end all the time: what has not come back in a minute without a reply does not come back.
    _LONGEST = 60.0
    _PAUSE = 0.5

    __slots__ = ("_breakers", "_since")

    def __init__(self, breakers: CircuitBreakers) -> None:
        self._breakers = breakers
        self._since = breakers.now()

    def note(self, error: LocalLimitError) -> None:
        """Note that it goes on. Raises FatalError where it has lasted too long."""
        if self._breakers.now() - max(self._since, self._breakers.last_reply) >= self._LONGEST:
            raise FatalError(f"no connection can be opened: {error.message}") from error
        _log.info("a call waits: %s", error.message)

    async def pause(self) -> None:
        """Wait a moment."""
        await anyio.sleep(self._PAUSE)

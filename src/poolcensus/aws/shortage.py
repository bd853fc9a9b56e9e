"""A shortage of file descriptors, ports or memory on this machine, which calls wait for."""

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
    """The wait of a call while this machine lacks something for its connection.

    The shortage says nothing about the service. The call waits until other calls end and free what they used.
    """

    # Seconds without any reply after which the run ends. Connections end all the time, so a shortage that
    # lasts longer does not pass.
    _LONGEST = 60.0
    _PAUSE = 0.5

    __slots__ = ("_breakers", "_since")

    def __init__(self, breakers: CircuitBreakers) -> None:
        self._breakers = breakers
        self._since = breakers.now()

    def note(self, error: LocalLimitError) -> None:
        """Record that the shortage persists. Raises FatalError if it has lasted too long."""
        if self._breakers.now() - max(self._since, self._breakers.last_reply) >= self._LONGEST:
            raise FatalError(f"no connection can be opened: {error.message}") from error
        _log.info("a call waits: %s", error.message)

    async def pause(self) -> None:
        """Wait a moment."""
        await anyio.sleep(self._PAUSE)

"""Looking up the name of a host, while no thread of the loop's own executor may be free."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

from poolcensus.loops import in_thread

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType


async def look_up(host: str | bytes, port: int, *, family: int = 0, flags: int = 0) -> list[AddrInfoType]:
    """Return the addresses of a host. Raises what getaddrinfo raises."""
    # The loop's own getaddrinfo waits for a thread of the executor that the program around it uses.
    asked = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=flags)
    return [*await in_thread(asked)]

"""Looking up the name of a host, while no thread of the loop's own executor may be free."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

    Found = list[AddrInfoType]


def look_up(host: str | bytes, port: int, *, family: int = 0, flags: int = 0) -> asyncio.Future[Found]:
    """Return what will have the addresses of a host, or what getaddrinfo raises.

    It has a thread of its own: the loop's getaddrinfo waits for one of those that the program around uses.
    Raises OSError where the system has none left.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Found] = loop.create_future()

    def end(found: Found | None, failure: Exception) -> None:
        # Whoever waited may have been cancelled.
        if result.done():
            return
        if found is not None:
            result.set_result(found)
        else:
            result.set_exception(failure)

    def run() -> None:
        found: Found | None = None
        failure: Exception = OSError(errno.EIO, "its look-up broke off")
        try:
            found = [*socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)]
        except (OSError, ValueError, MemoryError) as error:
            failure = error
        finally:
            # By then nobody may be there any more: the loop is closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end, found, failure)

    try:
        # One that hangs keeps no process from its end.
        Thread(target=run, name=f"look up {host!r}", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    return result

"""Looks up host names in threads of its own, since the event loop's executor may have none free."""

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
    """Start to look up a host, and return a future of its addresses, or of getaddrinfo's error.

    Each lookup has a thread of its own. The loop's own getaddrinfo would wait for a thread of the executor,
    which the surrounding program uses, too. Raises OSError if the system can't start another thread.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Found] = loop.create_future()

    def end(found: Found | None, failure: Exception) -> None:
        # The waiting call may have been cancelled.
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
            # RuntimeError: the loop was closed meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end, found, failure)

    try:
        # A daemon thread, so that a lookup that hangs does not keep the process from ending.
        Thread(target=run, name=f"look up {host!r}", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    return result

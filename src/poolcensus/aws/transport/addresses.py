"""The addresses of a host, in the order in which they are tried."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from poolcensus.aws.transport.names import look_up
from poolcensus.errors import copy_of_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from aiohappyeyeballs import AddrInfoType

# AWS's names live for up to a minute: who asks again sooner gets the same addresses.
_KEPT = 60.0


class HostPort(NamedTuple):
    """What connections are opened to: a name or an address, and a port."""

    host: str
    port: int


class Addresses:
    """Looks names up, once a minute, and remembers which of a host's addresses answered.

    The one that answered is the first of the next list; those that did not answer are its last.
    """

    def __init__(self) -> None:
        self._known: dict[HostPort, tuple[float, tuple[AddrInfoType, ...]]] = {}
        self._answered: dict[HostPort, AddrInfoType] = {}
        # Each until it has ended, whoever still waits for it: where names can't be looked up, a thread hangs
        # for longer than calls wait, and each of hundreds would begin another.
        self._lookups: dict[HostPort, asyncio.Future[list[AddrInfoType]]] = {}

    async def of(self, peer: HostPort) -> tuple[AddrInfoType, ...]:
        """Return the addresses, the most promising first. Raises what getaddrinfo raises, an OSError."""
        known = self._fresh(peer)
        if known is None:
            said = await self._look_up(peer)
            # Another who waited may have come first.
            known = self._fresh(peer) or self._keep(peer, said)
        return known

    def has_answered(self, peer: HostPort) -> bool:
        """Whether the first address is one that answered last time."""
        return peer in self._answered

    def answered(self, peer: HostPort, address: AddrInfoType, passed_over: Collection[AddrInfoType]) -> None:
        """Put first the address that answered, and last those that were tried before it in vain."""
        self._answered[peer] = address
        if peer in self._known:
            expires, known = self._known[peer]
            ordered = sorted(known, key=lambda each: -1 if each == address else each in passed_over)
            self._known[peer] = (expires, tuple(ordered))

    def failed(self, peer: HostPort, address: AddrInfoType | None = None) -> None:
        """Forget that an address answered. `address`, which was of no use after all, is put last."""
        self._answered.pop(peer, None)
        if peer in self._known:
            expires, known = self._known[peer]
            self._known[peer] = (expires, tuple(sorted(known, key=lambda each: each == address)))

    def _fresh(self, peer: HostPort) -> tuple[AddrInfoType, ...] | None:
        known = self._known.get(peer)
        return known[1] if known is not None and time.monotonic() < known[0] else None

    async def _look_up(self, peer: HostPort) -> list[AddrInfoType]:
        running = self._lookups.get(peer)
        if running is None:
            # As bytes: a string goes through a codec whose error for a label that is too long is no OSError.
            running = self._lookups[peer] = look_up(peer.host.encode(), peer.port)
            running.add_done_callback(partial(self._end_look_up, peer))
        # Not shield(), which reports what nobody waits for any more to the loop's exception handler.
        await asyncio.wait((running,))
        try:
            return running.result()
        except socket.gaierror as error:
            raise copy_of_error(error) from None
        except OSError as error:
            # Where the C library can't open its files, it names one error or another. This names the limit.
            socket.socket().close()
            raise copy_of_error(error) from None

    def _end_look_up(self, peer: HostPort, ended: asyncio.Future[list[AddrInfoType]]) -> None:
        del self._lookups[peer]
        # Otherwise one that failed when nobody waited any more would be reported.
        ended.exception()

    def _keep(self, peer: HostPort, said: Iterable[AddrInfoType]) -> tuple[AddrInfoType, ...]:
        found = _interleaved(said)
        best = self._answered.get(peer)
        if best in found:
            found.sort(key=lambda each: each != best)
        else:
            self._answered.pop(peer, None)
        addresses = tuple(found)
        self._known[peer] = (time.monotonic() + _KEPT, addresses)
        return addresses


def _interleaved(found: Iterable[AddrInfoType]) -> list[AddrInfoType]:
    """Return the addresses with IPv6 and IPv4 in turn, as RFC 8305 has it, and each of them once."""
    families: defaultdict[int, list[AddrInfoType]] = defaultdict(list)
    for each in dict.fromkeys(found):
        families[each[0]].append(each)
    in_turn = chain.from_iterable(zip_longest(*families.values()))
    return [each for each in in_turn if each is not None]

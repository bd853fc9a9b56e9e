"""The addresses of hosts, in the order in which they are tried."""

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

# Seconds. The DNS records of AWS's endpoints have a TTL of up to a minute.
_KEPT = 60.0


class HostPort(NamedTuple):
    """A host name or address, and a port."""

    host: str
    port: int


class Addresses:
    """Looks up host names, once a minute, and remembers which of a host's addresses answered.

    The address that answered last is tried first, and those that did not answer are tried last.
    """

    def __init__(self) -> None:
        self._known: dict[HostPort, tuple[float, tuple[AddrInfoType, ...]]] = {}
        self._answered: dict[HostPort, AddrInfoType] = {}
        # Lookups that have not ended, even if no call waits for them any more. If name servers don't answer,
        # a lookup takes longer than calls wait, and each of hundreds of calls would start another thread.
        self._lookups: dict[HostPort, asyncio.Future[list[AddrInfoType]]] = {}

    async def of(self, peer: HostPort) -> tuple[AddrInfoType, ...]:
        """Return the addresses of a host, the most promising first. Raises getaddrinfo's OSError."""
        known = self._fresh(peer)
        if known is None:
            said = await self._look_up(peer)
            # Another caller that waited may have stored the result first.
            known = self._fresh(peer) or self._keep(peer, said)
        return known

    def has_answered(self, peer: HostPort) -> bool:
        """Return whether the first address answered last time."""
        return peer in self._answered

    def answered(self, peer: HostPort, address: AddrInfoType, passed_over: Collection[AddrInfoType]) -> None:
        """Put the address that answered first, and those that were tried before it last."""
        self._answered[peer] = address
        if peer in self._known:
            expires, known = self._known[peer]
            ordered = sorted(known, key=lambda each: -1 if each == address else each in passed_over)
            self._known[peer] = (expires, tuple(ordered))

    def failed(self, peer: HostPort, address: AddrInfoType | None = None) -> None:
        """Forget which address answered, and put `address` last if it is given."""
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
            # As bytes, because a string is encoded with a codec whose error for a long label is no OSError.
            running = self._lookups[peer] = look_up(peer.host.encode(), peer.port)
            running.add_done_callback(partial(self._end_look_up, peer))
        # shield() would report an error that nothing waits for to the loop's exception handler.
        await asyncio.wait((running,))
        try:
            return running.result()
        except socket.gaierror as error:
            raise copy_of_error(error) from None
        except OSError as error:
            # If the C library can't open its files, its error varies. Making a socket raises the clear one.
            socket.socket().close()
            raise copy_of_error(error) from None

    def _end_look_up(self, peer: HostPort, ended: asyncio.Future[list[AddrInfoType]]) -> None:
        del self._lookups[peer]
        # Retrieve it, so that asyncio does not warn if nothing waits for it any more.
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
    """Return the addresses without duplicates, alternating between IPv6 and IPv4 as in RFC 8305."""
    families: defaultdict[int, list[AddrInfoType]] = defaultdict(list)
    for each in dict.fromkeys(found):
        families[each[0]].append(each)
    in_turn = chain.from_iterable(zip_longest(*families.values()))
    return [each for each in in_turn if each is not None]

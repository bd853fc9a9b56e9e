"""poolcensus without everything that only keeps it safe, to measure the cost of safety.

No call is held back by a limit, a pace or a circuit breaker. Replies have no timeout, and are not checked for
an error header, for duplicate keys, or for bytes that arrive before the request. Ended targets are not
recorded, there is no journal, and the lines of the ledger are empty.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from poolcensus.aws import pages
from poolcensus.aws.transport.http1 import Connection
from poolcensus.aws.transport.protocol import Headers, Reply
from poolcensus.cli import main
from poolcensus.flow.breaker import CircuitBreakers, State
from poolcensus.flow.concurrency import ConcurrencyLimiter
from poolcensus.flow.rate import RateLimits
from poolcensus.flow.windows import Window
from poolcensus.format import codec
from poolcensus.format.schema import Schema
from poolcensus.snapshot.target_set import TargetSet
from poolcensus.storage.local.draft import FolderDraft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.model import JsonValue


async def take_place(*_: object, **__: object) -> None:
    """Give every call its place at once."""


async def no_journal(_: object) -> None:
    """Write no journal."""


def send(self: Connection) -> None:
    """Send the request without checking for bytes that have arrived before."""
    request, self._request = self._request, None
    if request is not None and self._transport is not None:
        self._transport.write(request)


def body_of(reply: Reply, once: Mapping[str, bytes] | None = None) -> JsonValue:  # noqa: ARG001 - a function's
    """Return the value of a body without checking it."""
    return codec.loads(reply.body)


def without_safety() -> None:
    """Replace the functions that keep a run safe with ones that do nothing."""
    for owner, name, instead in (
        (ConcurrencyLimiter, "acquire", take_place),
        (ConcurrencyLimiter, "release", lambda *_, **__: None),
        (RateLimits, "admits", lambda *_, begun: True),  # noqa: ARG005 - a method's
        (RateLimits, "passed", lambda *_, begun: None),  # noqa: ARG005 - a method's
        (CircuitBreakers, "state", lambda *_: State.CLOSED),
        (CircuitBreakers, "replied", lambda *_: None),
        (Window, "replied", lambda *_: None),
        (Connection, "_limit", lambda *_: None),
        (Connection, "_send", send),
        (Headers, "__contains__", lambda *_: False),
        (pages, "json_object", body_of),
        (TargetSet, "has", lambda *_: False),
        (TargetSet, "add", lambda *_: None),
        (Schema, "encode_result", lambda *_: b"{}\n"),
        (FolderDraft, "journal", no_journal),
    ):
        if not hasattr(owner, name):
            raise AttributeError(f"{owner} has no {name} any more")
        setattr(owner, name, instead)


if __name__ == "__main__":
    regions, place, concurrency = sys.argv[1:4]
    without_safety()
    sys.exit(main(["collect", "--dest", place, "--regions", regions, "--concurrency", concurrency]))

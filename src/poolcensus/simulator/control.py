"""The control API: the simulator's truth and statistics, under `/_simulator/`, a path of no AWS service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from poolcensus.simulator.http import Response, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poolcensus.simulator.stats import Stats
    from poolcensus.simulator.world import World

_JSON = (("Content-Type", "application/json"),)
_NDJSON = (("Content-Type", "application/x-ndjson"),)
_CHUNK = 1 << 16


class Control:
    """Answers the requests under `/_simulator/`."""

    def __init__(self, world: World, stats: Stats, reset: Callable[[], None]) -> None:
        self._world = world
        self._stats = stats
        self._reset = reset

    def handle(self, method: str, path: str) -> Response | Stream:
        """Return the reply to a request."""
        match method, path:
            case "GET", "/_simulator/truth":
                return Stream(200, truth_lines(self._world), _NDJSON)
            case "GET", "/_simulator/stats":
                return Response(200, orjson.dumps(self._stats.snapshot()), _JSON)
            case "POST", "/_simulator/reset":
                self._reset()
                return Response(204)
        return Response(404, b'{"message":"not found"}', _JSON)


def truth_lines(world: World) -> Iterator[bytes]:
    """Yield the truth of the world as NDJSON, in pieces of bounded size."""
    buffer = bytearray()
    for target in world.truth():
        buffer += orjson.dumps(target, option=orjson.OPT_APPEND_NEWLINE)
        if len(buffer) >= _CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)

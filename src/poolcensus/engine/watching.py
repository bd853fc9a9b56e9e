"""The tasks that run beside the targets of a run, until the last target has ended.

Each of them waits for an event, and changes how many targets may be open, or for how long.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from collections.abc import Set as AbstractSet

    from poolcensus.engine.open_target import OpenTarget
    from poolcensus.flow.breaker import CircuitBreakers
    from poolcensus.flow.windows import Window

# The shortest pause between two checks, in seconds, so that targets that are due soon are ended together.
_SHORTEST_LOOK = 0.05
# Seconds between two calls that check the network: as between two probes of a silent region.
_BETWEEN_DOUBTS = 5.0


async def end_overdue(opened: AbstractSet[OpenTarget], target_timeout: float) -> None:
    """Cancel each open target when its deadline passes. A new target has `target_timeout` seconds.

    One task checks all of them. A timer for each target would be set and cleared for nearly every call.
    """
    while True:
        now = time.monotonic()
        earliest = now + target_timeout
        for each in opened:
            earliest = min(earliest, each.watch.deadline)
            if each.watch.deadline <= now and not each.watch.waits and each.scope is not None:
                each.scope.cancel()
        await anyio.sleep(max(earliest - now, _SHORTEST_LOOK))


async def settle_doubts(breakers: CircuitBreakers, ask_anything: Callable[[], Awaitable[None]]) -> None:
    """Call `ask_anything` when it is unknown whether a region is silent or the network is down."""
    in_doubt = breakers.in_doubt
    while True:
        await in_doubt.wait()
        await ask_anything()
        await anyio.sleep(_BETWEEN_DOUBTS)
        in_doubt.clear()


async def give_last_rounds_room(breakers: CircuitBreakers, windows: Mapping[str, Window]) -> None:
    """Open the window of each region in its last round, so that all of its targets make their calls.

    No other target needs the places then.
    """
    while True:
        await breakers.last_round_begun.wait()
        breakers.last_round_begun.clear()
        for region in breakers.regions_in_last_round & windows.keys():
            windows[region].widen()

"""What goes on beside the targets of a run, and for as long as there are some.

Each waits for something to happen, and changes what may be open or for how long.
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

# Overdue targets are ended together that would be within so many seconds.
_SHORTEST_LOOK = 0.05
# Where the network is away, it is asked for as often as a region that is.
_BETWEEN_DOUBTS = 5.0


async def end_overdue(opened: AbstractSet[OpenTarget], target_timeout: float) -> None:
    """Cancel each open target when its time is over, of which it has `target_timeout` seconds at first.

    One task looks after all of them: a timer for each would be set and cleared more often than the target is
    called.
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
    """Have anything asked where it is in doubt whether it is a region that is silent or the network."""
    in_doubt = breakers.in_doubt
    while True:
        await in_doubt.wait()
        await ask_anything()
        await anyio.sleep(_BETWEEN_DOUBTS)
        in_doubt.clear()


async def give_last_rounds_room(breakers: CircuitBreakers, windows: Mapping[str, Window]) -> None:
    """Widen the window of a region that is in its last round.

    All that are left there have their calls: nobody else needs a place.
    """
    while True:
        await breakers.last_round_begun.wait()
        breakers.last_round_begun.clear()
        for region in breakers.regions_in_last_round & windows.keys():
            windows[region].widen()

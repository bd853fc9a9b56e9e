"""How many targets may be open: the windows of the regions, and the waits that make room for others."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Window:
    """How many targets may be open in a region at a time: `size`.

    It begins with `least`. Every reply makes room for one more, up to `most`; a call without a reply halves
    the room. So a region that refuses, swallows or drips costs the others a few places, and not all of them.
    `room` is set when it has grown.
    """

    __slots__ = ("_least", "_most", "_room", "size")

    def __init__(self, least: int, most: int, room: asyncio.Event) -> None:
        self._least = min(least, most)
        self._most = most
        self._room = room
        self.size = self._least

    def replied(self) -> None:
        """Note that a call to the region got a reply."""
        if self.size < self._most:
            self.size += 1
            self._room.set()

    def silent(self) -> None:
        """Note that a call to the region got none."""
        self.size = max(self._least, self.size // 2)

    def widen(self) -> None:
        """Give it all the room that there can be: nobody else needs it."""
        self.size = self._most
        self._room.set()


class Pauses:
    """How many targets wait for something other than a place: a retry, their account's role, an answer.

    Such a target can make no call, so another may be opened beside it: `room` is set when one begins to wait.
    So it is when a call that targets wait for rests before a retry, for an account in `resting`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.in_region: Counter[str] = Counter()
        self.silent = 0
        self.silent_of: Counter[str] = Counter()
        self.resting: Counter[str] = Counter()
        self.room = asyncio.Event()

    @contextmanager
    def pause(self, region: str | None = None) -> Iterator[None]:
        """Count a target as waiting while the block lasts; in its region too, unless that is None."""
        self.count += 1
        if region is not None:
            self.in_region[region] += 1
        self.room.set()
        try:
            yield
        finally:
            self.count -= 1
            if region is not None:
                self.in_region[region] -= 1

    @contextmanager
    def rest(self, account_id: str) -> Iterator[None]:
        """Count a call as one that rests, which the targets of an account wait for."""
        self.resting[account_id] += 1
        self.room.set()
        try:
            yield
        finally:
            self.resting[account_id] -= 1
            if not self.resting[account_id]:
                del self.resting[account_id]

    @contextmanager
    def silence(self, account_id: str) -> Iterator[None]:
        """Count a target of an account as one that waits for what does not answer."""
        self.silent += 1
        self.silent_of[account_id] += 1
        try:
            with self.pause():
                yield
        finally:
            self.silent -= 1
            self.silent_of[account_id] -= 1
            if not self.silent_of[account_id]:
                del self.silent_of[account_id]

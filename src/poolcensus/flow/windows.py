"""The windows of regions, which limit open targets, and the count of targets that wait for something."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Window:
    """The window of a region: at most `size` of its targets may be open at a time.

    It begins with `least`. Each reply enlarges it by one, up to `most`; each call without a reply halves it,
    down to `least`. So a region that does not answer, or answers slowly, takes few places from the others.
    The event `room` is set when the window has grown.
    """

    __slots__ = ("_least", "_most", "_room", "size")

    def __init__(self, least: int, most: int, room: asyncio.Event) -> None:
        self._least = min(least, most)
        self._most = most
        self._room = room
        self.size = self._least

    def replied(self) -> None:
        """Record that a call to the region got a reply."""
        if self.size < self._most:
            self.size += 1
            self._room.set()

    def silent(self) -> None:
        """Record that a call to the region got no reply."""
        self.size = max(self._least, self.size // 2)

    def widen(self) -> None:
        """Open the window completely."""
        self.size = self._most
        self._room.set()


class Pauses:
    """Counts the targets that wait for something other than a place: a retry, a role, or a silent endpoint.

    Such a target can make no call, so another one may be opened. The event `room` is set when a target begins
    to wait. It is also set when a call that targets depend on, such as AssumeRole, waits for a retry;
    `resting` counts these by account.
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
        """Count a target as waiting during the block, also in its region if that is given."""
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
        """Count a call that the targets of an account depend on as resting, during the block."""
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
        """Count a target as waiting for a silent endpoint, during the block."""
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

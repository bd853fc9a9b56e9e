"""A target that is open, and whose time it is that passes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import anyio

    from poolcensus.aws.call import CallWatch
    from poolcensus.flow.breaker import Work
    from poolcensus.model import Target


class OpenTarget(msgspec.Struct, eq=False):
    """A target on its way. It is equal to itself alone: targets would be compared by their accounts.

    `scope` is None until its task has begun. `handing_over` says that its pages or its result are being taken
    by the sink, which is not to be cancelled when its time is over.
    """

    target: Target
    watch: CallWatch
    scope: anyio.CancelScope | None = None
    handing_over: bool = False
    ended: bool = False
    pages: int = 0
    pools: int = 0

    @property
    def in_other_hands(self) -> bool:
        """Whether the time that passes is not the target's."""
        return self.ended or self.handing_over or self.watch.waits


class HandingOver:
    """Counts the time that a block lasts as the reader's or the disk's, and not as the target's.

    A class, since every page has one: a generator would cost twice as much.
    """

    __slots__ = ("_opened", "_since", "_work")

    def __init__(self, opened: OpenTarget, work: Work) -> None:
        self._opened = opened
        self._work = work

    def __enter__(self) -> None:
        self._since = time.monotonic()
        self._opened.handing_over = True
        self._work.count += 1

    def __exit__(self, *_: object) -> None:
        self._work.count -= 1
        self._opened.handing_over = False
        self._opened.watch.deadline += time.monotonic() - self._since

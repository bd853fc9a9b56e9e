"""A target that is open, and whose time it is that passes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anyio

    from poolcensus.aws.call import CallWatch
    from poolcensus.flow.breaker import Work
    from poolcensus.model import Target


class OpenTarget(msgspec.Struct, eq=False):
    """A target on its way. It is equal to itself alone: targets would be compared by their accounts.

    `scope` is None until its task has begun. `waits` is set while it waits for the sink.
    """

    target: Target
    watch: CallWatch
    scope: anyio.CancelScope | None = None
    waits: bool = False
    pages: int = 0
    pools: int = 0

    @property
    def in_other_hands(self) -> bool:
        """Whether the time that passes is not the target's, which is then not cut off for it."""
        return self.waits or self.watch.waits

    @contextmanager
    def waiting(self, work: Work) -> Iterator[None]:
        """Count the time that the block lasts as the reader's or the disk's. It is work all the same."""
        since = time.monotonic()
        self.waits = True
        try:
            with work:
                yield
        finally:
            self.waits = False
            self.watch.deadline += time.monotonic() - since

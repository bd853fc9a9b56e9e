"""The state of an open target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import anyio

    from poolcensus.aws.call import CallWatch
    from poolcensus.model import Target


class OpenTarget(msgspec.Struct, eq=False):
    """A target that is open, with its counts of pages and pools.

    It is compared by identity, because comparing targets would compare their accounts. `scope` cancels the
    target; it is None until the target's task has begun.
    """

    target: Target
    watch: CallWatch
    scope: anyio.CancelScope | None = None
    pages: int = 0
    pools: int = 0

"""A target that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import anyio

    from poolcensus.aws.call import CallWatch
    from poolcensus.model import Target


class OpenTarget(msgspec.Struct, eq=False):
    """A target on its way. It is equal to itself alone: targets would be compared by their accounts.

    `scope` is None until its task has begun.
    """

    target: Target
    watch: CallWatch
    scope: anyio.CancelScope | None = None
    pages: int = 0
    pools: int = 0

"""poolcensus that holds back no call for its rate: a throttled call is backed off and made again.

Takes the arguments of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.__main__ import main
from poolcensus.flow.rate import RateLimits

if TYPE_CHECKING:
    from poolcensus.flow.concurrency import CallKey


def admit_all(self: RateLimits, key: CallKey, *, begun: bool) -> bool:  # noqa: ARG001 - a method's
    """Every call can be sent now."""
    return True


if __name__ == "__main__":
    RateLimits.admits = admit_all  # type: ignore[method-assign]
    main()

"""poolcensus without a limit on the rate of calls. It takes the arguments of the command line.

Throttled calls are retried with a backoff, and no other calls are held back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.__main__ import main
from poolcensus.flow.rate import RateLimits

if TYPE_CHECKING:
    from poolcensus.flow.concurrency import CallKey


def admit_all(self: RateLimits, key: CallKey, *, begun: bool) -> bool:  # noqa: ARG001 - a method's
    """Admit every call at once."""
    return True


if __name__ == "__main__":
    RateLimits.admits = admit_all  # type: ignore[method-assign]
    main()

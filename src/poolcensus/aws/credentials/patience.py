"""The wait of a starting run for a network in which nothing answers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import (
    CallTimeoutError,
    NoReply,
    NoSuchNameError,
    SilentError,
    UnreachableError,
)
from poolcensus.flow.breaker import PATIENCE

if TYPE_CHECKING:
    from types import TracebackType

    from poolcensus.aws.call import CallCounts
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.errors import CallError

_log = logging.getLogger("poolcensus")

# Seconds between attempts, so that a network that is back is noticed within seconds.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 5.0
# After how many seconds the wait is reported. Most interruptions are over by then.
_TOLD_AFTER = 3.0


class Waiting:
    """What a run waits for before it has a target. `what` is a sentence for a person.

    `what` is None if the run does not wait, or has only waited for a moment. `calls` has the counts of each
    Organization of the run, also of one that could not be opened.
    """

    def __init__(self) -> None:
        self.what: str | None = None
        self.calls: list[CallCounts] = []


class Patience:
    """Limits the wait for STS in a region during a block, and reports it in `waiting`.

    The limit is the time for which a run in progress waits for a network in which nothing answers.
    """

    def __init__(self, waiting: Waiting, region: str) -> None:
        self._waiting = waiting
        self._region = region
        self._why: str | None = None
        self._pause = _FIRST_PAUSE
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._until = anyio.current_time() + PATIENCE
        # A timer, since a call that hangs has not failed by then.
        self._timer = asyncio.get_running_loop().call_later(_TOLD_AFTER, self._tell)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.what = None

    async def lasts(self, error: CallError, template: RequestTemplate) -> bool:
        """Return whether to call STS again after an error. If so, wait before returning."""
        left = self._until - anyio.current_time()
        if left <= 0 or not _may_pass(error, template):
            return False
        self._why = error.message.rstrip(". ")
        if self._waiting.what is not None:
            self._waiting.what = self._sentence
        await anyio.sleep(min(self._pause, left))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return True

    def _tell(self) -> None:
        self._waiting.what = self._sentence
        _log.info("%s", self._sentence)

    @property
    def _sentence(self) -> str:
        if self._why is None:
            return f"STS in {self._region} does not answer yet. Trying for a minute."
        return f"STS in {self._region} can't be reached yet: {self._why}. Trying for a minute."


def _may_pass(error: CallError, template: RequestTemplate) -> bool:
    """Return whether an error may go away by itself."""
    match error:
        case NoSuchNameError():
            # A proxy's name may not resolve while the proxy restarts: a container has its name only while it
            # runs.
            return template.proxy is not None
        case UnreachableError(code=NoReply.PROXY, status=int(status)):
            # With a status below 500 the proxy refuses the request, for instance for its credentials.
            return status >= 500
        case UnreachableError():
            return error.code not in {NoReply.CERTIFICATE, NoReply.TLS}
        case CallTimeoutError() | SilentError():
            return True
        case _:
            return False

"""What a run that begins does where nothing answers: it waits for the network, and says so."""

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

    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.errors import CallError

_log = logging.getLogger("poolcensus")

# Often enough that a network which is back is noticed within seconds.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 5.0
# Most blips are over by then, and nobody needs to know of them.
_TOLD_AFTER = 3.0


class Waiting:
    """What a run waits for before it has a target, as a sentence for a person in `what`.

    None: it does not wait, or only for a moment so far.
    """

    def __init__(self) -> None:
        self.what: str | None = None


class Patience:
    """Bounds how long STS in a region is waited for, while the block lasts, and says so in `waiting`.

    It is as long as a run that is under way waits for a network in which nothing answers.
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
        # A call that hangs has not failed by then.
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
        """Whether STS is to be called again after an error, which this then waits for."""
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
    """Whether what keeps a call from its service may be over in a moment."""
    match error:
        case NoSuchNameError():
            # That of a proxy may be missing while it restarts: a container has its name only while it runs.
            return template.proxy is not None
        case UnreachableError(code=NoReply.PROXY, status=int(status)):
            # Below 500 it is the request that a proxy objects to, such as for its credentials.
            return status >= 500
        case UnreachableError():
            return error.code not in {NoReply.CERTIFICATE, NoReply.TLS}
        case CallTimeoutError() | SilentError():
            return True
        case _:
            return False

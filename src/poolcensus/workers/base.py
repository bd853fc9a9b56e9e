"""What a run needs of its workers. They know nothing of a census: they run a function on bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from poolcensus.errors import CensusError

Work: TypeAlias = Callable[[bytes], bytes]
"""What a worker runs: a function of a module, which blocks. It may run more than once for one task."""


class WorkerLostError(CensusError):
    """A task has lost its worker so often that it is not tried again: the task may be what ends workers."""


class Workers(Protocol):
    """Workers that are ready. A task is bytes, and what it comes to is bytes: neither holds a secret."""

    @property
    def size(self) -> int:
        """How many tasks the workers can run at a time. It may change while they do."""

    async def run(self, key: str, task: bytes) -> bytes:
        """Run a task on a worker, and return what it came to.

        `key` names it among all tasks. A task whose worker is lost is run again. One that is cancelled is
        taken back from its worker. Raises WorkerLostError, and FatalError where no workers are left.
        """

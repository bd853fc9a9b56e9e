"""The interface of workers. They know nothing about a census: they run a function on bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from poolcensus.errors import CensusError

Work: TypeAlias = Callable[[bytes], bytes]
"""The function that workers run.

It is defined in a module, blocks, and may run more than once for one task.
"""


class WorkerLostError(CensusError):
    """A task has lost its worker so often that it is not tried again. It may itself be what kills workers."""


class Workers(Protocol):
    """Workers that are ready. Tasks and their results are bytes, and contain no secrets."""

    @property
    def size(self) -> int:
        """The number of tasks that the workers can run at a time. It may change during a run."""

    async def run(self, key: str, task: bytes) -> bytes:
        """Run a task on a worker, and return its result.

        `key` is unique among all tasks. If its worker is lost, the task is run again. If this call is
        cancelled, the task is taken back from its worker. Raises WorkerLostError if it has lost too many
        workers, and FatalError if no workers are left.
        """

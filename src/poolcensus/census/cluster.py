"""Opens the workers of a run, if it has any."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from poolcensus.config.cluster import EngineKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poolcensus.config import Settings
    from poolcensus.workers import Workers


@asynccontextmanager
async def open_workers(settings: Settings) -> AsyncIterator[Workers | None]:
    """Open the workers that the settings ask for. Yield None if this process makes the calls itself.

    Raises MissingExtraError if Dask is not installed, and FatalError if no workers can be had.
    """
    if settings.engine is EngineKind.LOCAL:
        yield None
        return
    from poolcensus.census.taking import take_part  # noqa: PLC0415 - for those who ask for workers alone
    from poolcensus.config.secrets import environment_of, without_secrets  # noqa: PLC0415 - see above
    from poolcensus.workers.dask import (  # noqa: PLC0415 - see above
        NO_WORKERS_SECONDS,
        dask_workers,
    )

    secrets = {name: without_secrets(each)[1] for name, each in settings.by_organization().items()}
    async with dask_workers(
        take_part,
        scheduler=settings.scheduler,
        count=settings.workers,
        environment=environment_of(secrets) if any(secrets.values()) else {},
        # Don't wait for workers longer than the run may take.
        patience=min(NO_WORKERS_SECONDS, settings.deadline or NO_WORKERS_SECONDS),
    ) as workers:
        yield workers

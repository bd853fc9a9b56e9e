"""Loaded by each worker process of this machine as it starts, before it takes tasks."""

from __future__ import annotations

import logging
import signal


def dask_setup(worker: object) -> None:  # noqa: ARG001 - Dask's interface of a preload
    """Leave signals of the terminal to the caller, who ends its workers, and errors to what tasks return."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

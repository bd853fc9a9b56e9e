"""Workers that a run is spread over: processes of this machine, or those of a cluster."""

from __future__ import annotations

from poolcensus.workers.base import Work, WorkerLostError, Workers

__all__ = ["Work", "WorkerLostError", "Workers"]

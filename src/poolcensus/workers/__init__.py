"""Workers that a run is spread over: processes on this machine, or the workers of a cluster."""

from __future__ import annotations

from poolcensus.workers.base import Work, WorkerLostError, Workers

__all__ = ["Work", "WorkerLostError", "Workers"]

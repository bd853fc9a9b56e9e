"""The run's metrics as text for Prometheus, for node_exporter's textfile collector."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.model import Manifest, Progress, Totals

_TOTALS = {
    "targets": "Accounts times regions that the run came to know of.",
    "covered": "Targets whose pools are known.",
    "pools": "Pools that were seen.",
    "pages": "Pages of pools that were read.",
    "requests": "Calls of AWS that were sent, of any service.",
    "retries": "Calls that repeated another.",
    "throttles": "Calls that AWS throttled.",
    "assume_role_calls": "Calls of sts:AssumeRole that were sent.",
}


def write_metrics(file: Path, *, exit_code: int, progress: Progress, manifest: Manifest | None) -> None:
    """Write the metrics of a run that has ended, whichever way. `manifest` is of what it published.

    The file is replaced in one step: who reads it sees the last run's or this one's.
    """
    registry = CollectorRegistry()

    def gauge(name: str, description: str, value: float) -> None:
        Gauge(f"poolcensus_{name}", description, registry=registry).set(value)

    gauge("run_success", "Whether the last run published a snapshot.", manifest is not None)
    gauge(
        "run_complete", "Whether the last run published a snapshot that covers every target.", exit_code == 0
    )
    gauge("run_exit_code", "The exit code of the last run.", exit_code)
    gauge("run_finished_timestamp_seconds", "When the last run ended.", time.time())
    gauge("run_duration_seconds", "How long the last run took.", progress.elapsed)
    totals: Totals = progress.totals if manifest is None else manifest.totals
    for name, description in _TOTALS.items():
        gauge(name, description, getattr(totals, name))
    gauge("accounts", "Accounts that were asked.", progress.accounts)
    gauge("accounts_skipped", "Accounts that were not asked.", progress.skipped)
    gauge("targets_uncovered", "Targets that ended without being covered.", progress.uncovered)
    if manifest is not None:
        outcomes = Gauge("poolcensus_outcomes", "Targets by outcome.", ["outcome"], registry=registry)
        for outcome, count in manifest.outcomes.items():
            outcomes.labels(outcome=outcome.value).set(count)
    write_to_textfile(str(file), registry)

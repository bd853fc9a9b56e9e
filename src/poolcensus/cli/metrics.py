"""Prometheus metrics of runs, in a file for node_exporter's textfile collector.

Some metrics describe the last run, however it ended, and some the newest published snapshot. A run that
publishes no snapshot copies the latter from the file that it replaces.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from poolcensus.model import Outcome
from poolcensus.paths import is_file
from poolcensus.storage.local.files import replaceable, write_all
from poolcensus.temporary import file_replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poolcensus.model import Manifest, Progress

# Bytes read of an earlier file. This program writes 6 KB; a file a hundred times as long is not its own.
_LONGEST = 600_000

_OF_THE_RUN = {
    "run_success": "Whether the last run published a snapshot.",
    "run_complete": "Whether the last run published a snapshot that covers every target, known gaps aside.",
    "run_exit_code": "The exit code of the last run.",
    "run_finished_timestamp_seconds": "When the last run ended.",
    "run_duration_seconds": "How long the last run took.",
    "requests": "Calls of AWS that the last run sent, of any service.",
    "retries": "Calls of the last run that repeated another.",
    "throttles": "Calls of the last run that AWS throttled.",
    "assume_role_calls": "Calls of sts:AssumeRole that the last run sent.",
}
_OF_THE_SNAPSHOT = {
    "last_success_timestamp_seconds": "When a run last published a snapshot; 0 where none has.",
    "last_complete_timestamp_seconds": "When a run last published a snapshot that covers every target, known"
    " gaps aside; 0 where none has.",
    "targets": "Targets of the newest snapshot: accounts times regions.",
    "covered": "Targets of the newest snapshot whose pools are known.",
    "targets_uncovered": "Targets of the newest snapshot that ended without being covered.",
    "targets_known_gaps": "Targets of the newest snapshot that failed as the settings expect.",
    "pools": "Pools of the newest snapshot.",
    "pages": "Pages of pools that were read for the newest snapshot.",
    "accounts": "Accounts that were asked for the newest snapshot.",
    "accounts_skipped": "Accounts that were not asked for the newest snapshot.",
}
_OUTCOMES = "Targets of the newest snapshot by outcome."
_OUTCOME_NAMES = {f'outcomes{{outcome="{each}"}}': each for each in Outcome}


def write_metrics(file: Path, *, exit_code: int, progress: Progress, manifest: Manifest | None) -> None:
    """Write the metrics of a run that has ended. `manifest` is that of the snapshot it published, or None.

    The file, or the file that it links to, is replaced atomically. A device or a pipe is written in place.
    Raises OSError.
    """
    registry = CollectorRegistry()
    now = time.time()
    run = _of_the_run(exit_code, progress, now, published=manifest is not None)
    # Every series always exists, with 0 until a value is known. A missing series would keep an alert silent.
    snapshot = {**dict.fromkeys((*_OF_THE_SNAPSHOT, *_OUTCOME_NAMES), 0.0), **_former(file)}
    if manifest is not None:
        snapshot.update(_of_the_snapshot(manifest, now))
    for descriptions, values in ((_OF_THE_RUN, run), (_OF_THE_SNAPSHOT, snapshot)):
        for name, description in descriptions.items():
            Gauge(f"poolcensus_{name}", description, registry=registry).set(values[name])
    outcomes = Gauge("poolcensus_outcomes", _OUTCOMES, ["outcome"], registry=registry)
    for name, outcome in _OUTCOME_NAMES.items():
        outcomes.labels(outcome=outcome.value).set(snapshot[name])
    target = replaceable(file)
    if target is None:
        _write_in_place(file, generate_latest(registry))
    else:
        # prometheus_client's own function would leave its temporary file behind after a signal.
        with file_replacing(target) as made:
            made.write(generate_latest(registry))


def _write_in_place(file: Path, content: bytes) -> None:
    # O_NONBLOCK: opening a pipe that nobody reads would wait for ever.
    fd = os.open(file, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        os.set_blocking(fd, True)
        write_all(fd, content)
    finally:
        os.close(fd)


def _of_the_run(code: int, progress: Progress, now: float, *, published: bool) -> Mapping[str, float]:
    totals = progress.totals
    return {
        "run_success": published,
        "run_complete": code == 0,
        "run_exit_code": code,
        "run_finished_timestamp_seconds": now,
        "run_duration_seconds": progress.elapsed,
        "requests": totals.requests,
        "retries": totals.retries,
        "throttles": totals.throttles,
        "assume_role_calls": totals.assume_role_calls,
    }


def _of_the_snapshot(manifest: Manifest, now: float) -> Mapping[str, float]:
    totals = manifest.totals
    whole = {} if manifest.failed else {"last_complete_timestamp_seconds": now}
    return {
        "last_success_timestamp_seconds": now,
        **whole,
        "targets": totals.targets,
        "covered": totals.covered,
        "targets_uncovered": totals.targets - totals.covered,
        "targets_known_gaps": sum(each.targets for each in manifest.known_gaps),
        "pools": totals.pools,
        "pages": totals.pages,
        "accounts": manifest.accounts_planned,
        "accounts_skipped": len(manifest.accounts_skipped),
        **{name: manifest.outcomes.get(outcome, 0) for name, outcome in _OUTCOME_NAMES.items()},
    }


def _former(file: Path) -> Mapping[str, float]:
    """Return the snapshot metrics of the existing file. Empty if it can't be read."""
    try:
        text = _text(file)
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # Another program's file, or half a line: on malformed text the parser raises all of these.
        return {}
    found: dict[str, float] = {}
    for sample in samples:
        name = sample.name.removeprefix("poolcensus_")
        if name == "outcomes" and sample.labels.keys() == {"outcome"}:
            name = f'outcomes{{outcome="{sample.labels["outcome"]}"}}'
        known = name in _OUTCOME_NAMES or (name in _OF_THE_SNAPSHOT and not sample.labels)
        if known and math.isfinite(sample.value) and sample.value >= 0:
            found[name] = sample.value
    # Without this one, the other values don't come from a snapshot.
    return found if found.get("last_success_timestamp_seconds") else {}


def _text(file: Path) -> str:
    # Reading a pipe would never end.
    if not is_file(file):
        return ""
    with file.open("rb") as stream:
        text = stream.read(_LONGEST).decode()
    # If the text was cut off, its last number may be wrong.
    return text if text.endswith("\n") else ""

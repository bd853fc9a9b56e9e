"""What the benches share: a simulator in its own process, contenders in theirs, and what they cost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).parent
REGIONS = (
    "af-south-1,ap-northeast-1,ap-northeast-2,ap-south-1,ap-southeast-1,ap-southeast-2,ca-central-1,"
    "eu-central-1,eu-west-1,eu-west-2,eu-west-3,il-central-1,sa-east-1,us-east-1,us-west-2"
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took: seconds of wall clock and of CPU, and its peak memory in MB."""

    wall: float
    cpu: float
    peak_mb: float
    exit_code: int


@dataclass(frozen=True, slots=True)
class Row:
    """The median of several runs of one contender."""

    name: str
    wall: float
    cpu: float
    peak_mb: float
    runs: int
    walls: tuple[float, ...]


class Simulation:
    """A simulator that serves in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], announced: Mapping[str, str]) -> None:
        self.process = process
        self.url = announced["endpoint_url"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": announced["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": announced["secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def simulation(*options: str) -> Iterator[Simulation]:
    """Run `poolcensus simulate` with these options until the block ends."""
    command = [sys.executable, "-m", "poolcensus", "simulate", "--port", "0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the simulator has no standard output")
        yield Simulation(process, json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.communicate()


def run(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a program to its end and say what it cost. Its errors go to standard error."""
    before = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(wall, usage.ru_utime + usage.ru_stime, _megabytes(usage), process.returncode)


def _megabytes(usage: resource.struct_rusage) -> float:
    # Bytes on macOS, KiB elsewhere.
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what the contenders write."""
    folder = Path(tempfile.mkdtemp(prefix="poolcensus-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def median(name: str, costs: Sequence[Cost]) -> Row:
    """The middle of several runs. Raises RuntimeError where one of them failed."""
    if failed := [cost.exit_code for cost in costs if cost.exit_code]:
        raise RuntimeError(f"{name} ended with exit code {failed[0]}")
    return Row(
        name=name,
        wall=statistics.median(cost.wall for cost in costs),
        cpu=statistics.median(cost.cpu for cost in costs),
        peak_mb=max(cost.peak_mb for cost in costs),
        runs=len(costs),
        walls=tuple(round(cost.wall, 3) for cost in costs),
    )


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], data: object) -> None:
    """Print a table on standard error and the same as one line of JSON on standard output."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(stderr=True).print(table)
    print(json.dumps({"bench": title, "rows": data}), flush=True)


def plain(row: Row) -> dict[str, object]:
    """A row as JSON has it."""
    return asdict(row)

"""Shared code of the benches: a simulator and contenders, each in a process of its own, and their costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import argparse
    import resource
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
REGIONS = (
    "af-south-1,ap-northeast-1,ap-northeast-2,ap-south-1,ap-southeast-1,ap-southeast-2,ca-central-1,"
    "eu-central-1,eu-west-1,eu-west-2,eu-west-3,il-central-1,sa-east-1,us-east-1,us-west-2"
)
POOLCENSUS = (sys.executable, "-m", "poolcensus")
# Programs that make the same calls with no SDK and no safety: over asyncio's protocols, and over aiohttp.
FLOORS = ("lower_floor", "floor")
_LINE = b'{"account_id":'
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run of a program.

    These are its wall time and CPU time in seconds, its peak memory in MB, the calls that the simulator
    received from it, and the CPU seconds of the simulator (None if the system does not tell). If the CPU time
    of the simulator is close to the wall time, the run measures the simulator.
    """

    wall: float
    cpu: float
    peak_mb: float
    calls: int
    server_cpu: float | None


class BenchError(Exception):
    """A contender failed, or gave a wrong result, so that there is nothing to compare."""


class Simulation:
    """A simulator in a process of its own."""

    def __init__(
        self, process: subprocess.Popen[str], announced: Mapping[str, str], authority: Path | None = None
    ) -> None:
        self.url = announced["endpoint_url"]
        self.environment = {
            **_clean_environment(),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": announced["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": announced["secret_access_key"],
        }
        # Proxies of the environment are ignored, since the simulator is on this machine.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if authority is not None:
            self.environment["AWS_CA_BUNDLE"] = str(authority)
            context = ssl.create_default_context(cafile=authority)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self._stat = Path(f"/proc/{process.pid}/stat")

    def reset(self) -> None:
        """Reset its statistics, rate limits and random draws."""
        self._ask("reset", method="POST")

    def stats(self) -> dict[str, Any]:
        """Return its statistics since the last reset."""
        found: dict[str, Any] = json.loads(self._ask("stats"))
        return found

    def pools(self) -> int:
        """Return how many pools a complete census finds, from the simulator's truth."""
        count = 0
        with self._open("truth", "GET") as lines:
            for line in lines:
                if not line.startswith(_LINE):
                    raise BenchError("the simulator's truth is not what this bench can read")
                count += line.count(b'"PoolId":')
        return count

    def cpu(self) -> float | None:
        """Return the CPU seconds that it has used, or None if the system does not tell."""
        try:
            fields = self._stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ask(self, what: str, method: str = "GET") -> bytes:
        with self._open(what, method) as reply:
            found: bytes = reply.read()
        return found

    def _open(self, what: str, method: str) -> Any:  # noqa: ANN401 - typeshed types the reply so
        request = urllib.request.Request(f"{self.url}/_simulator/{what}", method=method)
        return self._opener.open(request, timeout=600)


def _clean_environment() -> dict[str, str]:
    """Return the environment without variables that would lead the contenders elsewhere."""
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "POOLCENSUS_"))
            and not name.lower().endswith("_proxy")
            # Without bytecode, a contender would compile its modules in each run.
            and name != "PYTHONDONTWRITEBYTECODE"
        },
        # The user's own configuration may name a region, a role or a credential provider.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "POOLCENSUS_CONFIG": os.devnull,
    }


@contextmanager
def simulation(*options: str, authority: Path | None = None) -> Iterator[Simulation]:
    """Run `poolcensus simulate` with these options until the block ends.

    With `authority` it serves TLS, and writes the certificate that its clients have to trust to that file.
    """
    plain = [*POOLCENSUS, "simulate"]
    tls = [sys.executable, str(HERE / "material" / "tls_simulator.py"), str(authority)]
    command = [*(plain if authority is None else tls), "--port", "0", "--json", "--until-eof", *options]
    # The simulator ends with its standard input, so that a bench that is killed leaves no simulator behind. A
    # bench that is terminated leaves no contender and no files either.
    before = signal.signal(signal.SIGTERM, _terminated)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Simulation(process, _announced(process), authority)
        except Exception as error:
            # If the simulator has ended, this is the cause of any error of the contender.
            if (code := process.poll()) is not None:
                raise BenchError(f"the simulator ended with {code}: {' '.join(command)}") from error
            raise
        finally:
            process.terminate()
            signal.signal(signal.SIGTERM, before)


def _terminated(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return what the simulator prints when it is ready: its URL and its credentials."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        process.wait()
        raise BenchError("it did not start")
    found: dict[str, str] = json.loads(line)
    return found


def run(
    command: Sequence[str],
    simulator: Simulation | None = None,
    *,
    read: Callable[[int], None] | None = None,
) -> Cost:
    """Run a program to its end, and return its cost. Its standard error is that of the bench.

    The simulator is reset before. `read` is called with the descriptor of the program's standard output, and
    must read it to the end. Without `read` the output is discarded. Raises BenchError if the program fails.
    """
    environment = simulator.environment if simulator is not None else _clean_environment()
    if simulator is not None:
        simulator.reset()
    server_before = simulator.cpu() if simulator is not None else None
    before = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL if read is None else subprocess.PIPE
    )
    try:
        if read is not None and process.stdout is not None:
            with process.stdout:
                read(process.stdout.fileno())
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    wall = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"exit code {process.returncode} of {' '.join(command)}")
    server_after = simulator.cpu() if simulator is not None else None
    server = server_after - server_before if server_after is not None and server_before is not None else None
    calls = simulator.stats()["requests"] if simulator is not None else 0
    return Cost(wall, usage.ru_utime + usage.ru_stime, _megabytes(usage), calls, server)


def _megabytes(usage: resource.struct_rusage) -> float:
    # ru_maxrss is in bytes on macOS, and in KiB elsewhere. On Linux it includes the memory of this process
    # when it started the program. So benches that report memory must stay smaller than what they measure, and
    # must keep no data of a run.
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that reads the pools of an Organization into a file of JSON lines."""

    name: str
    regions: str
    concurrency: int
    folder: Path
    options: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """The command line."""
        if self.name.startswith("poolcensus"):
            options = ("--regions", self.regions, "--concurrency", str(self.concurrency), *self.options)
            return [*POOLCENSUS, "collect", "--dest", str(self._place), *options]
        script = HERE / "contenders" / f"{self.name}.py"
        return [sys.executable, str(script), self.regions, str(self._place), str(self.concurrency)]

    def run(self, simulator: Simulation, pools: int) -> Cost:
        """Run it against the simulator.

        Raises BenchError if it fails, or does not write as many pools as there are: a contender that drops
        some is not faster, and one that writes some twice is not slower.
        """
        self._clear()
        cost = run(self.command, simulator)
        found = count_lines(self._place / "latest" / "pools.ndjson" if self._place.is_dir() else self._place)
        if found != pools:
            raise BenchError(f"{self.name} wrote {found:,} pools, and there are {pools:,}")
        self._clear()
        return cost

    @property
    def _place(self) -> Path:
        return self.folder / self.name

    def _clear(self) -> None:
        if self._place.is_dir():
            shutil.rmtree(self._place)
        else:
            self._place.unlink(missing_ok=True)


def count_lines(path: Path) -> int:
    """Return the number of lines of a file, or 0 if it does not exist."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))


class LastLine:
    """Reads what a contender prints, and keeps only the end of it."""

    def __init__(self) -> None:
        self._end = b""

    def read(self, descriptor: int) -> None:
        """Read a descriptor to its end."""
        while block := os.read(descriptor, _BLOCK):
            self._end = (self._end + block)[-_BLOCK:]

    def value(self) -> dict[str, Any]:
        """Return the value of the last line, which is JSON."""
        found: dict[str, Any] = json.loads(self._end.splitlines()[-1])
        return found


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for what the contenders write."""
    folder = Path(tempfile.mkdtemp(prefix="poolcensus-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def rounds(
    contenders: Sequence[Contender], simulator: Simulation, pools: int, count: int
) -> dict[str, list[Cost]]:
    """Run all contenders in turn, `count` times, so that disturbances of the machine affect all alike."""
    costs: dict[str, list[Cost]] = {each.name: [] for each in contenders}
    for _ in range(count):
        for each in contenders:
            costs[each.name].append(each.run(simulator, pools))
    return costs


def summary(name: str, costs: Sequence[Cost]) -> dict[str, Any]:
    """Return the medians of several runs of one contender, and its largest memory."""
    server = [each.server_cpu for each in costs if each.server_cpu is not None]
    return {
        "name": name,
        "runs": len(costs),
        "wall": round(statistics.median(each.wall for each in costs), 4),
        "walls": [round(each.wall, 4) for each in costs],
        "cpu": round(statistics.median(each.cpu for each in costs), 4),
        "peak_mb": round(max(each.peak_mb for each in costs), 1),
        "calls": statistics.median_low(each.calls for each in costs),
        "server_cpu": round(statistics.median(server), 4) if server else None,
    }


def ratio(costs: Sequence[Cost], base: Sequence[Cost], what: str = "wall") -> float:
    """Return the median of the ratios of paired runs: each run against the base's run of the same round."""
    pairs = zip(costs, base, strict=True)
    middle: float = statistics.median(getattr(one, what) / getattr(other, what) for one, other in pairs)
    return round(middle, 3)


def of_floors(costs: Sequence[Cost], all_costs: Mapping[str, Sequence[Cost]]) -> dict[str, float]:
    """Return the ratios of wall time and of CPU to those of both floors, which `all_costs` must have."""
    return {
        f"{prefix}of_{floor}": ratio(costs, all_costs[floor], what)
        for floor in FLOORS
        for prefix, what in (("", "wall"), ("cpu_", "cpu"))
    }


def numbers(text: str) -> list[int]:
    """Parse an option that is a list of counts, such as `10,100,1000`."""
    return [int(part) for part in text.split(",")]


def words(text: str) -> list[str]:
    """Parse an option that is a list of words."""
    return text.split(",")


def show(
    bench: str,
    options: argparse.Namespace,
    columns: Sequence[str],
    table: Sequence[Sequence[object]],
    rows: Sequence[Mapping[str, object]],
) -> None:
    """Print a table on standard error, and its rows as one line of JSON on standard output."""
    given = vars(options)
    shown = Table(title=f"{bench}: {_words(given)}", title_justify="left")
    for number, column in enumerate(columns):
        shown.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in table:
        shown.add_row(*(_cell(each) for each in row))
    Console(stderr=True, width=None if sys.stderr.isatty() else 120).print(shown)
    print(json.dumps({"bench": bench, "options": given, "rows": rows}), flush=True)


def _words(given: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items() if name != "regions")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value)

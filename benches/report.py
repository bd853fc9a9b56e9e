"""The cost of a report on a year of daily snapshots.

The other contenders read the same files with orjson alone, and with DuckDB alone if it is installed. All must
find the same number of pools, and of pools that were never seen in use. There is a month and a year of the
same pools: memory that depends only on the pools is the same in both.

    python benches/report.py
    python benches/report.py --days 10,30 --accounts 50
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harness import HERE, POOLCENSUS, BenchError, Cost, LastLine, numbers, ratio, run, scratch, show, summary

if TYPE_CHECKING:
    from pathlib import Path

# In five regions of each account.
POOLS_A_TARGET = 1
_COUNTS = re.compile(r"<b>([\d,]+) <i>of ([\d,]+)</i></b> never seen in use")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--days", type=numbers, default=[30, 365])
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for days in options.days:
            rows += measure(days, options.accounts, options.rounds, folder)
    columns = (
        "contender",
        "days",
        "pools",
        "wall s",
        "CPU s",
        "peak MB",
        "of orjson: s",
        "CPU",
        "MB",
        "page MB",
    )
    keys = (
        "name",
        "days",
        "pools",
        "wall",
        "cpu",
        "peak_mb",
        "time_ratio",
        "cpu_ratio",
        "memory_ratio",
        "page_mb",
    )
    show("report", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(days: int, accounts: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Read the snapshots of `days` days with each contender in turn."""
    dest, page = folder / "snapshots", folder / "page.html"
    make = HERE / "material" / "year.py"
    run([sys.executable, str(make), str(dest), str(days), str(accounts), str(POOLS_A_TARGET), "none"])
    contenders = HERE / "contenders"
    commands = {
        "poolcensus": [*POOLCENSUS, "report", "--dest", str(dest), "--output", str(page)],
        "orjson": [sys.executable, str(contenders / "year_orjson.py"), str(dest)],
    }
    if find_spec("duckdb") is not None:
        commands["duckdb"] = [sys.executable, str(contenders / "year_duckdb.py"), str(dest)]
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    found: dict[str, dict[str, int]] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            reader = LastLine()
            costs[name].append(run(command, read=reader.read))
            found[name] = counts_of(page) if name == "poolcensus" else reader.value()
    if any(each != found["orjson"] for each in found.values()) or not found["orjson"]["never"]:
        raise BenchError(f"they find different things: {found}")
    return [
        {
            "days": days,
            "accounts": accounts,
            **found[name],
            **summary(name, runs),
            "time_ratio": ratio(runs, costs["orjson"]),
            "cpu_ratio": ratio(runs, costs["orjson"], "cpu"),
            "memory_ratio": ratio(runs, costs["orjson"], "peak_mb"),
            "page_mb": round(page.stat().st_size / 1e6, 2) if name == "poolcensus" else None,
        }
        for name, runs in costs.items()
    ]


def counts_of(page: Path) -> dict[str, int]:
    """Return the counts of pools in the page."""
    said = _COUNTS.search(page.read_text(encoding="utf-8"))
    if said is None:
        raise BenchError("the page does not say how many pools were never seen in use")
    never, pools = (int(each.replace(",", "")) for each in said.groups())
    return {"pools": pools, "never": never}


if __name__ == "__main__":
    main()

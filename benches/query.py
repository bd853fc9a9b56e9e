"""The cost of `poolcensus query --all`, beside DuckDB alone on the same files.

Each of two snapshots that are a day apart has half of the pools, plain or compressed. DuckDB alone infers the
types of the fields, checks no digest and is not restricted. Both must return the same rows.

    python benches/query.py
    python benches/query.py --pools 100000 --rounds 1
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from harness import HERE, POOLCENSUS, BenchError, Cost, ratio, run, scratch, show, summary, words

if TYPE_CHECKING:
    from pathlib import Path

# Pools of one account in one region, 20 pages.
TARGET = 500
SQL = {
    "count": "SELECT count(*) FROM pools",
    "states": "SELECT state, count(*) FROM pools GROUP BY ALL ORDER BY ALL",
    "capacity": """
        SELECT region, count(*), sum(desired_user_sessions)::BIGINT, sum(actual_user_sessions)::BIGINT,
            sum(active_user_sessions)::BIGINT
        FROM pools GROUP BY ALL ORDER BY ALL
    """,
}
_READ = 1 << 16


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pools", type=int, default=1_000_000, help="in both snapshots together")
    parser.add_argument("--files", type=words, default=["none", "zstd"], help="how they are compressed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for files in options.files:
            rows += measure(options.pools, files, options.rounds, folder / "snapshots")
    columns = ("question", "files", "contender", "pools", "wall s", "cpu s", "peak MB", "of DuckDB: s", "MB")
    keys = ("question", "files", "name", "pools", "wall", "cpu", "peak_mb", "time_ratio", "memory_ratio")
    show("query", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(pools: int, files: str, rounds: int, dest: Path) -> list[dict[str, Any]]:
    """Ask each question of each contender in turn."""
    make = HERE / "material" / "two_snapshots.py"
    run([sys.executable, str(make), str(dest), str(pools // 2), str(TARGET), files])
    found: list[dict[str, Any]] = []
    for question, sql in SQL.items():
        commands = {
            "poolcensus": [*POOLCENSUS, "query", sql, "--all", "--format", "json", "--dest", str(dest)],
            "duckdb": [
                sys.executable,
                str(HERE / "contenders" / "duckdb_alone.py"),
                str(dest),
                question,
            ],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        answers: dict[str, list[list[Any]]] = {}
        for _ in range(rounds):
            for name, command in commands.items():
                answer = Answer()
                costs[name].append(run(command, read=answer.read))
                answers[name] = answer.rows()
        if answers["poolcensus"] != answers["duckdb"] or not answers["duckdb"]:
            raise BenchError(f"they find different things: {answers}")
        found += [
            {
                **summary(name, costs[name]),
                "question": question,
                "files": files,
                "pools": pools // 2 * 2,
                "time_ratio": ratio(costs[name], costs["duckdb"]),
                "memory_ratio": ratio(costs[name], costs["duckdb"], "peak_mb"),
            }
            for name in commands
        ]
    shutil.rmtree(dest)
    return found


class Answer:
    """The rows that a contender prints, as lines of JSON: objects or lists."""

    def __init__(self) -> None:
        self._data = b""

    def read(self, descriptor: int) -> None:
        """Read a descriptor to its end."""
        while block := os.read(descriptor, _READ):
            self._data += block

    def rows(self) -> list[list[Any]]:
        """Return the values of each row."""
        lines = map(json.loads, self._data.splitlines())
        return [[*line.values()] if isinstance(line, dict) else line for line in lines]


if __name__ == "__main__":
    main()

"""How long it takes to get going: what a person waits for, and a cron job of one account.

Against an interpreter that does nothing. Targets: --version and --help in 250 ms, better 120; the census of
one account in one region in 1.2 s, better 0.6.

    python benches/startup.py
"""

from __future__ import annotations

import argparse
import sys

from harness import POOLCENSUS, Cost, run, scratch, show, simulation, summary


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with simulation("--accounts", "1") as simulator, scratch() as folder:
        alone = ("--accounts-from", "self", "--regions", "us-east-1")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "--version": [*POOLCENSUS, "--version"],
            "--help": [*POOLCENSUS, "--help"],
            "collect --help": [*POOLCENSUS, "collect", "--help"],
            "collect": [*POOLCENSUS, "collect", "--dest", str(folder), *alone],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for command in commands.values():
            # The first run compiles the modules and reads them from the disk.
            run(command, simulator)
        for _ in range(options.rounds):
            for name, command in commands.items():
                costs[name].append(run(command, simulator))
    rows = [summary(name, runs) for name, runs in costs.items()]
    pass_wall = rows[0]["wall"]
    for row in rows:
        row["beyond_python"] = round(row["wall"] - pass_wall, 4)
    columns = ("command", "wall ms", "beyond Python ms", "cpu ms", "peak MB")
    table = [
        [row["name"], row["wall"] * 1000, row["beyond_python"] * 1000, row["cpu"] * 1000, row["peak_mb"]]
        for row in rows
    ]
    show("startup", options, columns, table, rows)


if __name__ == "__main__":
    main()

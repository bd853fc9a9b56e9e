"""The start of the program: --version, --help, and the census of one account in one region.

They are compared with an interpreter that does nothing, and with the floors (see throughput.py), which list
the account and read the region. Targets: --version and --help in 250 ms, better 120; the census in 20 times
what the interpreter alone takes, better 12.

    python benches/startup.py
"""

from __future__ import annotations

import argparse
import sys

from harness import (
    FLOORS,
    POOLCENSUS,
    Contender,
    Cost,
    of_floors,
    ratio,
    run,
    scratch,
    show,
    simulation,
    summary,
)


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
            **{floor: Contender(floor, "us-east-1", 1, folder).command for floor in FLOORS},
            "collect": [*POOLCENSUS, "collect", "--dest", str(folder / "snapshots"), *alone],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for command in commands.values():
            # The first run compiles the modules and reads them from the disk.
            run(command, simulator)
        for _ in range(options.rounds):
            for name, command in commands.items():
                costs[name].append(run(command, simulator))
    rows = []
    for name, runs in costs.items():
        calling = name in {*FLOORS, "collect"}
        rows.append(
            {
                **summary(name, runs),
                "of_python": ratio(runs, costs["python -c pass"]),
                **(of_floors(runs, costs) if calling else {}),
            }
        )
    pass_wall = rows[0]["wall"]
    for row in rows:
        row["beyond_python"] = round(row["wall"] - pass_wall, 4)
    columns = (
        *("command", "wall ms", "beyond Python ms", "cpu ms", "peak MB"),
        *("of Python", "of the lower floor", "of the floor"),
    )
    table = [
        [
            *(row["name"], row["wall"] * 1000, row["beyond_python"] * 1000, row["cpu"] * 1000),
            *(row["peak_mb"], row["of_python"], row.get("of_lower_floor"), row.get("of_floor")),
        ]
        for row in rows
    ]
    show("startup", options, columns, table, rows)


if __name__ == "__main__":
    main()

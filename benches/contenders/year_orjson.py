"""Read every snapshot at a destination with orjson alone, for the facts of a report about each pool.

Without checks, ledgers and a page, this is the least that a year of records costs a program that parses them
completely. It prints the number of pools, and of pools that were never seen in use.

    python benches/contenders/year_orjson.py DEST
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson


def main() -> None:
    """Read the snapshots, the newest first, and print the counts."""
    pools: dict[tuple[str, str, str], list[int]] = {}
    folders = sorted((each for each in Path(sys.argv[1]).iterdir() if each.is_dir()), reverse=True)
    for number, folder in enumerate(folders):
        with (folder / "pools.ndjson").open("rb") as file:
            for line in file:
                record = orjson.loads(line)
                pool = record["pool"]
                key = (record["account_id"], record["region"], pool["PoolId"])
                found = pools.setdefault(key, [0, -1])
                found[0] += 1
                if pool["CapacityStatus"]["ActiveUserSessions"] and found[1] < 0:
                    found[1] = number
    print(orjson.dumps({"pools": len(pools), "never": sum(used < 0 for _, used in pools.values())}).decode())


if __name__ == "__main__":
    main()

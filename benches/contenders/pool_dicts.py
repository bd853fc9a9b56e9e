"""The differences between two snapshots in the usual way: both files are read into dicts, with orjson.

It reads no ledger and checks nothing: pools of a target that a snapshot did not cover seem to be removed. It
prints the differences, and then their counts.

    python benches/contenders/pool_dicts.py DEST A B
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson


def read(path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the pools of a snapshot."""
    found = {}
    with path.open("rb") as lines:
        for line in lines:
            record = orjson.loads(line)
            pool = record["pool"]
            found[record["account_id"], record["region"], pool["PoolId"]] = pool
    return found


def main() -> None:
    """Compare two snapshots."""
    dest, a, b = sys.argv[1:]
    old, new = (read(Path(dest) / each / "pools.ndjson") for each in (a, b))
    counts = dict.fromkeys(("added", "removed", "changed", "unchanged"), 0)
    for place in sorted(old.keys() | new.keys()):
        before, after = old.get(place), new.get(place)
        more: dict[str, Any]
        if before is None or after is None:
            kind, more = "added" if before is None else "removed", {"pool": after or before}
        else:
            names = sorted((before.keys() | after.keys()) - {"CapacityStatus"})
            fields = {n: [before.get(n), after.get(n)] for n in names if before.get(n) != after.get(n)}
            kind, more = "changed" if fields else "unchanged", {"fields": fields}
        counts[kind] += 1
        if kind != "unchanged":
            account_id, region, pool_id = place
            event = {"change": kind, "account_id": account_id, "region": region, "pool_id": pool_id, **more}
            sys.stdout.buffer.write(orjson.dumps(event) + b"\n")
    sys.stdout.buffer.write(orjson.dumps({"change": "statistics", **counts}) + b"\n")


if __name__ == "__main__":
    main()

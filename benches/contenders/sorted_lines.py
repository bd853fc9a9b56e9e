"""The records of a snapshot in order, printed in the usual way: all lines in a list, read with orjson.

python benches/contenders/sorted_lines.py POOLS.ndjson
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson


def place(line: bytes) -> tuple[str, str, str]:
    """Return the sort key of a line."""
    record = orjson.loads(line)
    return record["account_id"], record["region"], record["pool"]["PoolId"]


def main() -> None:
    """Print the lines."""
    with Path(sys.argv[1]).open("rb") as lines:
        sys.stdout.buffer.writelines(sorted(lines, key=place))


if __name__ == "__main__":
    main()

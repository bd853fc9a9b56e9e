"""DuckDB alone on the files of snapshots, with the types that it infers: for `benches/query.py`.

python benches/contenders/duckdb_alone.py DEST QUESTION
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

SQL = {
    "count": "SELECT count(*) FROM read_json('{}')",
    "states": "SELECT pool.State, count(*) FROM read_json('{}') GROUP BY ALL ORDER BY ALL",
    "capacity": """
        SELECT region, count(*), sum(pool.CapacityStatus.DesiredUserSessions)::BIGINT,
            sum(pool.CapacityStatus.ActualUserSessions)::BIGINT,
            sum(pool.CapacityStatus.ActiveUserSessions)::BIGINT
        FROM read_json('{}') GROUP BY ALL ORDER BY ALL
    """,
}


def main() -> None:
    """Print the rows as lines of JSON."""
    dest, question = sys.argv[1:]
    # All snapshots at the destination.
    files = f"{Path(dest).resolve()}/2*/pools.ndjson*"
    with duckdb.connect() as connection:
        for row in connection.execute(SQL[question].format(files)).fetchall():
            print(json.dumps(row))


if __name__ == "__main__":
    main()

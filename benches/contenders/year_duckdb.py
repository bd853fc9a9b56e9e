"""The same as `year_orjson.py`, with DuckDB.

python benches/contenders/year_duckdb.py DEST
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

SQL = """
WITH pools AS (
    SELECT max(pool.CapacityStatus.ActiveUserSessions) AS used
    FROM read_json(
        $files,
        format = 'newline_delimited',
        columns = {
            account_id: 'VARCHAR', region: 'VARCHAR',
            pool: 'STRUCT(PoolId VARCHAR, CapacityStatus STRUCT(ActiveUserSessions BIGINT))'
        }
    )
    GROUP BY account_id, region, pool.PoolId
)
SELECT count(*), count(*) FILTER (used = 0) FROM pools
"""


def main() -> None:
    """Print the counts."""
    files = [str(each) for each in sorted(Path(sys.argv[1]).glob("*/pools.ndjson"))]
    found = duckdb.execute(SQL, {"files": files}).fetchone()
    if found is None:
        sys.exit("DuckDB finds nothing")
    print(json.dumps({"pools": found[0], "never": found[1]}))


if __name__ == "__main__":
    main()

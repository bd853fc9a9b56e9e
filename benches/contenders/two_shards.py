"""A census in two processes at the same time, each with half of the accounts: the most they can gain.

Their records are only written into one file, one half after the other. Merging the two snapshots takes
longer.

    python benches/contenders/two_shards.py REGIONS FILE CONCURRENCY
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SHARDS = ("1/2", "2/2")


def main() -> None:
    """Take both halves, and join their records."""
    regions, file, concurrency = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        halves = [Path(folder) / shard.replace("/", "-of-") for shard in SHARDS]
        collect = [sys.executable, "-m", "poolcensus", "collect", "--regions", regions]
        collect += ["--concurrency", str(concurrency // len(SHARDS))]
        running = [
            subprocess.Popen(
                [*collect, "--dest", str(half), "--shard", shard],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for half, shard in zip(halves, SHARDS, strict=True)
        ]
        codes = [each.wait() for each in running]
        if any(codes):
            sys.exit(1)
        with file.open("wb") as pools:
            for half in halves:
                with (half / "latest" / "pools.ndjson").open("rb") as lines:
                    shutil.copyfileobj(lines, pools)


if __name__ == "__main__":
    main()

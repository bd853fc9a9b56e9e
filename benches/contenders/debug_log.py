"""poolcensus with log level debug. The log is discarded."""

from __future__ import annotations

import os
import sys

from poolcensus.cli import main

if __name__ == "__main__":
    regions, place, concurrency = sys.argv[1:4]
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    options = ["--regions", regions, "--concurrency", concurrency, "--log-level", "debug"]
    sys.exit(main(["collect", "--dest", place, *options]))

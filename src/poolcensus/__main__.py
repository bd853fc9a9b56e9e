"""`python -m poolcensus`."""

from __future__ import annotations

import sys

from poolcensus.cli import main

if __name__ == "__main__":
    sys.exit(main())

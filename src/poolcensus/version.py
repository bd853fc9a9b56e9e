"""The version of the package. The metadata of the distribution is made from it."""

from __future__ import annotations

__version__ = "0.1.0"

TOOL = f"poolcensus/{__version__}"

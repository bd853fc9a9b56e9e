"""A census: the run over all targets, its publishing, and the library's face of both."""

from poolcensus.census.api import Census

__all__ = ["Census"]

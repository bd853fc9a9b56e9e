"""A census: the run over all targets, the publishing of its snapshot, and `Census`, which has both."""

from poolcensus.census.api import Census

__all__ = ["Census"]

"""Amazon S3 in memory, as far as a census uses it: strongly consistent, and without versioning."""

from poolcensus.simulator.s3.service import S3

__all__ = ["S3"]

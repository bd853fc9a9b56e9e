"""Amazon S3 in memory, as far as a census stores and reads there: strongly consistent, without versions."""

from poolcensus.simulator.s3.service import S3

__all__ = ["S3"]

"""Amazon S3 in memory: buckets, objects and multipart uploads, strongly consistent, without versions."""

from poolcensus.simulator.s3.service import S3

__all__ = ["S3"]

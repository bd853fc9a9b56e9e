"""Snapshots in a bucket of Amazon S3 or a compatible service."""

"""Keeps the files of snapshots: in a folder, in a bucket, or on standard output."""

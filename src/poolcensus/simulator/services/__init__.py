"""The simulated services, except S3."""

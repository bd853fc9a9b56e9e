"""Objects in a bucket of S3, or of a service like it."""

"""Everything that knows AWS, and the only package that imports its SDK."""

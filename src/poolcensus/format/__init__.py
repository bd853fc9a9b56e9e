"""The bytes of a snapshot's files: schema, encoding and compression, for writing and for reading."""

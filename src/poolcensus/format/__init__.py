"""The bytes of a snapshot: its schema in both directions, and what they are compressed with."""

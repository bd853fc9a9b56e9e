"""A census is the same by either transport: every byte but those of the run, and every outcome."""

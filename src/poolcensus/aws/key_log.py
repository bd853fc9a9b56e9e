"""Errors about the file of `SSLKEYLOGFILE`, which Python opens whenever it creates a TLS context."""

from __future__ import annotations

import os

from poolcensus.errors import reason_of


def wrong_key_log(error: Exception) -> str | None:
    """Return a clause that names the variable if an error is about its file, or None."""
    if isinstance(error, OSError) and error.filename and error.filename == os.environ.get("SSLKEYLOGFILE"):
        return f"SSLKEYLOGFILE names a file that can't be written to: {error.filename}: {reason_of(error)}"
    return None

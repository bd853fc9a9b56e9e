"""The signals that end the program, each with its word, and the exit code that they no longer change."""

from __future__ import annotations

from signal import SIGHUP, SIGINT, SIGTERM
from typing import Final

ENDING: Final = {SIGINT: "interrupted", SIGTERM: "terminated", SIGHUP: "hung up"}

_decided: list[int] = []


def decide(code: int) -> None:
    """Have a signal change the exit code no more: what this process was started for has been done."""
    _decided.append(code)


def decided() -> int | None:
    """Return the exit code that a signal changes no more, None where there is none yet."""
    return _decided[-1] if _decided else None

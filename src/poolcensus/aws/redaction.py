"""Taking secrets out of what a service says: it may repeat a value that it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.aws.faults import LONGEST_MESSAGE

if TYPE_CHECKING:
    from poolcensus.errors import CallError

# What is shorter is part of many words. AWS's keys have 40 characters, and its tokens some hundreds.
_SHORTEST_KEY = 8


def redact_keys(error: CallError, *keys: str | None) -> None:
    """Take secret keys and session tokens out of the code and the message of an error."""
    for key in keys:
        if key is not None and len(key) >= _SHORTEST_KEY:
            redact(error, key)


def redact(error: CallError, secret: str) -> None:
    """Take a secret out of the code and the message of an error, also where the message ends amid it."""
    error.code = error.code.replace(secret, "***")
    message = _without_end(error.message, secret).replace(secret, "***")
    if message != error.message:
        error.message = message
        error.args = (message,)


def _without_end(message: str, secret: str) -> str:
    """Return a message without the beginning of a secret, where it was cut off in the middle of one."""
    if len(message) < LONGEST_MESSAGE:
        return message
    for length in range(len(secret) - 1, 0, -1):
        if message.endswith(secret[:length]):
            return f"{message[:-length]}***"
    return message

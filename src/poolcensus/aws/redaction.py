"""Taking secrets out of what a service says: it may repeat a value that it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.aws.faults import LONGEST_MESSAGE

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials
    from poolcensus.errors import CallError

# What is shorter is part of many words. AWS's keys have 40 characters, and its tokens some hundreds.
_SHORTEST_KEY = 8


def keys_of(credentials: Credentials) -> tuple[str, ...]:
    """Return what of credentials must not be told."""
    keys = (credentials.secret_access_key, credentials.session_token or "")
    return tuple(key for key in keys if len(key) >= _SHORTEST_KEY)


def redact(error: CallError, *secrets: str) -> None:
    """Take secrets out of the code and the message of an error, also where the message was cut off in one."""
    message = error.message
    if len(message) >= LONGEST_MESSAGE:
        for secret in secrets:
            message = _without_end(message, secret)
    for secret in secrets:
        error.code = error.code.replace(secret, "***")
        message = message.replace(secret, "***")
    if message != error.message:
        error.message = message
        error.args = (message,)


def _without_end(message: str, secret: str) -> str:
    for length in range(len(secret) - 1, 0, -1):
        if message.endswith(secret[:length]):
            return f"{message[:-length]}***"
    return message

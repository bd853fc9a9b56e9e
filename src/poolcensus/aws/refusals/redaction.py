"""Taking secrets out of what a service says: it may repeat a value that it refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials
    from poolcensus.errors import CallError

# More is no longer a sentence, and each ledger line has one.
LONGEST_MESSAGE = 1000
"""How many characters of a service's message are kept."""

# Whatever is assigned to such a name, and whatever follows it that is too long to be a word.
_SECRETS = re.compile(
    r"(?i)((?:security|session)[ _-]?token|secret(?:[ _-]?access)?[ _-]?key|external[ _-]?id)"
    r"(\W{0,3}[:=]\W{0,3}(?=\S)|\W{1,3}(?=\S{16}))\S+"
)
# What is shorter is part of many words. AWS's keys have 40 characters, and its tokens some hundreds.
_SHORTEST_KEY = 8


def keys_of(credentials: Credentials) -> tuple[str, ...]:
    """Return what of credentials must not be told."""
    keys = (credentials.secret_access_key, credentials.session_token or "")
    return tuple(key for key in keys if len(key) >= _SHORTEST_KEY)


def readable(message: str) -> str:
    """Return a service's message as it may be shown: short, and with nothing that looks like a secret."""
    return _SECRETS.sub(r"\1\2***", message)[:LONGEST_MESSAGE]


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

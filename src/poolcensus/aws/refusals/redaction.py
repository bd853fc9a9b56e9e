"""Taking secrets out of what a service says: it may repeat a value that it refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials
    from poolcensus.errors import CallError

# More is no longer a sentence, and each ledger line has one.
LONGEST_MESSAGE = 1000
"""How many characters of a service's message are kept."""

LONGEST_CODE = 200
"""How many characters of an error code are kept."""

# Whatever is assigned to such a name, and whatever follows it that is too long to be a word.
_SECRETS = re.compile(
    r"(?i)((?:security|session)[ _-]?token|secret(?:[ _-]?access)?[ _-]?key|external[ _-]?id)"
    r"(\W{0,3}[:=]\W{0,3}(?=\S)|\W{1,3}(?=\S{16}))\S+"
)
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
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
    """Take secrets out of the code, the message and the request ID of an error.

    They are found as they are and as a URL has them, also where the code or the message was cut off in one.
    """
    message = error.message
    if "%" in message or "%" in error.code:
        secrets = (*secrets, *(form for secret in secrets for form in _quoted(secret)))
    message = _without(message, secrets, LONGEST_MESSAGE)
    error.code = _without(error.code, secrets, LONGEST_CODE)
    if error.request_id is not None:
        error.request_id = _id_without(error.request_id, secrets)
    if message != error.message:
        error.message = message
        error.args = (message,)


def _quoted(secret: str) -> set[str]:
    """Return how a secret is written in a URL, with escapes of either case."""
    forms = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return forms | {_ESCAPE.sub(lambda found: found[0].lower(), each) for each in forms}


def _without(text: str, secrets: tuple[str, ...], longest: int) -> str:
    if len(text) >= longest:
        for secret in secrets:
            text = _without_end(text, secret)
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _id_without(request_id: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        # Whoever puts a token there may have cut it off.
        if len(request_id) >= _SHORTEST_KEY and request_id in secret:
            return "***"
        # A short external ID may stand in any id by chance.
        if len(secret) >= _SHORTEST_KEY:
            request_id = request_id.replace(secret, "***")
    return request_id


def _without_end(message: str, secret: str) -> str:
    for length in range(len(secret) - 1, 0, -1):
        if message.endswith(secret[:length]):
            return f"{message[:-length]}***"
    return message

"""Removes secrets from messages of services, which may repeat a value that they refuse."""

from __future__ import annotations

import re
import string
from html import unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcensus.aws.signing import Credentials
    from poolcensus.errors import CallError

# Long enough for a sentence. Each ledger line may have a message.
LONGEST_MESSAGE = 1000
"""How many characters of a service's message are kept."""

LONGEST_CODE = 200
"""How many characters of an error code are kept."""

# The value that is assigned to one of these names, or a value after it that is too long to be a word.
_SECRETS = re.compile(
    r"(?i)((?:security|session)[ _-]?token|secret(?:[ _-]?access)?[ _-]?key|external[ _-]?id)"
    r"(\W{0,3}[:=]\W{0,3}(?=\S)|\W{1,3}(?=\S{16}))\S+"
)
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Shorter texts are part of many words. AWS's keys have 40 characters, and its tokens hundreds.
_SHORTEST_KEY = 8
# Names and ARNs may have shorter parts in common with an external ID.
_SHORTEST_PART = 16
# If a text is cut into pieces of 8 characters, every part of 16 characters contains a whole piece.
_PIECE = _SHORTEST_PART // 2
# Unlike keys, tokens begin with the same characters for everybody, such as session tokens with
# IQoJb3JpZ2luX2Vj. Their first characters are not secret.
_SHORTEST_TOKEN = 100
_ALIKE = 8
# The escapes of URLs, JSON and HTML.
_ESCAPE = re.compile(r"(?s)%([0-9A-Fa-f]{2})|\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))|&#?\w{1,8};")
_CUT_ESCAPE = re.compile(r"(?:%[0-9A-Fa-f]?|\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?|&#?\w{0,8})\Z")
# How many layers of escapes are decoded, such as those of JSON in a URL.
_ESCAPED_AGAIN = 3
# Unlike str.lower, this keeps the position of each character.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def keys_of(credentials: Credentials) -> tuple[str, ...]:
    """Return the secret parts of credentials."""
    keys = (credentials.secret_access_key, credentials.session_token or "")
    return tuple(key for key in keys if len(key) >= _SHORTEST_KEY)


def readable(message: str) -> str:
    """Return a service's message for display: shortened, and without anything that looks like a secret."""
    return _SECRETS.sub(r"\1\2***", message)[:LONGEST_MESSAGE]


def code_or_status(code: str, status: str) -> str:
    """Return an error code if it looks like one, or else the HTTP status: a code may be any text."""
    return code if _CODE.fullmatch(code) else status


def redact(error: CallError, *secrets: str) -> None:
    """Remove secrets from the code, the message and the request ID of an error, in place."""
    message = without_secrets(error.message, secrets, LONGEST_MESSAGE)
    error.code = without_secrets(error.code, secrets, LONGEST_CODE)
    if error.request_id is not None:
        error.request_id = _id_without(error.request_id, secrets)
    if message != error.message:
        error.message = message
        error.args = (message,)


def without_secrets(text: str, secrets: Iterable[str], longest: int | None = None) -> str:
    """Return a text with `***` in place of secrets, and of parts of them that have 16 characters or more.

    Secrets are found as they are, and in the escapes of URLs, JSON and HTML; parts also in another letter
    case. If the text has `longest` characters, it may have been truncated: then the beginning of a secret is
    removed from its end, too.
    """
    if is_cut := longest is not None and len(text) >= longest:
        text = _CUT_ESCAPE.sub("", text)
    forms: list[tuple[str, Sequence[int]]] = [(text, range(len(text) + 1))]
    if _ESCAPE.search(text) is not None:
        forms.append(_unescaped(text))
    spans: list[tuple[int, int]] = []
    for form, places in forms:
        lower = form.translate(_LOWER)
        for secret in secrets:
            for begin, end in _spans_of(form, lower, secret, is_cut=is_cut):
                spans.append((places[begin], places[end]))
    return _hidden(text, sorted(spans)) if spans else text


def _id_without(request_id: str, secrets: Iterable[str]) -> str:
    # A short external ID may occur in a request ID by chance.
    keys = [secret for secret in secrets if len(secret) >= _SHORTEST_KEY]
    # The request ID may be a part of a token.
    if len(request_id) >= _SHORTEST_KEY and any(request_id in key for key in keys):
        return "***"
    return without_secrets(request_id, keys)


def _unescaped(text: str) -> tuple[str, Sequence[int]]:
    """Return a text with its escapes decoded, and the original position of each character and of the end."""
    places: Sequence[int] = range(len(text) + 1)
    for _ in range(_ESCAPED_AGAIN):
        plain: list[str] = []
        starts: list[int] = []
        at = 0
        for found in _ESCAPE.finditer(text):
            plain += (text[at : found.start()], _character(found))
            starts += places[at : found.start() + 1]
            at = found.end()
        if not at:
            break
        text, places = "".join((*plain, text[at:])), (*starts, *places[at:])
    return text, places


def _character(escape: re.Match[str]) -> str:
    number = escape[1] or escape[2] or escape[3]
    if number is not None:
        return chr(int(number, 16))
    character = escape[4] or unescape(escape[0])
    return character if len(character) == 1 else "\N{REPLACEMENT CHARACTER}"


def _spans_of(text: str, lower: str, secret: str, *, is_cut: bool) -> Iterator[tuple[int, int]]:
    """Yield the positions of a secret and its parts in a text. `lower` is the text in lower case."""
    at = text.find(secret)
    while at >= 0:
        yield at, at + len(secret)
        at = text.find(secret, at + len(secret))
    if len(secret) >= _SHORTEST_PART:
        start = _ALIKE if len(secret) >= _SHORTEST_TOKEN else 0
        if secret.startswith("arn:"):
            # The beginning of an ARN is not secret.
            start = secret.rfind(":") + 1
        yield from _spans_of_parts(lower, secret[start:].translate(_LOWER))
    if is_cut:
        for length in range(len(secret) - 1, 0, -1):
            if text.endswith(secret[:length]):
                yield len(text) - length, len(text)
                break


def _spans_of_parts(text: str, secret: str) -> Iterator[tuple[int, int]]:
    at = 0
    while at + _PIECE <= len(text):
        there = secret.find(text[at : at + _PIECE])
        at += _PIECE
        while there >= 0:
            begin, end = _common(text, at - _PIECE, secret, there)
            if end - begin >= _SHORTEST_PART:
                yield begin, end
                at = end
                break
            there = secret.find(text[at - _PIECE : at], there + 1)


def _common(text: str, at: int, secret: str, there: int) -> tuple[int, int]:
    """Return the start and end in `text` of the part that it shares with `secret` around a common place."""
    begin, end, shift = at, at, there - at
    while begin and begin + shift and text[begin - 1] == secret[begin - 1 + shift]:
        begin -= 1
    while end < len(text) and end + shift < len(secret) and text[end] == secret[end + shift]:
        end += 1
    return begin, end


def _hidden(text: str, spans: list[tuple[int, int]]) -> str:
    """Return a text with `***` in place of each span. Spans are in order, and may overlap."""
    parts: list[str] = []
    at = 0
    for begin, end in spans:
        if begin > at or not at:
            parts += (text[at:begin], "***")
        at = max(at, end)
    return "".join((*parts, text[at:]))

"""Taking secrets out of what a service says: it may repeat a value that it refuses."""

from __future__ import annotations

import re
import string
from html import unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What is shorter is part of many words. AWS's keys have 40 characters, and its tokens some hundreds.
_SHORTEST_KEY = 8
# Names and ARNs have shorter parts in common with an external ID.
_SHORTEST_PART = 16
# Of each run of 16 characters, wherever it begins, one such piece is looked up.
_PIECE = _SHORTEST_PART // 2
# Tokens, unlike keys, begin alike for everybody, as session tokens with IQoJb3JpZ2luX2Vj: what is no longer
# than these and a part is no secret.
_SHORTEST_TOKEN = 100
_ALIKE = 8
# Of a URL, of JSON and of HTML.
_ESCAPE = re.compile(r"(?s)%([0-9A-Fa-f]{2})|\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))|&#?\w{1,8};")
_CUT_ESCAPE = re.compile(r"(?:%[0-9A-Fa-f]?|\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?|&#?\w{0,8})\Z")
# What is escaped in JSON may be escaped in a URL again.
_ESCAPED_AGAIN = 3
# Keeps the places of all characters, as str.lower does not.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def keys_of(credentials: Credentials) -> tuple[str, ...]:
    """Return what of credentials must not be told."""
    keys = (credentials.secret_access_key, credentials.session_token or "")
    return tuple(key for key in keys if len(key) >= _SHORTEST_KEY)


def readable(message: str) -> str:
    """Return a service's message as it may be shown: short, and with nothing that looks like a secret."""
    return _SECRETS.sub(r"\1\2***", message)[:LONGEST_MESSAGE]


def code_or_status(code: str, status: str) -> str:
    """Return an error code where it looks like one, and the HTTP status where it may be any text."""
    return code if _CODE.fullmatch(code) else status


def redact(error: CallError, *secrets: str) -> None:
    """Take secrets out of the code, the message and the request ID of an error, as `without` does."""
    message = without(error.message, secrets, LONGEST_MESSAGE)
    error.code = without(error.code, secrets, LONGEST_CODE)
    if error.request_id is not None:
        error.request_id = _id_without(error.request_id, secrets)
    if message != error.message:
        error.message = message
        error.args = (message,)


def without(text: str, secrets: Iterable[str], longest: int | None = None) -> str:
    """Return a text without secrets, and without parts of them that have 16 characters or more.

    They are found as they are and as URLs, JSON and HTML escape them, parts also in another case. Of a text
    that has `longest` characters and may have been cut off, the beginning of a secret is taken from the end.
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
            for begin, end in _found(form, lower, secret, is_cut=is_cut):
                spans.append((places[begin], places[end]))
    return _hidden(text, sorted(spans)) if spans else text


def _id_without(request_id: str, secrets: Iterable[str]) -> str:
    # A short external ID may stand in any id by chance.
    keys = [secret for secret in secrets if len(secret) >= _SHORTEST_KEY]
    # Whoever puts a token there may have cut it off.
    if len(request_id) >= _SHORTEST_KEY and any(request_id in key for key in keys):
        return "***"
    return without(request_id, keys)


def _unescaped(text: str) -> tuple[str, Sequence[int]]:
    """Return a text without its escapes, and where in it each of the characters and the end have been."""
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


def _found(text: str, lower: str, secret: str, *, is_cut: bool) -> Iterator[tuple[int, int]]:
    """Yield where a secret stands in a text, which is given in small letters too, and where its parts do."""
    at = text.find(secret)
    while at >= 0:
        yield at, at + len(secret)
        at = text.find(secret, at + len(secret))
    if len(secret) >= _SHORTEST_PART:
        start = _ALIKE if len(secret) >= _SHORTEST_TOKEN else 0
        if secret.startswith("arn:"):
            # Others begin alike.
            start = secret.rfind(":") + 1
        yield from _parts(lower, secret[start:].translate(_LOWER))
    if is_cut:
        for length in range(len(secret) - 1, 0, -1):
            if text.endswith(secret[:length]):
                yield len(text) - length, len(text)
                break


def _parts(text: str, secret: str) -> Iterator[tuple[int, int]]:
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
    """Return from where to where a text is that of a secret, around a place in both."""
    begin, end, shift = at, at, there - at
    while begin and begin + shift and text[begin - 1] == secret[begin - 1 + shift]:
        begin -= 1
    while end < len(text) and end + shift < len(secret) and text[end] == secret[end + shift]:
        end += 1
    return begin, end


def _hidden(text: str, spans: list[tuple[int, int]]) -> str:
    """Return a text with `***` in place of each span. They are in order, and may overlap."""
    parts: list[str] = []
    at = 0
    for begin, end in spans:
        if begin > at or not at:
            parts += (text[at:begin], "***")
        at = max(at, end)
    return "".join((*parts, text[at:]))

"""Readers for paths, destinations, URLs, file modes, KMS keys and commands."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from poolcensus.config.readers.conversion import EntryError, shown, text, written
from poolcensus.config.values import Mode

# Bytes. An S3 key has at most 1,024, and the snapshot's ID and its longest file name follow the prefix.
_LONGEST_PREFIX = 900

_S3_PLACE = r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?"
_OCTAL = r"(?:0o)?([0-7]{3,4})"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_NEARLY_A_URL = r"(?i)s3[an]?:|s3\W*//|arn:|https?:|file:|gs:|[a-z0-9.-]+\.amazonaws\.com|.*://"
# Quotes and blanks that a shell would remove, but an env file or a web form keeps. Straight and curly ones.
_AROUND = " \t\r\n\"'`<>\u201c\u201d\u2018\u2019\u00ab\u00bb"
_CONTROL = r"[\x00-\x1f\x7f]"

KmsKey = Annotated[str, written(r"[\w+=,.@:/-]{1,2048}", "the ID, the ARN or the alias of a KMS key")]
Owner = Annotated[str, written(r"[0-9]{12}", "an account ID of 12 digits, in quotes")]


def destination(value: object) -> str:
    """Read a destination: a directory, `s3://bucket/prefix`, or `-`."""
    place = text(str(value) if isinstance(value, Path) else value)
    allowed = "must be a directory, s3://BUCKET/PREFIX, or - for standard output"
    try:
        return _destination(place, allowed)
    except ValueError:
        if _may_hold_password(place):
            raise EntryError(f"{allowed}, and hold no user name, password or query") from None
        raise


def _may_hold_password(value: object) -> bool:
    """Return whether a value may contain a password, before an @, or a token, in a query or a fragment."""
    return not {"@", "?", "#"}.isdisjoint(str(value))


def _destination(place: str, allowed: str) -> str:
    if not place or "\0" in place:
        raise ValueError(allowed)
    nearly = f"{shown(place)} is neither the name of a directory nor a URL such as s3://BUCKET/PREFIX"
    if re.search(_CONTROL, place) and not place.startswith("s3://"):
        raise EntryError(f"{shown(place)}: a path can't hold a line break or another control character")
    # Refuse what looks like a mistyped URL. In a container, a folder created in its place would be lost with
    # it.
    if place.strip(_AROUND) != place:
        raise EntryError(nearly)
    if place.startswith("s3://"):
        return _s3_place(place)
    if re.match(_SCHEME, place):
        raise ValueError(allowed)
    if re.match(_NEARLY_A_URL, place):
        raise EntryError(nearly)
    return _expanded(place)


def _s3_place(value: str) -> str:
    found = re.fullmatch(_S3_PLACE, value)
    if found is None:
        raise ValueError(
            "must be s3://BUCKET/PREFIX, with a bucket of 3 to 63 small letters, digits, dots and hyphens,"
            " and no empty step in the prefix"
        )
    steps = found[2].split("/")
    if len(found[2].encode()) > _LONGEST_PREFIX or not value.isprintable() or {".", ".."} & {*steps}:
        raise ValueError(
            f"must have a prefix of at most {_LONGEST_PREFIX} bytes, without . and .. and what can't be seen"
        )
    return value.rstrip("/")


def path(value: object) -> Path:
    """Read a path. In a text, a leading `~` stands for the home folder."""
    return value if isinstance(value, Path) else Path(path_text(value))


def file(value: object) -> Path:
    """Read the path of a file to write. Refuses `-`, which would be taken for a file name."""
    if value == "-":
        raise EntryError("takes a file, and not standard output. A file that is called - is ./-")
    if isinstance(value, str) and value.endswith(("/", "/.")):
        raise EntryError("takes a file, and not a folder")
    return path(value)


def path_text(value: object) -> str:
    """Read a path as text. A leading `~` stands for the home folder."""
    found = text(value)
    if not found or "\0" in found:
        raise ValueError("must be a path")
    return _expanded(found)


def _expanded(value: str) -> str:
    if not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        raise ValueError("names a home folder that doesn't exist") from None


def endpoint_url(value: object) -> str:
    """Read an http or https URL. It must not contain a user name."""
    try:
        return _endpoint_url(text(value))
    except ValueError as error:
        if _may_hold_password(value):
            raise EntryError(str(error)) from None
        raise


def _endpoint_url(url: str) -> str:
    allowed = "must be a URL such as https://workspaces.example.com or http://127.0.0.1:4566"
    try:
        parts = urlsplit(url)
        port_known = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(allowed) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_known:
        raise ValueError(allowed)
    if "@" in parts.netloc:
        raise ValueError("must hold no user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must hold no query and no fragment")
    if not url.isprintable() or " " in url:
        raise ValueError(allowed)
    return url


def mode(owner: int, example: str, value: object) -> Mode:
    """Read a file mode from octal text. It has to include the bits of `owner`."""
    found = re.fullmatch(_OCTAL, value) if isinstance(value, str) else None
    bits = value if isinstance(value, Mode) else int(found[1], 8) if found else -1
    if bits & owner != owner or not 0 <= bits <= 0o777:
        raise ValueError(
            f'must be octal text that lets the owner in, from "{owner:04o}" to "0777", such as "{example}"'
        )
    return Mode(bits)


file_mode = partial(mode, 0o600, "0640")
folder_mode = partial(mode, 0o700, "0750")


def command(value: object) -> str:
    """Read a command line. Messages don't show it, since it may contain a password."""
    line = text(value)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise EntryError(f"must be a command as a shell takes it: {str(error).lower()}") from None
    if not words or not words[0]:
        raise EntryError("must be a command: a program and its arguments")
    if "\0" in line:
        raise EntryError("must hold no NUL character")
    return line

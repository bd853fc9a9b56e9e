"""The sources of settings: the file, the environment and overrides, in order of precedence."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from poolcensus.config.readers import shown, suggestion
from poolcensus.errors import SettingsError, reason_of
from poolcensus.format.text import did_you_mean, nearest
from poolcensus.paths import is_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

PREFIX = "POOLCENSUS_"
CONFIG_VARIABLE = "POOLCENSUS_CONFIG"
FILE_NAME = "poolcensus.toml"

# Variables that Kubernetes and Docker set in containers for a service whose name begins with "poolcensus":
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_A_SERVICE = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?)?)|NAME|ENV_[A-Za-z0-9_]+"
)


class Rank(IntEnum):
    """The sources of settings. Each takes precedence over those before it."""

    FILE = 0
    ENVIRONMENT = 1
    OVERRIDE = 2


class Given(msgspec.Struct, frozen=True):
    """A value from a source, and the place where it was given.

    `place` is for the beginning of a message: `--dest`, `FILE: dest`. `mention` is for the middle of a
    sentence: `--dest`, `dest in FILE`.
    """

    value: object
    place: str
    mention: str
    rank: Rank


def read(
    keys: Mapping[str, str],
    path: str | os.PathLike[str] | None,
    overrides: Mapping[str, object],
    option_names: Mapping[str, str],
    *,
    ambient: bool,
    undone: AbstractSet[str] = frozenset(),
) -> tuple[dict[str, Given], list[str]]:
    """Return the values that the sources give, by key, and the problems of the sources themselves.

    `keys` has the key of every setting by its name in Python. Overrides take precedence over the environment,
    and that over the file. For the keys in `undone`, the file and the environment are ignored.
    """
    given: dict[str, Given] = {}
    problems: list[str] = []
    known = frozenset(keys.values())
    if ambient:
        _read_file(path, known, given, problems)
        _read_environment(known, given, problems)
    for key in undone:
        given.pop(key, None)
    for name, value in overrides.items():
        key = keys.get(name, name)
        if key not in known:
            problems.append(f"Unknown setting {shown(name)}.{suggestion(key, known)}")
        elif value is not None:
            option = option_names.get(key)
            given[key] = Given(value, option or name, option or f"`{name}`", Rank.OVERRIDE)
    return given, problems


def outrank(
    given: dict[str, Given],
    tables_key: str,
    in_place_of: Mapping[str, Iterable[str]],
    undone: AbstractSet[str] = frozenset(),
) -> None:
    """Remove values that a source with higher precedence overrides by another setting.

    `in_place_of` has the settings that a key overrides. Also remove, from the tables under `tables_key`, the
    settings that a source above the tables sets or resets for the run. A reset setting overrides no others.
    """
    outranked = {
        other
        for name, each in given.items()
        for other in in_place_of.get(name, ())
        if other in given and given[other].rank < each.rank
    }
    tables = given.get(tables_key)
    above = {name for name, each in given.items() if tables is not None and each.rank > tables.rank}
    above |= {other for name in above for other in in_place_of.get(name, ())} | undone
    for name in outranked:
        del given[name]
    if tables is None or not isinstance(tables.value, list):
        return
    kept = [
        {name: value for name, value in table.items() if name not in above}
        if isinstance(table, dict)
        else table
        for table in tables.value
    ]
    given[tables_key] = msgspec.structs.replace(tables, value=kept)


def settings_file(path: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the file that `load_settings` reads, or None."""
    named = _named(path)
    if named is not None:
        # Don't read it: it may be a pipe, which can be read only once.
        return named.expanduser()
    found = _read_usual()
    return None if found is None else found[0]


def _read_environment(known: AbstractSet[str], given: dict[str, Given], problems: list[str]) -> None:
    for variable, value in sorted(os.environ.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in known and _OF_A_SERVICE.fullmatch(variable.removeprefix(PREFIX)):
            continue
        if key not in known or variable != variable.upper():
            near = nearest(key, known | {CONFIG_VARIABLE.removeprefix(PREFIX).lower()})
            hint = did_you_mean(None if near is None else f"{PREFIX}{near.upper()}")
            problems.append(f"Unknown environment variable {variable}.{hint}")
        elif value:
            given[key] = Given(value, variable, variable, Rank.ENVIRONMENT)


def _read_file(
    path: str | os.PathLike[str] | None,
    known: AbstractSet[str],
    given: dict[str, Given],
    problems: list[str],
) -> None:
    named = _named(path)
    found = _read_usual() if named is None else _read_named(named)
    if found is None:
        return
    file, raw = found
    for key, value in _table(file, raw).items():
        if key in known:
            given[key] = Given(value, f"{file}: {key}", f"{key} in {file}", Rank.FILE)
        elif isinstance(value, dict):
            hint = suggestion(key, known) or " Settings stand at the top of the file, in no table."
            problems.append(f"Unknown table {shown(key)} in {file}.{hint}")
        else:
            problems.append(f"Unknown setting {shown(key)} in {file}.{suggestion(key, known)}")


def _named(path: str | os.PathLike[str] | None) -> Path | None:
    named = path or os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else None


def _read_named(file: Path) -> tuple[Path, bytes]:
    try:
        file = file.expanduser()
        return file, file.read_bytes()
    except FileNotFoundError:
        message = f"{file}: there is no such configuration file"
    except OSError as error:
        message = _unreadable(file, error)
    except RuntimeError:
        message = f"{file}: the configuration file is in a home folder that doesn't exist"
    raise SettingsError(message)


def _read_usual() -> tuple[Path, bytes] | None:
    """Return the first file that exists in the default places, with its content."""
    for file in _usual():
        if not _is_there(file):
            continue
        try:
            return file, file.read_bytes()
        except OSError as error:
            advice = (
                "Give this user the right to read it"
                if isinstance(error, PermissionError)
                else f"Mend or remove {'the link' if is_link(file) else 'it'}"
            )
            message = f"{_unreadable(file, error)}. {advice}, or name another file with `path`."
        raise SettingsError(message)
    return None


def _is_there(file: Path) -> bool:
    """Return whether a default place has a file, or a link, even a broken one.

    A folder that this user can't read counts as empty: in a container, HOME may belong to another user, and
    so may the working folder under `sudo -u`.
    """
    try:
        file.lstat()
    except OSError:
        return False
    return True


def _usual() -> Iterator[Path]:
    """Yield the default places of the file: in the working folder, and in the user's configuration folder."""
    yield Path(FILE_NAME)
    configuration = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore a relative path here.
    if configuration.startswith("/"):
        yield Path(configuration, "poolcensus", "config.toml")
        return
    # Without HOME, a user without an entry in the system's user database has no home folder.
    with suppress(RuntimeError):
        yield Path("~/.config/poolcensus/config.toml").expanduser()


def _unreadable(file: Path, error: OSError) -> str:
    return f"{file}: the configuration file can't be read: {reason_of(error)}"


def _table(file: Path, raw: bytes) -> Mapping[str, object]:
    if not raw:
        # Such as /dev/null, for no settings file.
        return {}
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(raw[: error.start].decode("utf-8", "replace"))
        message = f"{file}: not valid TOML at line {line}, column {column}: a byte that is not UTF-8"
        raise SettingsError(message) from None
    import tomllib  # noqa: PLC0415 - for those who have a file

    from poolcensus.format.documents import load_toml  # noqa: PLC0415 - likewise

    try:
        return load_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_malformed(file, text, str(error))) from None
    except ValueError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None


def _malformed(file: Path, text: str, complaint: str) -> str:
    """Return the parser's message as one sentence. Before Python 3.14, only the message has the position."""
    reason, _, _ = complaint.rpartition(" (at ")
    found = re.search(r"\(at line (\d+), column (\d+)\)$", complaint)
    line, column = (int(found[1]), int(found[2])) if found else _position(text)
    return f"{file}: not valid TOML at line {line}, column {column}: {reason or complaint}"


def _position(before: str) -> tuple[int, int]:
    """Return the line and the column, from 1, of the position after the text."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1

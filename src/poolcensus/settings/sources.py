"""Where settings come from, in what order, and what to say when one is wrong."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from annotated_types import Ge, Le
from pydantic import ValidationError

from poolcensus.errors import SettingsError
from poolcensus.settings.model import ClashError, Settings, nearest_of
from poolcensus.settings.values import EntryError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

PREFIX = "POOLCENSUS_"
CONFIG_VARIABLE = "POOLCENSUS_CONFIG"
FILE_NAME = "poolcensus.toml"

# The key that a person writes is the alias where the field has one.
FIELDS: Mapping[str, FieldInfo] = {
    field.alias or name: field for name, field in Settings.model_fields.items()
}
_ALIASES: Mapping[str, str] = {
    name: field.alias for name, field in Settings.model_fields.items() if field.alias
}


@dataclass(frozen=True, slots=True)
class Given:
    """A value for a key, and where it stood."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source gives, by key, and what is wrong with the source itself."""

    given: Mapping[str, Given]
    problems: tuple[str, ...] = ()


def load_settings(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    option_names: Mapping[str, str] | None = None,
    ambient: bool = True,
) -> Settings:
    """Reads the settings from every source, as `Settings.load` does.

    `option_names` says by which option an override came, for messages: `{"dest": "--dest"}`. Without
    `ambient`, neither a file nor the environment is looked at.
    """
    given_here = _from_overrides(overrides or {}, option_names or {})
    layers = (_from_file(path), _from_environment(os.environ), given_here) if ambient else (given_here,)
    given = {key: each for layer in layers for key, each in layer.given.items()}
    problems = [problem for layer in layers for problem in layer.problems]
    settings, wrong = _validated(given)
    problems += wrong
    if settings is None or problems:
        raise SettingsError("\n".join(problems))
    return settings


def _validated(given: Mapping[str, Given]) -> tuple[Settings | None, list[str]]:
    """The settings, or every problem: those of single values first, then those between values."""
    problems: dict[str, str] = {}
    settings, bad = _attempt(given, problems, frozenset())
    if settings is None and bad:
        # The clashes between the values that are right are reported in the same go as the wrong values.
        _attempt({key: each for key, each in given.items() if key not in bad}, problems, bad)
    return settings, list(problems.values())


def _attempt(
    given: Mapping[str, Given], problems: dict[str, str], bad: frozenset[str]
) -> tuple[Settings | None, frozenset[str]]:
    try:
        return Settings.model_validate({key: each.value for key, each in given.items()}), frozenset()
    except ValidationError as error:
        found: set[str] = set()
        for detail in error.errors(include_url=False):
            cause = detail.get("ctx", {}).get("error")
            if isinstance(cause, ClashError):
                for clash in cause.clashes:
                    if not clash.keys & bad:
                        origin = given[clash.key].origin if clash.key in given else "default"
                        line = f"{_where(origin, clash.key)}: {clash.message}"
                        problems.setdefault(line, line)
                continue
            key = str(detail["loc"][0])
            found.add(key)
            problems.setdefault(key, _problem(key, given[key], detail))
        return None, frozenset(found)


def _problem(key: str, given: Given, detail: ErrorDetails) -> str:
    """One line: where it stood, which key, what it was, what is allowed."""
    cause = detail.get("ctx", {}).get("error")
    message = str(cause) if isinstance(cause, ValueError) else f"must be {_allowed(key, detail)}"
    if not isinstance(cause, EntryError) and not _is_secret(key, given.value):
        message = f"{shown(given.value)} {message}"
    return f"{_where(given.origin, key)}: {message}"


def _where(origin: str, key: str) -> str:
    return origin if origin == f"argument {key}" else f"{origin}: {key}"


def _is_secret(key: str, value: object) -> bool:
    return key == "external_id" or (key == "endpoint_url" and "@" in str(value))


def _allowed(key: str, detail: ErrorDetails) -> str:
    field = FIELDS[key]
    annotations = get_args(field.annotation) or (field.annotation,)
    kinds = {each for each in annotations if isinstance(each, type)}
    for kind in kinds:
        if issubclass(kind, Enum):
            return "one of " + ", ".join(str(each) for each in kind)
    if bool in kinds:
        return "true or false"
    if int in kinds:
        least = next(each.ge for each in field.metadata if isinstance(each, Ge))
        most = next(each.le for each in field.metadata if isinstance(each, Le))
        return f"a whole number from {least} to {most}"
    if detail["type"].startswith(("float", "greater", "less", "finite")):
        return "a number of seconds, more than 0 and at most 604800"
    if detail["type"] == "string_too_short":
        return "text that is not empty"
    return "text, in quotes"


def _unknown(key: str) -> str:
    return nearest_of(key.lower().replace("-", "_"), set(FIELDS))


def _from_overrides(overrides: Mapping[str, object], option_names: Mapping[str, str]) -> Layer:
    given: dict[str, Given] = {}
    problems: list[str] = []
    for name, value in overrides.items():
        key = _ALIASES.get(name, name)
        if key not in FIELDS:
            problems.append(f"argument {name}: unknown setting: the nearest known one is {_unknown(key)}")
        elif value is not None:
            origin = f"option {option_names[key]}" if key in option_names else f"argument {name}"
            given[key] = Given(value, origin)
    return Layer(given, tuple(problems))


def _from_environment(environment: Mapping[str, str]) -> Layer:
    given: dict[str, Given] = {}
    problems: list[str] = []
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in FIELDS or variable != variable.upper():
            nearest = f"{PREFIX}{_unknown(key).upper()}"
            problems.append(f"environment variable {variable}: unknown: the nearest known one is {nearest}")
        elif value:
            given[key] = Given(value, f"environment variable {variable}")
    return Layer(given, tuple(problems))


def _from_file(path: str | os.PathLike[str] | None) -> Layer:
    file = _found(path)
    if file is None:
        return Layer({})
    table = _table(file)
    given = {key: Given(value, str(file)) for key, value in table.items() if key in FIELDS}
    problems = tuple(
        f"{file}: unknown setting {shown(key)}: the nearest known one is {_unknown(key)}"
        for key in table
        if key not in FIELDS
    )
    return Layer(given, problems)


def _found(path: str | os.PathLike[str] | None) -> Path | None:
    named = path or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser()
    configuration = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore a relative path here.
    home = Path(configuration) if configuration.startswith("/") else Path("~/.config").expanduser()
    usual = (Path(FILE_NAME), home / "poolcensus" / "config.toml")
    return next((each for each in usual if each.exists()), None)


def _table(file: Path) -> Mapping[str, object]:
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        message = f"{file}: there is no such configuration file"
        raise SettingsError(message) from None
    except OSError as error:
        message = f"{file}: the configuration file can't be read: {error.strerror}"
        raise SettingsError(message) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(raw[: error.start].decode("utf-8", "replace"))
        message = f"{file}: not valid TOML at line {line}, column {column}: a byte that is not UTF-8"
        raise SettingsError(message) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_malformed(file, text, str(error))) from None
    except (ValueError, RecursionError) as error:
        message = f"{file}: not valid TOML: {str(error) or 'nested too deep'}"
        raise SettingsError(message) from None


def _malformed(file: Path, text: str, complaint: str) -> str:
    """The parser's complaint as one sentence. Until Python 3.14 the position is only in its text."""
    reason, _, _ = complaint.rpartition(" (at ")
    found = re.search(r"\(at line (\d+), column (\d+)\)$", complaint)
    line, column = (int(found[1]), int(found[2])) if found else _position(text)
    return f"{file}: not valid TOML at line {line}, column {column}: {reason or complaint}"


def _position(before: str) -> tuple[int, int]:
    """The line and the column, from 1, of what comes after the text."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1

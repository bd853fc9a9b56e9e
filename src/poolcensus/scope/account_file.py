"""Reads accounts from a file: one ID per line, CSV, JSON or TOML."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from poolcensus import partitions
from poolcensus.errors import SettingsError, reason_of
from poolcensus.format.documents import load_json, load_toml
from poolcensus.scope.account_entry import (
    ACTIVE,
    ID_COLUMNS,
    KNOWN_COLUMNS,
    AccountEntry,
    check_names,
    entry_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# str.splitlines would also split at characters that may occur in a name.
_LINE_END = re.compile(r"\r\n|\r|\n")
_ID_IN_TEXT = re.compile(r"(?<![0-9])[0-9]{12}(?![0-9])")


class _Rows(Protocol):
    """The part of a CSV reader that is used here."""

    line_num: int

    def __next__(self) -> list[str]: ...


class _Row(NamedTuple):
    """The cells of a row or an object by key, and a function that returns the place of a key's value."""

    cells: Mapping[str, object]
    at: Callable[[str], str]


def read_accounts(path: str, extra_regions: Iterable[str] = ()) -> tuple[AccountEntry, ...]:
    """Return the accounts in a file, in order and without duplicates.

    The suffix of the name decides the format:

    - `.csv`: a header with a column for the ID (`account_id`, `Id`, …), and optional columns for the name,
      the state, and settings of the account (`role`, `external_id`, `regions`, `profile`)
    - `.json`: a list of IDs or objects, or an object with such a list under `accounts` or `Accounts`, as
      `aws organizations list-accounts` prints it
    - `.toml`: a list `accounts` of IDs or tables
    - other: an ID per line, optionally followed by the name; `#` begins a comment

    Ambiguous content is refused, since the list decides what is covered. So are unknown regions that are not
    in `extra_regions`, and columns that look like a misspelt setting. Raises SettingsError.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: the file of accounts can't be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: the file of accounts is not UTF-8") from None
    readers = {".csv": _from_csv, ".json": _from_json, ".toml": _from_toml}
    reader = readers.get(Path(path).suffix.lower(), _from_lines)
    try:
        known = partitions.known_regions() | {*extra_regions}
        accounts = _each_once(entry_from(row.cells, row.at, known) for row in reader(text))
    except (ValueError, csv.Error) as error:
        raise SettingsError(f"{path}: {error}") from None
    if not accounts:
        raise SettingsError(f"{path}: the file names no account")
    return accounts


def _each_once(accounts: Iterable[AccountEntry]) -> tuple[AccountEntry, ...]:
    found: dict[str, AccountEntry] = {}
    for account in accounts:
        before = found.setdefault(account.id, account)
        one, other = before.state or ACTIVE, account.state or ACTIVE
        if one != other:
            raise ValueError(f"{account.id} is there twice, as {one} and as {other}")
        if (what := _difference_between(before, account)) is not None:
            raise ValueError(f"{account.id} is there twice, with different values of {what}")
    return tuple(found.values())


def _difference_between(one: AccountEntry, other: AccountEntry) -> str | None:
    """Return the first setting in which two entries of an account differ, or None."""
    keys = ("role", "external_id", "regions", "profile")
    return next((key for key in keys if getattr(one, key) != getattr(other, key)), None)


def _from_lines(text: str) -> Iterator[_Row]:
    for number, line in enumerate(_LINE_END.split(text), 1):
        account_id, *names = line.partition("#")[0].split(maxsplit=1) or [""]
        if not account_id:
            continue
        if names and (second := _ID_IN_TEXT.search(names[0])):
            where = f"line {number}, column {line.rindex(names[0]) + second.start() + 1}"
            raise ValueError(f"{where}: {second[0]} is a second account id: give each a line of its own")
        where = f"line {number}, column {line.index(account_id) + 1}"
        yield _Row({"account_id": account_id, "name": names[0] if names else None}, _in_text(where))


def _from_csv(text: str) -> Iterator[_Row]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [_plain(cell) for cell in next(rows, [])]
    if not set(ID_COLUMNS) & {*header}:
        raise ValueError("line 1: the header has no column account_id")
    known = [name for name in header if name in KNOWN_COLUMNS]
    if len({*known}) < len(known):
        double = _first_double(known)
        second = header.index(double, header.index(double) + 1) + 1
        raise ValueError(f"line 1, column {second}: the header has the column {double} twice")
    check_names(header, _in_row("line 1", header))
    for where, row in _numbered(rows):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(header):
            raise ValueError(f"{where}: {len(row)} cells, and the header has {len(header)}")
        # A quote that was left open swallows the following records, up to the next quote.
        if any(_LINE_END.search(cell) and _ID_IN_TEXT.search(cell) for cell in row):
            raise ValueError(f"{where}: a cell in quotes holds further records; is a quote left open?")
        cells: dict[str, object] = {**dict.fromkeys(header, ""), **dict(zip(header, row, strict=False))}
        yield _Row(cells, _in_row(where, header))


def _in_text(where: str) -> Callable[[str], str]:
    """Return the function for places in a line of text, which has no keys."""
    return lambda _: where


def _in_row(line: str, header: list[str]) -> Callable[[str], str]:
    """Return the function for places in a CSV row: the line, and the column by number and name."""
    return lambda key: f"{line}, column {header.index(key) + 1} ({key})"


def _numbered(rows: _Rows) -> Iterator[tuple[str, list[str]]]:
    """Yield the records of a CSV reader, each with the line in which it begins."""
    while True:
        where = f"line {rows.line_num + 1}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{where}: not CSV: {error}; is a quote wrong?") from None
        yield where, row


def _from_json(text: str) -> Iterator[_Row]:
    try:
        value = load_json(text, _without_doubles)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    yield from _from_entries(_listed(value) if isinstance(value, dict) else value)


def _listed(table: Mapping[str, object]) -> object:
    """Return the list of accounts in a JSON object or a TOML table, or None."""
    if table.get("NextToken"):
        raise ValueError("it has a NextToken: this is one page of a longer list")
    lists = [table[name] for name in ("accounts", "Accounts") if name in table]
    if len(lists) > 1:
        raise ValueError("it has a list accounts and a list Accounts: leave one out")
    return lists[0] if lists else None


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object as a dict. Raises ValueError for a duplicate key."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"the key {_first_double([key for key, _ in pairs])!r} is there twice")
    return made


def _from_toml(text: str) -> Iterator[_Row]:
    try:
        value = load_toml(text)
    except tomllib.TOMLDecodeError as error:
        # Its message ends with the line and the column.
        raise ValueError(f"not TOML: {error}") from None
    yield from _from_entries(_listed(value))


def _from_entries(entries: object) -> Iterator[_Row]:
    if not isinstance(entries, list):
        raise ValueError("there is no list of accounts")  # noqa: TRY004 - the file's fault, not a type's
    for number, entry in enumerate(entries, 1):
        where = f"account {number}"
        if isinstance(entry, dict):
            keys = {_plain(str(key)): str(key) for key in entry}
            if len(keys) < len(entry):
                double = _first_double([_plain(str(key)) for key in entry])
                raise ValueError(f"{where}: the key {double!r} is there twice")
            check_names(keys, _in_object(where, keys))
            cells = {_plain(str(key)): value for key, value in entry.items()}
            yield _Row(cells, _in_object(where, keys))
        else:
            yield _Row({"account_id": entry}, _in_object(where, {}))


def _in_object(account: str, keys: Mapping[str, str]) -> Callable[[str], str]:
    """Return the function for places in an object: the number of the account, and the key as written."""
    return lambda key: f"{account}, key {keys[key]}" if key in keys else account


def _first_double(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _plain(header: str) -> str:
    return header.strip().lower().replace(" ", "_").replace("-", "_")

"""Accounts from a file: one id a line, CSV, JSON or TOML."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_ID_COLUMNS = ("account_id", "accountid", "account", "id")
_NAME_COLUMNS = ("account_name", "accountname", "name")
# `Status` gives way to `State`:
# https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html
_STATE_COLUMNS = ("state", "status")
_ACTIVE = "ACTIVE"
_STATES = frozenset({_ACTIVE, "PENDING_ACTIVATION", "SUSPENDED", "PENDING_CLOSURE", "CLOSED"})
# Not what str.splitlines takes for a line's end as well: a name may hold any of that.
_LINE_END = re.compile(r"\r\n|\r|\n")
_ID_IN_TEXT = re.compile(r"(?<![0-9])[0-9]{12}(?![0-9])")


class _Rows(Protocol):
    """What is used of a CSV reader."""

    line_num: int

    def __next__(self) -> list[str]: ...


class AccountEntry(NamedTuple):
    """An account as a file names it. `state` is `ACTIVE` where the file says nothing of it."""

    id: str
    name: str | None = None
    state: str = _ACTIVE


def read_accounts(path: str) -> tuple[AccountEntry, ...]:
    """Return the accounts that a file names, each once, in the file's order.

    The ending says what the file is: `.csv` has a header with an id column (`account_id`, `Id`, …) and
    perhaps columns for the name and the state; `.json` is a list of ids or of objects, or an object with such
    a list under `accounts` or `Accounts`, as `aws organizations list-accounts` prints it; `.toml` has a list
    `accounts`, of ids or tables; anything else has an id a line, `#` begins a comment, and what follows the
    id is its name. What could be read in two ways is refused: a list decides what is covered. Raises
    SettingsError.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: the file of accounts can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: the file of accounts is not UTF-8") from None
    readers = {".csv": _from_csv, ".json": _from_json, ".toml": _from_toml}
    reader = readers.get(Path(path).suffix.lower(), _from_lines)
    try:
        accounts = _each_once(reader(text))
    except (ValueError, csv.Error) as error:
        raise SettingsError(f"{path}: {error}") from None
    except RecursionError:
        raise SettingsError(f"{path}: the file is nested too deeply") from None
    if not accounts:
        raise SettingsError(f"{path}: the file names no account")
    return accounts


def _each_once(accounts: Iterable[AccountEntry]) -> tuple[AccountEntry, ...]:
    found: dict[str, AccountEntry] = {}
    for account in accounts:
        before = found.setdefault(account.id, account)
        if before.state != account.state:
            raise ValueError(f"{account.id} is there twice, as {before.state} and as {account.state}")
    return tuple(found.values())


def _account(account_id: object, name: object, where: str, state: object = None) -> AccountEntry:
    # A TOML or JSON file may hold an id as a number, which has lost its leading zeros.
    number = isinstance(account_id, int) and not isinstance(account_id, bool)
    text = f"{account_id:012d}" if number else str(account_id).strip()
    if _ACCOUNT_ID.fullmatch(text) is None:
        raise ValueError(f"{where}: {text[:40]!r} is not a 12-digit account id")
    known = _ACTIVE if state is None else str(state).strip().upper()
    if known not in _STATES:
        raise ValueError(f"{where}: {str(state)[:40]!r} is not the state of an account, such as ACTIVE")
    return AccountEntry(text, name.strip() or None if isinstance(name, str) else None, known)


def _account_from(cells: Mapping[str, object], where: str) -> AccountEntry:
    states = {name: value for name, value in cells.items() if value is not None and value != ""}
    return _account(
        _first(cells, _ID_COLUMNS), _first(cells, _NAME_COLUMNS), where, _first(states, _STATE_COLUMNS)
    )


def _from_lines(text: str) -> Iterator[AccountEntry]:
    for number, line in enumerate(_LINE_END.split(text), 1):
        account_id, *names = line.partition("#")[0].split(maxsplit=1) or [""]
        if not account_id:
            continue
        if names and (second := _ID_IN_TEXT.search(names[0])):
            raise ValueError(
                f"line {number}: {second[0]} is a second account id: give each a line of its own"
            )
        yield _account(account_id, names[0] if names else None, f"line {number}")


def _from_csv(text: str) -> Iterator[AccountEntry]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [_plain(cell) for cell in next(rows, [])]
    if not set(_ID_COLUMNS) & {*header}:
        raise ValueError("line 1: the header has no column account_id")
    known = [name for name in header if name in {*_ID_COLUMNS, *_NAME_COLUMNS, *_STATE_COLUMNS}]
    if len({*known}) < len(known):
        raise ValueError(f"line 1: the header has the column {_first_double(known)} twice")
    for where, row in _numbered(rows):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(header):
            raise ValueError(f"{where}: {len(row)} cells, and the header has {len(header)}")
        # A quote that was left open takes in the records that follow, up to the next quote.
        if any(_LINE_END.search(cell) and _ID_IN_TEXT.search(cell) for cell in row):
            raise ValueError(f"{where}: a cell in quotes holds further records; is a quote left open?")
        yield _account_from({**dict.fromkeys(header, ""), **dict(zip(header, row, strict=False))}, where)


def _numbered(rows: _Rows) -> Iterator[tuple[str, list[str]]]:
    """Yield the records of a CSV reader, each with the line on which it begins."""
    while True:
        where = f"line {rows.line_num + 1}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{where}: not CSV: {error}; is a quote wrong?") from None
        yield where, row


def _from_json(text: str) -> Iterator[AccountEntry]:
    try:
        value = json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON: {error.msg}") from None
    yield from _from_entries(_listed(value) if isinstance(value, dict) else value)


def _listed(table: Mapping[str, object]) -> object:
    """Return what a JSON object or a TOML table has as its list of accounts."""
    if table.get("NextToken"):
        raise ValueError("it has a NextToken: this is one page of a longer list")
    lists = [table[name] for name in ("accounts", "Accounts") if name in table]
    if len(lists) > 1:
        raise ValueError("it has a list accounts and a list Accounts: leave one out")
    return lists[0] if lists else None


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object as a dict. Raises ValueError for a key that would replace another's value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"the key {_first_double([key for key, _ in pairs])!r} is there twice")
    return made


def _from_toml(text: str) -> Iterator[AccountEntry]:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    yield from _from_entries(_listed(value))


def _from_entries(entries: object) -> Iterator[AccountEntry]:
    if not isinstance(entries, list):
        raise ValueError("there is no list of accounts")  # noqa: TRY004 - the file's fault, not a type's
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict):
            cells = {_plain(str(key)): value for key, value in entry.items()}
            if len(cells) < len(entry):
                double = _first_double([_plain(str(key)) for key in entry])
                raise ValueError(f"account {number}: the key {double!r} is there twice")
            yield _account_from(cells, f"account {number}")
        else:
            yield _account(entry, None, f"account {number}")


def _first(cells: Mapping[str, object], names: Iterable[str]) -> object:
    return next((cells[name] for name in names if name in cells), None)


def _first_double(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _plain(header: str) -> str:
    return header.strip().lower().replace(" ", "_").replace("-", "_")

"""Accounts from a file: one id a line, CSV, JSON or TOML."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from poolcensus.errors import SettingsError
from poolcensus.model import Account

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_ID_COLUMNS = ("account_id", "accountid", "account", "id")
_NAME_COLUMNS = ("account_name", "accountname", "name")


def read_accounts(path: str) -> tuple[Account, ...]:
    """The accounts that a file names, each once, in the file's order.

    The ending says what the file is: `.csv` has a header with an id column (`account_id`, `Id`, …) and
    perhaps a name column; `.json` is a list of ids or of objects, or an object with such a list under
    `accounts` or `Accounts`; `.toml` has a list `accounts`, of ids or tables; anything else has an id a
    line, `#` begins a comment, and what follows the id is its name. Raises SettingsError.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: the file of accounts can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: the file of accounts is not UTF-8") from None
    readers = {".csv": _from_csv, ".json": _from_json, ".toml": _from_toml}
    reader = readers.get(Path(path).suffix.lower(), _from_lines)
    accounts: dict[str, Account] = {}
    try:
        for account in reader(text):
            accounts.setdefault(account.id, account)
    except (ValueError, csv.Error) as error:
        raise SettingsError(f"{path}: {error}") from None
    except RecursionError:
        raise SettingsError(f"{path}: the file is nested too deeply") from None
    if not accounts:
        raise SettingsError(f"{path}: the file names no account")
    return tuple(accounts.values())


def _account(account_id: object, name: object, where: str) -> Account:
    # A TOML or JSON file may hold an id as a number, which has lost its leading zeros.
    number = isinstance(account_id, int) and not isinstance(account_id, bool)
    text = f"{account_id:012d}" if number else str(account_id).strip()
    if _ACCOUNT_ID.fullmatch(text) is None:
        raise ValueError(f"{where}: {text[:40]!r} is not a 12-digit account id")
    return Account(text, name.strip() or None if isinstance(name, str) else None)


def _from_lines(text: str) -> Iterator[Account]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if words:
            yield _account(words[0], words[1] if len(words) > 1 else None, f"line {number}")


def _from_csv(text: str) -> Iterator[Account]:
    rows = csv.reader(text.splitlines())
    header = [_plain(cell) for cell in next(rows, [])]
    id_column = next((header.index(name) for name in _ID_COLUMNS if name in header), None)
    name_column = next((header.index(name) for name in _NAME_COLUMNS if name in header), None)
    if id_column is None:
        raise ValueError("line 1: the header has no column account_id")
    for row in rows:
        if any(cell.strip() for cell in row):
            name = row[name_column] if name_column is not None and name_column < len(row) else None
            cell = row[id_column] if id_column < len(row) else ""
            yield _account(cell, name, f"line {rows.line_num}")


def _from_json(text: str) -> Iterator[Account]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON: {error.msg}") from None
    if isinstance(value, dict):
        value = next((value[name] for name in ("accounts", "Accounts") if name in value), None)
    yield from _from_entries(value)


def _from_toml(text: str) -> Iterator[Account]:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    yield from _from_entries(value.get("accounts"))


def _from_entries(entries: object) -> Iterator[Account]:
    if not isinstance(entries, list):
        raise ValueError("there is no list of accounts")  # noqa: TRY004 - the file's fault, not a type's
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict):
            cells = {_plain(str(key)): value for key, value in entry.items()}
            yield _account(_first(cells, _ID_COLUMNS), _first(cells, _NAME_COLUMNS), f"account {number}")
        else:
            yield _account(entry, None, f"account {number}")


def _first(cells: Mapping[str, object], names: Iterable[str]) -> object:
    return next((cells[name] for name in names if name in cells), None)


def _plain(header: str) -> str:
    return header.strip().lower().replace(" ", "_").replace("-", "_")

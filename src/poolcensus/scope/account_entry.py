"""An account in a file: its ID, its state, and the settings that it has in place of the run's."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from poolcensus import partitions
from poolcensus.config import Secret, readers
from poolcensus.config.roles import role_of_account
from poolcensus.format.ids import is_account_id
from poolcensus.format.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ID_COLUMNS = ("account_id", "accountid", "account", "id")
NAME_COLUMNS = ("account_name", "accountname", "name")
# `Status` gives way to `State`:
# https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html
STATE_COLUMNS = ("state", "status")
ROLE_COLUMNS = ("role", "role_name", "role_arn")
EXTERNAL_ID_COLUMNS = ("external_id", "externalid")
REGION_COLUMNS = ("regions", "region")
PROFILE_COLUMNS = ("profile",)
KNOWN_COLUMNS = frozenset(
    {
        *ID_COLUMNS,
        *NAME_COLUMNS,
        *STATE_COLUMNS,
        *ROLE_COLUMNS,
        *EXTERNAL_ID_COLUMNS,
        *REGION_COLUMNS,
        *PROFILE_COLUMNS,
    }
)
# Columns that say how an account is called. Only these are checked for misspelling: other columns belong to
# the company's own list, such as `stage`, which is not meant to be `state`.
_ACCESS_COLUMNS = (*ROLE_COLUMNS, *EXTERNAL_ID_COLUMNS, *REGION_COLUMNS, *PROFILE_COLUMNS)
# Allows one letter more, less or in another place, in a name of six letters.
_NEAR = 0.85
# The smallest number with 12 digits.
_SMALLEST_WITHOUT_ZEROS = 10**11
ACTIVE = "ACTIVE"
STATES = frozenset({ACTIVE, "PENDING_ACTIVATION", "SUSPENDED", "PENDING_CLOSURE", "CLOSED"})

# Separators between the regions in one cell.
_BETWEEN_REGIONS = re.compile(r"[\s;|,]+")


class AccountEntry(NamedTuple):
    """An account in a file. A `state` of None means that the file doesn't say, and the account is active.

    `role` (a name or an ARN), `external_id`, `profile` and `regions` (names and patterns) replace the
    settings of the run for this account.
    """

    id: str
    name: str | None = None
    state: str | None = None
    role: str | None = None
    external_id: Secret | None = None
    regions: tuple[str, ...] = ()
    profile: str | None = None

    @property
    def has_own_access(self) -> bool:
        """Whether the account has its own role, external ID or profile."""
        return self.role is not None or self.external_id is not None or self.profile is not None


def entry_from(
    cells: Mapping[str, object], at: Callable[[str], str], known_regions: frozenset[str]
) -> AccountEntry:
    """Return the account of a row or an object. The keys of `cells` are the names of the columns.

    `at` returns the place of a key's value in the file. Raises ValueError with a message that begins with it.
    """
    given = {key: value for key, value in cells.items() if value is not None and not _is_blank(value)}
    # The ID is taken from the first such column, even if its cell is empty, which is then an error.
    key = next((each for each in ID_COLUMNS if each in cells), None)
    if key is None:
        raise ValueError(f"{at('')}: there is no account_id")
    account_id = _account_id(cells[key], at(key))
    _, name = _first(given, NAME_COLUMNS)
    # AWS returns both State and Status, and they may differ: an account in State CLOSED has Status SUSPENDED.
    state_key, state = _first(given, STATE_COLUMNS)
    return AccountEntry(
        account_id,
        name.strip() if isinstance(name, str) else None,
        None if state is None else _state(state, at(state_key)),
        role=_role(*_text(given, ROLE_COLUMNS, at), account_id),
        external_id=_external_id(*_text(given, EXTERNAL_ID_COLUMNS, at)),
        regions=_regions(*_agreed(given, REGION_COLUMNS, at), at, known_regions),
        profile=_text(given, PROFILE_COLUMNS, at)[1],
    )


def check_names(names: Iterable[str], at: Callable[[str], str]) -> None:
    """Raise ValueError for a misspelt column or key, which would otherwise be ignored silently.

    `at` returns its place in the file.
    """
    for name in names:
        near = nearest(name, _ACCESS_COLUMNS, cutoff=_NEAR, beginnings=False)
        if name not in KNOWN_COLUMNS and near is not None:
            raise ValueError(f"{at(name)}: this is not read. Write {near}, or give it another name")


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _first(given: Mapping[str, object], names: Iterable[str]) -> tuple[str, object]:
    """Return the first of the keys that has a value, and that value, or None if none has."""
    return next(((name, given[name]) for name in names if name in given), ("", None))


def _agreed(
    given: Mapping[str, object], names: Iterable[str], at: Callable[[str], str]
) -> tuple[str, object]:
    """Return the first of the keys that has a value, and that value, or None if none has.

    Raises ValueError if another of the keys has a different value.
    """
    first, *others = [name for name in names if name in given] or [""]
    for other in others:
        if given[other] != given[first]:
            raise ValueError(f"{at(other)}: not the same as {first}: leave one out")
    return first, given.get(first)


def _text(
    given: Mapping[str, object], names: Iterable[str], at: Callable[[str], str]
) -> tuple[str, str | None]:
    """Return the place of a text in the file, and the text, or None if there is none."""
    key, value = _agreed(given, names, at)
    if value is None:
        return "", None
    if not isinstance(value, str):
        raise ValueError(f"{at(key)}: must be text, in quotes")  # noqa: TRY004 - the file's fault, not a type's
    return at(key), value.strip() or None


def _account_id(value: object, where: str) -> str:
    text = str(value).strip()
    if is_account_id(text):
        return text
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _SMALLEST_WITHOUT_ZEROS:
        # Not padded with zeros: if another digit was lost, that would be somebody else's account.
        raise ValueError(
            f"{where}: the number {text} has fewer than the 12 digits of an account id: write the id as text,"
            " in quotes, with its zeros"
        )
    raise ValueError(f"{where}: {text[:40]!r} is not a 12-digit account id")


def _state(value: object, where: str) -> str:
    known = str(value).strip().upper()
    if known not in STATES:
        raise ValueError(f"{where}: {str(value)[:40]!r} is not the state of an account, such as ACTIVE")
    return known


def _role(where: str, value: str | None, account_id: str) -> str | None:
    if value is None:
        return None
    try:
        return role_of_account(value, account_id)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _external_id(where: str, value: str | None) -> Secret | None:
    if value is None:
        return None
    try:
        return readers.external_id(value)
    except ValueError as error:
        # The reader's message never contains the value.
        raise ValueError(f"{where}: the external ID {error}") from None


def _regions(key: str, value: object, at: Callable[[str], str], known: frozenset[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = [part for part in _BETWEEN_REGIONS.split(value) if part] if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise ValueError(f"{at(key)}: must be a list of regions, or text")  # noqa: TRY004 - as above
    try:
        patterns = readers.each_of(readers.RegionPattern)(listed)
    except ValueError as error:
        raise ValueError(f"{at(key)}: {error}") from None
    for pattern in patterns:
        if not _matches_any(pattern, known):
            raise ValueError(
                f"{at(key)}: {readers.shown(pattern)} matches no region. A region that is newer than this"
                " version of poolcensus goes into `extra_regions`."
            )
    return patterns


# A file with thousands of accounts has few different patterns.
@lru_cache(maxsize=256)
def _matches_any(pattern: str, regions: frozenset[str]) -> bool:
    return any(partitions.matches(region, (pattern,)) for region in regions)

"""The setting `known_gaps`, which names targets that are refused on purpose."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from poolcensus.config.readers import AccountId, EntryError, RegionPattern, check_keys, elements_of, shown
from poolcensus.model import KnownGap, Outcome

_KEYS = ("accounts", "regions", "outcomes", "reason")
_ALL = "*"
# Characters. The reason is kept in the manifest, for people to read.
_LONGEST_REASON = 1000


def read_known_gaps(value: object) -> tuple[KnownGap, ...]:
    """Read known gaps from `ACCOUNT:REGION:OUTCOME` texts, or from tables of these three."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    elif isinstance(value, Mapping):
        value = [value]
    return tuple(dict.fromkeys(_gap(entry) for entry in elements_of(value)))


def _gap(entry: object) -> KnownGap:
    match entry:
        case KnownGap():
            return entry
        case str() if entry.count(":") == 2:
            accounts, regions, outcomes = entry.split(":")
            return _read(entry, accounts, regions, outcomes, None)
        case Mapping():
            check_keys(entry, _KEYS)
            return _read(entry, *(entry.get(key) for key in _KEYS))
    raise EntryError(
        f"{shown(entry)} is not a known gap: ACCOUNT:REGION:OUTCOME, or a table of accounts, regions and"
        " outcomes"
    )


def _read(entry: object, accounts: object, regions: object, outcomes: object, reason: object) -> KnownGap:
    gap = KnownGap(
        accounts=_each("accounts", accounts, AccountId),
        regions=_each("regions", regions, RegionPattern),
        outcomes=tuple(_outcome(each) for each in _texts("outcomes", outcomes)),
        reason=_reason(reason),
    )
    if not gap.outcomes:
        named = shown(entry) if isinstance(entry, str) else "a table"
        raise EntryError(f"{named} names no outcome, such as scp_denied")
    if not gap.accounts and not gap.regions:
        named = shown(entry) if isinstance(entry, str) else f"the table of {', '.join(gap.outcomes)}"
        raise EntryError(f"{named} names neither an account nor a region: one of the two is needed")
    return gap


def _texts(key: str, value: object) -> tuple[str, ...]:
    """Return the texts of a list without duplicates."""
    try:
        found = () if value is None else elements_of(value)
    except ValueError as error:
        raise EntryError(f"{key}: {shown(value)} {error}") from None
    for each in found:
        if not isinstance(each, str):
            raise EntryError(f"{key}: {shown(each)} must be text, in quotes")
    return tuple(dict.fromkeys(map(str, found)))


def _each(key: str, value: object, kind: object) -> tuple[str, ...]:
    found = []
    for each in _texts(key, value):
        if each == _ALL:
            return ()
        try:
            found.append(msgspec.convert(each, kind))
        except msgspec.ValidationError:
            described = kind.__metadata__[0].description  # type: ignore[attr-defined] # each kind is Annotated
            raise EntryError(f"{shown(each)} is not {described}") from None
    return tuple(found)


def _outcome(value: str) -> Outcome:
    # Not `cancelled`: a target that was not tried says nothing about what to expect.
    allowed = [each.value for each in Outcome if not each.covered and each is not Outcome.CANCELLED]
    if value not in list(Outcome):
        raise EntryError(f"{shown(value)} is not an outcome: {', '.join(allowed)}")
    if Outcome(value).covered:
        raise EntryError(f"{shown(value)} is covered and no gap. Those that are: {', '.join(allowed)}")
    if value not in allowed:
        raise EntryError(
            f"{shown(value)} says that the run ended first. A known gap is one of {', '.join(allowed)}"
        )
    return Outcome(value)


def _reason(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_REASON:
        raise EntryError(f"a reason is text of at most {_LONGEST_REASON:,} characters")
    return value.strip() or None

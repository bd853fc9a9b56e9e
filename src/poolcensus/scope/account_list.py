"""Reads a list of accounts that `plan` has written, and that several runs share, such as shards.

It is a JSON object with `kind`, `schema_version`, `tool`, `created_at`, `organization_id`, `accounts_digest`
and `accounts`. Each account has `account_id`, `account_name`, `state`, `ou_path` and, if requested,
`account_tags`.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.aws.organizations import ListedAccount
from poolcensus.errors import SettingsError, reason_of
from poolcensus.format.codec import dumps, loads, why_not_json
from poolcensus.format.ids import is_account_id
from poolcensus.scope.account_entry import ACTIVE, STATES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.model import JsonValue

KIND: Final = "poolcensus-accounts"
VERSION: Final = 1


class AccountList(msgspec.Struct, frozen=True):
    """A list of accounts that was read from `path`. `digest` is the SHA-256 of its content, in hexadecimal.

    `has_paths` and `has_tags` say whether every active account has its path and its tags.
    """

    path: str
    digest: str
    organization_id: str | None
    accounts: tuple[ListedAccount, ...]
    tags: dict[str, tuple[tuple[str, str], ...]]
    has_paths: bool
    has_tags: bool

    def check_units(self, units: Iterable[str]) -> None:
        """Raise SettingsError for a root or an organizational unit that contains no account of the list.

        A list without paths is not checked.
        """
        if not self.has_paths:
            return
        known = {part for each in self.accounts if each.path is not None for part in each.path.split("/")}
        for unit in units:
            if unit not in known:
                raise SettingsError(
                    f"{self.path}: no account of the list is in {unit}. Check `ous`, or write the list anew"
                    " with 'poolcensus plan --output FILE'."
                )


def read_account_list(path: str) -> AccountList:
    """Read a list of accounts. Raises SettingsError if the file is not such a list. Blocks."""
    try:
        content = loads(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: the list of accounts can't be read: {reason_of(error)}") from None
    except ValueError as error:
        raise _refused(path, f"it is not JSON: {why_not_json(error)}") from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise _refused(path, "it is no list of accounts")
    version = content.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION:
        raise _refused(path, f"its schema_version is {version}, and this version reads {VERSION}")
    accounts = content.get("accounts")
    if not isinstance(accounts, list) or not accounts:
        raise _refused(path, "it names no account")
    digest = accounts_digest(accounts, content.get("created_at"))
    if content.get("accounts_digest") != digest:
        raise _refused(path, "its accounts are not those of its accounts_digest: it was changed or cut off")
    try:
        return _list_of(path, digest, content.get("organization_id"), accounts)
    except ValueError as error:
        raise _refused(path, str(error)) from None


def accounts_digest(accounts: Iterable[JsonValue], created_at: JsonValue) -> str:
    """Return the SHA-256 of the accounts of a list and the time of its creation, in hexadecimal.

    The order of the accounts does not matter. The time is included so that shards with different lists are
    not taken for shards of one run.
    """
    lines = sorted(dumps(_sorted(each)) for each in accounts)
    return sha256(b"\n".join([dumps(created_at), *lines])).hexdigest()


def listed_digest(account_ids: Iterable[str]) -> str:
    """Return the SHA-256 of the IDs of accounts that a run has listed, in hexadecimal.

    Names and states are left out: each shard records those of its own accounts.
    """
    return sha256("\n".join(sorted(account_ids)).encode()).hexdigest()


def _sorted(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value


def _list_of(path: str, digest: str, organization_id: JsonValue, accounts: list[JsonValue]) -> AccountList:
    listed: dict[str, ListedAccount] = {}
    tags: dict[str, tuple[tuple[str, str], ...]] = {}
    organization = _text_or_none(organization_id, "organization_id")
    for number, each in enumerate(accounts, 1):
        if not isinstance(each, dict):
            raise ValueError(f"account {number} is not an object")  # noqa: TRY004 - the file's fault
        where = f"account {number}: "
        account_id, state = each.get("account_id"), each.get("state")
        if not is_account_id(account_id):
            raise ValueError(f"{where}account_id is not a 12-digit account id")
        if account_id in listed:
            raise ValueError(f"{where}{account_id} is there twice")
        if state not in STATES:
            raise ValueError(f"{where}state is not the state of an account, such as ACTIVE")
        name = _text_or_none(each.get("account_name"), f"{where}account_name")
        place = _text_or_none(each.get("ou_path"), f"{where}ou_path")
        listed[account_id] = ListedAccount(account_id, name, str(state), organization, place)
        if (found := each.get("account_tags")) is not None:
            tags[account_id] = _tags(found, where)
    active = [each for each in listed.values() if each.state == ACTIVE]
    return AccountList(
        path=path,
        digest=digest,
        organization_id=organization,
        accounts=tuple(listed.values()),
        tags=tags,
        has_paths=all(each.path is not None for each in active),
        has_tags=all(each.id in tags for each in active),
    )


def _tags(value: JsonValue, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}account_tags is not an object")  # noqa: TRY004 - the file's fault
    pairs = tuple((key, text) for key, text in value.items() if isinstance(text, str))
    if len(pairs) < len(value):
        raise ValueError(f"{where}account_tags holds something that is not text")
    return pairs


def _text_or_none(value: JsonValue, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{name} is neither text nor null")


def _refused(path: str, why: str) -> SettingsError:
    return SettingsError(
        f"{path}: {why}. `accounts_snapshot` takes a file that 'poolcensus plan --output FILE' wrote."
    )

"""The settings for roles: names, ARN templates, and the chain of hub roles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from poolcensus import partitions
from poolcensus.config.readers import (
    EntryError,
    RoleName,
    check_keys,
    elements_of,
    external_id,
    plain,
    shown,
    text,
)
from poolcensus.config.values import Secret  # noqa: TC001 - msgspec reads the annotation
from poolcensus.format.ids import is_account_id

ACCOUNT_ID: Final = "{account_id}"
PARTITION: Final = "{partition}"
_PLACEHOLDERS: Final = frozenset({ACCOUNT_ID, PARTITION})
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
_ARN: Final = r"arn:(?P<partition>[^:]*):iam::(?P<account>[^:]*):role/(?P<name>[^:]+)"
_EXAMPLE: Final = f"arn:{PARTITION}:iam::{ACCOUNT_ID}:role/NAME"
# A longer chain is surely a mistake. Each hub role costs a call before the first account can be called.
_MOST_HUBS: Final = 8
_HUB_KEYS: Final = ("role_arn", "external_id")


class HubRole(msgspec.Struct, frozen=True):
    """A role that is assumed before the roles of the accounts, and the external ID that it requires."""

    role_arn: str
    external_id: Secret | None = None


def arn_of(role: str, *, partition: str, account_id: str) -> str:
    """Return the ARN of a role in an account. `role` is its name or its ARN template."""
    if not role.startswith("arn:"):
        return f"arn:{partition}:iam::{account_id}:role/{role.lstrip('/')}"
    return role.replace(PARTITION, partition).replace(ACCOUNT_ID, account_id)


def partition_of(role: str) -> str | None:
    """Return the partition that an ARN template names, or None if it names none."""
    found = re.fullmatch(_ARN, role)
    return None if found is None or found["partition"] == PARTITION else found["partition"]


def role_arn(value: object) -> str:
    """Read the ARN template for the role of each account."""
    template = text(value)
    if _parts(template)["account"] != ACCOUNT_ID:
        raise EntryError(
            f"{shown(template)} is a role of one account: write {ACCOUNT_ID} in place of the account ID,"
            f" such as {_EXAMPLE}"
        )
    return template


def role_of_account(value: object, account_id: str) -> str:
    """Read the name or the ARN template of one account's role."""
    role = text(value)
    if not role.startswith("arn:"):
        name: str = plain(RoleName, role)
        return name
    account = _parts(role)["account"]
    if account not in {ACCOUNT_ID, account_id}:
        raise EntryError(f"{shown(role)} is not a role of account {account_id}")
    return role


def role_chain(value: object) -> tuple[HubRole, ...]:
    """Read the hub roles from ARNs, or from tables of `role_arn` and `external_id`."""
    entries = (value,) if isinstance(value, Mapping | HubRole) else elements_of(value)
    hubs: list[HubRole] = []
    for entry in entries:
        hubs += map(_hub, elements_of(entry) if isinstance(entry, str) else (entry,))
    seen: set[str] = set()
    for hub in hubs:
        # IAM ignores the case of role names. The partition is dropped, since a run has only one.
        role = hub.role_arn.lower().split(":", 2)[2]
        if role in seen:
            raise EntryError(f"names {shown(hub.role_arn)} twice: a chain of roles can't come back to one")
        seen.add(role)
    if len(hubs) > _MOST_HUBS:
        raise EntryError(f"has {len(hubs)} roles: at most {_MOST_HUBS}")
    return tuple(hubs)


def _hub(entry: object) -> HubRole:
    if isinstance(entry, Mapping):
        check_keys(entry, _HUB_KEYS)
    match entry:
        case HubRole():
            arn, wanted = entry.role_arn, entry.external_id
        case str():
            arn, wanted = entry, None
        case Mapping() if "role_arn" in entry:
            given = entry.get("external_id")
            try:
                wanted = None if given is None else external_id(given)
            except EntryError as error:
                raise EntryError(f"external_id: {error}") from None
            raw = entry["role_arn"]
            if not isinstance(raw, str):
                raise EntryError(f"role_arn: {shown(raw)} must be text, in quotes")
            arn = raw
        case Mapping():
            raise EntryError("a table of it has role_arn and, if the role wants one, external_id")
        case _:
            raise EntryError(f"{shown(entry)} is neither the ARN of a role nor a table with one")
    if not is_account_id(_parts(arn)["account"]):
        raise EntryError(f"{shown(arn)} must name the hub's account by its 12 digits")
    if ACCOUNT_ID in arn:
        raise EntryError(f"{shown(arn)} is one role for all accounts: write its name without {ACCOUNT_ID}")
    return HubRole(arn, wanted)


def _parts(template: str) -> Mapping[str, str]:
    """Return the parts of a role ARN that may contain placeholders. Raises EntryError if it is not one."""
    for found in re.findall(r"\{[^{}]*\}?|\}", template):
        if found not in _PLACEHOLDERS:
            raise EntryError(
                f"{shown(template)} has {shown(found)}: only {ACCOUNT_ID} and {PARTITION} are replaced"
            )
    arn = re.fullmatch(_ARN, template)
    if arn is None:
        raise EntryError(f"{shown(template)} is not the ARN of a role, such as {_EXAMPLE}")
    if arn["partition"] not in {PARTITION, *partitions.partitions()}:
        raise EntryError(f"{shown(template)} is in no partition of AWS: {shown(arn['partition'])}")
    if arn["account"] != ACCOUNT_ID and not is_account_id(arn["account"]):
        raise EntryError(f"{shown(template)} has no account ID of 12 digits")
    name = arn["name"].replace(PARTITION, "aws").replace(ACCOUNT_ID, "000000000000")
    try:
        plain(RoleName, name)
    except ValueError:
        name = ""
    if not name or name.startswith("/"):
        raise EntryError(f"{shown(template)} does not end with a role's name")
    return arn.groupdict()

"""The Organization as its management account sees it: OUs, accounts and tags."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from poolcensus.simulator.members import account_id, account_name

if TYPE_CHECKING:
    from poolcensus.model import JsonObject
    from poolcensus.simulator.members import Members

_ROOT = ""
# For each OU its name, the name of its parent, and its share of the member accounts in percent.
_UNITS = (
    ("Workloads", _ROOT, 5),
    ("Prod", "Workloads", 40),
    ("Dev", "Workloads", 25),
    ("Sandbox", _ROOT, 18),
    ("Security", _ROOT, 4),
    ("Infrastructure", _ROOT, 6),
)
_ENVIRONMENTS = {
    "Prod": "prod",
    "Dev": "dev",
    "Sandbox": "sandbox",
    "Security": "prod",
    "Infrastructure": "prod",
}
_TEAMS = ("claims", "data", "identity", "network", "payments", "platform", "retail", "support")
# OUs nest to five levels below the root:
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
_MAX_DEPTH = 5
_FIRST_JOINED = 1_500_000_000
_JOINED_STEP = 50_021


class Directory:
    """The tree of OUs and accounts of one world."""

    root_id = "r-ab12"

    def __init__(self, members: Members) -> None:
        self._members = members
        self._salt = f"{members.config.seed}"
        self.organization_id = f"o-{self._word('organization', 10)}"
        self._arn = f"arn:{members.partition.name}:organizations::{members.management_account_id}"
        units = self._random_units(members.config.ous) if members.config.ous else _UNITS
        self._unit_ids = {name: f"ou-ab12-{self._word(name, 8)}" for name, _, _ in units}
        self._unit_names = {unit: name for name, unit in self._unit_ids.items()}
        self._parents = {
            self._unit_ids[name]: self._unit_ids.get(parent, self.root_id) for name, parent, _ in units
        }
        self._slots = [self._unit_ids[name] for name, _, share in units for _ in range(share)]
        # The shares of the default tree are percents. They add up to 98: two percent stay below the root.
        self._places = len(self._slots) + 1 if members.config.ous else 100

    def organization(self) -> JsonObject:
        """Return the Organization, as in the reply of DescribeOrganization."""
        management = self._members.management_account_id
        return {
            "Id": self.organization_id,
            "Arn": f"{self._arn}:organization/{self.organization_id}",
            "FeatureSet": "ALL",
            "MasterAccountArn": f"{self._arn}:account/{self.organization_id}/{management}",
            "MasterAccountId": management,
            "MasterAccountEmail": _email(0),
            "AvailablePolicyTypes": [{"Type": "SERVICE_CONTROL_POLICY", "Status": "ENABLED"}],
        }

    def root(self) -> JsonObject:
        """Return the root, as in the reply of ListRoots."""
        return {
            "Id": self.root_id,
            "Arn": f"{self._arn}:root/{self.organization_id}/{self.root_id}",
            "Name": "Root",
            "PolicyTypes": [{"Type": "SERVICE_CONTROL_POLICY", "Status": "ENABLED"}],
        }

    def account(self, index: int) -> JsonObject:
        """Return the account, as in the reply of ListAccounts."""
        config = self._members.config
        state = "SUSPENDED" if index in self._members.suspended else "ACTIVE"
        invited = index % 7 == 0 or index in self._members.invited_without_role
        return {
            "Id": account_id(index),
            "Arn": f"{self._arn}:account/{self.organization_id}/{account_id(index)}",
            "Email": _email(index),
            "Name": account_name(index),
            **({} if config.states == "State" else {"Status": state}),
            **({} if config.states == "Status" else {"State": state}),
            **(
                {"Paths": [f"{self.unit_path(account_id(index))}{account_id(index)}/"]}
                if config.paths
                else {}
            ),
            "JoinedMethod": "INVITED" if invited else "CREATED",
            "JoinedTimestamp": _FIRST_JOINED + index * _JOINED_STEP % 200_000_000 + 0.123,
        }

    def unit_path(self, account: str) -> str:
        """Return the path of the OU or root that contains the account, from the Organization down."""
        place = self.parent_of(account) or self.root_id
        names = [place]
        while place != self.root_id:
            place = self._parents[place]
            names.append(place)
        return f"{self.organization_id}/{'/'.join(reversed(names))}/"

    def unit(self, unit: str) -> JsonObject:
        """Return the OU, as in the reply of DescribeOrganizationalUnit."""
        return {
            "Id": unit,
            "Arn": f"{self._arn}:ou/{self.organization_id}/{unit}",
            "Name": self._unit_names[unit],
        }

    def is_unit(self, unit: str) -> bool:
        """Return whether there is an OU with this ID."""
        return unit in self._unit_names

    def units_of(self, parent: str) -> list[str]:
        """Return the IDs of the OUs directly below the parent."""
        return self._units.get(parent, [])

    def accounts_of(self, parent: str) -> list[int]:
        """Return the numbers of the accounts directly below the parent."""
        return self._accounts.get(parent, [])

    def parent_of(self, child: str) -> str | None:
        """Return the ID of the parent of an account or OU, or None if there is no such account or OU."""
        index = self._members.index(child)
        return self._parents.get(child) if index is None else self._parent_of_account(index)

    def tags_of(self, resource: str) -> dict[str, str] | None:
        """Return the tags of an account, OU or root, or None if it does not exist."""
        index = self._members.index(resource)
        if index is None:
            known = resource == self.root_id or self.is_unit(resource)
            return {"managed-by": "platform"} if known else None
        name = self._unit_names.get(self._parent_of_account(index), "")
        number = self._number(f"tags/{self._salt}/{index}")
        return {
            "cost-center": f"cc-{number % 900 + 100}",
            "env": _ENVIRONMENTS.get(name, "shared"),
            "team": _TEAMS[number // 1000 % len(_TEAMS)],
        }

    @cached_property
    def _units(self) -> dict[str, list[str]]:
        units: dict[str, list[str]] = {}
        for unit, parent in self._parents.items():
            units.setdefault(parent, []).append(unit)
        return units

    @cached_property
    def _accounts(self) -> dict[str, list[int]]:
        accounts: dict[str, list[int]] = {}
        for index in range(self._members.config.accounts):
            accounts.setdefault(self._parent_of_account(index), []).append(index)
        return accounts

    def _parent_of_account(self, index: int) -> str:
        if index == 0:
            return self.root_id
        slot = self._number(f"home/{self._salt}/{index}") % self._places
        return self._slots[slot] if slot < len(self._slots) else self.root_id

    def _random_units(self, count: int) -> tuple[tuple[str, str, int], ...]:
        """Return a tree of `count` OUs: a chain of the greatest depth, and the others at random places."""
        units: list[tuple[str, str, int]] = []
        depths = {_ROOT: 0}
        for position in range(count):
            name = f"Unit {position + 1:04d}"
            open_to_more = [each for each, depth in depths.items() if depth < _MAX_DEPTH]
            choice = self._number(f"unit/{self._salt}/{position}") % len(open_to_more)
            parent = open_to_more[-1 if position < _MAX_DEPTH else choice]
            depths[name] = depths[parent] + 1
            units.append((name, parent, 1))
        return tuple(units)

    @staticmethod
    def _number(text: str) -> int:
        return int.from_bytes(sha256(text.encode()).digest()[:4])

    def _word(self, name: str, length: int) -> str:
        return sha256(f"{name}/{self._salt}".encode()).hexdigest()[:length]


def _email(index: int) -> str:
    return f"aws+acct-{index}@example.com"

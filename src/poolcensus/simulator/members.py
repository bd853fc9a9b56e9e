"""The accounts of the simulated Organization, and the regions that each has enabled."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import TYPE_CHECKING

from poolcensus.partitions import partitions

if TYPE_CHECKING:
    from poolcensus.simulator.world_config import WorldConfig


class Members:
    """The accounts, by number. The management account has number 0."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.partition = partitions()[config.partition]
        self.regions = config.regions or self.partition.workspaces
        # Including the regions of the partition without WorkSpaces.
        self.all_regions = tuple(sorted({*self.partition.regions, *self.regions}))
        self._indexes: dict[str, int] = {}
        self._region_set = frozenset(self.regions)
        self._salt = f"{config.seed}".encode()
        members = list(range(1, config.accounts))
        random.Random(f"members {config.seed}").shuffle(members)
        start = 0
        chosen: list[frozenset[int]] = []
        for size in config.group_sizes:
            end = start + size
            chosen.append(frozenset(members[start:end]))
            start = end
        (
            self.suspended,
            self.scp_denied,
            self.no_role,
            self.access_denied,
            self.opt_in_disabled,
            self.not_entitled,
            self.invited_without_role,
        ) = chosen
        # The groups are taken from the front of the list: nothing is wrong with the last account.
        self.caller_index = 0 if config.caller == "management" else members[-1]

    @property
    def management_account_id(self) -> str:
        """The ID of the management account."""
        return account_id(0)

    @property
    def caller_account_id(self) -> str:
        """The ID of the account whose credentials the simulator hands out."""
        return account_id(self.caller_index)

    @property
    def caller_arn(self) -> str:
        """The ARN of the user whose credentials the simulator hands out."""
        return f"arn:{self.partition.name}:iam::{self.caller_account_id}:user/census"

    def manages(self, account: str) -> bool:
        """Return whether the account is the management account or a delegated administrator."""
        delegated = self.config.caller == "delegated" and account == self.caller_account_id
        return delegated or account == self.management_account_id

    def index(self, account: str) -> int | None:
        """Return the number of the account, or None if it is not in this Organization."""
        number = self._indexes.get(account)
        if number is None and len(account) == 12 and account.isascii() and account.isdecimal():
            found = int(account) - 1
            if 0 <= found < self.config.accounts:
                number = self._indexes[account] = found
        return number

    def enabled(self, index: int, region: str) -> bool:
        """Return whether the account has enabled the region."""
        if region not in self.partition.opt_in:
            return True
        return region in self._region_set and index not in self.opt_in_disabled

    def opt_status(self, index: int, region: str) -> str:
        """Return the status of the region for the account, as in the reply of account:ListRegions."""
        if region not in self.partition.opt_in:
            return "ENABLED_BY_DEFAULT"
        if self.enabled(index, region):
            return "ENABLED"
        busy = index not in self.opt_in_disabled and self._draw(index, region) % 50 == 0
        return "ENABLING" if busy else "DISABLED"

    def _draw(self, index: int, region: str) -> int:
        digest = blake2b(f"{index}/{region}".encode(), digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest, "little")


def account_id(index: int) -> str:
    """Return the ID of the account with this number."""
    return f"{index + 1:012d}"


def account_name(index: int) -> str:
    """Return the name of the account with this number."""
    return f"acct-{index}"

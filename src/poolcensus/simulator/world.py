"""The simulated organization: which accounts there are, what they may do and how many pools they have.

All of it follows from the seed. Nothing is stored per account and region, so that an organization of
thousands of accounts costs no memory and no time to start.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from statistics import NormalDist
from typing import TYPE_CHECKING

import orjson

from poolcensus.model import Outcome
from poolcensus.partitions import partitions
from poolcensus.simulator.pools import MAX_PER_TARGET, PoolPress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from poolcensus.model import JsonObject

_QUANTILES = 4096
_TAIL = 1.1
_MAX_REGIONS = 64


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """What the organization is like. The fractions are of the member accounts, and exact."""

    accounts: int = field(
        default=100, metadata={"help": "accounts of the organization, the management account included"}
    )
    seed: int = field(default=7, metadata={"help": "what everything follows from"})
    partition: str = field(default="aws", metadata={"help": "aws or aws-us-gov"})
    regions: tuple[str, ...] = field(
        default=(), metadata={"help": "regions that have WorkSpaces; empty: those of the partition"}
    )
    unsupported_regions: tuple[str, ...] = field(
        default=(), metadata={"help": "regions whose WorkSpaces does not offer the operation"}
    )
    neutral_regions: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "regions where Pools was never launched: refused without a reason; "
            "a census believes it only where its catalogue says that Pools is not offered"
        },
    )
    mean_pools: float = field(
        default=2.0, metadata={"help": "average number of pools of an account in a region"}
    )
    max_pools: int = field(default=200, metadata={"help": "the most pools of an account in a region"})
    empty: float = field(default=0.6, metadata={"help": "fraction of accounts and regions that have no pool"})
    pools_per_target: int | None = field(
        default=None, metadata={"help": "pools of every account in every region, instead of the distribution"}
    )
    pool_counts: Mapping[tuple[str, str], int] = field(
        default_factory=dict, metadata={"help": "pools by (account id, region), before everything else"}
    )
    page_size: int = field(
        default=25, metadata={"help": "the most pools on a page, whatever the request asks for"}
    )
    extra_fields: bool = field(
        default=False, metadata={"help": "pools carry fields and enum values that no SDK knows"}
    )
    suspended: float = field(default=0.0, metadata={"help": "fraction of the members that are suspended"})
    scp_denied: float = field(
        default=0.0, metadata={"help": "fraction of the members that a service control policy denies"}
    )
    no_role: float = field(default=0.0, metadata={"help": "fraction of the members without the role"})
    access_denied: float = field(
        default=0.0, metadata={"help": "fraction of the members whose role lacks the permission"}
    )
    opt_in_disabled: float = field(
        default=0.0, metadata={"help": "fraction of the members without any opt-in region"}
    )
    not_entitled: float = field(
        default=0.0,
        metadata={"help": "fraction of the members that never had WorkSpaces Pools"},
    )
    role_name: str = field(default="PoolCensusReader", metadata={"help": "the role in every member account"})
    external_id: str | None = field(default=None, metadata={"help": "the external id that the role asks for"})
    role_max_session: int = field(
        default=3600, metadata={"help": "the longest session of the role, in seconds (3600 to 43200)"}
    )
    cache_bytes: int = field(default=64 << 20, metadata={"help": "memory for encoded pages"})

    def __post_init__(self) -> None:
        """Refuse what no organization can be.

        Raises ValueError: a value is out of range.
        """
        if self.partition not in {"aws", "aws-us-gov"}:
            raise ValueError(f"partition must be aws or aws-us-gov, not {self.partition!r}")
        if not 1 <= self.accounts < 10**9:
            raise ValueError("accounts must be at least 1")
        if len(self.regions) > _MAX_REGIONS:
            raise ValueError(f"regions: at most {_MAX_REGIONS}")
        if not 1 <= self.page_size <= 25:
            raise ValueError("page_size must be between 1 and 25")
        if any(not 0 <= each <= 1 for each in (*self.fractions, self.empty)):
            raise ValueError("a fraction must be between 0 and 1")
        if sum(self.fractions) > 1:
            raise ValueError("the fractions of the members add up to more than 1")
        counts = (self.max_pools, self.pools_per_target or 0, *self.pool_counts.values())
        if any(not 0 <= each <= MAX_PER_TARGET for each in counts) or self.mean_pools < 0:
            raise ValueError(f"the pools of an account in a region must be between 0 and {MAX_PER_TARGET}")
        if both := sorted({*self.unsupported_regions} & {*self.neutral_regions}):
            raise ValueError(f"{both[0]} can't be both an unsupported and a neutral region")

    @property
    def fractions(self) -> tuple[float, ...]:
        """The fractions of the members, in the order in which the groups are drawn.

        A new one comes last, so that a seed goes on to mean the same accounts.
        """
        return (
            self.suspended,
            self.scp_denied,
            self.no_role,
            self.access_denied,
            self.opt_in_disabled,
            self.not_entitled,
        )


@dataclass(frozen=True, slots=True)
class TargetTruth:
    """What a census has to find in one account and region."""

    account_id: str
    account_name: str
    account_status: str
    region: str
    outcome: Outcome
    pools: list[JsonObject]


class World:
    """The organization that follows from a configuration."""

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config or WorldConfig()
        self.partition = partitions()[self.config.partition]
        self.regions = self.config.regions or self.partition.workspaces
        self.unsupported = frozenset(self.config.unsupported_regions)
        self.neutral = frozenset(self.config.neutral_regions)
        self.press = PoolPress(
            seed=self.config.seed,
            partition=self.config.partition,
            regions=self.regions,
            extra_fields=self.config.extra_fields,
            cache_bytes=self.config.cache_bytes,
        )
        self._indexes: dict[str, int] = {}
        self._region_set = frozenset(self.regions)
        self._salt = f"{self.config.seed}".encode()
        self._choose_members()

    def _choose_members(self) -> None:
        config = self.config
        members = list(range(1, config.accounts))
        random.Random(f"members {config.seed}").shuffle(members)
        start = 0
        chosen: list[frozenset[int]] = []
        for fraction in config.fractions:
            end = start + round(fraction * (config.accounts - 1))
            chosen.append(frozenset(members[start:end]))
            start = end
        (
            self.suspended,
            self.scp_denied,
            self.no_role,
            self.access_denied,
            self.opt_in_disabled,
            self.not_entitled,
        ) = chosen
        self._refused: dict[int, Outcome] = {
            **dict.fromkeys(self.scp_denied, Outcome.SCP_DENIED),
            **dict.fromkeys(self.access_denied, Outcome.ACCESS_DENIED),
            **dict.fromkeys(self.not_entitled, Outcome.NOT_ENTITLED),
        }

    @property
    def management_account_id(self) -> str:
        """The account whose credentials are handed out."""
        return account_id(0)

    def index(self, account: str) -> int | None:
        """Return the number of the account; None where it is not of this organization."""
        number = self._indexes.get(account)
        if number is None and len(account) == 12 and account.isascii() and account.isdecimal():
            found = int(account) - 1
            if 0 <= found < self.config.accounts:
                number = self._indexes[account] = found
        return number

    def role_arn(self, account: str) -> str:
        """Return the ARN of the census's role in the account."""
        return f"arn:{self.partition.name}:iam::{account}:role/{self.config.role_name.lstrip('/')}"

    def enabled(self, index: int, region: str) -> bool:
        """Whether the account has the region enabled."""
        if region not in self.partition.opt_in:
            return True
        return region in self._region_set and index not in self.opt_in_disabled

    def opt_status(self, index: int, region: str) -> str:
        """Return the status of the region for the account, as account:ListRegions says it."""
        if region not in self.partition.opt_in:
            return "ENABLED_BY_DEFAULT"
        if self.enabled(index, region):
            return "ENABLED"
        busy = index not in self.opt_in_disabled and self._draw(index, region) % 50 == 0
        return "ENABLING" if busy else "DISABLED"

    def outcome(self, index: int, region: str) -> Outcome:
        """Return how a census of the account in the region has to end, all else going well."""
        if index in self.suspended or index in self.no_role:
            return Outcome.ASSUME_ROLE_FAILED
        if not self.enabled(index, region):
            return Outcome.REGION_DISABLED
        if region in self.unsupported or region in self.neutral or region not in self._region_set:
            return Outcome.REGION_UNSUPPORTED
        if index in self._refused:
            return self._refused[index]
        return Outcome.OK if self.pool_count(index, region) else Outcome.EMPTY

    def pool_count(self, index: int, region: str) -> int:
        """Return how many pools the account has in the region."""
        if self.config.pool_counts:
            stated = self.config.pool_counts.get((account_id(index), region))
            if stated is not None:
                return stated
        if self.config.pools_per_target is not None:
            return self.config.pools_per_target
        return self._counts[self._draw(index, region) % _QUANTILES]

    def truth(self) -> Iterator[TargetTruth]:
        """Return every account and region with what a census has to find there."""
        for index in range(self.config.accounts):
            status = "SUSPENDED" if index in self.suspended else "ACTIVE"
            for region in self.regions:
                outcome = self.outcome(index, region)
                pools: list[JsonObject] = []
                if outcome is Outcome.OK:
                    count = self.pool_count(index, region)
                    pools = orjson.loads(b"[%b]" % self.press.slice(index, region, 0, count))
                yield TargetTruth(account_id(index), account_name(index), status, region, outcome, pools)

    @cached_property
    def _counts(self) -> list[int]:
        """The distribution's quantiles: many empty, a log-normal tail that meets the mean."""
        mean, most = self.config.mean_pools, self.config.max_pools
        empty = round(self.config.empty * _QUANTILES) if mean > 0 else _QUANTILES
        filled = _QUANTILES - empty
        if filled == 0 or most == 0:
            return [0] * _QUANTILES
        normal = NormalDist()
        scores = [normal.inv_cdf((position + 0.5) / filled) for position in range(filled)]

        def quantiles(level: float) -> list[int]:
            return [max(1, min(most, round(math.exp(min(50.0, level + _TAIL * score))))) for score in scores]

        low, high = -6.0, math.log(most) + 6.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(quantiles(middle)) < mean * _QUANTILES else (low, middle)
        return [0] * empty + quantiles(high)

    def _draw(self, index: int, region: str) -> int:
        digest = blake2b(f"{index}/{region}".encode(), digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest, "little")


def account_id(index: int) -> str:
    """Return the id of the account with that number."""
    return f"{index + 1:012d}"


def account_name(index: int) -> str:
    """Return the name of the account with that number."""
    return f"acct-{index}"

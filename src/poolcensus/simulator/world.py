"""The simulated Organization: its accounts, their permissions and their pools.

Everything follows from the seed. Nothing is stored for each account and region, so that an Organization of
thousands of accounts needs little memory and starts at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

import orjson

from poolcensus.model import Outcome
from poolcensus.simulator.access import Access
from poolcensus.simulator.directory import Directory
from poolcensus.simulator.members import Members, account_id, account_name
from poolcensus.simulator.policies import Policy
from poolcensus.simulator.pools import PoolPress
from poolcensus.simulator.role_chain import RoleChain
from poolcensus.simulator.roles import Roles
from poolcensus.simulator.world_config import WorldConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import JsonObject

__all__ = ["TargetTruth", "World", "WorldConfig", "account_id", "account_name"]

_QUANTILES = 4096
_TAIL = 1.1


@dataclass(frozen=True, slots=True)
class TargetTruth:
    """What a complete census finds in one account and region."""

    account_id: str
    account_name: str
    account_status: str
    region: str
    outcome: Outcome
    pools: list[JsonObject]


class World(Members):
    """The Organization of a configuration."""

    def __init__(self, config: WorldConfig | None = None) -> None:
        super().__init__(config or WorldConfig())
        self.unsupported = frozenset(self.config.unsupported_regions)
        # Also a partition without WorkSpaces Pools has WorkSpaces.
        never_launched = () if self.partition.pools else self.regions
        self.neutral = frozenset({*self.config.neutral_regions, *never_launched}) - self.unsupported
        self.press = PoolPress(
            seed=self.config.seed,
            partition=self.config.partition,
            regions=self.regions,
            extra_fields=self.config.extra_fields,
            odd_texts=self.config.odd_texts,
            cache_bytes=self.config.cache_bytes,
        )
        self._refused: dict[int, Outcome] = {
            **dict.fromkeys(self.scp_denied, Outcome.SCP_DENIED),
            **dict.fromkeys(self.access_denied, Outcome.ACCESS_DENIED),
            **dict.fromkeys(self.not_entitled, Outcome.NOT_ENTITLED),
        }
        self.directory = Directory(self)
        self.roles = Roles(self)
        self.access = Access(self, self.directory, self.roles)
        self._chain = RoleChain(self, self.roles, self.access)

    def role_arn(self, account: str) -> str:
        """Return the ARN of the role of a census in the account."""
        return self.roles.member_arn(account)

    def outcome(self, index: int, region: str) -> Outcome:
        """Return the outcome that a census has for the account in the region if no call fails."""
        principal = self._chain.principal(index)
        if principal is None:
            return Outcome.ASSUME_ROLE_FAILED
        if not self.enabled(index, region):
            return Outcome.REGION_DISABLED
        if denial := self._chain.denial(principal, region):
            return Outcome.SCP_DENIED if denial.kind is Policy.SCP else Outcome.ACCESS_DENIED
        return self.answer(index, region)

    def answer(self, index: int, region: str) -> Outcome:
        """Return the outcome of a call to WorkSpaces that the configured policies allow."""
        if region in self.unsupported or region in self.neutral or region not in self._region_set:
            return Outcome.REGION_UNSUPPORTED
        if index in self._refused:
            return self._refused[index]
        return Outcome.OK if self.pool_count(index, region) else Outcome.EMPTY

    def pool_count(self, index: int, region: str) -> int:
        """Return the number of pools of the account in the region."""
        if self.config.pool_counts:
            stated = self.config.pool_counts.get((account_id(index), region))
            if stated is not None:
                return stated
        if self.config.pools_per_target is not None:
            return self.config.pools_per_target
        return self._counts[self._draw(index, region) % _QUANTILES]

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        return _quantiles(self.config.mean_pools, self.config.max_pools, self.config.empty)

    def truth(self) -> Iterator[TargetTruth]:
        """Yield what a complete census finds in each account and region."""
        for index in range(self.config.accounts):
            status = "SUSPENDED" if index in self.suspended else "ACTIVE"
            for region in self.regions:
                outcome = self.outcome(index, region)
                pools: list[JsonObject] = []
                if outcome is Outcome.OK:
                    count = self.pool_count(index, region)
                    pools = orjson.loads(b"[%b]" % self.press.slice(index, region, 0, count))
                yield TargetTruth(account_id(index), account_name(index), status, region, outcome, pools)


# Cached, since it takes a tenth of a second, and worlds with the same numbers have the same quantiles.
@cache
def _quantiles(mean: float, most: int, empty_share: float) -> tuple[int, ...]:
    """Return the quantiles of the number of pools of a target.

    A share `empty_share` of targets has none. The others are distributed log-normally, and cut at `most`, so
    that the mean of all is `mean`.
    """
    empty = round(empty_share * _QUANTILES) if mean > 0 else _QUANTILES
    filled = _QUANTILES - empty
    if filled == 0 or most == 0:
        return (0,) * _QUANTILES
    normal = NormalDist()
    scores = [normal.inv_cdf((position + 0.5) / filled) for position in range(filled)]

    def quantiles(level: float) -> list[int]:
        return [max(1, min(most, round(math.exp(min(50.0, level + _TAIL * score))))) for score in scores]

    low, high = -6.0, math.log(most) + 6.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(quantiles(middle)) < mean * _QUANTILES else (low, middle)
    return (*(0,) * empty, *quantiles(high))

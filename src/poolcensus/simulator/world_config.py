"""The configuration of the simulated Organization."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poolcensus.partitions import partitions
from poolcensus.simulator.bounds import MANY, Bounds, FieldError, check_bounds
from poolcensus.simulator.policies import Policies
from poolcensus.simulator.pools import MAX_PER_TARGET, MAX_REGIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE_ARN = re.compile(r"arn:([a-z0-9-]+):iam::([0-9]{12}):role/([\w+=,.@/-]{1,512})", re.ASCII)
_ROLE_NAME = re.compile(r"(?:[\w+=,.@/-]{0,511}/)?[\w+=,.@-]{1,64}", re.ASCII)
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+", re.ASCII)
# Twenty digits, the most of any 64-bit number. The seed is part of keys of at most 64 bytes.
_SEED = Bounds(-(10**20), 10**20)
_PARTITIONS = ("aws", "aws-us-gov", "aws-cn")
# AWS's quota of organizational units is 2,000:
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
_MAX_UNITS = 2000
_FRACTION = Bounds(0, 1)
_POOLS = Bounds(0, MAX_PER_TARGET)
# A terabyte: more than the memory of any machine that serves a simulator.
_BYTES = Bounds(0, 1 << 40)


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """The properties of the Organization. Fractions are of the member accounts, and exact."""

    accounts: int = field(
        default=100,
        metadata={
            "bounds": Bounds(1, MANY - 1),
            "help": "accounts of the Organization, the management account included",
        },
    )
    seed: int = field(default=7, metadata={"bounds": _SEED, "help": "what everything follows from"})
    partition: str = field(
        default="aws",
        metadata={
            "choices": "aws|aws-us-gov|aws-cn",
            "help": "partition of all accounts; aws-cn has no Pools",
        },
    )
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
        default=2.0, metadata={"bounds": _POOLS, "help": "average number of pools of an account in a region"}
    )
    max_pools: int = field(
        default=200, metadata={"bounds": _POOLS, "help": "the most pools of an account in a region"}
    )
    empty: float = field(
        default=0.6,
        metadata={"bounds": _FRACTION, "help": "fraction of accounts and regions that have no pool"},
    )
    pools_per_target: int | None = field(
        default=None,
        metadata={
            "bounds": _POOLS,
            "help": "pools of every account in every region, instead of the distribution",
        },
    )
    pool_counts: Mapping[tuple[str, str], int] = field(
        default_factory=dict, metadata={"help": "pools by (account id, region), before everything else"}
    )
    page_size: int = field(
        default=25,
        metadata={"bounds": Bounds(1, 25), "help": "the most pools on a page, whatever the request asks for"},
    )
    extra_fields: bool = field(
        default=False, metadata={"help": "pools carry fields and enum values that no SDK knows"}
    )
    odd_texts: bool = field(
        default=False,
        metadata={
            "help": "pools have descriptions in other scripts and with quotes, which AWS does not take"
        },
    )
    suspended: float = field(
        default=0.0, metadata={"bounds": _FRACTION, "help": "fraction of the members that are suspended"}
    )
    scp_denied: float = field(
        default=0.0,
        metadata={
            "bounds": _FRACTION,
            "help": "fraction of the members that a service control policy denies",
        },
    )
    no_role: float = field(
        default=0.0, metadata={"bounds": _FRACTION, "help": "fraction of the members without the role"}
    )
    access_denied: float = field(
        default=0.0,
        metadata={"bounds": _FRACTION, "help": "fraction of the members whose role lacks the permission"},
    )
    opt_in_disabled: float = field(
        default=0.0,
        metadata={"bounds": _FRACTION, "help": "fraction of the members without any opt-in region"},
    )
    not_entitled: float = field(
        default=0.0,
        metadata={"bounds": _FRACTION, "help": "fraction of the members that never had WorkSpaces Pools"},
    )
    invited_without_role: float = field(
        default=0.0,
        metadata={"bounds": _FRACTION, "help": "fraction of the members that were invited and lack the role"},
    )
    role_name: str = field(default="PoolCensusReader", metadata={"help": "the role in every member account"})
    external_id: str | None = field(default=None, metadata={"help": "the external id that the role asks for"})
    role_max_session: int = field(
        default=3600,
        metadata={
            "bounds": Bounds(3600, 43_200),
            "help": "the longest session of the role, in seconds (3600 to 43200)",
        },
    )
    role_names: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "names of the role where it has another, by account id"}
    )
    external_ids: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"help": "external ids that differ, by account id or by the ARN of a role"},
    )
    hub_roles: tuple[str, ...] = field(
        default=(),
        metadata={"help": "ARNs of roles to assume first, in this order; each trusts the one before alone"},
    )
    management_role: bool = field(
        default=False, metadata={"help": "the role exists in the management account, too"}
    )
    caller: str = field(
        default="management",
        metadata={
            "choices": "management|delegated|member",
            "help": "whose credentials are handed out: of the management, a delegated or a member account",
        },
    )
    policies: Policies = field(
        default_factory=Policies, metadata={"help": "the policies that calls are evaluated against"}
    )
    ous: int = field(
        default=0,
        metadata={
            "bounds": Bounds(0, _MAX_UNITS),
            "help": "organizational units, in a tree five deep; 0: six of them, two deep",
        },
    )
    paths: bool = field(default=True, metadata={"help": "the Paths of accounts, as older replies lack them"})
    states: str = field(
        default="both",
        metadata={
            "choices": "State|Status|both",
            "help": "what says whether an account is active; Status as in older replies",
        },
    )
    trusted_access: bool = field(
        default=True,
        metadata={"help": "trusted access of account management, by which the regions of others are listed"},
    )
    sts_off: tuple[str, ...] = field(
        default=(), metadata={"help": "regions whose STS is not activated for the caller's account"}
    )
    cache_bytes: int = field(
        default=64 << 20, metadata={"bounds": _BYTES, "help": "memory for encoded pages"}
    )

    def __post_init__(self) -> None:
        """Validate the configuration.

        Raises ValueError if a value is invalid or contradicts another.
        """
        if self.partition not in _PARTITIONS:
            wanted = f"must be one of {', '.join(_PARTITIONS)}, not {self.partition!r}"
            raise FieldError("partition", wanted)
        check_bounds(self)
        self._check_regions()
        if sum(self.fractions) > 1:
            raise ValueError("the fractions of the members add up to more than 1")
        if any(not _POOLS.allow(each) for each in self.pool_counts.values()):
            raise ValueError(f"the pools of an account in a region must be {_POOLS}")
        if both := sorted({*self.unsupported_regions} & {*self.neutral_regions}):
            raise ValueError(f"{both[0]} can't be both an unsupported and a neutral region")
        self._check_organization()
        self._check_roles()

    def _check_regions(self) -> None:
        if len(self.regions) > MAX_REGIONS:
            raise FieldError("regions", f"must be at most {MAX_REGIONS}, not {len(self.regions)}")
        for region in self.regions:
            # Any name of the right form: a region may be newer than the catalogue.
            if _REGION.fullmatch(region) is None:
                raise FieldError("regions", f"must be names of regions, such as us-east-1, not {region!r}")
            if self.regions.count(region) > 1:
                raise FieldError("regions", f"must name each region once, not {region} twice")
        for field_name in ("unsupported_regions", "neutral_regions", "sts_off"):
            for region in getattr(self, field_name):
                if not self.has_region(region):
                    raise FieldError(field_name, f"must be regions that are simulated, not {region!r}")

    def _check_organization(self) -> None:
        if self.caller not in {"management", "delegated", "member"}:
            raise FieldError("caller", f"must be management, delegated or member, not {self.caller!r}")
        if self.caller != "management" and sum(self.group_sizes) >= self.accounts - 1:
            raise FieldError("caller", f"{self.caller} needs a member account that nothing is wrong with")
        for field_name, arns in (("hub_roles", self.hub_roles), ("policies", self.policies.roles)):
            for arn in arns:
                found = ROLE_ARN.fullmatch(arn)
                if found is None or found[1] != self.partition or not self.has_account(found[2]):
                    wanted = "must be ARNs of roles in accounts of the Organization"
                    raise FieldError(field_name, f"{wanted}, not {arn!r}")
        if self.states not in {"State", "Status", "both"}:
            raise FieldError("states", f"must be State, Status or both, not {self.states!r}")

    def _check_roles(self) -> None:
        name = "a role name of 1 to 64 letters, digits and +=,.@_-, with its path if it has one"
        external_id = "2 to 1,224 letters, digits and +=,.@_:/-"
        for field_name, values, pattern, wanted in (
            ("role_name", [self.role_name], _ROLE_NAME, name),
            ("role_names", self.role_names.values(), _ROLE_NAME, name),
            ("external_id", [self.external_id], EXTERNAL_ID, external_id),
            ("external_ids", self.external_ids.values(), EXTERNAL_ID, external_id),
        ):
            for value in values:
                if value is not None and pattern.fullmatch(value) is None:
                    raise FieldError(field_name, f"must be {wanted}, not {value!r}")

    def has_region(self, region: str) -> bool:
        """Return whether it is a region of the partition, or one of `regions`, which may be invented."""
        return region in self.regions or region in partitions()[self.partition].regions

    def has_account(self, account: str) -> bool:
        """Return whether the Organization has an account with this ID."""
        return _ACCOUNT.fullmatch(account) is not None and 1 <= int(account) <= self.accounts

    @property
    def fractions(self) -> tuple[float, ...]:
        """The fractions of the members, in the order in which the groups are drawn.

        A new fraction must come last, so that a seed keeps its meaning.
        """
        return (
            self.suspended,
            self.scp_denied,
            self.no_role,
            self.access_denied,
            self.opt_in_disabled,
            self.not_entitled,
            self.invited_without_role,
        )

    @property
    def group_sizes(self) -> list[int]:
        """The number of members in each of the groups."""
        return [round(fraction * (self.accounts - 1)) for fraction in self.fractions]

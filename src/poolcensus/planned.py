"""The plan of a census, and the estimate of its time. Frozen data, no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from poolcensus.model import Account, Caller, OrganizationInfo, SkippedAccount


@dataclass(frozen=True, slots=True)
class EstimateStep:
    """The estimated time of the calls of one IAM action, and its basis. Steps run at the same time."""

    action: str
    calls: int
    seconds: float
    basis: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated time of a run, in seconds. `bound_by` is the action whose calls take most of it.

    `snapshot_id` is the snapshot of the same kind whose pages and times are the basis, or None.
    """

    seconds: float
    bound_by: str
    steps: tuple[EstimateStep, ...]
    snapshot_id: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a census would do.

    `calls` has the least number of calls that `collect` makes, by API operation: one page for each target.
    `regions` are the regions in which at least one account is asked. `region_status_unknown` has the IDs of
    accounts whose region status could not be read. All of their targets are counted as calls, or none if the
    role of the account could not be assumed. `region_status_reasons` has the reasons, by account ID. In a
    plan of several Organizations, `caller` and `organization_id` are those of the first.
    """

    caller: Caller
    organization_id: str | None
    accounts: tuple[Account, ...]
    skipped: tuple[SkippedAccount, ...]
    regions: tuple[str, ...]
    targets: int
    region_disabled: int
    calls: dict[str, int]
    estimate: Estimate | None = None
    organizations: tuple[OrganizationInfo, ...] = ()
    region_status_unknown: tuple[str, ...] = ()
    region_status_reasons: dict[str, str] = field(default_factory=dict)

    @property
    def services(self) -> dict[str, int]:
        """The number of calls to each service, by the IAM prefix of the service."""
        services: Counter[str] = Counter()
        for action, count in self.calls.items():
            services[action.partition(":")[0]] += count
        return dict(services)

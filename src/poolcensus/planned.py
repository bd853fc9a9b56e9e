"""What a census would do, and how long it may take. Frozen data, no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from poolcensus.model import Account, Caller, OrganizationInfo, SkippedAccount


@dataclass(frozen=True, slots=True)
class EstimateStep:
    """What the calls of one IAM action take, and why. Steps go on side by side."""

    action: str
    calls: int
    seconds: float
    basis: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a run may take: in `seconds`, of which the calls of the action `bound_by` take most.

    `snapshot_id` is the snapshot of the same kind whose pages and time were taken as a measure, or None.
    """

    seconds: float
    bound_by: str
    steps: tuple[EstimateStep, ...]
    snapshot_id: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a census would do, without doing it.

    `calls` counts by API operation what `collect` would send at least: one page a target. `regions` are those
    in which at least one account is asked. `region_status_unknown` are the IDs of the accounts that did not
    say which regions they have enabled: all their targets are counted as calls, or none where the plan was
    refused the account's role. `region_status_reasons` has why, by ID. Of several Organizations, `caller` and
    `organization_id` are those of the first.
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
        """The calls by service, under the service's prefix in IAM."""
        services: Counter[str] = Counter()
        for action, count in self.calls.items():
            services[action.partition(":")[0]] += count
        return dict(services)

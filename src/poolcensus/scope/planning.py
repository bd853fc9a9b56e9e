"""What a run would do: its targets, and the calls that it would make at least."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import CallError, first_reason_raised
from poolcensus.model import OrganizationInfo
from poolcensus.planned import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poolcensus.aws.region_status.status import StatusReport
    from poolcensus.model import Account
    from poolcensus.operations import Operation
    from poolcensus.scope.opening import Opened

# Enough to hide the time that one answer takes; the limiters below decide how many are sent.
_ASKED_AT_ONCE = 64


async def plan_of(opened: Opened, operation: Operation, accounts: tuple[Account, ...]) -> Plan:
    """Return what a run would do with these accounts, which `opened` has listed.

    Calls member accounts only to ask which regions they have enabled.
    """
    disabled, unknown = await _ask_regions(opened, accounts)
    roles = opened.aws.broker.assume_role_calls(account.id for account in accounts)
    # Of an Organization, most accounts are asked in the same regions.
    asked = Counter(map(opened.regions.of, accounts))
    targets = sum(len(regions) * count for regions, count in asked.items())
    # The listing and the regions' status were asked for just now, as a run will ask for them.
    calls = {
        "sts:GetCallerIdentity": 1,
        **opened.aws.organization.calls,
        "sts:AssumeRole": roles,
        **opened.aws.region_status.calls,
        operation.iam_action: targets - disabled,
    }
    caller, organization_id = opened.aws.caller, opened.listing.organization_id
    return Plan(
        caller=caller,
        organization_id=organization_id,
        accounts=accounts,
        skipped=tuple(opened.listing.skipped),
        regions=tuple(sorted({region for regions in asked for region in regions})),
        targets=targets,
        region_disabled=disabled,
        calls={name: count for name, count in calls.items() if count},
        organizations=(
            (OrganizationInfo(opened.name, organization_id, caller, len(accounts)),)
            if opened.name is not None
            else ()
        ),
        region_status_unknown=tuple(account.id for account in accounts if account.id in unknown),
        region_status_reasons={
            account.id: unknown[account.id] for account in accounts if account.id in unknown
        },
    )


def joined_plan(plans: Sequence[Plan]) -> Plan:
    """Return the plan of several Organizations. Its caller and Organization are those of the first."""
    calls = sum((Counter(each.calls) for each in plans), Counter[str]())
    return replace(
        plans[0],
        accounts=tuple(account for each in plans for account in each.accounts),
        skipped=tuple(account for each in plans for account in each.skipped),
        regions=tuple(sorted({region for each in plans for region in each.regions})),
        targets=sum(each.targets for each in plans),
        region_disabled=sum(each.region_disabled for each in plans),
        calls=dict(calls),
        organizations=tuple(info for each in plans for info in each.organizations),
        region_status_unknown=tuple(account for each in plans for account in each.region_status_unknown),
        region_status_reasons={
            account: reason for each in plans for account, reason in each.region_status_reasons.items()
        },
    )


async def _ask_regions(opened: Opened, accounts: tuple[Account, ...]) -> tuple[int, dict[str, str]]:
    """Return how many targets are in regions that their accounts have not enabled.

    With it, by ID, the accounts that don't say which regions they have enabled, and why not.
    """
    opt_in = frozenset(opened.regions.opt_in)
    if not opt_in:
        return 0, {}
    status = opened.aws.region_status
    found: list[int] = []
    unknown: dict[str, str] = {}
    left = iter(accounts)

    async def ask() -> None:
        for account in left:
            asked = opt_in.intersection(opened.regions.of(account))
            if not asked:
                continue
            try:
                disabled = await status.disabled(account.id, require_role=False)
            except CallError as error:
                # What is raised and not reported is the way to the account's credentials.
                said = (*_said(status.report(account.id)), f"could not assume the role: {error.code}")
                unknown[account.id] = "; ".join(said)
                continue
            if disabled is not None:
                found.append(len(asked & disabled))
            elif said := tuple(_said(status.report(account.id))):
                # Where nobody is to be asked, nobody refuses.
                unknown[account.id] = "; ".join(said)

    with first_reason_raised():
        async with anyio.create_task_group() as group:
            for _ in range(min(len(accounts), _ASKED_AT_ONCE)):
                group.start_soon(ask)
    return sum(found), unknown


def _said(report: StatusReport) -> Iterator[str]:
    """Yield which calls for an account's region status failed, and with what code."""
    for each in report.refusals:
        yield f"{each.action}{' by the management account' if each.by_management else ''}: {each.code}"

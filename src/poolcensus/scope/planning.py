"""Plans a run: its targets, and the calls that it would make at least."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from poolcensus.errors import AssumeRoleError, CallError
from poolcensus.loops import for_each
from poolcensus.model import OrganizationInfo
from poolcensus.planned import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from poolcensus.aws.region_status.status import StatusReport
    from poolcensus.model import Account
    from poolcensus.operations import Operation
    from poolcensus.scope.opening import Opened

# Accounts asked concurrently. Enough to hide the latency; lower layers limit the calls that are sent.
_ASKED_AT_ONCE = 64


class _Status(NamedTuple):
    """The number of targets that need no call, and the accounts whose region status is unknown.

    `disabled` counts targets in regions that their account has not enabled, and `refused` targets in accounts
    whose role can't be assumed. `unknown` maps account IDs to the reason.
    """

    disabled: int
    refused: int
    unknown: Mapping[str, str]


async def plan_of(opened: Opened, operation: Operation, accounts: tuple[Account, ...]) -> Plan:
    """Return the plan for accounts that `opened` has listed.

    Calls member accounts only to ask which regions they have enabled.
    """
    status = await _ask_regions(opened, accounts)
    roles = opened.aws.broker.assume_role_calls(account.id for account in accounts)
    # Counted by regions, since most accounts of an Organization have the same.
    asked = Counter(map(opened.regions.of, accounts))
    targets = sum(len(regions) * count for regions, count in asked.items())
    # A run makes the same calls for the listing and the region status as were made just now.
    calls = {
        "sts:GetCallerIdentity": 1,
        **opened.aws.organization.calls,
        "sts:AssumeRole": roles,
        **opened.aws.region_status.calls,
        operation.iam_action: targets - status.disabled - status.refused,
    }
    caller, organization_id = opened.aws.caller, opened.listing.organization_id
    return Plan(
        caller=caller,
        organization_id=organization_id,
        accounts=accounts,
        skipped=tuple(opened.listing.skipped),
        regions=tuple(sorted({region for regions in asked for region in regions})),
        targets=targets,
        region_disabled=status.disabled,
        calls={name: count for name, count in calls.items() if count},
        organizations=(
            (OrganizationInfo(opened.name, organization_id, caller, len(accounts)),)
            if opened.name is not None
            else ()
        ),
        region_status_unknown=tuple(account.id for account in accounts if account.id in status.unknown),
        region_status_reasons={
            account.id: status.unknown[account.id] for account in accounts if account.id in status.unknown
        },
    )


def joined_plan(plans: Sequence[Plan]) -> Plan:
    """Combine the plans of several Organizations. The caller and the Organization are those of the first."""
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


async def _ask_regions(opened: Opened, accounts: tuple[Account, ...]) -> _Status:
    """Ask accounts which regions they have enabled, for which their roles are assumed."""
    opt_in = frozenset(opened.regions.opt_in)
    unknown: dict[str, str] = {}
    if not opt_in:
        return _Status(0, 0, unknown)
    status = opened.aws.region_status
    found: list[int] = []
    refused: list[int] = []

    async def ask(account: Account) -> None:
        asked = opt_in.intersection(opened.regions.of(account))
        if not asked:
            return
        try:
            disabled = await status.disabled(account.id, require_role=False)
        except CallError as error:
            # Refusals of the calls themselves are in the report. A raised error is about the credentials.
            said = (*_said(status.report(account.id)), f"could not assume the role: {error.code}")
            unknown[account.id] = "; ".join(said)
            if isinstance(error, AssumeRoleError) and error.permanent:
                refused.append(len(opened.regions.of(account)))
            return
        if disabled is not None:
            found.append(len(asked & disabled))
        elif said := tuple(_said(status.report(account.id))):
            # Without any refusal, nobody was asked, as the settings say, and nothing is unknown.
            unknown[account.id] = "; ".join(said)

    await for_each(ask, accounts, at_once=_ASKED_AT_ONCE)
    return _Status(sum(found), sum(refused), unknown)


def _said(report: StatusReport) -> Iterator[str]:
    """Yield the calls for an account's region status that failed, with their error codes."""
    for each in report.refusals:
        yield f"{each.action}{' by the management account' if each.by_management else ''}: {each.code}"

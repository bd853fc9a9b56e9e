"""What a person is told where Organizations refuses: whose account it was, and whose it has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.aws.refusals.table import denial_in
from poolcensus.errors import AccessDeniedError, CallError, OrganizationError, ScpDeniedError, ThrottledError

if TYPE_CHECKING:
    from poolcensus.model import Caller

# https://docs.aws.amazon.com/organizations/latest/APIReference/API_DescribeOrganization.html#API_DescribeOrganization_Errors
IN_NO_ORGANIZATION: Final = "AWSOrganizationsNotInUseException"
# https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccountsForParent.html, whose
# ParentId may also be one that its pattern does not allow.
_MISSING_PARENT: Final = frozenset({"ParentNotFoundException", "InvalidInputException"})


class Membership(msgspec.Struct, frozen=True):
    """The Organization of the caller's account, by DescribeOrganization, which any member may call."""

    organization_id: str
    management_account_id: str


def is_missing_parent(error: CallError) -> bool:
    """Whether an error says that there is no such root or organizational unit."""
    return error.code in _MISSING_PARENT


def failed_listing(
    error: CallError, action: str, caller: Caller, membership: Membership | None
) -> OrganizationError:
    """Return the error that says what failed and what to do, as far as the caller's membership is known."""
    match error:
        case CallError(code=code) if code == IN_NO_ORGANIZATION:
            text = (
                f"The caller's account {caller.account_id} is in no AWS Organization. Use credentials of the"
                " management account, or set `accounts_from` to self (only this account) or to a file of"
                " accounts."
            )
        case ScpDeniedError():
            text = (
                f"{action} was denied to account {caller.account_id} by a service control policy:"
                f" {error.message} Change the policy, or use credentials of the management"
                f" account{_id(membership)}, to which none applies."
            )
        case AccessDeniedError() if denial_in(error.message) is None and _is_other(caller, membership):
            text = (
                f"Account {caller.account_id} can't read its Organization: {action} was"
                " refused, which only the management account and delegated administrators may call. Use"
                f" credentials of the management account{_id(membership)}, or register account"
                f" {caller.account_id} there as delegated administrator ({error.message})"
            )
        case AccessDeniedError():
            text = (
                f"{action} was refused to {caller.arn}: call from the management account{_id(membership)}"
                f" or a delegated administrator, with that permission ({error.message})"
            )
        case ThrottledError():
            text = f"{action} was throttled to the last attempt: {error.message} ({error.code})"
        case _:
            text = f"{action} failed: {error.message} ({error.code})"
    return OrganizationError(text)


def _is_other(caller: Caller, membership: Membership | None) -> bool:
    """Whether the caller's account is not the management account, as far as is known."""
    return membership is None or membership.management_account_id != caller.account_id


def _id(membership: Membership | None) -> str:
    return f" {membership.management_account_id}" if membership is not None else ""

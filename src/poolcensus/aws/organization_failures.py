"""Errors of Organizations in words: which account made the call, and which account has to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.table import denial_in
from poolcensus.errors import AccessDeniedError, CallError, OrganizationError, ScpDeniedError, ThrottledError

if TYPE_CHECKING:
    from poolcensus.model import Caller

# https://docs.aws.amazon.com/organizations/latest/APIReference/API_DescribeOrganization.html#API_DescribeOrganization_Errors
IN_NO_ORGANIZATION: Final = "AWSOrganizationsNotInUseException"
# https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccountsForParent.html. The second
# code is for an ID that does not match the pattern of ParentId.
_MISSING_PARENT: Final = frozenset({"ParentNotFoundException", "InvalidInputException"})


def is_missing_parent(error: CallError) -> bool:
    """Return whether an error says that there is no such root or organizational unit."""
    return error.code in _MISSING_PARENT


def failed_listing(
    error: CallError, action: str, caller: Caller, management: str | None
) -> OrganizationError:
    """Return the error for a failed call of Organizations, which says what to do.

    `management` is the ID of the management account, if it is known.
    """
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
                f" account{_id(management)}, to which none applies."
            )
        case AccessDeniedError() if denial_in(error.message) is None and _is_other(caller, management):
            text = (
                f"Account {caller.account_id} can't read its Organization: {action} was"
                " refused, which only the management account and delegated administrators may call. Use"
                f" credentials of the management account{_id(management)}, or register account"
                f" {caller.account_id} there as delegated administrator ({error.message})"
            )
        case AccessDeniedError():
            text = (
                f"{action} was refused to {caller.arn}: call from the management account{_id(management)}"
                f" or a delegated administrator, with that permission ({error.message})"
            )
        case ThrottledError():
            text = f"{action} was throttled to the last attempt: {error.message} ({error.code})"
        case _:
            text = f"{action} failed: {error.message} ({error.code})"
    return OrganizationError(text)


def _is_other(caller: Caller, management: str | None) -> bool:
    """Return whether the caller's account is not known to be the management account."""
    return management != caller.account_id


def _id(management: str | None) -> str:
    return f" {management}" if management is not None else ""

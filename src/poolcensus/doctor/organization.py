"""Checks that the accounts can be listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.organization_failures import IN_NO_ORGANIZATION
from poolcensus.aws.refusals.denials import read_denial
from poolcensus.aws.refusals.table import is_denial
from poolcensus.doctor.denied import Attempt, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import UNADVISED, Cause, Check, CheckStatus, Diagnosis, Finding
from poolcensus.doctor.principals import caller_in_words
from poolcensus.errors import CallError
from poolcensus.format.text import counted

if TYPE_CHECKING:
    from poolcensus.errors import FatalError
    from poolcensus.model import Caller

_ACTION: Final = "organizations:ListAccounts"
_OTHER_SOURCES: Final = "take the accounts from a file or from the caller alone, with `accounts_from`"


def accounts_listed(
    caller: Caller, *, from_organization: bool, looked_at: int, accounts: int, named: bool
) -> Finding:
    """Return the finding for accounts that could be listed. It says how many of them are tried.

    `named` says that the user has named the accounts to try.
    """
    source = "" if from_organization else "Organizations is not asked for accounts. "
    return Finding(
        check=Check.ORGANIZATION,
        status=CheckStatus.OK if from_organization else CheckStatus.SKIPPED,
        account_id=caller.account_id,
        action=_ACTION if from_organization else None,
        message=f"{source}Tried {looked_at:,} of {counted(accounts, 'account')}.",
        remedy="`every_account` tries all of them." if looked_at < accounts and not named else None,
    )


def accounts_unknown(error: FatalError, caller: Caller) -> Finding:
    """Return the finding for accounts that can't be listed, or for settings that leave none."""
    reply = error.__cause__
    code = reply.code if isinstance(reply, CallError) else None
    if not isinstance(reply, CallError):
        remedy = error.advice or UNADVISED
        found = Diagnosis(CheckStatus.FAILED, Cause.ACCOUNTS, remedy)
    elif reply.code == IN_NO_ORGANIZATION:
        remedy = f"Use credentials of an account in an Organization, or {_OTHER_SOURCES}."
        found = Diagnosis(CheckStatus.NOT_MENDABLE, Cause.NOT_IN_ORGANIZATION, remedy)
    elif is_denial(reply.code) and read_denial(reply.message) is None:
        # The reply of Organizations to accounts that may not list, whatever their policies allow:
        # https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccounts.html
        remedy = (
            "Call from the management account, or register the caller's account as a delegated administrator;"
            f" otherwise {_OTHER_SOURCES}."
        )
        found = Diagnosis(CheckStatus.FAILED, Cause.NOT_MANAGEMENT, remedy)
    elif is_denial(reply.code):
        found = explain_denial(
            reply.message, Attempt(_ACTION, caller_in_words(caller.arn), "the caller's account")
        )
    else:
        found = explain_failure(reply.outcome, reply.code, reply.message)
    return Finding(
        check=Check.ORGANIZATION,
        status=found.status,
        account_id=caller.account_id,
        action=found.action or (_ACTION if code is not None else None),
        code=code,
        cause=found.cause,
        message=error.problem if found.remedy == error.advice else str(error),
        remedy=found.remedy,
        policy=found.policy,
    )

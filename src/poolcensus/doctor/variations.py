"""Tries variations of sts:AssumeRole, to find out which part of the call is refused if STS does not say.

The session that a successful variation returns is dropped.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.aws.refusals.table import is_denial
from poolcensus.doctor.denied import denial_cause
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.errors import CallError, HubRoleError
from poolcensus.loops import for_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from poolcensus.aws.credentials.broker import CredentialBroker

# The minimum session duration in seconds: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_SHORTEST: Final = 900
# If more accounts refuse, they refuse for the same reasons. Each costs some calls, which CloudTrail records.
_MOST_VARIED: Final = 20
# STS accepts hundreds of calls a second, and the limits of the run apply as well.
_AT_ONCE: Final = 16

# Policies of the caller, which apply whichever account the role is in.
_THE_CALLERS: Final = frozenset(
    {Cause.IDENTITY_POLICY, Cause.PERMISSIONS_BOUNDARY, Cause.SESSION_POLICY, Cause.SCP}
)


class _Variation(NamedTuple):
    """A call without some parameters, and the explanation that holds if that call is allowed."""

    without: frozenset[str]
    found: Diagnosis
    duration: int | None = None


def _variations(parameters: frozenset[str]) -> Iterator[_Variation]:
    """Yield the variations of a call with these parameters. The first repeats the call unchanged."""
    remedy = (
        "The second time the role could be assumed: a change of a policy takes a moment to reach all of AWS."
        " Run it again."
    )
    yield _Variation(frozenset(), _failed(Cause.UNEXPLAINED, remedy))
    remedy = "The role refuses so long a session: lower `session_duration`."
    yield _Variation(frozenset(), _failed(Cause.DURATION, remedy), _SHORTEST)
    if policy := frozenset(each for each in parameters if each.startswith("Policy")):
        remedy = (
            "The role is given to sessions without a session policy only: let it take one, which narrows a"
            " session and grants nothing, or set `session_policy` to false."
        )
        yield _Variation(policy, _failed(Cause.SESSION_POLICY, remedy))
    if tags := frozenset(each for each in parameters if each.startswith(("Tags", "TransitiveTagKeys"))):
        remedy = "The trust policy does not take session tags: add this statement to it."
        yield _Variation(tags, _failed(Cause.TRUST_POLICY, remedy, "sts:TagSession"))
    if "SourceIdentity" in parameters:
        remedy = "The trust policy does not take a source identity: add this statement to it."
        found = _failed(Cause.TRUST_POLICY, remedy, "sts:SetSourceIdentity")
        yield _Variation(frozenset({"SourceIdentity"}), found)
    if "ExternalId" in parameters:
        remedy = "The role is given to calls without an external ID only: leave `external_id` out."
        yield _Variation(frozenset({"ExternalId"}), _failed(Cause.EXTERNAL_ID, remedy))


def _failed(cause: Cause, remedy: str, action: str | None = None) -> Diagnosis:
    return Diagnosis(CheckStatus.FAILED, cause, remedy, action=action)


async def vary(broker: CredentialBroker, accounts: Sequence[str]) -> Mapping[str, Diagnosis]:
    """Return the explanation for each account in which a variation is allowed.

    All variations are tried in the first accounts. In the rest, only those are tried that were allowed there.
    """
    found: dict[str, Diagnosis] = {}
    await _vary(broker, accounts[:_MOST_VARIED], found, None)
    if found:
        await _vary(broker, accounts[_MOST_VARIED:], found, frozenset(each.remedy for each in found.values()))
    return found


async def _vary(
    broker: CredentialBroker,
    accounts: Sequence[str],
    found: dict[str, Diagnosis],
    remedies: frozenset[str] | None,
) -> None:
    """Add explanations to `found`. Try the variations with one of `remedies`, or all if that is None."""

    async def try_account(account_id: str) -> None:
        # If a call fails, the reply to the account's own call has to suffice.
        with suppress(CallError):
            for each in _variations(await broker.parameters(account_id)):
                if remedies is not None and each.found.remedy not in remedies:
                    continue
                if await broker.would_assume(account_id, without=each.without, duration=each.duration):
                    found[account_id] = each.found
                    return

    await for_each(try_account, accounts, at_once=_AT_ONCE)


async def denial_at_home(broker: CredentialBroker, account_id: str) -> str | None:
    """Return the denial of the role in the account of the caller, if the caller's policies are the reason.

    Across accounts, STS may not name the policy that refuses, but within one account it does. As a rule, the
    caller's policies refuse the role in every account alike.
    """
    try:
        await broker.assume_role(account_id)
    except CallError as error:
        if is_denial(error.code) and denial_cause(error.message) in _THE_CALLERS:
            return error.message
    except HubRoleError:
        # A caller with a profile's credentials does not need the hub role.
        return None
    return None

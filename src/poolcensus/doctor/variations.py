"""Variations of sts:AssumeRole, to find out what stands in the way where STS does not say.

A session that a variation gets is dropped.
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

# The shortest session: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_SHORTEST: Final = 900
# Where more are refused, they are refused alike. Each takes some calls, which CloudTrail keeps.
_MOST_VARIED: Final = 20
# STS takes hundreds a second, and the run's own limits hold as well.
_AT_ONCE: Final = 16

# The caller's own policies, whichever account the role is in.
_THE_CALLERS: Final = frozenset(
    {Cause.IDENTITY_POLICY, Cause.PERMISSIONS_BOUNDARY, Cause.SESSION_POLICY, Cause.SCP}
)


class _Variation(NamedTuple):
    """A call that leaves something out, and what stands in the way where that call is allowed."""

    without: frozenset[str]
    found: Diagnosis
    duration: int | None = None


def _variations(parameters: frozenset[str]) -> Iterator[_Variation]:
    """Yield the variations of a call that has these parameters, of which the first is none."""
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
    """Return what stands in the way, of those accounts for which a variation is allowed.

    Of many accounts the first are tried, and the rest only with what was found there: a call or two each.
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
    """Add what is found to `found`, of the variations with one of `remedies`; None: of all."""

    async def try_account(account_id: str) -> None:
        # Without a verdict, what the account's own call was told has to do.
        with suppress(CallError):
            for each in _variations(await broker.parameters(account_id)):
                if remedies is not None and each.found.remedy not in remedies:
                    continue
                if await broker.would_assume(account_id, without=each.without, duration=each.duration):
                    found[account_id] = each.found
                    return

    await for_each(try_account, accounts, at_once=_AT_ONCE)


async def denial_at_home(broker: CredentialBroker, account_id: str) -> str | None:
    """Return what STS says of the role in the account of whoever asks, where the policies there refuse that.

    Between accounts STS may name no policy, and within one it does. As a rule, what the caller's policies say
    of the role they say of every account.
    """
    try:
        await broker.assume_role(account_id)
    except CallError as error:
        if is_denial(error.code) and denial_cause(error.message) in _THE_CALLERS:
            return error.message
    except HubRoleError:
        # Whoever was refused, with a profile's credentials, did not need that role.
        return None
    return None

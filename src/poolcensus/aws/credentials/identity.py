"""Finds out who the caller is with sts:GetCallerIdentity, before any other call."""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.aws.call import UNKNOWN_ACCOUNT, Call, CallWatch
from poolcensus.aws.credentials.patience import Patience
from poolcensus.aws.credentials.sts import (
    TRIES_BEFORE_SECOND,
    is_off,
    is_silent,
    is_worth_second_region,
    second_sts_region,
    warn_of_second_region,
)
from poolcensus.aws.faults import parse_xml
from poolcensus.aws.refusals.table import BAD_SIGNATURES
from poolcensus.errors import (
    AccessDeniedError,
    BadReply,
    BadResponseError,
    CallerExpiredError,
    CallError,
    ClockSkewError,
    CredentialsError,
    ExpiredError,
    FatalError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
    failed_call_of,
)
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.format.ids import is_account_id
from poolcensus.model import Caller

if TYPE_CHECKING:
    from poolcensus.aws.call import CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.credentials.patience import Waiting
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
_ARN = re.compile(r"arn:(?P<partition>[a-z]+(?:-[a-z]+)*):[^:\s]*:[^:\s]*:[^:\s]*:[^\r\n]*")
_BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
# A person is waiting, who should soon learn that there is no network or that the keys are wrong. If STS
# answers, it is worth waiting for.
_PATIENCE = RetryPolicy(max_without_reply=4, max_unrecognized=1, longest_wait=5.0)
# For the second region, since the person has already waited for the first.
_BRIEF = RetryPolicy(max_attempts=4, max_without_reply=2, max_unrecognized=1, longest_wait=2.0)
# While waiting for the network: one attempt shows whether it is back, and costs no retry quota.
_AGAIN = msgspec.structs.replace(_PATIENCE, max_without_reply=1)
# During a run, when no person waits for a single call.
_OF_A_RUN = RetryPolicy(max_unrecognized=1)
_BEFORE_SECOND = msgspec.structs.replace(_OF_A_RUN, max_without_reply=TRIES_BEFORE_SECOND)
_ONCE = RetryPolicy(max_attempts=1)
CALLERS: Final = "the caller's credentials"
"""The name of the caller's own credentials in messages."""

_BAD_CREDENTIALS = (UnrecognizedCredentialsError, ExpiredError)


async def identify(
    sdk: Sdk,
    client: Client,
    source: CredentialSource,
    region: str,
    second: str | None = None,
    *,
    waiting: Waiting | None = None,
    configured: bool = True,
) -> tuple[Caller, str]:
    """Return the identity of the caller's credentials, and the region whose STS returned it.

    `second` is the region to call if STS in `region` is not activated or does not answer. With `waiting`, the
    function waits up to a minute for a network that is down, and says so there; without it, the error is
    raised within seconds. `configured` is whether `region` comes from the settings or the AWS configuration.

    Raises CredentialsError if AWS refuses the credentials, and another FatalError if STS can't be called.
    """
    patience = None if waiting is None else Patience(waiting, region)
    first_time, second_time = _PATIENCE, _BRIEF
    with nullcontext() if patience is None else patience:
        while True:
            try:
                return await ask_identity(sdk, client, source, region, first_time), region
            except CallError as error:
                reason = error
            if second is not None and is_worth_second_region(
                reason, region, apart=await _are_apart(sdk, region, second)
            ):
                with suppress(CallError):
                    caller = await ask_identity(sdk, client, source, second, second_time)
                    warn_of_second_region(region, second, reason)
                    return caller, second
            if patience is None or not await patience.lasts(reason, await _template(sdk, region)):
                raise _explained_error(reason, None if configured else region) from reason
            first_time = second_time = _AGAIN


async def ask_identity(
    sdk: Sdk,
    client: Client,
    source: CredentialSource,
    region: str,
    policy: RetryPolicy,
    *,
    optional: bool = False,
    idle: bool = False,
) -> Caller:
    """Return the identity of the credentials of a source. Raises CallError.

    `optional` and `idle` are as in `Call`.
    """
    call = Call(
        await _template(sdk, region),
        _BODY,
        CallKey(UNKNOWN_ACCOUNT, region, "sts"),
        source,
        _caller,
        awaited=True,
        optional=optional,
        idle=idle,
    )
    return await client.call(call, watch=CallWatch(), retrier=Retrier(policy))


async def identity_of(sdk: Sdk, client: Client, source: CredentialSource, region: str) -> Caller:
    """Return the identity of a profile's credentials. Raises CallError.

    A second region is called if STS in the first is down, or if the profile's account may not have enabled
    the region.
    """
    second = second_sts_region(region)
    apart = second is not None and await _are_apart(sdk, region, second)
    try:
        policy = _BEFORE_SECOND if apart else _OF_A_RUN
        return await ask_identity(sdk, client, source, region, policy, optional=apart)
    except CallError as error:
        if second is None or not is_worth_second_region(error, region, apart=apart):
            raise
        reason = error
    try:
        return await ask_identity(sdk, client, source, second, _BRIEF, optional=apart)
    except CallError as error:
        # A refusal of the credentials by the second region counts. Otherwise the first one is called again.
        if not is_silent(reason) or not (is_silent(error) or is_off(error)):
            raise
    return await ask_identity(sdk, client, source, region, _OF_A_RUN)


async def _are_apart(sdk: Sdk, region: str, second: str) -> bool:
    return (await _template(sdk, region)).url != (await _template(sdk, second)).url


async def _template(sdk: Sdk, region: str) -> RequestTemplate:
    return await sdk.template("sts", region, "get_caller_identity")


def _explained_error(error: CallError, default_region: str | None = None) -> FatalError:
    """Return the error for a person after GetCallerIdentity failed.

    `default_region` is the region that was called because none is configured, or None.
    """
    fatal = _fatal_error(error, default_region)
    if not _is_denied(error):
        expired = isinstance(error, ExpiredError)
        fatal.failed_call = failed_call_of(CallerExpiredError.of(CALLERS, error) if expired else error)
    return fatal


def _is_denied(error: CallError) -> bool:
    """Return whether a policy denies the call, such as that of a VPC endpoint.

    A 403 without an error code does not count, since it may be a proxy's.
    """
    return isinstance(error, AccessDeniedError) and not error.code.isdigit()


def _fatal_error(error: CallError, default_region: str | None) -> FatalError:
    said = f"{error.message} ({error.code})"
    kind: type[FatalError] = FatalError
    match error:
        case UnreachableError():
            text = (
                f"STS can't be reached: {error.message} (check the network, the proxy and the endpoint URL)"
            )
        case ClockSkewError():
            text = f"AWS refuses the signature for its date: set this machine's clock ({error.message})"
        case ThrottledError():
            text = f"STS throttles GetCallerIdentity: {said}. Run again in a minute."
        case CallerExpiredError():
            kind, text = CredentialsError, error.message
        case _ if isinstance(error, _BAD_CREDENTIALS) or error.code in BAD_SIGNATURES:
            kind, text = CredentialsError, f"AWS does not accept the caller's credentials: {said}"
            if default_region is not None and isinstance(error, UnrecognizedCredentialsError):
                text = (
                    f"{text}. No region is configured, so STS in {default_region} was asked: for credentials"
                    " of another partition, such as GovCloud, set AWS_REGION."
                )
        case _ if _is_denied(error):
            kind, text = CredentialsError, f"AWS denies the caller GetCallerIdentity: {said}"
        case _:
            text = f"STS gave no usable answer: {said}"
    return kind(text)


async def ask_anything(sdk: Sdk, client: Client, source: CredentialSource, region: str) -> None:
    """Call GetCallerIdentity once, to see whether anything answers. Its result does not matter."""
    with suppress(CallError):
        await ask_identity(sdk, client, source, region, _ONCE, optional=True, idle=True)


def _caller(reply: Reply) -> Caller:
    root = parse_xml(reply.body)
    account = (root.findtext(".//{*}Account") or "").strip() if root is not None else ""
    arn = (root.findtext(".//{*}Arn") or "").strip() if root is not None else ""
    found = _ARN.fullmatch(arn)
    if found is None or not is_account_id(account):
        raise BadResponseError("STS sent a reply without an identity", code=BadReply.BODY, status=200)
    return Caller(account_id=account, arn=arn, partition=found["partition"])

"""The STS endpoints at which roles are assumed: one region's, and a second one's if the first fails.

The global endpoint is never called, since opt-in regions refuse its tokens.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlencode

import msgspec

from poolcensus import partitions
from poolcensus.aws.call import Call, CallWatch, CredentialSource
from poolcensus.aws.faults import parse_xml, server_time
from poolcensus.aws.refusals.table import is_denial
from poolcensus.aws.signing import Credentials
from poolcensus.errors import (
    BadReply,
    BadResponseError,
    CallError,
    CallTimeoutError,
    ExpiredError,
    NoRouteError,
    SilentError,
    UnreachableError,
    UnrecognizedCredentialsError,
)
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.retry import Retrier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from poolcensus.aws.call import Redact
    from poolcensus.aws.client import Client
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.flow.retry import RetryPolicy

_log = logging.getLogger("poolcensus")

# Seconds for all attempts of a call. Targets wait for it, so it is less than a target's own timeout, but long
# enough for a service that is down to come back.
_LONGEST_CALL: Final = 120.0
TRIES_BEFORE_SECOND: Final = 3
"""After how many attempts without a reply a second region is tried."""

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors
_OFF: Final = "RegionDisabledException"


def sts_region(partition: str, configured: str | None) -> str:
    """Return the region whose STS is called: the configured one, if it is in the partition."""
    known = partitions.partitions().get(partition)
    if known is None or (configured is not None and configured in known.regions):
        return configured or "us-east-1"
    return known.sts


def second_sts_region(region: str) -> str | None:
    """Return another region of the same partition that is not opt-in, if possible on the same continent.

    Return None if there is none, or if the region is unknown.
    """
    known = next((each for each in partitions.partitions().values() if region in each.regions), None)
    if known is None:
        return None
    others = [each for each in known.regions if each != region and each not in known.opt_in]
    continent = f"{region.split('-', maxsplit=1)[0]}-"
    near = [each for each in others if each.startswith(continent)]
    if near:
        return known.sts if known.sts in near else near[0]
    return known.sts if known.sts in others else next(iter(others), None)


def is_off(error: CallError) -> bool:
    """Return whether STS says that it is not activated in the region."""
    return error.code == _OFF


def is_unrecognized_in_opt_in(region: str, error: CallError) -> bool:
    """Return whether credentials were not recognized in an opt-in region.

    The account may not have enabled it. The error code is the same as for wrong or new credentials.
    """
    # STS recognizes the credentials of an account only in regions that the account has enabled:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html and, for the
    # code, https://github.com/hashicorp/terraform-provider-aws/issues/32549
    opt_in = any(region in each.opt_in for each in partitions.partitions().values())
    return opt_in and isinstance(error, UnrecognizedCredentialsError) and not is_off(error)


def is_silent(error: CallError) -> bool:
    """Return whether an endpoint did not answer although this machine has a route to it."""
    silent = isinstance(error, UnreachableError | CallTimeoutError | SilentError)
    return silent and not isinstance(error, NoRouteError)


def is_worth_second_region(error: CallError, first: str, *, apart: bool) -> bool:
    """Return whether the call should be made in a second region after STS in the `first` one failed.

    `apart` is whether the two have different URLs. With a configured endpoint URL they have the same.
    """
    return is_off(error) or (apart and is_silent(error)) or is_unrecognized_in_opt_in(first, error)


def _does_not_know(error: CallError) -> bool:
    return isinstance(error, UnrecognizedCredentialsError | ExpiredError) and not is_off(error)


def warn_of_second_region(first: str, second: str, error: CallError) -> None:
    """Warn that STS is called in another region from now on."""
    _log.warning(
        "STS in %s can't be used: %s (%s). STS in %s is called instead. Set sts_region to choose a region.",
        first,
        error.message.rstrip(". "),
        error.code,
        second,
    )


class RoleSession(msgspec.Struct, frozen=True):
    """A session that sts:AssumeRole returned. It lasts `lifetime` seconds, until `ends` (monotonic clock)."""

    credentials: Credentials
    lifetime: float
    ends: float


class RenewableSource(CredentialSource, Protocol):
    """The source of the credentials that a role is assumed with."""

    @property
    def latest(self) -> Credentials | None:
        """The last credentials, whether or not they can still be used. None before the first."""


class RoleRequest(msgspec.Struct, frozen=True):
    """A call of sts:AssumeRole.

    `owner` is the account of the credentials in `source`, whose rate limits the call uses. `about` is the
    account that it is made for.
    """

    parameters: Mapping[str, str | int]
    source: RenewableSource
    owner: str
    about: str
    redact: Redact


class StsEndpoints:
    """Assumes roles in one region, and moves to a second one if STS is not activated in the first.

    If STS in the first region does not answer, it moves only after the second one has answered. So it does
    not move if the network is down, or has no route to the second region. It moves at most once.
    """

    def __init__(
        self,
        client: Client,
        template: Callable[[str], Awaitable[RequestTemplate]],
        policy: RetryPolicy,
        *,
        region: str,
        second: str | None,
    ) -> None:
        self._client = client
        self._template = template
        self._region = region
        self._second = second
        # The first refusal of the credentials ends the attempts, since `_assume_role` may try a second region
        # before it retries.
        brief = msgspec.structs.replace(policy, max_unrecognized=1)
        self._retrier = Retrier(brief)
        self._soon_silent_retrier = Retrier(
            msgspec.structs.replace(brief, max_without_reply=TRIES_BEFORE_SECOND)
        )
        self._refused_once_retrier = Retrier(msgspec.structs.replace(brief, max_expired=1))
        # By source, the credentials that STS refused in all attempts of a call.
        self._rejected: dict[RenewableSource, Credentials] = {}

    @property
    def region(self) -> str:
        """The region that is used now."""
        return self._region

    async def assume_role(self, request: RoleRequest) -> RoleSession:
        """Return a new session. Raises the CallError of the last attempt.

        If STS has refused the credentials of the request in all attempts of an earlier call, and recognized
        them in none since, one more refusal is final, unless they have been renewed meanwhile.
        """
        watch = CallWatch()
        source, used = request.source, request.source.latest
        try:
            if used is not None and used == self._rejected.get(source):
                session = await self._assume_role_once(request, used, watch)
            else:
                session = await self._assume_role(request, watch)
        except CallError as error:
            self._note(error, source, used)
            raise
        finally:
            self._client.counts.assume_role_calls += watch.attempts
        self._rejected.pop(source, None)
        return session

    def _note(self, error: CallError, source: RenewableSource, used: Credentials | None) -> None:
        """Record whether STS recognized the credentials that a call began with."""
        unknown = _does_not_know(error) and not is_unrecognized_in_opt_in(self._region, error)
        if is_denial(error.code):
            self._rejected.pop(source, None)
        # If the credentials were renewed meanwhile, nothing is known about the new ones.
        elif unknown and used is not None and source.latest == used:
            self._rejected[source] = used

    async def _assume_role_once(
        self, request: RoleRequest, rejected: Credentials, watch: CallWatch
    ) -> RoleSession:
        try:
            return await self._call(self._region, request, watch, self._refused_once_retrier)
        except CallError as error:
            if not _does_not_know(error) or request.source.latest == rejected:
                raise
        return await self._assume_role(request, watch)

    async def _assume_role(self, request: RoleRequest, watch: CallWatch) -> RoleSession:
        first, second = self._region, self._second
        if second is None:
            return await self._call(first, request, watch)
        apart = (await self._template(first)).url != (await self._template(second)).url
        retrier = self._soon_silent_retrier if apart else self._retrier
        try:
            return await self._call(first, request, watch, retrier, optional=apart)
        except CallError as error:
            reason = error
        if is_worth_second_region(reason, first, apart=apart):
            try:
                session = await self._call(second, request, watch, self._soon_silent_retrier, optional=True)
            except CallError as error:
                if is_off(error):
                    raise reason from error
                unknown_in_both = is_unrecognized_in_opt_in(first, reason) and isinstance(
                    error, UnrecognizedCredentialsError
                )
                if not (is_silent(error) or unknown_in_both):
                    self._move(second, reason)
                    raise
                if is_off(reason):
                    raise
            else:
                self._move(second, reason)
                return session
        elif not isinstance(reason, UnrecognizedCredentialsError | NoRouteError):
            raise reason
        return await self._call(first, request, watch)

    def _move(self, second: str, reason: CallError) -> None:
        if self._region != second:
            warn_of_second_region(self._region, second, reason)
        self._region, self._second = second, None

    async def _call(
        self,
        region: str,
        request: RoleRequest,
        watch: CallWatch,
        retrier: Retrier | None = None,
        *,
        optional: bool = False,
    ) -> RoleSession:
        """Call STS in one region. The call is `optional` if the other region can be called instead."""
        template = await self._template(region)
        call = Call(
            template=template,
            body=urlencode(request.parameters).encode("ascii"),
            key=CallKey(request.owner, region, "sts"),
            source=request.source,
            parse=role_session,
            about=request.about,
            awaited=True,
            optional=optional,
            redact=request.redact,
        )
        watch.deadline = time.monotonic() + _LONGEST_CALL
        return await self._client.call(call, watch=watch, retrier=retrier)


def role_session(reply: Reply) -> RoleSession:
    """Return the session of a reply. Raises BadResponseError if it has none."""
    root = parse_xml(reply.body)
    found = root.find(".//{*}Credentials") if root is not None else None
    values = {
        child.tag.rpartition("}")[2]: (child.text or "").strip() for child in (() if found is None else found)
    }
    try:
        moment = datetime.fromisoformat(values["Expiration"])
        # Without a time zone it is UTC. Python would take it for this machine's local time.
        expiration = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        credentials = Credentials(values["AccessKeyId"], values["SecretAccessKey"], values["SessionToken"])
    except (KeyError, ValueError, OverflowError):
        raise BadResponseError(
            "STS sent a reply without credentials", code=BadReply.BODY, status=reply.status
        ) from None
    # Both times are the service's, so that a wrong clock of this machine does not matter.
    now = server_time(reply.headers)
    lifetime = expiration - (time.time() if now is None else now)
    if lifetime <= 0:
        # Otherwise they would be renewed again and again, without a pause.
        raise BadResponseError(
            "STS sent credentials that have expired already", code=BadReply.BODY, status=reply.status
        )
    # The lifetime counts from the reply on, so waits before it take nothing from the session. The `Date`
    # leaves out fractions of a second, which is less than a tenth of the shortest session.
    return RoleSession(credentials, lifetime, time.monotonic() + lifetime)

"""The STS that roles are assumed at: a regional endpoint, and a second one where that is off.

Tokens of the global endpoint are refused in opt-in regions, so it is never called.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote_plus

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

# Targets wait meanwhile: longer than a service needs to come back, shorter than a target's own limit.
_LONGEST_CALL: Final = 120.0
TRIES_BEFORE_SECOND: Final = 3
"""So many attempts without a reply are worth a look at another region."""

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors
_OFF: Final = "RegionDisabledException"


def sts_region(partition: str, configured: str | None) -> str:
    """Return the region whose STS is asked: the caller's, where it is one of the partition."""
    known = partitions.partitions().get(partition)
    if known is None or (configured is not None and configured in known.regions):
        return configured or "us-east-1"
    return known.sts


def second_sts_region(region: str) -> str | None:
    """Return another region of the same partition, on the same continent where there is one.

    It is one that no account has to enable. None: there is none, or the region is not known.
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
    """Whether STS says that it is not activated in the region."""
    return error.code == _OFF


def is_unrecognized_in_opt_in(region: str, error: CallError) -> bool:
    """Whether credentials are unknown in a region that their account may not have enabled.

    The code is that of credentials that are no good, or too new.
    """
    # STS knows an account's credentials only where it has enabled the region:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html and, for the
    # code, https://github.com/hashicorp/terraform-provider-aws/issues/32549
    opt_in = any(region in each.opt_in for each in partitions.partitions().values())
    return opt_in and isinstance(error, UnrecognizedCredentialsError) and not is_off(error)


def is_silent(error: CallError) -> bool:
    """Whether an endpoint did not answer, and this machine has a way to it."""
    silent = isinstance(error, UnreachableError | CallTimeoutError | SilentError)
    return silent and not isinstance(error, NoRouteError)


def is_worth_second_region(error: CallError, first: str, *, apart: bool) -> bool:
    """Whether another region may tell what STS in the first did not, where the two are `apart`.

    With an endpoint URL of the user's they are in the same place.
    """
    return is_off(error) or (apart and is_silent(error)) or is_unrecognized_in_opt_in(first, error)


def _does_not_know(error: CallError) -> bool:
    return isinstance(error, UnrecognizedCredentialsError | ExpiredError) and not is_off(error)


def tell_of_second_region(first: str, second: str, error: CallError) -> None:
    """Warn that STS is called in another region from now on."""
    _log.warning(
        "STS in %s can't be used: %s (%s). STS in %s is called instead. Set sts_region to choose a region.",
        first,
        error.message.rstrip(". "),
        error.code,
        second,
    )


class RoleSession(msgspec.Struct, frozen=True):
    """What sts:AssumeRole gave. It lasts `lifetime` seconds, and `ends` on the monotonic clock."""

    credentials: Credentials
    lifetime: float
    ends: float


class RenewableSource(CredentialSource, Protocol):
    """Where the credentials come from that a role is assumed with."""

    @property
    def latest(self) -> Credentials | None:
        """The credentials that it gave last, whether they can still be used or not."""


class RoleRequest(msgspec.Struct, frozen=True):
    """A call of sts:AssumeRole: its parameters, who makes it, and for which account.

    `owner` is the account that the credentials belong to, whose rate limits the call uses.
    """

    parameters: Mapping[str, str | int]
    source: RenewableSource
    owner: str
    about: str
    redact: Redact


class StsEndpoints:
    """Assumes roles at one regional endpoint, and moves to a second one, once, where the first is off.

    A first one that does not answer is left only after the second one has: a network that is down, or one
    from which there is no way to the second, changes nothing.
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
        brief = msgspec.structs.replace(policy, max_unrecognized=1)
        self._brief = Retrier(brief)
        self._impatient = Retrier(msgspec.structs.replace(brief, max_without_reply=TRIES_BEFORE_SECOND))
        self._unbelieving = Retrier(msgspec.structs.replace(brief, max_expired=1))
        # Credentials that STS refused at each attempt of a call, by where they came from.
        self._rejected: dict[RenewableSource, Credentials] = {}

    @property
    def region(self) -> str:
        """The region that is called now."""
        return self._region

    async def assume_role(self, request: RoleRequest) -> RoleSession:
        """Return a new session. Raises the CallError of the last attempt.

        Where the credentials of the request are those that another call was made with in vain, and STS has
        known them in none since, it is made once.
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
        """Note whether STS knew the credentials that a call began with."""
        unknown = _does_not_know(error) and not is_unrecognized_in_opt_in(self._region, error)
        if is_denial(error.code):
            self._rejected.pop(source, None)
        # Where a renewal has brought others, nothing is known of those that come next.
        elif unknown and used is not None and source.latest == used:
            self._rejected[source] = used

    async def _assume_role_once(
        self, request: RoleRequest, rejected: Credentials, watch: CallWatch
    ) -> RoleSession:
        try:
            return await self._call(self._region, request, watch, self._unbelieving)
        except CallError as error:
            if not _does_not_know(error) or request.source.latest == rejected:
                raise
        return await self._assume_role(request, watch)

    async def _assume_role(self, request: RoleRequest, watch: CallWatch) -> RoleSession:
        first, second = self._region, self._second
        if second is None:
            return await self._call(first, request, watch)
        apart = (await self._template(first)).url != (await self._template(second)).url
        retrier = self._impatient if apart else self._brief
        try:
            return await self._call(first, request, watch, retrier, optional=apart)
        except CallError as error:
            reason = error
        if is_worth_second_region(reason, first, apart=apart):
            try:
                session = await self._call(second, request, watch, self._impatient, optional=True)
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
            tell_of_second_region(self._region, second, reason)
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
        """Call one region; `optional` says that there is another way, the other region."""
        template = await self._template(region)
        body = _form(request.parameters)
        call = Call(
            template=template,
            body=body,
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


def _form(parameters: Mapping[str, str | int]) -> bytes:
    """Return parameters as a form has them."""
    return "&".join(
        f"{_same_for_many(name)}={_same_for_many(value) if name == 'Policy' else quote_plus(str(value))}"
        for name, value in parameters.items()
    ).encode("ascii")


@lru_cache(maxsize=64)
def _same_for_many(text: str | int) -> str:
    return quote_plus(str(text))


def role_session(reply: Reply) -> RoleSession:
    """Return the session of a reply. Raises BadResponseError where it has none."""
    root = parse_xml(reply.body)
    found = root.find(".//{*}Credentials") if root is not None else None
    values = {
        child.tag.rpartition("}")[2]: (child.text or "").strip() for child in (() if found is None else found)
    }
    try:
        moment = datetime.fromisoformat(values["Expiration"])
        # AWS writes UTC; without a zone it would be read as this machine's time.
        expiration = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        credentials = Credentials(values["AccessKeyId"], values["SecretAccessKey"], values["SessionToken"])
    except (KeyError, ValueError, OverflowError):
        raise BadResponseError(
            "STS sent a reply without credentials", code=BadReply.BODY, status=reply.status
        ) from None
    # Both times are the service's, so a clock that is off here does not shorten or stretch the session.
    now = server_time(reply.headers)
    lifetime = expiration - (time.time() if now is None else now)
    if lifetime <= 0:
        # They would be renewed again and again, without a pause.
        raise BadResponseError(
            "STS sent credentials that have expired already", code=BadReply.BODY, status=reply.status
        )
    # From the reply on: what came before, in a queue or at a slow STS, takes nothing from the session. The
    # fraction of a second that the Date leaves out is less than a tenth of any session of AWS's.
    return RoleSession(credentials, lifetime, time.monotonic() + lifetime)

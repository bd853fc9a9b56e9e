"""Whose credentials a call is signed with: the caller's own, or those of an account's role.

One sts:AssumeRole an account, renewed before the end, once for all who wait, with a pause after a failure.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlencode

import anyio

from poolcensus.aws.client import Call, CallWatch
from poolcensus.aws.faults import parse_xml, server_time
from poolcensus.aws.signing import Credentials
from poolcensus.errors import (
    AssumeRoleError,
    BadResponseError,
    CallerExpiredError,
    CallError,
    CredentialsError,
    ExpiredError,
)
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.singleflight import SingleFlight, another

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

    from poolcensus.aws.client import Channel
    from poolcensus.aws.sdk import Sdk
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.model import Caller

_log = logging.getLogger("poolcensus")

_PAUSE_AFTER_FAILURE = 10.0
_WAITS_FOR_THE_CHAIN = (1.0, 4.0)
_LONGEST_RENEWAL = 120.0
# A role chained from another role's session can't have a longer one:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
_LONGEST_CHAINED_SESSION = 3600


def session_policy(permissions: Iterable[str]) -> str:
    """Return the policy that narrows a session to these IAM actions, whatever its role allows.

    With it even an administrator's role is harmless.
    """
    statement = {"Effect": "Allow", "Action": [*permissions], "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """Which role is assumed, and how. `session_duration` is in seconds, `policy` the session's own policy."""

    name: str
    external_id: str | None
    session_name: str | None
    session_duration: int
    policy: str

    def __repr__(self) -> str:
        return f"RoleSettings(name={self.name!r})"


class _Recognition:
    """In which regions services know the credentials that are in use."""

    __slots__ = ("_credentials", "_regions")

    def __init__(self) -> None:
        self._credentials: Credentials | None = None
        self._regions: set[str] = set()

    def note(self, credentials: Credentials, region: str) -> None:
        if credentials is not self._credentials:
            self._credentials, self._regions = credentials, set()
        self._regions.add(region)

    def elsewhere(self, credentials: Credentials, region: str) -> bool:
        return credentials is self._credentials and not self._regions <= {region}


class CallerCredentials:
    """The caller's own credentials, walked through the SDK's chain once for all who wait."""

    by_call: ClassVar[bool] = False

    def __init__(self, sdk: Sdk) -> None:
        self._recognition = _Recognition()
        self._sdk = sdk
        self._flights: SingleFlight[str, Credentials] = SingleFlight()
        self._credentials: Credentials | None = None
        self._until = 0.0
        self._refused = False
        self._failure: CallerExpiredError | None = None
        self._pause_until = 0.0

    def current(self) -> Credentials | None:
        return self._credentials if time.monotonic() < self._until else None

    async def first(self) -> None:
        """Find the credentials before anything needs them. Raises CredentialsError where there are none."""
        self._credentials, self._until = await self._sdk.caller_credentials()

    async def get(self) -> Credentials:
        return self.current() or await self._flights.run("caller", self._renew)

    async def _renew(self) -> Credentials:
        if self._failure is not None and time.monotonic() < self._pause_until:
            raise another(self._failure)
        for wait in (*_WAITS_FOR_THE_CHAIN, None):
            try:
                credentials, self._until = await self._sdk.caller_credentials()
            except CredentialsError as error:
                if self._credentials is not None and not self._refused:
                    # They may be good for a while: the chain renews well before the end.
                    self._until = time.monotonic() + _PAUSE_AFTER_FAILURE
                    return self._credentials
                failure = error
            else:
                self._credentials, self._refused, self._failure = credentials, False, None
                _log.debug("the caller's credentials were renewed from the credential chain")
                return credentials
            _log.debug("the caller's credentials could not be renewed: %s", failure)
            if wait is not None:
                await anyio.sleep(wait)
        self._pause_until = time.monotonic() + _PAUSE_AFTER_FAILURE
        self._failure = CallerExpiredError(str(failure), code="CredentialsNotRenewed")
        raise self._failure from failure

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._until = 0.0
            self._refused = True
            self._sdk.forget_caller_credentials()

    def recognized(self, credentials: Credentials, region: str) -> None:
        self._recognition.note(credentials, region)

    def recognized_elsewhere(self, credentials: Credentials, region: str) -> bool:
        # A session token may be one of the global STS endpoint, which opt-in regions refuse when they are on:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html
        return credentials.session_token is None and self._recognition.elsewhere(credentials, region)


class RoleCredentials:
    """The credentials of one account's role."""

    by_call: ClassVar[bool] = True

    def __init__(self, account_id: str, broker: CredentialBroker) -> None:
        self._recognition = _Recognition()
        self._account_id = account_id
        self._broker = broker
        self._credentials: Credentials | None = None
        self._until = 0.0
        self._failure: CallError | None = None
        self._pause_until = 0.0

    def current(self) -> Credentials | None:
        return self._credentials if time.monotonic() < self._until else None

    async def get(self) -> Credentials:
        return self.current() or await self._broker.flights.run(self._account_id, self._renew)

    async def _renew(self) -> Credentials:
        if self._failure is not None and time.monotonic() < self._pause_until:
            raise another(self._failure)
        asked = time.monotonic()
        try:
            session = await self._broker.assume_role(self._account_id)
        except CallError as error:
            permanent = isinstance(error, AssumeRoleError) and error.permanent
            self._failure = error
            self._pause_until = float("inf") if permanent else time.monotonic() + _PAUSE_AFTER_FAILURE
            _log.debug(
                "no credentials for account %s: %s (%s)%s",
                self._account_id,
                error.message,
                error.code,
                "" if permanent else f", asked for again after {_PAUSE_AFTER_FAILURE:g} s at the soonest",
                extra={**self._fields, "error_code": error.code, "request_id": error.request_id},
            )
            raise
        _log.debug(
            "%s credentials for account %s, which last %.0f s",
            "first" if self._credentials is None else "new",
            self._account_id,
            session.lifetime,
            extra=self._fields,
        )
        self._credentials = session.credentials
        self._until = asked + session.lifetime - min(60.0, session.lifetime * 0.1)
        self._failure = None
        return session.credentials

    @property
    def _fields(self) -> dict[str, object]:
        return {"account_id": self._account_id}

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._until = 0.0

    def recognized(self, credentials: Credentials, region: str) -> None:
        self._recognition.note(credentials, region)

    def recognized_elsewhere(self, credentials: Credentials, region: str) -> bool:
        return self._recognition.elsewhere(credentials, region)


@dataclass(frozen=True, slots=True)
class RoleSession:
    """What sts:AssumeRole gave. `lifetime` is seconds from when it was asked for."""

    credentials: Credentials
    lifetime: float


class CredentialBroker:
    """Hands every account its source of credentials, and assumes roles for them."""

    def __init__(
        self,
        *,
        channel: Channel,
        caller: Caller,
        caller_credentials: CallerCredentials,
        template: RequestTemplate,
        role: RoleSettings,
    ) -> None:
        self._channel = channel
        self._caller = caller
        self._caller_credentials = caller_credentials
        self._template = template
        self._role = role
        self._sources: dict[str, RoleCredentials] = {}
        self.flights: SingleFlight[str, Credentials] = SingleFlight()

    def source(self, account_id: str) -> CallerCredentials | RoleCredentials:
        """Where the calls of an account take their credentials from. The caller's own needs no role."""
        if account_id == self._caller.account_id:
            return self._caller_credentials
        source = self._sources.get(account_id)
        if source is None:
            source = self._sources[account_id] = RoleCredentials(account_id, self)
        return source

    def forget(self, account_id: str) -> None:
        """Drop an account's credentials: it has no target left."""
        self._sources.pop(account_id, None)

    async def assume_role(self, account_id: str) -> RoleSession:
        """Return a new session of the account's role. Raises AssumeRoleError or CallerExpiredError."""
        role_arn = f"arn:{self._caller.partition}:iam::{account_id}:role/{self._role.name.lstrip('/')}"
        body = urlencode(self._parameters(role_arn)).encode("ascii")
        call = Call(
            template=self._template,
            body=body,
            body_digest=sha256(body).hexdigest(),
            key=CallKey(self._caller.account_id, self._template.region, "sts"),
            about=account_id,
            awaited=True,
            redact=self._hide_external_id,
        )
        watch = CallWatch(deadline=time.monotonic() + _LONGEST_RENEWAL)
        try:
            return await self._channel.call(call, self._caller_credentials, _role_session, watch=watch)
        except CallerExpiredError:
            raise
        except ExpiredError as error:
            raise CallerExpiredError(
                f"the caller's credentials have expired and could not be renewed: {error.message}",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            ) from error
        except CallError as error:
            # An error that no attempt failed with has not been through the call's own `redact`.
            self._hide_external_id(error)
            raise AssumeRoleError.of(role_arn, error) from error
        finally:
            self._channel.counts.assume_role_calls += watch.attempts

    def _hide_external_id(self, error: CallError) -> None:
        # STS repeats in its message the value that it refuses.
        secret = self._role.external_id
        if secret is not None and secret in error.message:
            error.message = error.message.replace(secret, "***")
            error.args = (error.message,)

    def _parameters(self, role_arn: str) -> dict[str, str | int]:
        chained = ":assumed-role/" in self._caller.arn
        duration = self._role.session_duration
        parameters: dict[str, str | int] = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": role_arn,
            "RoleSessionName": self._role.session_name or default_session_name(self._caller),
            "DurationSeconds": min(duration, _LONGEST_CHAINED_SESSION) if chained else duration,
            "Policy": self._role.policy,
        }
        if self._role.external_id is not None:
            parameters["ExternalId"] = self._role.external_id
        return parameters


def default_session_name(caller: Caller) -> str:
    """Return a session name by which CloudTrail tells who took the census."""
    who = re.sub(r"[^\w+=,.@-]", "-", caller.arn.rpartition("/")[2] or caller.account_id, flags=re.ASCII)
    return f"poolcensus-{who}"[:64]


def _role_session(reply: Reply) -> RoleSession:
    root = parse_xml(reply.body)
    found = root.find(".//{*}Credentials") if root is not None else None
    values = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in _children(found)}
    try:
        expiration = datetime.fromisoformat(values["Expiration"]).timestamp()
        credentials = Credentials(values["AccessKeyId"], values["SecretAccessKey"], values["SessionToken"])
    except (KeyError, ValueError, OverflowError):
        raise BadResponseError(
            "STS sent a reply without credentials", code="BadResponse", status=reply.status
        ) from None
    # Both times are the service's, so a clock that is off here does not shorten or stretch the session.
    now = server_time(reply.headers)
    lifetime = expiration - (time.time() if now is None else now)
    if lifetime <= 0:
        # They would be renewed again and again, without a pause.
        raise BadResponseError(
            "STS sent credentials that have expired already", code="BadResponse", status=reply.status
        )
    return RoleSession(credentials, lifetime)


def _children(element: Element | None) -> Iterable[Element]:
    return () if element is None else element

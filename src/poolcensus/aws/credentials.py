"""Whose credentials a call is signed with: the caller's own, a profile's, or those of an account's role.

One sts:AssumeRole an account and a hub role, renewed before the end, once for all who wait, with a pause
after a failure.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, TypeAlias

from poolcensus.aws.caller import CallerCredentials, Recognition
from poolcensus.aws.profiles import AccountOfProfile
from poolcensus.aws.roles import is_session, parameters
from poolcensus.aws.sts import RoleRequest
from poolcensus.errors import (
    AssumeRoleError,
    CallerExpiredError,
    CallError,
    CredentialsError,
    ExpiredError,
    RecordedError,
    SilentError,
)
from poolcensus.flow.singleflight import SingleFlight, another

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from poolcensus.aws.client import CredentialSource
    from poolcensus.aws.profiles import ProfileCredentials
    from poolcensus.aws.roles import Role, Roles, SessionSettings
    from poolcensus.aws.signing import Credentials
    from poolcensus.aws.sts import RoleSession, StsEndpoints
    from poolcensus.model import Caller

_log = logging.getLogger("poolcensus")

_PAUSE_AFTER_FAILURE: Final = 10.0


class RoleCredentials(Recognition):
    """The credentials of one account's role."""

    by_call: ClassVar[bool] = True

    def __init__(self, account_id: str, broker: CredentialBroker) -> None:
        super().__init__()
        self._account_id = account_id
        self._broker = broker
        self._credentials: Credentials | None = None
        self._until = 0.0
        self._ends = 0.0
        self._failure: CallError | CredentialsError | None = None
        self._pause_until = 0.0

    def current(self) -> Credentials | None:
        return self._credentials if time.monotonic() < self._until else None

    async def get(self) -> Credentials:
        return self.current() or await self._broker.flights.run(self._key, self._renew)

    async def _renew(self) -> Credentials:
        if self._failure is not None and time.monotonic() < self._pause_until:
            raise another(self._failure)
        asked = time.monotonic()
        try:
            session = await self._assume()
        except CallError as error:
            permanent = isinstance(error, AssumeRoleError) and error.permanent
            self._pause_until = float("inf") if permanent else time.monotonic() + _PAUSE_AFTER_FAILURE
            _log.debug(
                "no credentials for %s: %s (%s)%s",
                self._name,
                error.message,
                error.code,
                "" if permanent else f", asked for again after {_PAUSE_AFTER_FAILURE:g} s at the soonest",
                extra={**self._fields, "error_code": error.code, "request_id": error.request_id},
            )
            return self._failed(error)
        _log.debug(
            "%s credentials for %s, which last %.0f s",
            "first" if self._credentials is None else "new",
            self._name,
            session.lifetime,
            extra=self._fields,
        )
        self._credentials = session.credentials
        self._ends = asked + session.lifetime
        self._until = self._ends - min(60.0, session.lifetime * 0.1)
        self._failure = None
        return session.credentials

    async def _assume(self) -> RoleSession:
        return await self._broker.assume_role(self._account_id)

    def _failed(self, error: CallError) -> Credentials:
        """Raise the failure, which is kept for all who ask meanwhile."""
        self._failure = error
        raise error

    @property
    def _key(self) -> str:
        """What tells its renewals from others'."""
        return self._account_id

    @property
    def _name(self) -> str:
        return f"account {self._account_id}"

    @property
    def _fields(self) -> dict[str, object]:
        return {"account_id": self._account_id}

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._until = self._ends = 0.0


class HubCredentials(RoleCredentials):
    """The credentials of a hub role, with which the next role of the chain is assumed."""

    def __init__(self, role: Role, position: int, broker: CredentialBroker) -> None:
        super().__init__(role.account_id, broker)
        self._role = role
        self._position = position

    async def _assume(self) -> RoleSession:
        return await self._broker.assume_hub(self._position)

    def _failed(self, error: CallError) -> Credentials:
        """Return what can still be used. Raises CredentialsError where the role has never been assumed."""
        if self._credentials is not None and time.monotonic() < self._ends:
            # Renewed early, so that a moment's trouble of STS costs nothing.
            self._until = min(self._ends, time.monotonic() + _PAUSE_AFTER_FAILURE)
            return self._credentials
        if isinstance(error, CallerExpiredError):
            self._failure = error
            raise error
        failure: CredentialsError | CallerExpiredError
        if self._credentials is None:
            said = f"{error.message.rstrip('. ')} ({error.code})"
            failure = CredentialsError(
                f"{said}. No account can be asked without this role of `role_chain`: check its ARN, its"
                " external ID and its trust policy."
            )
        else:
            failure = CallerExpiredError(
                f"the session of hub role {self._role.arn} has ended and could not be renewed:"
                f" {error.message}",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            )
        self._failure = failure
        raise failure from error

    @property
    def _key(self) -> str:
        return self._role.arn

    @property
    def _name(self) -> str:
        return f"hub role {self._role.arn}"


class Principal(NamedTuple):
    """Who assumes a role: the source of the credentials, the account that they belong to, and its name.

    `chained` says that they are a role's, `begins` that no hub role has been assumed before.
    """

    source: CredentialSource
    account_id: str
    name: str
    chained: bool
    begins: bool = True


Source: TypeAlias = CallerCredentials | RoleCredentials | AccountOfProfile


class CredentialBroker:
    """Hands every account its source of credentials, and assumes roles for them."""

    def __init__(
        self,
        *,
        sts: StsEndpoints,
        caller: Caller,
        caller_credentials: CallerCredentials,
        roles: Roles,
        session: SessionSettings,
        profiles: Mapping[str, ProfileCredentials] | None = None,
    ) -> None:
        self._sts = sts
        self._roles = roles
        self._session = session
        self._profiles = profiles or {}
        self._sources: dict[str, Source] = {}
        # The caller's own account needs no role, also where those of others are behind a chain of hub roles.
        self._own = {caller.account_id: caller_credentials}
        if roles.override(caller.account_id) is not None:
            self._own.clear()
        self.flights: SingleFlight[str, Credentials] = SingleFlight()
        own = Principal(caller_credentials, caller.account_id, "the caller's credentials", is_session(caller))
        hubs = [
            Principal(
                HubCredentials(hub, position, self),
                hub.account_id,
                f"the credentials of hub role {hub.arn}",
                chained=True,
                begins=False,
            )
            for position, hub in enumerate(roles.hubs)
        ]
        # Each assumes the hub role that follows it, and the last one the roles of the accounts.
        self._principals = (own, *hubs)

    def source(self, account_id: str) -> Source:
        """Where the calls of an account take their credentials from. The caller's own needs no role."""
        source = self._own.get(account_id) or self._sources.get(account_id)
        if source is None:
            source = self._sources[account_id] = self._new_source(account_id)
        return source

    def _new_source(self, account_id: str) -> Source:
        override = self._roles.override(account_id)
        if override is not None and override.profile is not None and override.role is None:
            return AccountOfProfile(account_id, self._profiles[override.profile])
        return RoleCredentials(account_id, self)

    def forget(self, account_id: str) -> None:
        """Drop an account's credentials: it has no target left."""
        self._sources.pop(account_id, None)

    async def assume_role(self, account_id: str) -> RoleSession:
        """Return a new session of the account's role. Raises AssumeRoleError or CallerExpiredError."""
        role = self._roles.of(account_id)
        principal = await self._principal(account_id, role)
        return await self._checked(role, principal, self._parameters(role, principal), account_id)

    async def assume_hub(self, position: int) -> RoleSession:
        """Return a new session of a hub role. Raises AssumeRoleError or CallerExpiredError."""
        role, principal = self._roles.hubs[position], self._principals[position]
        asked = self._parameters(role, principal, hub=True)
        return await self._checked(role, principal, asked, role.account_id)

    def role_arn(self, account_id: str) -> str:
        """Return the ARN of the role that is assumed in an account."""
        return self._roles.of(account_id).arn

    async def parameters(self, account_id: str) -> frozenset[str]:
        """Return the names of the parameters with which an account's role is assumed."""
        role = self._roles.of(account_id)
        return frozenset(self._parameters(role, await self._principal(account_id, role)))

    async def would_assume(
        self, account_id: str, *, without: Collection[str] = (), duration: int | None = None
    ) -> bool:
        """Whether the role could be assumed without some of the parameters, or for another duration.

        The session is dropped. Raises CallError where AWS gives no verdict.
        """
        role = self._roles.of(account_id)
        principal = await self._principal(account_id, role)
        asked = self._parameters(role, principal)
        varied = {name: value for name, value in asked.items() if name not in without}
        if duration is not None:
            varied["DurationSeconds"] = duration
        try:
            await self._sts.assume_role(self._request(role, principal, varied, account_id))
        except RecordedError as error:
            if isinstance(error, CallerExpiredError | SilentError):
                raise
            return False
        return True

    async def _principal(self, account_id: str, role: Role) -> Principal:
        override = self._roles.override(account_id)
        if override is None or override.profile is None:
            return self._principals[self._roles.position(role.arn)]
        profile = self._profiles[override.profile]
        caller = await profile.identity()
        name = f"the credentials of profile {override.profile}"
        return Principal(profile, caller.account_id, name, is_session(caller))

    def _parameters(self, role: Role, principal: Principal, *, hub: bool = False) -> dict[str, str | int]:
        # In a chain no session of an account lasts longer than an hour, so that a longer one of a hub's would
        # gain nothing, and might be refused.
        chained = principal.chained or role in self._roles.hubs
        return parameters(role, self._session, chained=chained, hub=hub, begins=principal.begins)

    def _request(
        self, role: Role, principal: Principal, asked: Mapping[str, str | int], about: str
    ) -> RoleRequest:
        return RoleRequest(asked, principal.source, principal.account_id, about, _Redaction(role))

    async def _checked(
        self, role: Role, principal: Principal, asked: Mapping[str, str | int], about: str
    ) -> RoleSession:
        request = self._request(role, principal, asked, about)
        try:
            return await self._sts.assume_role(request)
        except (CallerExpiredError, AssumeRoleError):
            # Of the credentials that the role was to be assumed with.
            raise
        except ExpiredError as error:
            raise CallerExpiredError(
                f"{principal.name} have expired and could not be renewed: {error.message}",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            ) from error
        except CallError as error:
            # An error that no attempt failed with has not been through the call's own `redact`.
            request.redact(error)
            raise AssumeRoleError.of(role.arn, error, advice_on(error)) from error


class _Redaction:
    """Takes a role's external ID out of an error: STS repeats in its message the value that it refuses."""

    __slots__ = ("_secret",)

    def __init__(self, role: Role) -> None:
        self._secret = None if role.external_id is None else role.external_id.get_secret_value()

    def __call__(self, error: CallError) -> None:
        if self._secret is not None and self._secret in error.message:
            error.message = error.message.replace(self._secret, "***")
            error.args = (error.message,)


class _Advice(NamedTuple):
    codes: frozenset[str]
    says: re.Pattern[str]
    advice: str


_POLICY_ADVICE: Final = "If the role takes no session policy, set --no-session-policy"
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors and, for the
# texts of durations, https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_roles.html
_ADVICE: Final = (
    _Advice(
        frozenset({"ValidationError"}),
        re.compile(r"MaxSessionDuration|1 hour session limit"),
        "Set --session-duration to at most the maximum session duration of the role",
    ),
    _Advice(frozenset({"PackedPolicyTooLarge", "MalformedPolicyDocument"}), re.compile(""), _POLICY_ADVICE),
    _Advice(
        frozenset({"AccessDenied", "AccessDeniedException"}),
        re.compile(r"\bsessions? policy\b"),
        _POLICY_ADVICE,
    ),
)


def advice_on(error: CallError) -> str | None:
    """Return what to set where a role refuses what its session was asked for."""
    found = (each.advice for each in _ADVICE if error.code in each.codes and each.says.search(error.message))
    return next(found, None)

"""The credential broker: finds the credentials for the calls of each account.

They are the caller's own, a profile's, or those of the account's role. Roles are assumed with the caller's
credentials, a profile's, or those of the last hub role.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from poolcensus.aws.credentials.chain_credentials import ChainCredentials
from poolcensus.aws.credentials.identity import CALLERS
from poolcensus.aws.credentials.profiles import AccountOfProfile
from poolcensus.aws.credentials.role_credentials import HubCredentials, RoleCredentials
from poolcensus.aws.credentials.roles import Redaction, is_session, parameters
from poolcensus.aws.credentials.sts import RoleRequest
from poolcensus.aws.refusals.assume_role import refusal_of
from poolcensus.errors import (
    AssumeRoleError,
    CallerExpiredError,
    CallError,
    ExpiredError,
    RecordedError,
    SilentError,
)
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from poolcensus.aws.credentials.profiles import ProfileCredentials
    from poolcensus.aws.credentials.roles import Role, Roles, SessionSettings
    from poolcensus.aws.credentials.sts import RenewableSource, RoleSession, StsEndpoints
    from poolcensus.aws.signing import Credentials
    from poolcensus.model import Caller


class Principal(msgspec.Struct, frozen=True):
    """Who assumes a role: the source of the credentials, their account, and a name for messages.

    `chained` is whether the credentials are a role's, and `begins` whether no hub role was assumed for them.
    """

    source: RenewableSource
    account_id: str
    name: str
    chained: bool
    begins: bool = True


Source: TypeAlias = ChainCredentials | RoleCredentials | AccountOfProfile


class CredentialBroker:
    """Provides the source of credentials of each account, and assumes the roles."""

    def __init__(
        self,
        *,
        sts: StsEndpoints,
        caller: Caller,
        caller_credentials: ChainCredentials,
        roles: Roles,
        session: SessionSettings,
        profiles: Mapping[str, ProfileCredentials] | None = None,
    ) -> None:
        self._sts = sts
        self._roles = roles
        self._session = session
        self._profiles = profiles or {}
        self._sources: dict[str, Source] = {}
        # The caller's own account needs no role, not even if other accounts are reached through hub roles.
        override = roles.override(caller.account_id)
        is_plain = override is None or (override.role is None and override.profile is None)
        self._own = {caller.account_id: caller_credentials} if is_plain else {}
        self._flights: SingleFlight[str, Credentials] = SingleFlight()
        own = Principal(caller_credentials, caller.account_id, CALLERS, is_session(caller))
        hubs = [
            Principal(
                HubCredentials(hub, partial(self.assume_hub, position), self._flights),
                hub.account_id,
                f"the credentials of hub role {hub.arn}",
                chained=True,
                begins=False,
            )
            for position, hub in enumerate(roles.hubs)
        ]
        # Each of them assumes the next hub role, and the last one assumes the roles of the accounts.
        self._principals = (own, *hubs)

    def source(self, account_id: str) -> Source:
        """Return the source of the credentials for an account's calls."""
        source = self._own.get(account_id) or self._sources.get(account_id)
        if source is None:
            source = self._sources[account_id] = self._new_source(account_id)
        return source

    def _new_source(self, account_id: str) -> Source:
        override = self._roles.override(account_id)
        if override is not None and override.profile is not None and override.role is None:
            return AccountOfProfile(account_id, self._profiles[override.profile])
        return RoleCredentials(account_id, partial(self.assume_role, account_id), self._flights)

    def forget(self, account_id: str) -> None:
        """Drop the credentials of an account that has no target left."""
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

    def assume_role_calls(self, account_ids: Iterable[str]) -> int:
        """Return how many AssumeRole calls these accounts need, if no session ends before the run."""
        roles = hubs = 0
        for account_id in account_ids:
            if account_id in self._own:
                continue
            override = self._roles.override(account_id)
            if override is None or override.profile is None:
                roles += 1
                hubs = max(hubs, self._roles.position(self.role_arn(account_id)))
            else:
                roles += override.role is not None
        return roles + hubs

    def role_arn(self, account_id: str) -> str:
        """Return the ARN of an account's role."""
        return self._roles.of(account_id).arn

    def has_external_id(self, account_id: str) -> bool:
        """Return whether an account's role is assumed with an external ID."""
        return self._roles.of(account_id).external_id is not None

    async def parameters(self, account_id: str) -> frozenset[str]:
        """Return the names of the AssumeRole parameters for an account's role.

        Raises AssumeRoleError if they depend on a profile that can't be used.
        """
        role = self._roles.of(account_id)
        return frozenset(self._parameters(role, await self._principal(account_id, role)))

    async def would_assume(
        self, account_id: str, *, without: Collection[str] = (), duration: int | None = None
    ) -> bool:
        """Return whether the role can be assumed without some parameters, or with another duration.

        The session is dropped. Raises CallError if AWS neither allows nor refuses it.
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
        # The sessions of accounts behind hub roles last an hour at most. A longer session of a hub role would
        # be of no use, and might be refused.
        chained = principal.chained or role in self._roles.hubs
        return parameters(role, self._session, chained=chained, hub=hub, begins=principal.begins)

    def _request(
        self, role: Role, principal: Principal, asked: Mapping[str, str | int], about: str
    ) -> RoleRequest:
        return RoleRequest(asked, principal.source, principal.account_id, about, Redaction(role))

    async def _checked(
        self, role: Role, principal: Principal, asked: Mapping[str, str | int], about: str
    ) -> RoleSession:
        request = self._request(role, principal, asked, about)
        try:
            return await self._sts.assume_role(request)
        except (CallerExpiredError, AssumeRoleError):
            # These are about the credentials that the role was to be assumed with.
            raise
        except ExpiredError as error:
            raise CallerExpiredError.of(principal.name, error) from error
        except CallError as error:
            # Errors that were not raised by an attempt have not been redacted yet.
            request.redact(error)
            refusal = refusal_of(error.code, error.message)
            advice = None if refusal is None else refusal.advice
            raise AssumeRoleError.of(role.arn, error, advice) from error

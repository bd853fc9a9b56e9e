"""The credentials of a role, which is assumed when they are first needed, and again before they end.

All that wait for them share one call of AssumeRole. After a failure there is a pause before the next one.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, ClassVar

from poolcensus.aws.credentials.recognition import Recognition
from poolcensus.errors import AssumeRoleError, CallerExpiredError, CallError, HubRoleError
from poolcensus.flow.last_failure import COUNTS_SECONDS, LastFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from poolcensus.aws.credentials.roles import Role
    from poolcensus.aws.credentials.sts import RoleSession
    from poolcensus.aws.signing import Credentials
    from poolcensus.flow.singleflight import SingleFlight

_log = logging.getLogger("poolcensus")


class RoleCredentials(Recognition):
    """The credentials of one account's role."""

    by_call: ClassVar[bool] = True

    def __init__(
        self,
        account_id: str,
        assume: Callable[[], Awaitable[RoleSession]],
        flights: SingleFlight[str, Credentials],
    ) -> None:
        super().__init__()
        self._account_id = account_id
        self._assume = assume
        self._flights = flights
        self._credentials: Credentials | None = None
        self._until = 0.0
        self._ends = 0.0
        self._failure: LastFailure[CallError | HubRoleError] = LastFailure()

    def current(self) -> Credentials | None:
        return self._credentials if time.monotonic() < self._until else None

    @property
    def latest(self) -> Credentials | None:
        return self._credentials

    async def get(self) -> Credentials:
        return self.current() or await self._flights.run(self._key, self._renew)

    async def _renew(self) -> Credentials:
        self._failure.check()
        try:
            session = await self._assume()
        except CallError as error:
            _log.debug(
                "no credentials for %s: %s (%s)%s",
                self._name,
                error.message,
                error.code,
                "" if _is_refused(error) else f", asked for again after {COUNTS_SECONDS:g} s at the soonest",
                extra={**self._log_fields, "error_code": error.code, "request_id": error.request_id},
            )
            return self._after_failure(error)
        _log.debug(
            "%s credentials for %s, which last %.0f s",
            "first" if self._credentials is None else "new",
            self._name,
            session.lifetime,
            extra=self._log_fields,
        )
        self._credentials = session.credentials
        self._ends = session.ends
        self._until = self._ends - min(60.0, session.lifetime * 0.1)
        self._failure.clear()
        return session.credentials

    def _after_failure(self, error: CallError) -> Credentials:
        """Return credentials that can still be used, or raise the failure and remember it."""
        self._failure.keep(error, for_good=_is_refused(error))
        raise error

    @property
    def _key(self) -> str:
        """The key of this role's renewals in `flights`."""
        return self._account_id

    @property
    def _name(self) -> str:
        return f"account {self._account_id}"

    @property
    def _log_fields(self) -> dict[str, object]:
        return {"account_id": self._account_id}

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._until = self._ends = 0.0


class HubCredentials(RoleCredentials):
    """The credentials of a hub role, with which the next role is assumed."""

    def __init__(
        self,
        role: Role,
        assume: Callable[[], Awaitable[RoleSession]],
        flights: SingleFlight[str, Credentials],
    ) -> None:
        super().__init__(role.account_id, assume, flights)
        self._role = role

    def _after_failure(self, error: CallError) -> Credentials:
        """Return credentials that can still be used.

        Otherwise raises CallerExpiredError if the role has been assumed before, or if the credentials of the
        caller have expired. Else raises HubRoleError.
        """
        if self._credentials is not None and time.monotonic() < self._ends:
            # They are renewed before their end, so a short failure of STS does no harm.
            self._until = min(self._ends, time.monotonic() + COUNTS_SECONDS)
            return self._credentials
        if isinstance(error, CallerExpiredError):
            self._failure.keep(error)
            raise error
        failure: HubRoleError | CallerExpiredError
        if self._credentials is None:
            said = f"{error.message.rstrip('. ')} ({error.code})"
            advice = (
                ": check its ARN, its external ID and its trust policy."
                if _is_refused(error)
                else ". Run it again."
            )
            failure = HubRoleError(
                f"{said}. No account can be asked without this role of `role_chain`{advice}",
                role_arn=self._role.arn,
                code=error.code,
                reason=error.message,
            )
        else:
            failure = CallerExpiredError(
                f"the session of hub role {self._role.arn} has ended and could not be renewed:"
                f" {error.message}",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            )
        self._failure.keep(failure, for_good=_is_refused(error))
        raise failure from error

    @property
    def _key(self) -> str:
        return self._role.arn

    @property
    def _name(self) -> str:
        return f"hub role {self._role.arn}"


def _is_refused(error: CallError) -> bool:
    return isinstance(error, AssumeRoleError) and error.permanent

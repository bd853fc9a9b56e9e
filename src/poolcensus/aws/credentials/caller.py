"""The caller's own credentials, from the SDK's chain."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, ClassVar

import anyio

from poolcensus.errors import CallerExpiredError, CredentialsError
from poolcensus.flow.last_failure import COUNTS_SECONDS, LastFailure
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import Credentials

_log = logging.getLogger("poolcensus")

# The chain runs programs and calls services, which may need a moment to come back.
_WAITS_FOR_THE_CHAIN = (1.0, 4.0)


class Recognition:
    """For each region, when the last call was sent whose credentials a service there knew."""

    def __init__(self) -> None:
        self._known: Credentials | None = None
        self._known_at: dict[str, float] = {}

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        """Note that a service in the region knew these when a call was sent."""
        if credentials is not self._known:
            self._known, self._known_at = credentials, {}
        # A reply may take long, in which they are revoked: they were looked at as the call came.
        self._known_at[region] = max(sent_at, self._known_at.get(region, sent_at))

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        """Whether a service in another region has known these since then."""
        return credentials is self._known and any(
            at >= since for each, at in self._known_at.items() if each != region
        )


class CallerCredentials(Recognition):
    """The caller's own credentials, walked through the SDK's chain once for all who wait."""

    by_call: ClassVar[bool] = False

    def __init__(self, sdk: Sdk) -> None:
        super().__init__()
        self._sdk = sdk
        self._flights: SingleFlight[str, Credentials] = SingleFlight()
        self._credentials: Credentials | None = None
        self._until = 0.0
        self._refused = False
        self._failure: LastFailure[CallerExpiredError] = LastFailure()

    def current(self) -> Credentials | None:
        return self._credentials if time.monotonic() < self._until else None

    async def first(self) -> None:
        """Find the credentials before anything needs them. Raises CredentialsError where there are none."""
        self._credentials, self._until = await self._sdk.caller_credentials()

    async def get(self) -> Credentials:
        return self.current() or await self._flights.run("caller", self._renew)

    async def _renew(self) -> Credentials:
        self._failure.check()
        for wait in (*_WAITS_FOR_THE_CHAIN, None):
            try:
                credentials, self._until = await self._sdk.caller_credentials()
            except CredentialsError as error:
                if self._credentials is not None and not self._refused:
                    # They may be good for a while: the chain renews well before the end.
                    self._until = time.monotonic() + COUNTS_SECONDS
                    return self._credentials
                failure = error
            else:
                self._credentials, self._refused = credentials, False
                self._failure.clear()
                _log.debug("the caller's credentials were renewed from the credential chain")
                return credentials
            _log.debug("the caller's credentials could not be renewed: %s", failure)
            if wait is not None:
                await anyio.sleep(wait)
        expired = CallerExpiredError(str(failure), code="CredentialsNotRenewed")
        self._failure.keep(expired)
        raise expired from failure

    def expired(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            self._until = 0.0
            self._refused = True
            self._sdk.forget_caller_credentials()

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        # A session token may be one of the global STS endpoint, which opt-in regions refuse when they are on:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html
        return credentials.session_token is None and super().recognized_elsewhere(credentials, region, since)

"""Credentials that the SDK's chain finds: the caller's, or those of a profile."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, ClassVar

import anyio

from poolcensus.aws.credentials.recognition import Recognition
from poolcensus.errors import CallerExpiredError, CredentialsError
from poolcensus.flow.last_failure import COUNTS_SECONDS, LastFailure
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import Credentials

_log = logging.getLogger("poolcensus")

# The chain runs programs and calls services, which may need a moment to come back.
_WAITS_FOR_THE_CHAIN = (1.0, 4.0)


class ChainCredentials(Recognition):
    """The credentials of the SDK's chain, which is walked once for all who wait."""

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

    @property
    def latest(self) -> Credentials | None:
        return self._credentials

    async def first(self) -> None:
        """Find the credentials before anything needs them. Raises CredentialsError where there are none."""
        self._credentials, self._until = await self._sdk.caller_credentials()

    async def get(self) -> Credentials:
        return self.current() or await self._flights.run("chain", self._renew)

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
        expired = CallerExpiredError.of_chain(failure)
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

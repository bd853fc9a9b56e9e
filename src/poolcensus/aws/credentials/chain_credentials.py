"""Credentials from the SDK's credential chain: the caller's, or those of a profile."""

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

# Seconds to wait before the second and the third attempt. The chain runs programs and calls services, which
# may need a moment to come back.
_WAITS_FOR_THE_CHAIN = (1.0, 4.0)


class ChainCredentials(Recognition):
    """The credentials from the SDK's credential chain. All that wait for them share one resolution."""

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
        """Resolve the chain before the first call. Raises CredentialsError if it finds no credentials."""
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
                    # The present ones may still be valid, since the chain renews them well before their end.
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
        # A session token may be from the global STS endpoint. Opt-in regions refuse these even if enabled:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html
        return credentials.session_token is None and super().recognized_elsewhere(credentials, region, since)

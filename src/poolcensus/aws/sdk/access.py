"""Access to the SDK: the credential chain, the configuration, endpoints, and request templates.

No request of a run is sent by the SDK. It forms one request for each operation and region, and calls are made
from that template. If the configuration is plain, the SDK is not even imported.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
import anyio.to_thread

from poolcensus.aws.sdk.limits import reading_in_time
from poolcensus.aws.sdk.plain import plain_configuration
from poolcensus.aws.sdk.plain_requests import plain_request
from poolcensus.aws.signing import SdkOperation
from poolcensus.errors import CredentialsError, SettingsError
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from poolcensus.aws.sdk.chain import Found
    from poolcensus.aws.sdk.plain import PlainConfiguration
    from poolcensus.aws.sdk.session import SdkSession
    from poolcensus.aws.signing import Credentials, RequestTemplate


Answer = TypeVar("Answer")

# Seconds. Long enough for a person to type an MFA code.
_LONGEST_CHAIN = 120.0
# Seconds for which credentials are kept that the chain renews itself. Asking the chain takes a thread.
_KEPT = 10.0


class Sdk:
    """The caller's configuration and credentials, and request templates, by the rules of the SDK.

    Its methods may read files, and the credential chain may call a service or run a program. So they work in
    a thread, one at a time, since the SDK's session is not thread-safe.
    """

    def __init__(
        self,
        *,
        profile: str | None,
        endpoint_url: str | None,
        parsed: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._parsed = parsed
        self._plain: PlainConfiguration | None = None
        self._plain_has_ended = False
        self._session: SdkSession | None = None
        # A thread may still be working for a caller that was cancelled.
        self._opening = threading.Lock()
        self._templates: dict[tuple[str, str, str], RequestTemplate] = {}
        self._turns = anyio.CapacityLimiter(1)
        # A limiter of its own, since a person who is asked for an MFA code would hold a shared thread for
        # minutes.
        self._one_thread = anyio.CapacityLimiter(1)
        self._flights: SingleFlight[tuple[str, str, str], RequestTemplate] = SingleFlight()

    async def open(self) -> None:
        """Read the SDK's configuration.

        Raises SettingsError if it is not valid or takes more than a minute to read, and another FatalError if
        the system can't read its files.
        """
        await self._reading(self._read)

    async def of_profiles(self, account_of: Mapping[str, str]) -> Mapping[str, Sdk]:
        """Return an Sdk for each of some other profiles, by name. They don't read the configuration again.

        They have to be opened before use. `account_of` has an account for each profile, for messages. Raises
        SettingsError if a profile does not exist, and the same errors as `open`.
        """
        if not account_of:
            return {}
        session = await self._reading(self._opened)
        sdks: dict[str, Sdk] = {}
        for name, account_id in sorted(account_of.items()):
            try:
                parsed = session.parsed_with(name)
            except SettingsError as error:
                raise SettingsError(f"account {account_id}: {error}") from None
            sdks[name] = Sdk(profile=name, endpoint_url=self._endpoint_url, parsed=parsed)
        return sdks

    async def _in_turn(self, work: Callable[[], Answer], limit: AbstractContextManager[object]) -> Answer:
        """Do the work in a thread, and return its result. `limit` does not include the wait for a turn."""
        async with self._turns:
            with limit:
                # The work may hang. A caller that is cancelled doesn't wait for it.
                return await anyio.to_thread.run_sync(work, limiter=self._one_thread, abandon_on_cancel=True)

    async def _reading(self, work: Callable[[], Answer]) -> Answer:
        return await self._in_turn(work, reading_in_time())

    def _read(self) -> None:
        if self._parsed is None:
            self._plain = plain_configuration(self._profile, self._endpoint_url, os.environ)
        if self._plain is None:
            self._opened()

    def _opened(self) -> SdkSession:
        """Return the SDK's session, and open it if it is not open. Blocks."""
        with self._opening:
            if self._session is None:
                from poolcensus.aws.sdk.session import SdkSession  # noqa: PLC0415 - slow to import

                self._session = SdkSession(self._profile, self._endpoint_url, self._parsed)
            return self._session

    @property
    def region(self) -> str | None:
        """The region in the caller's configuration, or None."""
        return self._plain.region if self._plain is not None else self._opened_session.region

    @property
    def ca_bundle(self) -> str | None:
        """The file or folder of trusted certificates, by the SDK's rules."""
        return self._plain.ca_bundle if self._plain is not None else self._opened_session.ca_bundle

    async def caller_credentials(self) -> tuple[Credentials, float]:
        """Return the credentials that the chain has now, and until when they may be kept.

        The time is on the monotonic clock. It is short for credentials that the chain renews itself. Raises
        CredentialsError if the chain finds no credentials, can't renew them, or takes two minutes, and
        SettingsError if the proxy of its first call is not valid.
        """
        if self._plain is not None and not self._plain_has_ended:
            return self._plain.credentials, float("inf")
        try:
            found = await self._in_turn(self._walk_chain, anyio.fail_after(_LONGEST_CHAIN))
        except TimeoutError:
            where = self._session.chain.where if self._session is not None else ""
            raise CredentialsError(
                f"Could not get credentials{where}: nothing after {_LONGEST_CHAIN:g} s.",
                advice="Look for a credential_process that waits, or a metadata service that doesn't answer.",
            ) from None
        return found.credentials, time.monotonic() + _KEPT if found.renews else float("inf")

    def _walk_chain(self) -> Found:
        return self._opened().chain.walk()

    def forget_caller_credentials(self) -> None:
        """Resolve the chain again next time, because a service refused the credentials as expired."""
        # The configuration is read again, too, since it may have changed.
        self._plain_has_ended = True
        if self._session is not None:
            self._session.chain.forget()

    async def template(
        self, service: str, region: str, method: str, sample: Mapping[str, object] | None = None
    ) -> RequestTemplate:
        """Return the request template of an operation in a region.

        `method` is the operation's method in the SDK's clients. `sample` has values for required parameters,
        which the SDK validates. They are not kept.
        """
        key = (service, region, method)
        template = self._templates.get(key)
        if template is None:
            if self._plain is not None:
                template = plain_request(self._plain, SdkOperation(*key))
            if template is None:
                template = await self._flights.run(
                    key,
                    lambda: self._reading(
                        lambda: self._opened().forms.form(SdkOperation(*key), sample or {})
                    ),
                )
            self._templates[key] = template
        return template

    @property
    def _opened_session(self) -> SdkSession:
        if self._session is None:
            raise RuntimeError("the SDK's session is not open")
        return self._session

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.forms.close()
        self._plain = self._session = None
        self._templates.clear()

"""What the SDK knows best: the credential chain, the configuration, endpoints, request forms.

No request leaves through the SDK's own transport: what it has formed once for each operation and region is
what calls are made from. Where the configuration is plain, the SDK is not even imported.
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

# Long enough for a person who is asked for an MFA code.
_LONGEST_CHAIN = 120.0
# The chain itself says when it renews; asking it takes a thread.
_KEPT = 10.0


class Sdk:
    """Who the caller is configured to be, and how requests look, by the rules of the SDK.

    All that it does may read files, and the chain may call a service or run a process: it happens in a
    thread, one thing at a time, since the SDK's session is not made for several threads.
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
        # A thread that a caller who was cancelled has left may still be at work.
        self._opening = threading.Lock()
        self._templates: dict[tuple[str, str, str], RequestTemplate] = {}
        self._turns = anyio.CapacityLimiter(1)
        # Not one of the threads that all share: a person who is asked for a code would hold it for minutes.
        self._one_thread = anyio.CapacityLimiter(1)
        self._flights: SingleFlight[tuple[str, str, str], RequestTemplate] = SingleFlight()

    async def open(self) -> None:
        """Read the SDK's configuration.

        Raises SettingsError where it is of no use or takes more than a minute to read, and another FatalError
        where the system can't read its files.
        """
        await self._reading(self._read)

    async def of_profiles(self, account_of: Mapping[str, str]) -> Mapping[str, Sdk]:
        """Return sessions of other profiles, to be opened, which do not read the configuration again.

        `account_of` has the names of the profiles, each with an account that is asked with it. Raises
        SettingsError, with that account, for a profile that is not there, and as `open` does.
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
        """Return what the work returns, in a thread. The limit is that of the work itself."""
        async with self._turns:
            with limit:
                # It may hang: whoever is cancelled meanwhile doesn't wait for it.
                return await anyio.to_thread.run_sync(work, limiter=self._one_thread, abandon_on_cancel=True)

    async def _reading(self, work: Callable[[], Answer]) -> Answer:
        return await self._in_turn(work, reading_in_time())

    def _read(self) -> None:
        if self._parsed is None:
            self._plain = plain_configuration(self._profile, self._endpoint_url, os.environ)
        if self._plain is None:
            self._opened()

    def _opened(self) -> SdkSession:
        """Return the SDK's session, opened when it is needed. Blocks."""
        with self._opening:
            if self._session is None:
                from poolcensus.aws.sdk.session import SdkSession  # noqa: PLC0415 - slow to import

                self._session = SdkSession(self._profile, self._endpoint_url, self._parsed)
            return self._session

    @property
    def region(self) -> str | None:
        """The region of the caller's configuration, if it names one."""
        return self._plain.region if self._plain is not None else self._found.region

    @property
    def ca_bundle(self) -> str | None:
        """The file or folder of the authorities that are trusted, found as the SDK finds it."""
        return self._plain.ca_bundle if self._plain is not None else self._found.ca_bundle

    async def caller_credentials(self) -> tuple[Credentials, float]:
        """Return the caller's credentials as the chain has them now, and until when they may be kept.

        The time is on the monotonic clock; it is short for credentials that the chain renews itself.
        Raises CredentialsError where the chain finds none, can't renew what it found, or takes two minutes,
        and SettingsError where its first call would go through a proxy of no use.
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
        """Walk the chain anew next time: the service says that what it gave has expired."""
        # By then the configuration may be another one.
        self._plain_has_ended = True
        if self._session is not None:
            self._session.chain.forget()

    async def template(
        self, service: str, region: str, method: str, sample: Mapping[str, object] | None = None
    ) -> RequestTemplate:
        """Return what every call of an operation in a region has in common.

        `method` is the operation as the SDK's clients name it. `sample` holds values for the required
        parameters; they are validated and then forgotten with the body.
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
    def _found(self) -> SdkSession:
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

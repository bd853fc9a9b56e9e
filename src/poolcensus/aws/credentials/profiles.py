"""The profiles that a file of accounts names for single accounts, each with its own credential chain."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from poolcensus.aws.credentials.chain_credentials import ChainCredentials
from poolcensus.errors import AssumeRoleError, CallError, CredentialsError, ProfileTrouble, SettingsError
from poolcensus.flow.last_failure import LastFailure
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from poolcensus.aws.call import CredentialSource
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import Credentials
    from poolcensus.flow.breaker import Work
    from poolcensus.model import Caller


@asynccontextmanager
async def open_profiles(
    sdks: Mapping[str, Sdk], *, identify: Callable[[CredentialSource], Awaitable[Caller]], work: Work
) -> AsyncIterator[Mapping[str, ProfileCredentials]]:
    """Yield the credentials of each profile, by name. They are only resolved when an account needs them."""
    async with AsyncExitStack() as stack:
        for sdk in sdks.values():
            stack.push_async_exit(sdk)
        yield {name: ProfileCredentials(name, sdk, identify, work) for name, sdk in sdks.items()}


class ProfileCredentials:
    """The credentials of a profile, and the identity that STS returns for them.

    Resolving its credential chain may run a program or a sign-in. It makes no calls of this package's client,
    so it is counted as `work` here.
    """

    by_call: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        sdk: Sdk,
        identify: Callable[[CredentialSource], Awaitable[Caller]],
        work: Work,
    ) -> None:
        self.name = name
        self._work = work
        self._sdk = sdk
        self._own = ChainCredentials(sdk)
        self._identify = identify
        self._caller: Caller | None = None
        self._failure: LastFailure[AssumeRoleError] = LastFailure()
        self._flights: SingleFlight[str, Caller] = SingleFlight()

    async def identity(self) -> Caller:
        """Return the identity of the profile. Raises AssumeRoleError if it can't be found out."""
        return self._caller or await self._flights.run(self.name, self._ask)

    async def _ask(self) -> Caller:
        self._failure.check()
        try:
            # Only when it is needed, since a file may name a thousand profiles.
            with self._work:
                await self._sdk.open()
                await self._own.first()
            self._caller = await self._identify(self._own)
        except (CredentialsError, SettingsError) as error:
            failure = AssumeRoleError(
                f"Could not use profile {self.name}: {error}",
                code=ProfileTrouble.NO_CREDENTIALS,
                permanent=True,
            )
            self._failure.keep(failure, for_good=True)
            raise failure from error
        except CallError as error:
            failure = AssumeRoleError(
                f"Could not use profile {self.name}: {error.message}",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            )
            self._failure.keep(failure)
            raise failure from error
        return self._caller

    def current(self) -> Credentials | None:
        return None if self._caller is None else self._own.current()

    @property
    def latest(self) -> Credentials | None:
        return self._own.latest

    async def get(self) -> Credentials:
        await self.identity()
        with self._work:
            return await self._own.get()

    def expired(self, credentials: Credentials) -> None:
        self._own.expired(credentials)

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        self._own.recognized(credentials, region, sent_at)

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        return self._own.recognized_elsewhere(credentials, region, since)


class AccountOfProfile:
    """The credentials of a profile for one account, which must be the profile's own account.

    Otherwise pools of another account would be recorded for it.
    """

    by_call: ClassVar[bool] = True

    def __init__(self, account_id: str, profile: ProfileCredentials) -> None:
        self._account_id = account_id
        self._profile = profile
        self._is_own = False

    def current(self) -> Credentials | None:
        return self._profile.current() if self._is_own else None

    async def get(self) -> Credentials:
        caller = await self._profile.identity()
        if caller.account_id != self._account_id:
            raise AssumeRoleError(
                f"Profile {self._profile.name} has credentials of account {caller.account_id}, not of"
                f" {self._account_id}: name a role to assume with them, or another profile",
                code=ProfileTrouble.WRONG_ACCOUNT,
                permanent=True,
            )
        credentials = await self._profile.get()
        self._is_own = True
        return credentials

    def expired(self, credentials: Credentials) -> None:
        self._profile.expired(credentials)

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        self._profile.recognized(credentials, region, sent_at)

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        return self._profile.recognized_elsewhere(credentials, region, since)

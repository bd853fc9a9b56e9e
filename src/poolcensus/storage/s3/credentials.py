"""Provides the caller's credentials to the SDK's client for S3."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials


class _CallerSource(Protocol):
    """The source of the caller's credentials."""

    async def get(self) -> Credentials: ...
    def expired(self, credentials: Credentials) -> None: ...


# The credentials of the current call. Concurrent calls may have different ones.
_USED: ContextVar[Credentials | None] = ContextVar("the credentials of a call to S3", default=None)


class S3Credentials:
    """The caller's credentials. The SDK asks for them before each signature."""

    def __init__(self, source: _CallerSource) -> None:
        self._source = source

    async def current(self) -> ReadOnlyCredentials:
        used = await self._source.get()
        _USED.set(used)
        return ReadOnlyCredentials(used.access_key_id, used.secret_access_key, used.session_token)

    def expired(self) -> None:
        """Report that the service refused the credentials of this task's last call as expired."""
        if (used := _USED.get()) is not None:
            self._source.expired(used)

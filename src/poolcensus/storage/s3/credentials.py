"""The caller's credentials, as the SDK's client for S3 asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials


class _CallerSource(Protocol):
    """Where the caller's credentials come from, and who is told that they have expired."""

    async def get(self) -> Credentials: ...
    def expired(self, credentials: Credentials) -> None: ...


class S3Credentials:
    """The caller's credentials as the SDK asks for them, once for each signature."""

    def __init__(self, source: _CallerSource) -> None:
        self._source = source
        self._last: Credentials | None = None

    async def current(self) -> ReadOnlyCredentials:
        self._last = last = await self._source.get()
        return ReadOnlyCredentials(last.access_key_id, last.secret_access_key, last.session_token)

    def expired(self) -> None:
        """Note that the service says that the last ones have expired."""
        if self._last is not None:
            self._source.expired(self._last)

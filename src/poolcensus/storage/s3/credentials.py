"""The caller's credentials, as the SDK's client for S3 asks for them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials


class _CallerSource(Protocol):
    """Where the caller's credentials come from, and who is told that they have expired."""

    async def get(self) -> Credentials: ...
    def expired(self, credentials: Credentials) -> None: ...


# Each call has its own, where many go on side by side.
_USED: ContextVar[Credentials | None] = ContextVar("the credentials of a call to S3", default=None)


class S3Credentials:
    """The caller's credentials as the SDK asks for them, once for each signature."""

    def __init__(self, source: _CallerSource) -> None:
        self._source = source

    async def current(self) -> ReadOnlyCredentials:
        used = await self._source.get()
        _USED.set(used)
        return ReadOnlyCredentials(used.access_key_id, used.secret_access_key, used.session_token)

    def expired(self) -> None:
        """Note that the service says that those of the present task's last call have expired."""
        if (used := _USED.get()) is not None:
            self._source.expired(used)

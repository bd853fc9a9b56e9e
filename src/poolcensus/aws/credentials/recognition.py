"""Records which regions have recognized credentials, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials


class Recognition:
    """The time of the last call that was recognized, by region. Only the latest credentials are recorded."""

    def __init__(self) -> None:
        self._known: Credentials | None = None
        self._known_at: dict[str, float] = {}

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        """Record that a service in the region recognized the credentials of a call sent at `sent_at`."""
        if credentials is not self._known:
            self._known, self._known_at = credentials, {}
        # The time of the request counts, since the credentials may be revoked before the reply comes.
        self._known_at[region] = max(sent_at, self._known_at.get(region, sent_at))

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        """Return whether another region has recognized the credentials in a call sent after `since`."""
        return credentials is self._known and any(
            at >= since for each, at in self._known_at.items() if each != region
        )

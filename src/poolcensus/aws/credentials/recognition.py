"""Which regions have recognized credentials, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.aws.signing import Credentials


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

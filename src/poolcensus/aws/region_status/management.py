"""Whether the management account may be asked about the regions of its members."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import AccessDeniedError
from poolcensus.flow.rate import SteadyPace

if TYPE_CHECKING:
    from poolcensus.errors import CallError

_log = logging.getLogger("poolcensus")

# By each account that calls: https://docs.aws.amazon.com/accounts/latest/reference/quotas.html
_LIST_REGIONS_A_SECOND = 5.0
# A delegated administrator is refused the management account, which is one of many.
_ENOUGH = 3
_TRUSTED_ACCESS = (
    " Enable trusted access with 'aws organizations enable-aws-service-access --service-principal"
    " account.amazonaws.com' and run as the management account or a delegated administrator for Account"
    " Management, or set `region_status` to member."
)


class ManagementWay:
    """Asks about no further member where the first of them were all refused, and says why.

    `concurrent_runs` is how many share the rate.
    """

    def __init__(self, concurrent_runs: int = 1) -> None:
        self._pace = SteadyPace(_LIST_REGIONS_A_SECOND / concurrent_runs)
        self._answered = False
        self._closed = False
        self._turns: set[anyio.CancelScope] = set()
        self._failures = 0
        self._last: CallError | None = None

    async def is_open(self) -> bool:
        """Wait for the turn of one call. False: none is to be made."""
        if not self._closed:
            with anyio.CancelScope() as turn:
                self._turns.add(turn)
                try:
                    await self._pace.wait()
                finally:
                    self._turns.discard(turn)
        # Others may have been refused meanwhile.
        return not self._closed

    def answered(self) -> None:
        """Note that a member could be asked about."""
        self._answered = True

    def failed(self, error: CallError) -> None:
        """Note that a member could not be asked about."""
        self._failures += 1
        self._last = error
        if self._failures >= _ENOUGH:
            self.warn_if_refused()

    def warn_if_refused(self) -> None:
        """Say once that no member could be asked about, if so. The way is then closed."""
        if self._last is None or self._answered or self._closed:
            return
        if isinstance(self._last, AccessDeniedError):
            self.close(
                f"account:ListRegions with AccountId was refused: {self._last.message}{_TRUSTED_ACCESS}"
            )
        else:
            said = self._last.message.rstrip(". ")
            self.close(f"account:ListRegions with AccountId failed: {said} ({self._last.code}).")

    def close(self, why: str) -> None:
        """Ask about nobody any more, and say why."""
        if not self._closed:
            self._closed = True
            for turn in self._turns:
                turn.cancel()
            _log.warning("%s Each account is asked for its own region status instead.", why)

"""Lookups of member accounts' region status through the management account: their rate and their end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from poolcensus.errors import AccessDeniedError
from poolcensus.flow.rate import SteadyPace

if TYPE_CHECKING:
    from poolcensus.errors import CallError

_log = logging.getLogger("poolcensus")

LIST_REGIONS_A_SECOND: Final = 5.0
"""Calls per second of an account: https://docs.aws.amazon.com/accounts/latest/reference/quotas.html"""

# After how many failures lookups end if none has succeeded. One is not enough: a delegated administrator is
# refused the status of the management account.
_ENOUGH = 3
# https://docs.aws.amazon.com/accounts/latest/reference/using-orgs-trusted-access.html
TRUSTED_ACCESS = (
    "Enable trusted access with 'aws organizations enable-aws-service-access --service-principal"
    " account.amazonaws.com' and run as the management account or a delegated administrator for Account"
    " Management, or set `region_status` to member."
)


class ManagementLookups:
    """Paces lookups at the rate that AWS allows, and ends them if the first ones all fail.

    `concurrent_runs` is the number of runs that share the rate.
    """

    def __init__(self, concurrent_runs: int) -> None:
        self._pace = SteadyPace(LIST_REGIONS_A_SECOND / concurrent_runs)
        self._answered = False
        self._ended = False
        self._turns: set[anyio.CancelScope] = set()
        self._failures = 0
        self._last: CallError | None = None

    async def wait_for_turn(self) -> bool:
        """Wait until a lookup may be made. Return False if lookups have ended."""
        if not self._ended:
            with anyio.CancelScope() as turn:
                self._turns.add(turn)
                try:
                    await self._pace.wait()
                finally:
                    self._turns.discard(turn)
        # Lookups may have ended meanwhile.
        return not self._ended

    def answered(self) -> None:
        """Record that a lookup has succeeded."""
        self._answered = True

    def failed(self, error: CallError) -> None:
        """Record that a lookup has failed."""
        self._failures += 1
        self._last = error
        if self._failures >= _ENOUGH:
            self.end_if_all_failed()

    def end_if_all_failed(self) -> None:
        """End the lookups if all of them so far have failed."""
        if self._last is None or self._answered or self._ended:
            return
        if isinstance(self._last, AccessDeniedError):
            self.end(f"account:ListRegions with AccountId was refused: {self._last.message} {TRUSTED_ACCESS}")
        else:
            message = self._last.message.rstrip(". ")
            self.end(f"account:ListRegions with AccountId failed: {message} ({self._last.code}).")

    def end(self, why: str) -> None:
        """End the lookups, and log a warning that begins with the sentence `why`."""
        if not self._ended:
            self._ended = True
            for turn in self._turns:
                turn.cancel()
            _log.warning("%s Each account is asked for its own region status instead.", why)

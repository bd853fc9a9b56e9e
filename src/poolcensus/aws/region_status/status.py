"""The region status of accounts, requested once for each account, and only if it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.region_status.cache import StatusCache
from poolcensus.aws.region_status.calls import IAM_ACTIONS, NoEndpointError, StatusCalls
from poolcensus.aws.region_status.management import ManagementLookups
from poolcensus.config import RegionStatusSource
from poolcensus.errors import CallError
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.client import Client
    from poolcensus.aws.credentials.broker import CredentialBroker
    from poolcensus.aws.region_status.calls import Statuses
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.model import Caller, Outcome

_NONE: frozenset[str] = frozenset()


class StatusRefusal(msgspec.Struct, frozen=True):
    """A call for region status that failed: its IAM action and its error.

    `by_management` is whether the caller's account made the call for another account.
    """

    action: str
    code: str
    message: str
    outcome: Outcome
    by_management: bool = False


class StatusReport(msgspec.Struct, frozen=True):
    """The IAM action that returned an account's region status, if any did, and the calls that failed."""

    action: str | None = None
    refusals: tuple[StatusRefusal, ...] = ()


class _Known(msgspec.Struct, frozen=True):
    """A region status. `as_of` is when an earlier run requested it, in epoch seconds; None: this run did."""

    disabled: frozenset[str]
    enabled: frozenset[str] = _NONE
    as_of: float | None = None


class RegionStatus:
    """The disabled regions of accounts, from account:ListRegions or else ec2:DescribeRegions.

    `source` says who makes the calls: each account itself, or the caller's account for all, or nobody. If the
    status of an account is unknown, its opt-in regions are called anyway, and refuse calls if they are
    disabled. Results are kept for later runs, for `max_age` seconds. `concurrent_runs` is the number of runs
    as the same caller.
    """

    def __init__(
        self,
        sdk: Sdk,
        client: Client,
        broker: CredentialBroker,
        caller: Caller,
        region: str,
        *,
        source: RegionStatusSource,
        max_age: float,
        concurrent_runs: int,
    ) -> None:
        self._broker = broker
        self._caller = caller
        self._source = source
        self._max_age = max_age
        self._cache: StatusCache | None = None
        self._calls = StatusCalls(sdk, client, broker, caller, region)
        self._known: dict[str, _Known | None] = {}
        self._reports: dict[str, StatusReport] = {}
        self._flights: SingleFlight[str, _Known | None] = SingleFlight()
        self._opening: SingleFlight[str, StatusCache] = SingleFlight()
        self._lookups = ManagementLookups(concurrent_runs)
        # Most accounts of an Organization have enabled the same regions.
        self._shared: dict[frozenset[str], frozenset[str]] = {}

    @property
    def calls(self) -> Mapping[str, int]:
        """The number of calls, by IAM action."""
        return self._calls.made

    async def disabled(self, account_id: str, *, require_role: bool = True) -> frozenset[str] | None:
        """Return the regions that the account has not enabled, or None if its status is unknown.

        Raises CallError if the account's role can't be assumed. Without `require_role`, the role is only
        assumed if the account itself has to make the call.
        """
        if account_id not in self._known:
            self._known[account_id] = await self._flights.run(
                account_id, lambda: self._ask(account_id, require_role=require_role)
            )
        known = self._known[account_id]
        return None if known is None else known.disabled

    def may_be_disabled(self, account_id: str, region: str) -> bool:
        """Return whether an opt-in region may be disabled: this run has not learned that it is enabled."""
        known = self._known.get(account_id)
        return known is None or region not in known.enabled

    def as_of(self, account_id: str) -> float | None:
        """Return when an earlier run requested the account's status, in epoch seconds.

        Return None if this run requested it, or if it is unknown.
        """
        known = self._known.get(account_id)
        return None if known is None else known.as_of

    def report(self, account_id: str) -> StatusReport:
        """Return how the account's status was found out. It is kept until the account is forgotten."""
        return self._reports.get(account_id, StatusReport())

    def forget(self, account_id: str) -> None:
        """Drop the status of an account that has no target left."""
        self._known.pop(account_id, None)
        self._reports.pop(account_id, None)

    async def close(self) -> None:
        """Save the results for later runs, if that is set."""
        self._lookups.end_if_all_failed()
        if self._cache is not None:
            await self._cache.save()

    async def _ask(self, account_id: str, *, require_role: bool) -> _Known | None:
        if require_role:
            # If an account refuses its role, its targets fail, whatever another account says about its
            # regions.
            await self._broker.source(account_id).get()
        if self._source is RegionStatusSource.OFF:
            return None
        cache = await self._opened_cache()
        kept = await cache.of(account_id) if cache is not None else None
        if kept is not None:
            return _Known(kept.disabled, as_of=kept.at)
        found = await self._from_management(account_id) or await self._from_member(account_id)
        if found is None:
            return None
        known = _Known(self._share(found.disabled), self._share(found.enabled))
        if cache is not None:
            cache.note(account_id, known.disabled)
        return known

    def _share(self, regions: frozenset[str]) -> frozenset[str]:
        return self._shared.setdefault(regions, regions)

    async def _opened_cache(self) -> StatusCache | None:
        if self._cache is None and self._max_age > 0:
            self._cache = await self._opening.run("cache", self._open_cache)
        return self._cache

    async def _open_cache(self) -> StatusCache:
        # The host is part of the scope, since a simulator may have accounts with the same IDs.
        return StatusCache(f"{self._caller.partition} {await self._calls.host()}", self._max_age)

    async def _from_management(self, account_id: str) -> Statuses | None:
        """Return the status of a member account that the caller's account looks up, or None."""
        if self._source is not RegionStatusSource.MANAGEMENT or account_id == self._caller.account_id:
            return None
        if not await self._lookups.wait_for_turn():
            return None
        try:
            found = await self._calls.by_account(account_id, as_management=True)
        except NoEndpointError:
            self._lookups.end("The Account API has no endpoint here.")
        except CallError as error:
            self._note_refusal(account_id, IAM_ACTIONS[0], error, by_management=True)
            self._lookups.failed(error)
        else:
            self._lookups.answered()
            self._note_answer(account_id, IAM_ACTIONS[0])
            return found
        return None

    async def _from_member(self, account_id: str) -> Statuses | None:
        await self._broker.source(account_id).get()
        for action, ask in zip(IAM_ACTIONS, (self._calls.by_account, self._calls.by_ec2), strict=True):
            try:
                found = await ask(account_id)
            except CallError as error:
                self._note_refusal(account_id, action, error)
            except NoEndpointError:
                continue
            else:
                self._note_answer(account_id, action)
                return found
        return None

    def _note_answer(self, account_id: str, action: str) -> None:
        self._reports[account_id] = msgspec.structs.replace(self.report(account_id), action=action)

    def _note_refusal(
        self, account_id: str, action: str, error: CallError, *, by_management: bool = False
    ) -> None:
        # The exception itself would keep its traceback's frames alive.
        refusal = StatusRefusal(action, error.code, error.message, error.outcome, by_management)
        before = self.report(account_id)
        self._reports[account_id] = msgspec.structs.replace(before, refusals=(*before.refusals, refusal))

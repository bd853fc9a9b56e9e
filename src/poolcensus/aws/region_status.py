"""Which opt-in regions an account has enabled, asked once an account and only where it matters."""

from __future__ import annotations

import logging
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from poolcensus import partitions
from poolcensus.aws.client import Call, CallWatch
from poolcensus.aws.faults import parse_xml
from poolcensus.aws.json_api import bad_response, list_pages
from poolcensus.aws.region_status_cache import StatusCache
from poolcensus.config import RegionStatusSource
from poolcensus.errors import AccessDeniedError, CallError
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.rate import SteadyPace
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.client import Channel
    from poolcensus.aws.credentials import CredentialBroker
    from poolcensus.aws.sdk import Sdk
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.model import Caller, JsonValue, Outcome

_log = logging.getLogger("poolcensus")

# Without an answer the regions are asked themselves, so it isn't worth much waiting.
_IMPATIENT = Retrier(RetryPolicy(max_attempts=4, max_unrecognized=1, longest_wait=2.0))
# Of the management account's few calls a second, each answer is waited for: the other way takes a role.
_PATIENT = Retrier(RetryPolicy(max_attempts=12, max_unrecognized=1, max_without_reply=4, longest_wait=5.0))
# By each account that calls: https://docs.aws.amazon.com/accounts/latest/reference/quotas.html
_LIST_REGIONS_A_SECOND = 5.0
_EC2_BODY = b"Action=DescribeRegions&Version=2016-11-15&AllRegions=true"


PERMISSIONS = ("account:ListRegions", "ec2:DescribeRegions")
"""The IAM actions by which a role tells its account's regions. Either of them is enough."""


class StatusRefusal(NamedTuple):
    """A call for region status that failed: its IAM action, and what came of it.

    `by_management` says that the caller's account was asked about another.
    """

    action: str
    code: str
    message: str
    outcome: Outcome
    by_management: bool = False


class StatusReport(NamedTuple):
    """By which IAM action it is known which regions an account has enabled, and the calls that failed."""

    action: str | None = None
    refusals: tuple[StatusRefusal, ...] = ()


class RegionStatus:
    """The disabled regions of accounts, by account:ListRegions or else ec2:DescribeRegions.

    By `source` an account is asked itself, with its own credentials, or the caller's account is asked about
    it, or nobody is. An account of which neither tells is an unknown: its opt-in regions are then called, and
    say themselves that they are disabled. `cache` keeps the answers between runs.

    `calls` counts the pages that were asked for, by IAM action.
    """

    def __init__(
        self,
        sdk: Sdk,
        channel: Channel,
        broker: CredentialBroker,
        caller: Caller,
        region: str,
        *,
        source: RegionStatusSource = RegionStatusSource.MEMBER,
        max_age: float = 0.0,
    ) -> None:
        self._sdk = sdk
        self._channel = channel
        self._broker = broker
        self._caller = caller
        self._region = region
        self._source = source
        self._max_age = max_age
        self._cache: StatusCache | None = None
        self.calls: Counter[str] = Counter()
        self._known: dict[str, frozenset[str] | None] = {}
        self._as_of: dict[str, float] = {}
        self._reports: dict[str, StatusReport] = {}
        self._flights: SingleFlight[str, frozenset[str] | None] = SingleFlight()
        self._opening: SingleFlight[str, StatusCache] = SingleFlight()
        self._pace = SteadyPace(_LIST_REGIONS_A_SECOND)
        self._management = _ManagementWay()

    async def disabled(self, account_id: str, *, require_role: bool = True) -> frozenset[str] | None:
        """Return the regions that the account has not enabled, or None where it does not say.

        Raises CallError where the account's role can't be assumed. Without `require_role` it is assumed only
        where its account is asked.
        """
        if account_id not in self._known:
            self._known[account_id] = await self._flights.run(
                account_id, lambda: self._ask(account_id, require_role=require_role)
            )
        return self._known[account_id]

    def as_of(self, account_id: str) -> float | None:
        """Return when an account said to a former run what is known of it, in epoch seconds.

        None where it has been asked by this run, or has not said.
        """
        return self._as_of.get(account_id)

    def report(self, account_id: str) -> StatusReport:
        """Return how an account's regions are known, until it is forgotten."""
        return self._reports.get(account_id, StatusReport())

    def forget(self, account_id: str) -> None:
        """Drop what is known of an account: it has no target left."""
        self._known.pop(account_id, None)
        self._reports.pop(account_id, None)
        self._as_of.pop(account_id, None)

    async def close(self) -> None:
        """Keep the answers for the next run, where that was asked for."""
        self._management.warn_if_refused()
        if self._cache is not None:
            await self._cache.save()

    async def _ask(self, account_id: str, *, require_role: bool) -> frozenset[str] | None:
        if require_role:
            # An account that refuses its role is not covered by what others say of it.
            await self._broker.source(account_id).get()
        if self._source is RegionStatusSource.OFF:
            return None
        cache = await self._opened_cache()
        kept = await cache.of(account_id) if cache is not None else None
        if kept is not None:
            self._as_of[account_id] = kept.at
            return kept.disabled
        statuses = await self._from_management(account_id) or await self._from_member(account_id)
        if statuses is None:
            return None
        disabled = frozenset(name for name, status in statuses.items() if status in _DISABLED)
        if cache is not None:
            cache.note(account_id, disabled)
        return disabled

    async def _opened_cache(self) -> StatusCache | None:
        if self._cache is None and self._max_age > 0:
            self._cache = await self._opening.run("cache", self._open_cache)
        return self._cache

    async def _open_cache(self) -> StatusCache:
        service, operation = (
            ("account", "list_regions") if self._has_account_api else ("ec2", "describe_regions")
        )
        template = await self._sdk.template(service, self._region, operation)
        # A simulator has accounts of the same numbers. The host is without what a URL may hold before it.
        return StatusCache(f"{self._caller.partition} {template.host}", self._max_age)

    @property
    def _has_account_api(self) -> bool:
        known = partitions.partitions().get(self._caller.partition)
        return known is None or known.account_api

    async def _from_management(self, account_id: str) -> Mapping[str, str] | None:
        """Return the status of a member's regions as its Organization's management account is told it."""
        way = self._management
        if self._source is not RegionStatusSource.MANAGEMENT or account_id == self._caller.account_id:
            return None
        if not way.closed:
            await self._pace.wait()
        # Others may have been refused meanwhile.
        if way.closed:
            return None
        try:
            statuses = await self._by_account(account_id, as_management=True)
        except AccessDeniedError as error:
            self._note_refusal(account_id, PERMISSIONS[0], error, by_management=True)
            way.refused(error)
        except _NoEndpointError:
            way.close("The Account API has no endpoint here.")
        except CallError as error:
            _log.debug("account:ListRegions with AccountId %s: %s", account_id, error)
        else:
            way.answered = True
            self._note_answer(account_id, PERMISSIONS[0])
            return statuses
        return None

    async def _from_member(self, account_id: str) -> Mapping[str, str] | None:
        await self._broker.source(account_id).get()
        for action, ask in zip(PERMISSIONS, (self._by_account, self._by_ec2), strict=True):
            try:
                statuses = await ask(account_id)
            except CallError as error:
                self._note_refusal(account_id, action, error)
            except _NoEndpointError:
                continue
            else:
                self._note_answer(account_id, action)
                return statuses
        return None

    def _note_answer(self, account_id: str, action: str) -> None:
        self._reports[account_id] = self.report(account_id)._replace(action=action)

    def _note_refusal(
        self, account_id: str, action: str, error: CallError, *, by_management: bool = False
    ) -> None:
        # Not the exception, which holds the frames that it came through.
        refusal = StatusRefusal(action, error.code, error.message, error.outcome, by_management)
        before = self.report(account_id)
        self._reports[account_id] = before._replace(refusals=(*before.refusals, refusal))

    async def _by_account(self, account_id: str, *, as_management: bool = False) -> Mapping[str, str]:
        if not self._has_account_api:
            raise _NoEndpointError
        template = await self._sdk.template("account", self._region, "list_regions")
        asked = self._caller.account_id if as_management else account_id
        about: dict[str, JsonValue] = {"AccountId": account_id} if as_management else {}
        pages = list_pages(
            self._channel,
            template,
            self._broker.source(asked),
            CallKey(asked, self._region, "account"),
            request={"MaxResults": 50, **about},
            items="Regions",
            awaited=True,
            optional=True,
            retrier=_PATIENT if as_management else _IMPATIENT,
        )
        # Counted where it is refused, too. A page has 50 regions, more than there are.
        self.calls[PERMISSIONS[0]] += 1
        return {
            str(each.get("RegionName")): str(each.get("RegionOptStatus"))
            async for page in pages
            for each in page
        }

    async def _by_ec2(self, account_id: str) -> Mapping[str, str]:
        template = await self._sdk.template("ec2", self._region, "describe_regions")
        call = Call(
            template,
            _EC2_BODY,
            sha256(_EC2_BODY).hexdigest(),
            CallKey(account_id, self._region, "ec2"),
            awaited=True,
            optional=True,
        )
        source = self._broker.source(account_id)
        self.calls[PERMISSIONS[1]] += 1
        return await self._channel.call(call, source, _opt_in_statuses, watch=CallWatch(), retrier=_IMPATIENT)


class _NoEndpointError(Exception):
    """The Account API is not where the SDK's rules lead."""


class _ManagementWay:
    """Whether the management account may be asked about its members, and what it said where it may not."""

    # A delegated administrator is refused the management account, which is one of many.
    _ENOUGH = 3

    def __init__(self) -> None:
        self.answered = False
        self.closed = False
        self._refusals = 0
        self._last: AccessDeniedError | None = None

    def refused(self, error: AccessDeniedError) -> None:
        """Note that an account could not be asked about."""
        self._refusals += 1
        self._last = error
        if self._refusals >= self._ENOUGH:
            self.warn_if_refused()

    def warn_if_refused(self) -> None:
        """Say once that no account could be asked about, if so. The way is then closed."""
        if self._last is not None and not self.answered and not self.closed:
            self.close(
                f"account:ListRegions with AccountId was refused: {self._last.message} Enable trusted access"
                " with 'aws organizations enable-aws-service-access --service-principal"
                " account.amazonaws.com' and run as the management account or a delegated administrator for"
                " Account Management, or set `region_status` to member."
            )

    def close(self, why: str) -> None:
        """Ask nobody about others any more, and say why."""
        if not self.closed:
            self.closed = True
            _log.warning("%s Each account is asked for its own region status instead.", why)


# account:ListRegions says DISABLED, ec2:DescribeRegions says not-opted-in. A region that is being
# enabled or disabled may still answer, so it is asked.
_DISABLED = frozenset({"DISABLED", "not-opted-in"})


def _opt_in_statuses(reply: Reply) -> Mapping[str, str]:
    root = parse_xml(reply.body)
    items = root.findall(".//{*}regionInfo/{*}item") if root is not None else []
    if not items:
        raise bad_response(reply, "ec2:DescribeRegions sent no region")
    return {item.findtext("{*}regionName") or "": item.findtext("{*}optInStatus") or "" for item in items}

"""The calls that return region status: account:ListRegions and ec2:DescribeRegions."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from poolcensus import partitions
from poolcensus.aws.call import Call, CallWatch
from poolcensus.aws.faults import parse_xml
from poolcensus.aws.json_api import bad_response, list_pages
from poolcensus.errors import BadReply, BadResponseError
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.retry import Retrier, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.client import Client
    from poolcensus.aws.credentials.broker import CredentialBroker
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.model import Caller, JsonValue

# Few attempts, since there is another way: the other action, or calling the regions without their status.
_IMPATIENT = Retrier(RetryPolicy(max_attempts=4, max_unrecognized=1, max_without_reply=1, longest_wait=2.0))
# Seconds. A reply usually takes a few tenths of a second, from anywhere.
_LONGEST_ATTEMPT = 5.0
# More attempts for lookups by the management account, which may only make a few calls a second. The other way
# needs the account's role.
_PATIENT = Retrier(RetryPolicy(max_attempts=12, max_unrecognized=1, max_without_reply=4, longest_wait=5.0))
_EC2_BODY = b"Action=DescribeRegions&Version=2016-11-15&AllRegions=true"
# The first of each pair is a status of account:ListRegions, the second one of ec2:DescribeRegions:
# https://docs.aws.amazon.com/accounts/latest/reference/API_Region.html
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Region.html
_DISABLED = frozenset({"DISABLED", "not-opted-in"})
_ENABLED = frozenset({"ENABLED", "opted-in", "ENABLED_BY_DEFAULT", "opt-in-not-required"})

IAM_ACTIONS = ("account:ListRegions", "ec2:DescribeRegions")
"""The IAM actions that return the region status of a role's account. Either of them is enough."""


class Statuses(NamedTuple):
    """The regions that an account has not enabled, and those that it has enabled.

    A region that is being enabled or disabled is in neither set. It may answer calls.
    """

    disabled: frozenset[str]
    enabled: frozenset[str]


class NoEndpointError(Exception):
    """The partition has no endpoint for the Account API."""


class StatusCalls:
    """Requests the region status of accounts, in `region` or another one that every account has enabled.

    `made` counts the calls by IAM action, including those that fail.
    """

    def __init__(
        self, sdk: Sdk, client: Client, broker: CredentialBroker, caller: Caller, region: str
    ) -> None:
        self._sdk = sdk
        self._client = client
        self._broker = broker
        self._caller = caller
        known = partitions.partitions().get(caller.partition)
        self._has_account_api = known is None or known.account_api
        # EC2 recognizes an account's credentials only in regions that the account has enabled.
        self._region = known.sts if known is not None and region in known.opt_in else region
        self.made: Counter[str] = Counter()

    async def host(self) -> str:
        """Return the host that is called first, without the user name and password of a URL."""
        asked = ("account", "list_regions") if self._has_account_api else ("ec2", "describe_regions")
        return (await self._sdk.template(asked[0], self._region, asked[1])).host

    async def by_account(self, account_id: str, *, as_management: bool = False) -> Statuses:
        """Return the result of account:ListRegions, called by the account itself.

        With `as_management` the caller's account makes the call for the account. Raises NoEndpointError or
        CallError.
        """
        if not self._has_account_api:
            raise NoEndpointError
        template = await self._sdk.template("account", self._region, "list_regions")
        asked = self._caller.account_id if as_management else account_id
        about: dict[str, JsonValue] = {"AccountId": account_id} if as_management else {}
        pages = list_pages(
            self._client,
            template,
            self._broker.source(asked),
            CallKey(asked, self._region, "account"),
            request={"MaxResults": 50, **about},
            items="Regions",
            awaited=True,
            optional=True,
            queues=as_management,
            retrier=_PATIENT if as_management else _IMPATIENT,
            longest_attempt=None if as_management else _LONGEST_ATTEMPT,
        )
        # A page has 50 regions, more than there are.
        self.made[IAM_ACTIONS[0]] += 1
        async with aclosing(pages):
            statuses = {
                str(each.get("RegionName")): str(each.get("RegionOptStatus"))
                async for page in pages
                for each in page
            }
        if not statuses:
            raise BadResponseError("account:ListRegions sent no region", code=BadReply.BODY, status=200)
        return statuses_of(statuses)

    async def by_ec2(self, account_id: str) -> Statuses:
        """Return the result of ec2:DescribeRegions, called by the account itself. Raises CallError."""
        template = await self._sdk.template("ec2", self._region, "describe_regions")
        call = Call(
            template,
            _EC2_BODY,
            CallKey(account_id, self._region, "ec2"),
            self._broker.source(account_id),
            opt_in_statuses,
            awaited=True,
            optional=True,
            queues=False,
            longest_attempt=_LONGEST_ATTEMPT,
        )
        self.made[IAM_ACTIONS[1]] += 1
        found = await self._client.call(call, watch=CallWatch(), retrier=_IMPATIENT)
        return statuses_of(found)


def statuses_of(said: Mapping[str, str]) -> Statuses:
    """Return the disabled and the enabled regions, given the status that a service returned for each."""
    return Statuses(
        frozenset(name for name, status in said.items() if status in _DISABLED),
        frozenset(name for name, status in said.items() if status in _ENABLED),
    )


def opt_in_statuses(reply: Reply) -> Mapping[str, str]:
    """Return the status of each region in a reply of EC2. Raises BadResponseError if it has none."""
    root = parse_xml(reply.body)
    items = root.findall(".//{*}regionInfo/{*}item") if root is not None else []
    if not items:
        raise bad_response(reply, "ec2:DescribeRegions sent no region")
    return {item.findtext("{*}regionName") or "": item.findtext("{*}optInStatus") or "" for item in items}

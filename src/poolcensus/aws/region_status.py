"""Which opt-in regions an account has enabled, asked once an account and only where it matters."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

from poolcensus.aws.client import Call, CallWatch
from poolcensus.aws.faults import parse_xml
from poolcensus.aws.json_api import bad_response, list_pages
from poolcensus.errors import CallError
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.client import Channel
    from poolcensus.aws.credentials import CredentialBroker
    from poolcensus.aws.sdk import Sdk
    from poolcensus.aws.transport.protocol import Reply

# Without an answer the regions are asked themselves, so it isn't worth much waiting.
_IMPATIENT = Retrier(RetryPolicy(max_attempts=4, max_unrecognized=1, longest_wait=2.0))
_EC2_BODY = b"Action=DescribeRegions&Version=2016-11-15&AllRegions=true"


PERMISSIONS = ("account:ListRegions", "ec2:DescribeRegions")
"""The IAM actions by which a role tells its account's regions. Either of them is enough."""


class RegionStatus:
    """The disabled regions of accounts, by account:ListRegions or else ec2:DescribeRegions.

    Both are asked with the account's own credentials: limits are the account's, and the management
    account would need trusted access. An account that refuses both answers is an unknown: its opt-in
    regions are then called, and say themselves that they are disabled.

    `calls` counts the pages that were asked for, by IAM action.
    """

    def __init__(self, sdk: Sdk, channel: Channel, broker: CredentialBroker, region: str) -> None:
        self._sdk = sdk
        self._channel = channel
        self._broker = broker
        self._region = region
        self.calls: Counter[str] = Counter()
        self._known: dict[str, frozenset[str] | None] = {}
        self._flights: SingleFlight[str, frozenset[str] | None] = SingleFlight()

    async def disabled(self, account_id: str) -> frozenset[str] | None:
        """Return the regions that the account has not enabled, or None where it does not say.

        Raises CallError where the account's role can't be assumed.
        """
        if account_id not in self._known:
            self._known[account_id] = await self._flights.run(account_id, lambda: self._ask(account_id))
        return self._known[account_id]

    def forget(self, account_id: str) -> None:
        """Drop what is known of an account: it has no target left."""
        self._known.pop(account_id, None)

    async def _ask(self, account_id: str) -> frozenset[str] | None:
        await self._broker.source(account_id).get()
        for ask in (self._by_account, self._by_ec2):
            try:
                statuses = await ask(account_id)
            except CallError:
                continue
            return frozenset(name for name, status in statuses.items() if status in _DISABLED)
        return None

    async def _by_account(self, account_id: str) -> Mapping[str, str]:
        template = await self._sdk.template("account", self._region, "list_regions")
        pages = list_pages(
            self._channel,
            template,
            self._broker.source(account_id),
            CallKey(account_id, self._region, "account"),
            request={"MaxResults": 50},
            items="Regions",
            awaited=True,
            optional=True,
            retrier=_IMPATIENT,
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


# account:ListRegions says DISABLED, ec2:DescribeRegions says not-opted-in. A region that is being
# enabled or disabled may still answer, so it is asked.
_DISABLED = frozenset({"DISABLED", "not-opted-in"})


def _opt_in_statuses(reply: Reply) -> Mapping[str, str]:
    root = parse_xml(reply.body)
    items = root.findall(".//{*}regionInfo/{*}item") if root is not None else []
    if not items:
        raise bad_response(reply, "ec2:DescribeRegions sent no region")
    return {item.findtext("{*}regionName") or "": item.findtext("{*}optInStatus") or "" for item in items}

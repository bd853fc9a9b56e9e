"""Finds out whether credentials are bad, or the region is disabled that does not recognize them.

Services use the same error codes for both. A call of the same operation in a region that every account has
enabled makes the difference.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from poolcensus.aws.call import Call, CallWatch
from poolcensus.errors import CallError
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.operations import Query

if TYPE_CHECKING:
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk

# The target waits for the confirmation. Without one, the target's call is retried, and then this one again.
_BRIEF = Retrier(RetryPolicy(max_attempts=4, max_unrecognized=1, max_without_reply=2, longest_wait=2.0))


class ConfirmationElsewhere:
    """Makes confirming calls in a `region` that every account has enabled."""

    def __init__(self, sdk: Sdk, client: Client, region: str) -> None:
        self._sdk = sdk
        self._client = client
        self._region = region

    async def seek(self, call: Call[object]) -> None:
        """Request the first page of all items in the other region, with the credentials of a call.

        The client records in the source of the credentials whether they were recognized.
        """
        operation = call.operation
        if operation is None:
            return
        template = await self._sdk.template(operation.service, self._region, operation.method)
        # The body of the call can't be used: IDs and page tokens of one region are errors in another.
        body = operation.encode(operation.listings(Query())[0], None)
        key = call.key._replace(region=self._region)
        elsewhere = Call(
            template, body, key, call.source, lambda reply: reply, optional=True, operation=operation
        )
        # A denial shows that the credentials are recognized, which the client has recorded by now. Other
        # errors say nothing about the credentials.
        with suppress(CallError):
            await self._client.call(elsewhere, watch=CallWatch(), retrier=_BRIEF)

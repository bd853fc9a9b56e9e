"""Whether credentials that a region does not know are good, or the region is disabled.

Both are refused with the same codes. A call of the same operation in a region that every account has enabled
tells.
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

# The target waits for it; without an answer it is called again, and this after it.
_BRIEF = Retrier(RetryPolicy(max_attempts=4, max_unrecognized=1, max_without_reply=2, longest_wait=2.0))


class ConfirmationElsewhere:
    """Makes calls in another `region`, of which the source of their credentials takes note."""

    def __init__(self, sdk: Sdk, client: Client, region: str) -> None:
        self._sdk = sdk
        self._client = client
        self._region = region

    async def seek(self, call: Call[object]) -> None:
        """Ask for the first page of all items in the other region, whatever it answers."""
        operation = call.operation
        if operation is None:
            return
        template = await self._sdk.template(operation.service, self._region, operation.method)
        # Not the body of the call: IDs and page tokens of one region are an error in another.
        body = operation.encode(operation.listings(Query())[0], None)
        key = call.key._replace(region=self._region)
        elsewhere = Call(
            template, body, key, call.source, lambda reply: reply, optional=True, operation=operation
        )
        # Who is denied is known, which has been noted; all else says nothing of the credentials.
        with suppress(CallError):
            await self._client.call(elsewhere, watch=CallWatch(), retrier=_BRIEF)

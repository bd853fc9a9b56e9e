"""Reads the pages of a target, one call after the other, and checks each reply."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from poolcensus.aws.call import Call
from poolcensus.aws.json_api import TokenTrail, as_in_json, bad_response, json_object
from poolcensus.errors import ServiceError
from poolcensus.flow.concurrency import CallKey
from poolcensus.format.times import utc_now
from poolcensus.model import Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.aws.call import CallWatch, CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.model import JsonObject, Target
    from poolcensus.operations import Listing, Operation, Query


class _Begun(NamedTuple):
    """A listing, and the body of its first call."""

    listing: Listing
    body: bytes


class PageReader:
    """Reads targets with one operation, one query and one client."""

    def __init__(self, sdk: Sdk, client: Client, operation: Operation, query: Query) -> None:
        self.client = client
        self.operation = operation
        self.query = query
        self.templates: dict[str, RequestTemplate] = {}
        self._sdk = sdk
        # The bodies of first calls are equal for all targets.
        self._listings = [self.begin(each) for each in operation.listings(query)]
        self.identity_of: Callable[[JsonObject], str] = itemgetter(operation.identity)
        self._once = as_in_json(operation.collection, *operation.token_fields)

    def open(self, target: Target, source: CredentialSource, watch: CallWatch) -> TargetPages:
        """Return the pages of a target. Makes no call."""
        return TargetPages(self, target, source, watch, self._listings)

    async def template(self, region: str) -> RequestTemplate:
        """Return the template of calls in a region, and keep it in `templates`."""
        operation = self.operation
        template = await self._sdk.template(operation.service, region, operation.method)
        self.templates[region] = template
        return template

    def begin(self, listing: Listing) -> _Begun:
        """Return a listing with the body of its first call."""
        return _Begun(listing, self.operation.encode(listing, None))

    def parse(self, reply: Reply) -> tuple[list[JsonObject], str | None]:
        """Return the items of a reply and the token of the next page. Raises BadResponseError."""
        body = json_object(reply, self._once)
        try:
            return self.operation.parse(body)
        except ValueError as error:
            raise bad_response(reply, str(error)) from None


class TargetPages:
    """The pages of one target, in order. An item that occurs on several pages is only kept on the first.

    `ended` is true after the last page was read.
    """

    __slots__ = (
        "_key", "_left", "_number", "_reader", "_seen", "_source", "_target", "_token", "_trail", "_watch",
        "ended",
    )  # fmt: skip

    def __init__(
        self,
        reader: PageReader,
        target: Target,
        source: CredentialSource,
        watch: CallWatch,
        listings: list[_Begun],
    ) -> None:
        self._reader = reader
        self._target = target
        self._source = source
        self._watch = watch
        self._key = CallKey(target.account.id, target.region, reader.operation.service)
        self._left = listings.copy()
        self._token: str | None = None
        self._trail: TokenTrail | None = None
        self._seen: _SeenIds | None = None
        self._number = 0
        self.ended = False

    async def next(self) -> Page | None:
        """Return the next page, or None if the service refused the call because requested IDs are missing.

        In that case the remaining IDs are requested next, if there are any. Raises the CallError that ends
        the target; the pages before it are incomplete then.
        """
        reader = self._reader
        template = reader.templates.get(self._target.region) or await reader.template(self._target.region)
        listing, body = self._left[0]
        if self._token is not None:
            if self._trail is None:
                self._trail = TokenTrail()
            self._trail.follow(self._token, f"{self._target.region} in {self._target.account.id}")
            body = reader.operation.encode(listing, self._token)
        call = Call(
            template,
            body,
            self._key,
            self._source,
            reader.parse,
            begun=self._number > 0,
            operation=reader.operation,
        )
        try:
            items, self._token = await reader.client.call(call, watch=self._watch)
        except ServiceError as error:
            self._leave_out_missing(listing, error)
            return None
        self._number += 1
        if self._token is None:
            self._end_listing()
        new = self._new_items(items)
        if not new and self._token is not None:
            self._note_nothing_new()
        return Page(self._target, self._number, utc_now(), new)

    def _note_nothing_new(self) -> None:
        if self._trail is None:
            self._trail = TokenTrail()
        self._trail.found_nothing_new(self._number, f"{self._target.region} in {self._target.account.id}")

    def _end_listing(self) -> None:
        del self._left[0]
        self._token = self._trail = None
        self.ended = not self._left

    def _leave_out_missing(self, listing: Listing, error: ServiceError) -> None:
        reader = self._reader
        others = (
            reader.operation.without_missing(listing.ids, error.code, error.message) if listing.ids else None
        )
        if others is None:
            raise error
        self._end_listing()
        self._left[:0] = [
            reader.begin(each)
            for ids in others
            for each in reader.operation.listings(msgspec.structs.replace(reader.query, ids=ids))
        ]
        self.ended = not self._left

    def _new_items(self, items: list[JsonObject]) -> tuple[JsonObject, ...]:
        # Items may move to a later page while pages are read, so an item may come twice.
        ids = list(map(self._reader.identity_of, items))
        if self._seen is None:
            if self.ended and len(set(ids)) == len(ids):
                return tuple(items)
            self._seen = _SeenIds(self._reader.operation.number_of)
        seen = self._seen
        if seen.takes(ids):
            return tuple(items)
        return tuple(item for item, identity in zip(items, ids, strict=True) if seen.is_new(identity))


class _SeenIds:
    """The IDs of a target's items that were seen on its pages.

    Up to `_FEW` IDs are kept in a set, which is faster. More IDs are kept as sorted numbers of eight bytes,
    where the operation has a number for them: a set of strings takes more than ten times as much memory, and
    there is one for each call in flight.
    """

    # The IDs of ten pages take less memory than the records of the target may.
    _FEW = 250

    def __init__(self, number_of: Callable[[str], int | None]) -> None:
        self._number_of = number_of
        self._few: set[str] | None = set()
        self._numbers = array("Q")
        self._others: set[str] = set()

    def takes(self, ids: list[str]) -> bool:
        """Add all IDs at once and return True, if there are few in all and each is new. Else return False."""
        if self._few is None or len(self._few) + len(ids) > self._FEW:
            return False
        new = set(ids)
        if len(new) < len(ids) or not self._few.isdisjoint(new):
            return False
        self._few |= new
        return True

    def is_new(self, identity: str) -> bool:
        """Add an ID, and return whether it was new."""
        if self._few is not None:
            few, self._few = self._few, None
            for each in few:
                self.is_new(each)
        number = self._number_of(identity)
        if number is None:
            if identity in self._others:
                return False
            self._others.add(identity)
            return True
        numbers = self._numbers
        at = bisect_left(numbers, number)
        if at < len(numbers) and numbers[at] == number:
            return False
        numbers.insert(at, number)
        return True

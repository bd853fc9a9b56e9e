"""JSON replies and paged listings: shared by the pages of targets and by less frequent calls."""

from __future__ import annotations

from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.aws.call import Call, CallWatch
from poolcensus.aws.transport.protocol import request_id
from poolcensus.errors import BadReply, BadResponseError, PagingLoopError
from poolcensus.format import codec
from poolcensus.operations.operation import next_token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from poolcensus.aws.call import CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.flow.concurrency import CallKey
    from poolcensus.flow.retry import Retrier
    from poolcensus.model import JsonObject, JsonValue


# How many pages in a row may have nothing new. A page may be empty and still have a next one, as with
# Organizations, or repeat items of the page before it if items move meanwhile.
_MOST_WITHOUT_NEW_ITEMS = 1000
# JSON may escape any letter of a name as `\u00` and two digits. Only parsing finds such a name.
_ESCAPE = b"\\u00"


def as_in_json(*fields: str) -> Mapping[str, bytes]:
    """Return the names of fields, each with its encoding in a JSON body."""
    return {field: codec.dumps(field) for field in fields}


def json_object(reply: Reply, once: Mapping[str, bytes] = MappingProxyType({})) -> JsonObject:
    """Return the body of a reply, which has to be a JSON object.

    `once` are fields, from `as_in_json`, that the object must not have twice: one of the two values would be
    lost silently. Raises BadResponseError.
    """
    try:
        value = codec.loads(reply.body)
    except ValueError as error:
        raise bad_response(reply, f"the body is not JSON: {codec.why_not_json(error)}") from None
    if not isinstance(value, dict):
        raise bad_response(reply, f"the body is {codec.json_type_of(value)}, not an object")
    if "__type" in value:
        raise bad_response(reply, f"the body names an error, though the status is {reply.status}")
    # Only fields that the object has can be there twice. Most pages have no token.
    if once and _may_be_twice(reply.body, [text for field, text in once.items() if field in value]):
        names = codec.names(reply.body)
        for field in once:
            if names.count(field) > 1:
                raise bad_response(reply, f'the body has "{field}" twice')
    return value


def _may_be_twice(body: bytes, names: Iterable[bytes]) -> bool:
    """Return whether a name may occur twice, perhaps inside another object or a string."""
    # CPython takes three times as long to search from the start or to count, so this searches from the end.
    # The check for a single byte is fast, and most bodies have no escape.
    if b"\\" in body and body.rfind(_ESCAPE) >= 0:
        return True
    for name in names:
        last = body.rfind(name)
        if last > 0 and body.rfind(name, 0, last) >= 0:
            return True
    return False


def bad_response(reply: Reply, why: str) -> BadResponseError:
    """Return the error for a body that is not the operation's result."""
    return BadResponseError(
        why, code=BadReply.BODY, status=reply.status, request_id=request_id(reply.headers)
    )


class TokenTrail:
    """Detects a listing that makes no progress.

    A service may repeat page tokens in a cycle, or return new ones forever.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._last_without_new_items = 0
        self._in_a_row = 0

    def follow(self, token: str, what: str) -> None:
        """Record a page token. Raises PagingLoopError, which names `what`, if it was seen before."""
        if token in self._seen:
            raise PagingLoopError(
                f"{what} gave a page token that it had given before", code=BadReply.PAGING_LOOP
            )
        self._seen.add(token)

    def found_nothing_new(self, number: int, what: str) -> None:
        """Record a page that has no new items but has a next page. `number` is the page's.

        Raises PagingLoopError for too many such pages in a row.
        """
        self._in_a_row = self._in_a_row + 1 if number == self._last_without_new_items + 1 else 1
        self._last_without_new_items = number
        if self._in_a_row > _MOST_WITHOUT_NEW_ITEMS:
            raise PagingLoopError(
                f"{what} went on for {self._in_a_row:,} pages without anything new, with ever new tokens",
                code=BadReply.PAGING_LOOP,
            )


async def list_pages(
    client: Client,
    template: RequestTemplate,
    source: CredentialSource,
    key: CallKey,
    *,
    request: Mapping[str, JsonValue],
    items: str,
    retrier: Retrier | None = None,
    awaited: bool = False,
    optional: bool = False,
    queues: bool = True,
    longest_attempt: float | None = None,
    watch: CallWatch | None = None,
) -> AsyncGenerator[tuple[JsonObject, ...]]:
    """Yield the pages of a listing: for each, the objects in its field `items`.

    An empty page may be followed by others. `watch` counts the requests of all pages. The other parameters
    are as in `Call`.
    """
    once = as_in_json(items, "NextToken")

    def parse(reply: Reply) -> tuple[tuple[JsonObject, ...], str | None]:
        body = json_object(reply, once)
        found = body.get(items)
        if not isinstance(found, list):
            raise bad_response(reply, f"the body has no list {items}")
        objects = tuple(each for each in found if isinstance(each, dict))
        if len(objects) != len(found):
            raise bad_response(reply, f"{items} holds something that is not an object")
        try:
            return objects, next_token(body)
        except ValueError as error:
            raise bad_response(reply, str(error)) from None

    trail = TokenTrail()
    seen: set[int] = set()
    token: str | None = None
    for number in count(1):
        body = codec.dumps({**request, **({"NextToken": token} if token else {})})
        call = Call(
            template,
            body,
            key,
            source,
            parse,
            awaited=awaited,
            optional=optional,
            queues=queues,
            longest_attempt=longest_attempt,
        )
        objects, token = await client.call(call, watch=watch or CallWatch(), retrier=retrier)
        yield objects
        if token is None:
            return
        trail.follow(token, items)
        before = len(seen)
        seen.update(hash(codec.dumps(each)) for each in objects)
        if len(seen) == before:
            trail.found_nothing_new(number, items)

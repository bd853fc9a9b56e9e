"""Calls of JSON services that are made now and then: one body in, one object out, every page asked for."""

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


# A page may be empty and still have a next one, as those of Organizations do, or move and hold what the one
# before it had; not for ever.
_MOST_IN_VAIN = 1000
# JSON may write any letter of a name as `\u00` and two digits: only parsing finds such a name.
_ESCAPE = b"\\u00"


def as_in_json(*fields: str) -> Mapping[str, bytes]:
    """Return the names of fields, each with how it stands in a body."""
    return {field: codec.dumps(field) for field in fields}


def json_object(reply: Reply, once: Mapping[str, bytes] = MappingProxyType({})) -> JsonObject:
    """Return the reply's body, which has to be one JSON object with the fields in `once` at most once.

    Raises BadResponseError. Of a field that is there twice, one would be lost in silence.
    """
    try:
        value = codec.loads(reply.body)
    except ValueError as error:
        raise bad_response(reply, f"the body is not JSON: {codec.why_not_json(error)}") from None
    if not isinstance(value, dict):
        raise bad_response(reply, f"the body is {codec.json_type_of(value)}, not an object")
    if "__type" in value:
        raise bad_response(reply, f"the body names an error, though the status is {reply.status}")
    # One that is there twice is there: on most pages there is no token to be looked for.
    if once and _may_be_twice(reply.body, [text for field, text in once.items() if field in value]):
        names = codec.names(reply.body)
        for field in once:
            if names.count(field) > 1:
                raise bad_response(reply, f'the body has "{field}" twice')
    return value


def _may_be_twice(body: bytes, names: Iterable[bytes]) -> bool:
    """Whether one of the names may be there twice: inside of other objects it may be there too."""
    # From the end, since CPython takes three times as long to search from the start, or to count; a single
    # byte is found at once, and most bodies have no escape.
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
    """Where a listing has been, which ends in an error where it does not get on.

    A service may go round in a circle of several tokens, or give new ones for ever.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._last_in_vain = 0
        self._in_a_row = 0

    def follow(self, token: str, what: str) -> None:
        """Note a token. Raises PagingLoopError where it was seen before."""
        if token in self._seen:
            raise PagingLoopError(
                f"{what} gave a page token that it had given before", code=BadReply.PAGING_LOOP
            )
        self._seen.add(token)

    def passed_in_vain(self, number: int, what: str) -> None:
        """Note that the page of that number has no item that is new, and a next page. Others are not noted.

        Raises PagingLoopError where too many have followed one another.
        """
        self._in_a_row = self._in_a_row + 1 if number == self._last_in_vain + 1 else 1
        self._last_in_vain = number
        if self._in_a_row > _MOST_IN_VAIN:
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
    """Yield the pages of a listing, each as the objects under `items`.

    An empty page may be followed by others. `watch` counts the calls of all pages.
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
            trail.passed_in_vain(number, items)

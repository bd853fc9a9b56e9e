"""Requests and replies, before and after the check of the signature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poolcensus.model import JsonObject
    from poolcensus.simulator.access import Principal

S3_REQUEST_ID = "x-amz-request-id"
S3_HOST_ID = "simulator"
Headers: TypeAlias = "tuple[tuple[str, str], ...]"


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity behind the credentials of a request.

    `transitive` are the keys of session tags that are passed on to the sessions of further roles.
    """

    principal: Principal
    access_key_id: str
    session_name: str | None
    user_id: str
    transitive: frozenset[str] = frozenset()

    @property
    def account_id(self) -> str:
        """The account ID."""
        return self.principal.account

    @property
    def arn(self) -> str:
        """The ARN of the user or of the session."""
        return self.principal.arn


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose signature has been checked.

    `path` and `query` are as they were sent, percent-encoded. Header names are in lower case. `service` and
    `region` are from the credential scope.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    identity: Identity
    service: str
    region: str
    request_id: str = ""

    @property
    def form(self) -> dict[str, str]:
        """The parameters of a call in the query protocol."""
        text = self.body.decode("utf-8", "replace") or self.query
        return dict(parse_qsl(text, keep_blank_values=True))

    @property
    def json_object(self) -> JsonObject | None:
        """The parameters of a call in a JSON protocol, or None if the body is not a JSON object.

        An empty body stands for no parameters.
        """
        try:
            query = orjson.loads(self.body) if self.body else {}
        except orjson.JSONDecodeError:
            return None
        return query if isinstance(query, dict) else None


@dataclass(frozen=True, slots=True)
class Response:
    """A complete reply. Content-Length, Date and the request ID are added when it is sent.

    The reply to a HEAD request has the body whose length it states, but only its head is sent. `code` is the
    error code, for the statistics.
    """

    status: int
    body: bytes = b""
    headers: Headers = ()
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A reply whose body is too large for memory. Without a `length` it is sent in chunks."""

    status: int
    chunks: Iterator[bytes]
    headers: Headers = ()
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """A reply whose Content-Length is `claimed`. The connection is closed after the body."""

    response: Response
    claimed: int


@dataclass(frozen=True, slots=True)
class Drip:
    """A reply whose body is sent byte by byte, `seconds` apart."""

    response: Response
    seconds: float


@dataclass(frozen=True, slots=True)
class Abort:
    """No reply: the connection is reset."""


@dataclass(frozen=True, slots=True)
class Hang:
    """No reply: the connection stays open."""


Answer: TypeAlias = "Response | Stream | Cut | Drip | Abort | Hang"


@dataclass(frozen=True, slots=True)
class Delayed:
    """An answer that is due in `seconds`.

    `release` is called once, when the answer is sent or the connection ends.
    """

    answer: Answer
    seconds: float
    release: Callable[[], None]


@dataclass(slots=True)
class Message:
    """A request as it came over the wire, before its signature is checked.

    `is_http10` is whether the client speaks HTTP/1.0, which has no chunks. `refusal` is the status of the
    reply to a request that can't be read, and 0 for any other.
    """

    method: str = ""
    target: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True
    is_http10: bool = False
    refusal: int = 0
    request_id: str = ""
    request_id_header: str = "x-amzn-RequestId"

"""The interface of transports, which send a call and return its whole reply, and what they share."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import msgspec
from multidict import CIMultiDict

from poolcensus.errors import BadReply, BadResponseError, CallTimeoutError, NoReply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from poolcensus.aws.signing import Credentials, RequestTemplate

# Seconds for which an idle connection is used again. AWS closes idle connections after about 20 s, and a call
# over one that is about to be closed fails.
KEEP_ALIVE = 12.0
# Seconds to wait for connections to close. The system closes the others.
LONGEST_CLOSE = 2.0
LARGEST_BODY = 16 * 1024 * 1024
LARGEST_HEAD = 64 * 1024
# Faults of a reply: the end of a sentence, and the error code.
TOO_LARGE = (f"is larger than {LARGEST_BODY >> 20} MiB", BadReply.OVERSIZED)
CUT_OFF = ("was cut off", BadReply.CUT_OFF)
NOT_HTTP = ("is not HTTP", BadReply.BROKEN)
LARGE_HEAD = ("has headers of more than 64 KiB", BadReply.OVERSIZED)
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
# How many gzip members a body may have. A server makes one, and zlib copies the rest of the body for each.
_MOST_MEMBERS = 16
_REQUEST_ID_HEADERS = ("x-amzn-RequestId", "x-amz-request-id")
# UUIDs, hexadecimal numbers and base64. The longest request IDs are the extended ones of S3, of 76
# characters:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/get-request-ids.html
_REQUEST_ID = re.compile(r"[A-Za-z0-9+/=_.:-]{1,128}")


class Headers(Mapping[str, str]):
    """The headers of a reply. Names are case-insensitive.

    They are only decoded when a value is requested, which most replies never need.
    """

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    @cached_property
    def _decoded(self) -> CIMultiDict[str]:
        return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._raw)

    def __getitem__(self, name: str) -> str:
        return self._decoded[name]

    def __contains__(self, name: object) -> bool:
        # This is called for every reply. Comparing lengths first skips nearly all headers.
        if isinstance(name, str):
            wanted = name.lower().encode()
            size = len(wanted)
            for each, _ in self._raw:
                if len(each) == size and each.lower() == wanted:
                    return True
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded)

    def __len__(self) -> int:
        return len(self._decoded)


class Reply(msgspec.Struct, frozen=True):
    """A whole reply. The names of its headers are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Signs requests, sends them and reads replies. It knows nothing of retries, limits or operations.

    Redirects are not followed, since that would send the session token to another origin. A reply that is
    truncated, larger than 16 MiB or can't be decompressed is an error, and never a shorter body.
    """

    async def __aenter__(self) -> Self:
        """Get ready to send."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""

    async def send(
        self,
        template: RequestTemplate,
        body: bytes,
        credentials: Credentials,
        stamp: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the fast transport has a timer, which costs less than a scope
    ) -> Reply:
        """Send a call and return its reply, both within `timeout` seconds.

        `stamp` is the time of the signature, in the format of `x-amz-date`. Raises UnreachableError,
        LocalLimitError, CallTimeoutError or BadResponseError, and FatalError if the trusted certificates or
        the SDK's configuration can't be read.
        """


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the request ID of a reply, which AWS Support asks for, or None.

    A value that does not look like a request ID is ignored, since each ledger line would have it.
    """
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name)
        if value and _REQUEST_ID.fullmatch(value):
            return value
    return None


def bad_reply(peer: str, what: str, code: str, status: int, headers: Mapping[str, str]) -> BadResponseError:
    """Return the error for a reply that is incomplete or not HTTP. `what` is the end of the sentence."""
    return BadResponseError(
        f"the reply from {peer} {what}",
        code=code,
        status=status or None,
        request_id=request_id(headers),
    )


def no_answer_in_time(peer: str, seconds: float) -> CallTimeoutError:
    """Return the error for a reply that was not complete within the timeout."""
    return CallTimeoutError(f"{peer} did not answer within {round(seconds, 1):g} s", code=NoReply.TIMEOUT)


def decoded(body: bytes, encoding: str, bad: Callable[[str, str], BadResponseError]) -> bytes:
    """Return a body, decompressed as its `Content-Encoding` says.

    Raises the error that `bad` returns for the end of a sentence and an error code.
    """
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise bad(f"has an encoding that was not asked for ({encoding[:40]})", BadReply.BROKEN)
    members: list[bytes] = []
    left = LARGEST_BODY
    while len(members) < _MOST_MEMBERS:
        inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            members.append(inflate.decompress(body, left + 1))
        except zlib.error:
            raise bad("can't be decompressed", BadReply.BROKEN) from None
        left -= len(members[-1])
        if left < 0:
            raise bad(*TOO_LARGE)
        if not inflate.eof:
            raise bad(*CUT_OFF)
        # Only another member may follow:
        # https://www.rfc-editor.org/rfc/rfc1952#section-2.2
        body = inflate.unused_data
        if not body:
            return b"".join(members)
    raise bad("can't be decompressed", BadReply.BROKEN)

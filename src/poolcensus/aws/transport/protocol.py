"""What every transport does: send one call, with the credentials of that call, and return its whole reply."""

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

# AWS closes idle connections after about 20 s: one that is about to be closed isn't worth a call.
KEEP_ALIVE = 12.0
# A connection that takes longer to say goodbye is left to the system.
LONGEST_CLOSE = 2.0
LARGEST_BODY = 16 * 1024 * 1024
LARGEST_HEAD = 64 * 1024
# What is wrong with a reply, and the code of the error.
TOO_LARGE = (f"is larger than {LARGEST_BODY >> 20} MiB", BadReply.OVERSIZED)
CUT_OFF = ("was cut off", BadReply.CUT_OFF)
NOT_HTTP = ("is not HTTP", BadReply.BROKEN)
LARGE_HEAD = ("has headers of more than 64 KiB", BadReply.OVERSIZED)
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
# For each of them zlib copies what follows it, and who compresses a reply makes one.
_MOST_MEMBERS = 16
_REQUEST_ID_HEADERS = ("x-amzn-RequestId", "x-amz-request-id")
# UUIDs, hexadecimal numbers and base64. The longest of AWS's are the extended ones of S3, of 76 characters:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/get-request-ids.html
_REQUEST_ID = re.compile(r"[A-Za-z0-9+/=_.:-]{1,128}")


class Headers(Mapping[str, str]):
    """The headers of a reply, whose names are found without regard to case.

    They are decoded when the value of one is asked for: of most replies that is none.
    """

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    @cached_property
    def _decoded(self) -> CIMultiDict[str]:
        return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._raw)

    def __getitem__(self, name: str) -> str:
        return self._decoded[name]

    def __contains__(self, name: object) -> bool:
        # Asked of every reply: nearly all headers have another length, and need not be looked at.
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
    """A whole reply. Header names are found without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Signs requests, sends them and reads replies; knows nothing of retries, limits or operations.

    Redirects are not followed: they would take the session token to another origin. A reply that ends
    early, is larger than 16 MiB or can't be decompressed is an error and never a short body.
    """

    async def __aenter__(self) -> Self:
        """Be ready to send."""

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
        """Send one call and return its reply, both within `timeout` seconds.

        `stamp` is the time that the signature carries, in the form of `x-amz-date`. Raises UnreachableError,
        LocalLimitError, CallTimeoutError or BadResponseError, and FatalError where what is trusted, or the
        SDK's configuration, can't be read.
        """


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id that AWS support asks for, or None where there is none.

    Whatever else a service or a proxy puts in its place is not kept: each ledger line would have it.
    """
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name)
        if value and _REQUEST_ID.fullmatch(value):
            return value
    return None


def bad_reply(peer: str, what: str, code: str, status: int, headers: Mapping[str, str]) -> BadResponseError:
    """Return the error for a reply that is not whole or not HTTP."""
    return BadResponseError(
        f"the reply from {peer} {what}",
        code=code,
        status=status or None,
        request_id=request_id(headers),
    )


def no_answer_in_time(peer: str, seconds: float) -> CallTimeoutError:
    """Return the error for a reply that was not whole when its time was over."""
    return CallTimeoutError(f"{peer} did not answer within {round(seconds, 1):g} s", code=NoReply.TIMEOUT)


def decoded(body: bytes, encoding: str, bad: Callable[[str, str], BadResponseError]) -> bytes:
    """Return a body without its `Content-Encoding`. Raises what `bad` makes of a sentence and a code."""
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
        # What follows is another member, or nothing that a body may have:
        # https://www.rfc-editor.org/rfc/rfc1952#section-2.2
        body = inflate.unused_data
        if not body:
            return b"".join(members)
    raise bad("can't be decompressed", BadReply.BROKEN)

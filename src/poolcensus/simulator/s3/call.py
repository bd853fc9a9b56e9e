"""A request as S3 reads it: which bucket, which key, which parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from poolcensus.simulator.s3.errors import S3Error, invalid_argument

if TYPE_CHECKING:
    from poolcensus.simulator.http import Identity, Request

_ENDPOINT = re.compile(r"(?:(?P<bucket>.+?)\.)?s3(?:[.-].*)?")
_LOOPBACK = re.compile(r"(?P<bucket>.+)\.localhost")
_PRESIGNED = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)
_COUNT = re.compile(r"[0-9]{1,10}")
_MAX_KEY = 1024
_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """A signed request. `bucket` and `key` are empty where the path names none."""

    request: Request
    identity: Identity
    bucket: str
    key: str
    params: dict[str, str]

    @property
    def account_id(self) -> str:
        """The account whose credentials signed."""
        return self.identity.account_id

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case."""
        return self.request.headers

    @property
    def scope(self) -> str:
        """What the path names: the `service`, a `bucket` or an `object`."""
        if self.key:
            return "object"
        return "bucket" if self.bucket else "service"

    @property
    def url_encoded(self) -> bool:
        """Whether the names in the reply are to be percent-encoded.

        Raises:
            S3Error: another encoding is asked for.
        """
        encoding = self.params.get("encoding-type")
        if encoding not in (None, "url"):
            raise invalid_argument("encoding-type", encoding, "Invalid Encoding Method specified in Request")
        return encoding is not None

    def count(self, name: str) -> int:
        """Return a parameter that bounds a page.

        Raises:
            S3Error: it is not a number.
        """
        text = self.params.get(name, f"{_MAX_PAGE}")
        if _COUNT.fullmatch(text) is None:
            raise invalid_argument(name, text, f"Argument {name} must be a whole number")
        return min(int(text), _MAX_PAGE)


def parse(request: Request) -> Call:
    """Read a request.

    Raises:
        S3Error: the path can't be read.
    """
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    path = request.path.removeprefix("/")
    bucket = _bucket_of(host.lower())
    if bucket is None:
        bucket, _, path = path.partition("/")
    try:
        bucket, key = unquote(bucket, errors="strict"), unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", URI=request.path) from None
    if key and not bucket:
        raise S3Error("InvalidURI", URI=request.path)
    if (size := len(key.encode())) > _MAX_KEY:
        raise S3Error("KeyTooLongError", Size=str(size), MaxSizeAllowed=str(_MAX_KEY))
    params = {
        name: value
        for name, value in parse_qsl(request.query, keep_blank_values=True)
        if name.lower() not in _PRESIGNED
    }
    return Call(request, request.identity, bucket, key, params)


def _bucket_of(host: str) -> str | None:
    found = _ENDPOINT.fullmatch(host) or _LOOPBACK.fullmatch(host)
    return None if found is None else found["bucket"]

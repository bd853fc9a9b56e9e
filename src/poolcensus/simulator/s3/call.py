"""A request to S3: its bucket, key and parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote

from poolcensus.simulator.s3.errors import S3Error, invalid_argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.http import Request
    from poolcensus.simulator.refusal import RefusalError

# Takes a request, an action and the ARN of its resource. Returns the refusal, or None if it is allowed.
Deny: TypeAlias = "Callable[[Request, str, str], RefusalError | None]"

# The name of a bucket may contain s3, as a label or at the beginning of one.
_ENDPOINT = re.compile(
    r"(?:(?P<bucket>.+)\.)?s3(?:-[a-z0-9-]+)?(?:\.dualstack)?(?:\.[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?"
)
_LOOPBACK = re.compile(r"(?:(?P<bucket>.+?)\.)??(?:s3\.)?localhost")
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
# Query parameters of a presigned URL that begin so stand for headers.
_HEADER = "x-amz-"
_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_COUNT = re.compile(r"[0-9]{1,10}")
_MAX_KEY = 1024
_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class S3Call:
    """A signed request. `bucket` and `key` are empty if the path names none.

    The names of `headers` are in lower case. `headers` include those in the query of a presigned URL.
    """

    request: Request
    bucket: str
    key: str
    params: dict[str, str]
    headers: dict[str, str]
    deny: Deny | None = None

    @property
    def account_id(self) -> str:
        """The ID of the account whose credentials signed."""
        return self.request.identity.account_id

    def authorize(self, action: str, bucket: str, key: str) -> None:
        """Check a permission that the call needs besides its own.

        Raises RefusalError if a policy denies the action.
        """
        if self.deny is not None:
            partition = self.request.identity.arn.split(":")[1]
            denial = self.deny(self.request, action, f"arn:{partition}:s3:::{bucket}/{key}")
            if denial is not None:
                raise denial

    @property
    def scope(self) -> str:
        """What the path names: `service`, `bucket` or `object`."""
        if self.key:
            return "object"
        return "bucket" if self.bucket else "service"

    @property
    def url_encoded(self) -> bool:
        """Whether names in the reply are percent-encoded.

        Raises S3Error if the call asks for another encoding.
        """
        encoding = self.params.get("encoding-type")
        if encoding not in (None, "url"):
            raise invalid_argument("encoding-type", encoding, "Invalid Encoding Method specified in Request")
        return encoding is not None

    def count(self, name: str) -> int:
        """Return a parameter that limits the size of a page. It is at most 1,000, which is the default.

        Raises S3Error if it is not a whole number.
        """
        return min(self.number(name, _MAX_PAGE), _MAX_PAGE)

    def number(self, name: str, default: int) -> int:
        """Return a parameter that is a whole number.

        Raises S3Error if it is not a whole number.
        """
        text = self.params.get(name, f"{default}")
        if _COUNT.fullmatch(text) is None:
            raise invalid_argument(name, text, f"Argument {name} must be a whole number")
        return int(text)


def parse(request: Request, deny: Deny | None = None) -> S3Call:
    """Return the call that a request makes.

    Raises S3Error if the path is not valid, or if a query parameter stands for a header that is not valid.
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
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        lowered = name.lower()
        if not lowered.startswith(_HEADER):
            params[name] = value
        elif lowered not in _PRESIGNED:
            headers[lowered] = _header(name, value)
    return S3Call(request, bucket, key, params, {**headers, **request.headers}, deny)


def _header(name: str, value: str) -> str:
    """Return the value of a query parameter as that of a header: each byte of UTF-8 is one character."""
    if _NAME.fullmatch(name) is None or _CONTROL.search(value) is not None:
        raise invalid_argument(name, value, "The parameter stands for a header that can't be sent.")
    return value.encode().decode("latin-1")


def _bucket_of(host: str) -> str | None:
    found = _ENDPOINT.fullmatch(host) or _LOOPBACK.fullmatch(host)
    return None if found is None else found["bucket"]

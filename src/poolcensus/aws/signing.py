"""Signature Version 4 for prepared requests, and a clock that follows the service's.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolcensus.flow.breaker import Endpoint

# Keys, tokens and URLs: visible ASCII characters.
_WORD = re.compile(r"[!-~]+")
# https://www.rfc-editor.org/rfc/rfc9110#section-5.5, without its obsolete characters.
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A set of keys. Its repr leaves out the secret parts.

    Raises ValueError, without the value, if a part can't be in a header: a line break would begin another
    one.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    _day_keys: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_words(
            {
                "access key ID": self.access_key_id,
                "secret access key": self.secret_access_key,
                "session token": self.session_token,
            }
        )

    def day_key(self, date: str) -> bytes:
        """Return the first derived key of a day, which all regions and services share. `date` is 20261123."""
        key = self._day_keys.get(date)
        if key is None:
            secret = b"AWS4" + self.secret_access_key.encode()
            key = self._day_keys[date] = hmac.digest(secret, date.encode(), "sha256")
        return key


class SdkOperation(NamedTuple):
    """An operation in the names of the SDK: the service, the region of the client, and its method."""

    service: str
    region: str
    method: str


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """The part of a request that all calls of an operation in a region share. Each call adds its body.

    The SDK forms it for `operation`. `service` and `region` are those of the signature. Raises ValueError,
    without the value, if a part can't be in the head of a request.
    """

    method: str
    url: str
    host: str
    path: str
    headers: Mapping[str, str]
    service: str
    region: str
    proxy: str | None = field(repr=False)
    operation: SdkOperation
    _forms: dict[bool, _Form] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_words(
            {
                "method": self.method,
                "URL": self.url,
                "host": self.host,
                "path": self.path,
                "service": self.service,
                "region": self.region,
                "URL of the proxy": self.proxy,
            }
        )
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not is_header_value(value):
                raise ValueError(f"the header {name!a} holds {_NOT_FOR_HEADERS}")

    def form(self, *, with_token: bool) -> _Form:
        """Return the parts that all signatures share, for credentials with or without a session token."""
        form = self._forms.get(with_token)
        if form is None:
            form = self._forms[with_token] = _form(self, with_token=with_token)
        return form


_NOT_FOR_HEADERS = "a character that can't stand in a header, such as a line break"


def is_header_value(text: str) -> bool:
    """Return whether a text can be the value of a header."""
    return _HEADER_VALUE.fullmatch(text) is not None


def _check_words(words: Mapping[str, object]) -> None:
    for name, value in words.items():
        if value is not None and not (isinstance(value, str) and _WORD.fullmatch(value)):
            what = f"holds {_NOT_FOR_HEADERS}" if value else "is empty"
            raise ValueError(f"the {name} {what}")


class _Form(msgspec.Struct, frozen=True):
    """The fixed parts of a canonical request, around the date, the session token and the body's digest."""

    before_date: str
    before_token: str
    before_digest: str
    signed: str
    scope: str
    scope_steps: tuple[bytes, bytes, bytes]
    lines: str


# HMAC hashes a block with the key twice: with each byte XORed with 0x36 for the inner hash, and with 0x5c for
# the outer one. https://www.rfc-editor.org/rfc/rfc2104#section-2
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = _INNER[:1] * 32
_OUTER_REST = _OUTER[:1] * 32

_OPEN = "\0"


def _form(template: RequestTemplate, *, with_token: bool) -> _Form:
    headers = {**template.headers, "host": template.host, "x-amz-date": _OPEN}
    if with_token:
        headers["x-amz-security-token"] = _OPEN
    names = sorted(name for name in headers if name != "user-agent")
    signed = ";".join(names)
    lines = "\n".join(f"{name}:{headers[name]}" for name in names)
    canonical = f"{template.method}\n{template.path}\n\n{lines}\n\n{signed}\n"
    parts = canonical.split(_OPEN)
    return _Form(
        before_date=parts[0],
        before_token=parts[1] if with_token else "",
        before_digest=parts[-1],
        signed=signed,
        scope=f"{template.region}/{template.service}/aws4_request",
        scope_steps=(
            _INNER_REST + template.region.encode(),
            _INNER_REST + template.service.encode(),
            _INNER_REST + b"aws4_request",
        ),
        lines="".join(
            f"{name}: {value}\r\n" for name, value in {**template.headers, "host": template.host}.items()
        ),
    )


class Clock:
    """The time in signatures: that of this machine's clock, corrected by the time of a service.

    The first correction applies to all endpoints, since usually it is this machine's clock that is off. An
    endpoint that then refuses the corrected time gets an offset of its own.
    """

    # Seconds. AWS refuses a signature that is more than five minutes off. Smaller differences are not worth a
    # correction: the `Date` of a reply has whole seconds, and is as old as the reply.
    _WORTH_CORRECTING = 60.0

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._offset = 0.0
        self._followed: Endpoint | None = None
        self._own: dict[Endpoint, float] = {}
        self._second = -1
        self._stamp = ""

    @property
    def offset(self) -> float:
        """By how many seconds this machine's clock is behind the service's."""
        return self._offset

    @property
    def is_off(self) -> bool:
        """Whether this machine's clock differs so much from the service's that signatures are corrected."""
        return abs(self._offset) >= self._WORTH_CORRECTING

    def correct(self, endpoint: Endpoint, server_time: float) -> bool:
        """Follow the clock of an endpoint. Return whether this changed the offset for all endpoints."""
        offset = server_time - self._now()
        if abs(offset - self._own.get(endpoint, self._offset)) < self._WORTH_CORRECTING:
            return False
        followed = self._followed
        if followed is not None and followed != endpoint:
            if not self.is_off or abs(offset) >= self._WORTH_CORRECTING:
                self._own[endpoint] = offset
                return False
            # The endpoint agrees with this machine. Either this machine's clock was set, or the clock of the
            # other endpoint is wrong.
            self._own[followed] = self._offset
            self._own.pop(endpoint, None)
        self._followed, self._offset = endpoint, offset
        return True

    def stamp(self, endpoint: Endpoint) -> str:
        """Return the present time for an endpoint, in the format of `x-amz-date`."""
        offset = self._own.get(endpoint, self._offset) if self._own else self._offset
        second = int(self._now() + offset)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._stamp


# The first calls of nearly all targets have the same body.
@lru_cache(maxsize=16)
def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def sign(template: RequestTemplate, body: bytes, credentials: Credentials, stamp: str) -> str:
    """Return the header lines of a signed call: those of the template, date, session token and signature.

    `stamp` is the time in the format of `x-amz-date`.
    """
    token = credentials.session_token
    form = template.form(with_token=token is not None)
    dated = f"{form.before_date}{stamp}{form.before_token}{token or ''}"
    canonical = f"{dated}{form.before_digest}{_digest(body)}".encode()
    date = stamp[:8]
    scope = f"{date}/{form.scope}"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical).hexdigest()}"
    # Each step is an HMAC-SHA-256 with the 32 bytes of the step before as its key. It is made of two plain
    # hashes, since OpenSSL looks up its HMAC each time, which takes longer than hashing so little.
    key = credentials.day_key(date)
    for message in (*form.scope_steps, _INNER_REST + text.encode()):
        key = sha256(
            key.translate(_OUTER) + _OUTER_REST + sha256(key.translate(_INNER) + message).digest()
        ).digest()
    signature = key.hex()
    with_token = "" if token is None else f"x-amz-security-token: {token}\r\n"
    return (
        f"{form.lines}x-amz-date: {stamp}\r\n{with_token}"
        f"authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={form.signed}, Signature={signature}\r\n"
    )

"""Signature Version 4 for prepared requests, with a clock that follows the service's.

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

# What AWS gives as keys and tokens, and what stands in a URL: no blank and no control character.
_WORD = re.compile(r"[!-~]+")
# https://www.rfc-editor.org/rfc/rfc9110#section-5.5, without the characters that only old servers send.
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of keys. The secret parts never show in a repr.

    Raises ValueError, without the value, for what can't stand in a header: a line break would begin another.
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
        """Return where the keys of all regions and services begin on a day, which is a text like 20261123."""
        key = self._day_keys.get(date)
        if key is None:
            secret = b"AWS4" + self.secret_access_key.encode()
            key = self._day_keys[date] = hmac.digest(secret, date.encode(), "sha256")
        return key


class SdkOperation(NamedTuple):
    """The SDK's own names of what is called: the service, the client's region and its method."""

    service: str
    region: str
    method: str


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """What all calls of one operation in one region share: the SDK built it, each call adds its body.

    `service` and `region` are what signatures name, `operation` is what the SDK has built it for.
    Raises ValueError, without the value, for what can't stand in the head of a request.
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
        """Return what the signatures of all calls share, for credentials with a session token or without."""
        form = self._forms.get(with_token)
        if form is None:
            form = self._forms[with_token] = _form(self, with_token=with_token)
        return form


_NOT_FOR_HEADERS = "a character that can't stand in a header, such as a line break"


def is_header_value(text: str) -> bool:
    """Whether a text can be the value of a header."""
    return _HEADER_VALUE.fullmatch(text) is not None


def _check_words(words: Mapping[str, object]) -> None:
    for name, value in words.items():
        if value is not None and not (isinstance(value, str) and _WORD.fullmatch(value)):
            what = f"holds {_NOT_FOR_HEADERS}" if value else "is empty"
            raise ValueError(f"the {name} {what}")


class _Form(msgspec.Struct, frozen=True):
    """A canonical request with the date, the session token and the body's digest left open."""

    before_date: str
    before_token: str
    before_digest: str
    signed: str
    scope: str
    scope_steps: tuple[bytes, bytes, bytes]
    lines: str


# https://www.rfc-editor.org/rfc/rfc2104#section-2: a block with the key, each byte changed for either hash.
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
    """The time that signatures carry: this machine's, corrected by what a service said its time is.

    The first correction is for all endpoints, since it is most often this machine's clock that is off. One
    that refuses the time of the others has an offset of its own from then on.
    """

    # A signature is refused when it is more than five minutes off. Less is not worth a correction:
    # the `Date` of a reply has whole seconds and is as old as the reply.
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
        """Seconds that this machine's clock is behind the service's."""
        return self._offset

    @property
    def is_off(self) -> bool:
        """Whether this machine's clock is so far from the service's that signatures need a correction."""
        return abs(self._offset) >= self._WORTH_CORRECTING

    def correct(self, endpoint: Endpoint, server_time: float) -> bool:
        """Follow the clock of an endpoint, and say whether that changed the time of all others."""
        offset = server_time - self._now()
        if abs(offset - self._own.get(endpoint, self._offset)) < self._WORTH_CORRECTING:
            return False
        followed = self._followed
        if followed is not None and followed != endpoint:
            if not self.is_off or abs(offset) >= self._WORTH_CORRECTING:
                self._own[endpoint] = offset
                return False
            # It agrees with this machine: either its clock was put right, or the other endpoint's is wrong.
            self._own[followed] = self._offset
            self._own.pop(endpoint, None)
        self._followed, self._offset = endpoint, offset
        return True

    def stamp(self, endpoint: Endpoint) -> str:
        """Return the time for an endpoint as `x-amz-date` has it."""
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
    """Return the headers of a call: the template's, the date, the session token and the signature, in lines.

    `stamp` is the time in the form of `x-amz-date`.
    """
    token = credentials.session_token
    form = template.form(with_token=token is not None)
    dated = f"{form.before_date}{stamp}{form.before_token}{token or ''}"
    canonical = f"{dated}{form.before_digest}{_digest(body)}".encode()
    date = stamp[:8]
    scope = f"{date}/{form.scope}"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical).hexdigest()}"
    # The HMAC-SHA-256 of each step, and of the text, for the key of the step before, which has 32 bytes.
    # OpenSSL looks its HMAC up anew for each one, which takes longer than two hashes of what is so short.
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

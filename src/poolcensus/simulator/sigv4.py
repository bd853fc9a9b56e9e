"""The check of AWS Signature Version 4, in the Authorization header or in the query string."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus

from poolcensus.simulator.chunks import Chain
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.unauthenticated import (
    expired,
    mismatch,
    not_signed,
    skewed,
    undated,
    unknown_key,
    wrong_token,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.credentials import Credentials, CredentialStore

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-"
# S3 does not require this header to be signed: its value is in the canonical request anyway.
_DIGEST = "x-amz-content-sha256"
_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_STREAMS = frozenset({_TRAILER, _SIGNED_CHUNKS, f"{_SIGNED_CHUNKS}-TRAILER"})
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]+)\s*$"
)
_EXPIRES = re.compile("[0-9]{1,9}")
_SPACES = re.compile(r" {2,}")
_EMPTY_DIGEST = sha256(b"").hexdigest()
_MAX_KEYS = 100_000
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
_MAX_EXPIRES = 604_800
_QUERY = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
    "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)
_SCOPE_PARTS = 5


class UnreadableError(Exception):
    """A signature is malformed. `presigned` is whether it is in the query string."""

    def __init__(self, message: str, *, presigned: bool) -> None:
        super().__init__(message)
        self.message = message
        self.presigned = presigned


class Claim(NamedTuple):
    """What a request says about its signature. `expires` is in seconds, and None unless it is presigned."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: str
    signature: str
    timestamp: str
    token: str | None
    expires: int | None

    @property
    def scope(self) -> str:
        """The credential scope: the date, region and service of the signing key."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def read_claim(headers: dict[str, str], query: str) -> Claim | None:
    """Return what the request says about its signature, or None if it has no signature.

    Raises UnreadableError if the signature is malformed.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        found = _AUTHORIZATION.match(authorization)
        if found is None:
            raise UnreadableError(
                "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.",
                presigned=False,
            )
        credential, signed_headers, signature = found.groups()
        key, date, region, service = _split_credential(credential, presigned=False)
        return Claim(
            key,
            date,
            region,
            service,
            signed_headers,
            signature,
            headers.get("x-amz-date", ""),
            headers.get("x-amz-security-token"),
            None,
        )
    if "X-Amz-Signature=" not in query:
        if "AWSAccessKeyId=" in query:
            raise UnreadableError(
                f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
                presigned=True,
            )
        return None
    values = dict(parse_qsl(query, keep_blank_values=True))
    if values.get("X-Amz-Algorithm") != ALGORITHM:
        raise UnreadableError(f'X-Amz-Algorithm only supports "{ALGORITHM}"', presigned=True)
    key, date, region, service = _split_credential(values.get("X-Amz-Credential", ""), presigned=True)
    if service == "s3" and "X-Amz-Expires" not in values:
        raise UnreadableError(_QUERY, presigned=True)
    expires = values.get("X-Amz-Expires", "900")
    if _EXPIRES.fullmatch(expires) is None or int(expires) > _MAX_EXPIRES:
        raise UnreadableError(
            f"X-Amz-Expires must be a number of seconds, and at most {_MAX_EXPIRES}", presigned=True
        )
    return Claim(
        key,
        date,
        region,
        service,
        values.get("X-Amz-SignedHeaders", ""),
        values.get("X-Amz-Signature", ""),
        values.get("X-Amz-Date", ""),
        values.get("X-Amz-Security-Token"),
        int(expires),
    )


class Verifier:
    """Finds the credentials that signed a request. It refuses other requests as their service would."""

    def __init__(self, store: CredentialStore, clock: Callable[[], float], *, window: float) -> None:
        self._store = store
        self._clock = clock
        self._window = window
        self._keys: dict[tuple[str, str, str, str], bytes] = {}
        self._stamps: dict[str, float] = {}

    def verify(
        self, claim: Claim, method: str, path: str, query: str, *, headers: dict[str, str], body: bytes
    ) -> Credentials:
        """Return the credentials that signed the request.

        Raises RefusalError if the signature does not match, or if it or the credentials have expired.
        """
        credentials = self._store.find(claim.access_key_id)
        if credentials is None:
            raise unknown_key(claim.service)
        if credentials.token != claim.token:
            raise wrong_token(claim.service, given=claim.token is not None)
        now = self._clock()
        self._check_time(claim, now)
        digest = self._payload_digest(claim, headers, body)
        canonical = _canonical_request(claim, method, path, query, headers=headers, digest=digest)
        to_sign = (
            f"{ALGORITHM}\n{claim.timestamp}\n{claim.scope}\n"
            f"{sha256(canonical.encode('latin-1')).hexdigest()}"
        )
        expected = hmac.digest(self._key(claim, credentials.secret), to_sign.encode("utf-8"), "sha256")
        # compare_digest takes strings of ASCII only, and a query may contain others.
        if not hmac.compare_digest(expected.hex().encode(), claim.signature.encode()):
            raise mismatch(claim.service)
        if credentials.expires is not None and credentials.expires <= now:
            raise expired(claim.service)
        return credentials

    def chain(self, claim: Claim, credentials: Credentials, headers: dict[str, str]) -> Chain | None:
        """Return the chain that checks the signatures of chunks, or None if the chunks are not signed."""
        if not headers[_DIGEST].startswith(_SIGNED_CHUNKS):
            return None
        return Chain(
            self._key(claim, credentials.secret), f"{claim.timestamp}\n{claim.scope}", claim.signature
        )

    def _key(self, claim: Claim, secret: str) -> bytes:
        index = (claim.access_key_id, claim.date, claim.region, claim.service)
        key = self._keys.get(index)
        if key is None:
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            dated = (claim.access_key_id, claim.date, "", "")
            key = self._keys.get(dated)
            if key is None:
                key = hmac.digest(f"AWS4{secret}".encode(), claim.date.encode(), "sha256")
                self._keys[dated] = key
            for part in (claim.region, claim.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._keys[index] = key
        return key

    def _check_time(self, claim: Claim, now: float) -> None:
        stamp = claim.timestamp
        signed_at = self._stamps.get(stamp)
        if signed_at is None:
            try:
                signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            except ValueError:
                raise undated(claim.service, stamp, presigned=claim.expires is not None) from None
            if len(self._stamps) >= _MAX_KEYS:
                self._stamps.clear()
            self._stamps[stamp] = signed_at
        if claim.service == "s3" and claim.expires is not None and signed_at + claim.expires < now:
            raise RefusalError(403, "AccessDenied", "Request has expired")
        late = now - signed_at > (self._window if claim.expires is None else claim.expires)
        early = signed_at - now > self._window
        if late or early:
            raise skewed(claim.service, claim.timestamp, now, self._window, early=early)
        if not stamp.startswith(claim.date):
            raise mismatch(claim.service)

    def _payload_digest(self, claim: Claim, headers: dict[str, str], body: bytes) -> str:
        stated = headers.get(_DIGEST)
        if claim.service == "s3":
            if claim.expires is not None:
                return stated or UNSIGNED
            if stated is None:
                raise RefusalError(
                    400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
                )
            if stated == UNSIGNED or stated in _STREAMS:
                return stated
            if stated.startswith(STREAMING):
                raise RefusalError(501, "NotImplemented", f"{stated} is not implemented")
            if stated != sha256(body).hexdigest():
                raise RefusalError(
                    400,
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                )
            return stated
        return sha256(body).hexdigest() if body else _EMPTY_DIGEST


def _split_credential(credential: str, *, presigned: bool) -> tuple[str, str, str, str]:
    parts = credential.rsplit("/", _SCOPE_PARTS - 1)
    if len(parts) != _SCOPE_PARTS or parts[4] != "aws4_request":
        raise UnreadableError(
            "Credential must have 5 '/'-delimited elements and end in aws4_request.", presigned=presigned
        )
    return parts[0], parts[1], parts[2], parts[3]


def _canonical_request(
    claim: Claim, method: str, path: str, query: str, *, headers: dict[str, str], digest: str
) -> str:
    names = claim.signed_headers.split(";")
    if "host" not in names:
        raise not_signed(claim.service, ["host"])
    if claim.service == "s3" and (
        unsigned := sorted(
            name for name in headers if name.startswith("x-amz-") and name not in names and name != _DIGEST
        )
    ):
        raise not_signed(claim.service, unsigned)
    try:
        lines = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    except KeyError:
        raise mismatch(claim.service) from None
    if "  " in lines:
        lines = _SPACES.sub(" ", lines)
    # The path of a request is percent-encoded. Every service but S3 signs it encoded once more.
    uri = path if path == "/" else quote(path, safe="/~%" if claim.service == "s3" else "/~")
    asked = _canonical_query(query) if query else ""
    return f"{method}\n{uri}\n{asked}\n{lines}\n{claim.signed_headers}\n{digest}"


def _canonical_query(query: str) -> str:
    pairs = []
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if name != "X-Amz-Signature":
            pairs.append((quote(unquote_plus(name), safe="~"), quote(unquote_plus(value), safe="~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))

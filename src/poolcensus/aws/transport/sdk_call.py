"""Adapts the SDK's clients: they send a body that is passed to them, and return replies unparsed.

Both transports send the same bodies, which are the project's own. Replies are not parsed by the SDK, whose
parsers take a page that is not JSON for a page without pools.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Self, cast

import botocore
from aiobotocore.session import AioSession
from botocore.auth import SigV4Auth
from botocore.credentials import ReadOnlyCredentials

from poolcensus.aws.sdk.data_files import read_fast
from poolcensus.aws.sdk.pseudo_regions import set_region
from poolcensus.aws.transport.protocol import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp
    from botocore.awsrequest import AWSRequest

    from poolcensus.aws.signing import Credentials

# The key of the unparsed reply in a result of the SDK.
REPLY = "Reply"


class SdkCall(NamedTuple):
    """The values of a call that can't be passed as arguments of an SDK method."""

    body: bytes
    credentials: Credentials
    stamp: str
    timeout: aiohttp.ClientTimeout
    proxy: str | None


# The event handlers of a call run in the task that makes it, and read this variable there. So the credentials
# of thousands of calls with one client can't be mixed up.
CALL: ContextVar[SdkCall | None] = ContextVar("call", default=None)


def present_call() -> SdkCall:
    """Return the call that the present task makes."""
    call = CALL.get()
    if call is None:
        raise RuntimeError("the SDK runs a call's handler outside the call's task")
    return call


def new_session(profile: str | None) -> AioSession:
    """Return a session whose clients take the body and the signature from `CALL`, and don't parse replies."""
    session = AioSession(profile=profile)
    read_fast(session)
    # Tokens of the global STS endpoint are refused in opt-in regions.
    session.set_config_variable("sts_regional_endpoints", "regional")
    set_region(session)
    session.register_component("response_parser_factory", _AsItCame())
    events = session.get_component("event_emitter")
    events.register_last("before-call", _set_body)
    events.register_first("choose-signer", _sign_nothing)
    events.register_last("before-sign", _sign)
    return session


def _set_body(params: dict[str, object], **_: object) -> None:
    params["body"] = present_call().body


def _sign_nothing(**_: object) -> object:
    # The SDK's own signer takes no time, so `_sign` adds the signature.
    return botocore.UNSIGNED


def _sign(request: AWSRequest, signing_name: str, region_name: str, **_: object) -> None:
    found = request.context.get("signing", {})
    _Signature(
        present_call(), found.get("signing_name") or signing_name, found.get("region") or region_name
    ).add_auth(request)


class _Signature(SigV4Auth):  # type: ignore[misc] # the SDK has no types
    """The SDK's signature, with a given time."""

    def __init__(self, call: SdkCall, service: str, region: str) -> None:
        keys = call.credentials
        super().__init__(
            ReadOnlyCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token),
            service,
            region,
        )
        self._stamp = call.stamp

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._stamp
        super()._modify_request_before_signing(request)


class _AsItCame:
    """A parser for the SDK that returns replies unparsed."""

    def create_parser(self, protocol: str) -> Self:  # noqa: ARG002 - the SDK's signature
        return self

    async def parse(self, response: Mapping[str, object], shape: object) -> dict[str, Reply]:  # noqa: ARG002 - aiobotocore's signature
        status, headers, body = response["status_code"], response["headers"], response["body"]
        return {REPLY: Reply(cast("int", status), cast("Mapping[str, str]", headers), cast("bytes", body))}


class CallLogFilter(logging.Filter):
    """Drops the DEBUG messages that are logged during a call of this package."""

    def filter(self, record: logging.LogRecord) -> bool:
        return CALL.get() is None or record.levelno > logging.DEBUG

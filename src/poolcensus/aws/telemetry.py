"""Reports each attempt of a call to the log, at DEBUG, and to OpenTelemetry."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

import msgspec

from poolcensus.aws.call import UNKNOWN_ACCOUNT, api_name_of
from poolcensus.aws.refusals.redaction import redact
from poolcensus.aws.transport.protocol import request_id
from poolcensus.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

    from poolcensus.aws.call import Call
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.flow.retry import Retry
    from poolcensus.tracing import Tracing

_log = logging.getLogger("poolcensus")

T = TypeVar("T")


class CallTelemetry:
    """Reports the attempts of calls. A run only has one if there is something to report to."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    @classmethod
    def of_run(cls, tracing: Tracing | None) -> CallTelemetry | None:
        """Return the telemetry of a run, or None if neither the log at DEBUG nor tracing is on."""
        return cls(tracing) if tracing is not None or _log.isEnabledFor(logging.DEBUG) else None

    async def attempt(
        self,
        call: Call[T],
        number: int,
        send: Callable[[Call[T]], Awaitable[T]],
        secrets: tuple[str, ...],
    ) -> T:
        """Make an attempt with `send` and report it. Returns and raises what `send` does."""
        replies: list[Reply] = []

        def note(reply: Reply) -> T:
            replies.append(reply)
            return call.parse(reply)

        with self._span(call, number) as span:
            began = time.monotonic()
            try:
                result = await send(msgspec.structs.replace(call, parse=note))
            except CallError as error:
                self._tell(call, number, span, began, status=error.status, id_=error.request_id, error=error)
                raise
            reply = replies[0]
            id_ = _redacted(call, request_id(reply.headers), secrets)
            self._tell(call, number, span, began, status=reply.status, id_=id_)
            return result

    def retry(self, call: Call[object], retry: Retry) -> None:
        """Report that a call will be made again."""
        if _log.isEnabledFor(logging.DEBUG):
            error = retry.error
            _log.debug(
                "%s is tried again in %.3f s after attempt %d: %s (%s)",
                _title(call),
                retry.wait,
                retry.attempt,
                error.message,
                error.code,
                extra={
                    **_log_fields(call, retry.attempt, error.request_id),
                    "error_code": error.code,
                    "wait_seconds": round(retry.wait, 3),
                },
            )

    def _span(self, call: Call[object], number: int) -> AbstractContextManager[Span | None]:
        if self._tracing is None:
            return nullcontext()
        return self._tracing.call(
            call.template.operation.service,
            _name(call),
            account_id=_account(call),
            region=call.key.region,
            host=call.template.host,
            resent=number - 1,
        )

    def _tell(
        self,
        call: Call[object],
        number: int,
        span: Span | None,
        began: float,
        *,
        status: int | None,
        id_: str | None,
        error: CallError | None = None,
    ) -> None:
        if self._tracing is not None and span is not None:
            self._tracing.end_call(span, status, id_, error)
        if not _log.isEnabledFor(logging.DEBUG):
            return
        milliseconds = (time.monotonic() - began) * 1000
        extra = {
            **_log_fields(call, number, id_),
            "http_status": status,
            "error_code": None if error is None else error.code,
            "milliseconds": round(milliseconds, 1),
        }
        _log.debug(
            "%s: %s after %.0f ms (attempt %d, request %s)%s",
            _title(call),
            _result_in_words(status, error),
            milliseconds,
            number,
            id_,
            "" if error is None else f": {error.message}",
            extra=extra,
        )


def _title(call: Call[object]) -> str:
    return f"{call.template.operation.service}:{_name(call)} in {call.key.region} for {call.place.account_id}"


def _redacted(call: Call[object], id_: str | None, secrets: tuple[str, ...]) -> str | None:
    """Return the request ID of a reply without secrets, as in an error."""
    error = CallError("", code="", request_id=id_)
    (call.redact or redact)(error, *secrets)
    return error.request_id


def _result_in_words(status: int | None, error: CallError | None) -> str:
    if error is None:
        return f"HTTP {status}"
    return f"{'no reply' if status is None else f'HTTP {status}'}, {error.code}"


def _log_fields(call: Call[object], number: int, id_: str | None) -> dict[str, object]:
    return {
        "service": call.template.operation.service,
        "operation": _name(call),
        "account_id": _account(call),
        "region": call.key.region,
        "attempt": number,
        "request_id": id_,
    }


def _account(call: Call[object]) -> str | None:
    """Return the account that a call is made for, or None if the caller's account is not known yet."""
    account = call.place.account_id
    return None if account == UNKNOWN_ACCOUNT else account


def _name(call: Call[object]) -> str:
    if call.operation is not None:
        return call.operation.api_name
    return api_name_of(call.template.operation.method)

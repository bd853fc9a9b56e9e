"""Spans of OpenTelemetry: one for a run, one for each target, and one for each attempt at a call.

OpenTelemetry's instrumentations don't see calls over connections of our own. Spans are only made if the
process has set a tracer provider. Otherwise OpenTelemetry is not even imported.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poolcensus.errors import CallError
from poolcensus.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, Tracer

    from poolcensus.model import Target, TargetResult

_API = "opentelemetry.trace"
_RUN = "poolcensus.census"
_TARGET = "poolcensus.target"


def tracing() -> Tracing | None:
    """Return the maker of spans, or None if the process has set no tracer provider."""
    # A process that has set one has imported the module.
    api = sys.modules.get(_API)
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    return Tracing(provider.get_tracer("poolcensus", __version__))


class Tracing:
    """Makes the spans of a run. Each is a child of the span that is current when it starts."""

    def __init__(self, tracer: Tracer) -> None:
        # The module is loaded already: see `tracing`.
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415 - optional

        self._tracer = tracer
        self._client = SpanKind.CLIENT
        self._internal = SpanKind.INTERNAL
        self._status = Status
        self._error = StatusCode.ERROR

    def run(self, operation: str) -> AbstractContextManager[Span]:
        """Start the span of a run over all targets. It ends with the block."""
        return self._span(_RUN, {"poolcensus.operation": operation})

    def target(self, target: Target) -> AbstractContextManager[Span]:
        """Start the span of one target. It ends with the block."""
        return self._span(_TARGET, {"cloud.account.id": target.account.id, "cloud.region": target.region})

    def end_target(self, span: Span, result: TargetResult) -> None:
        """Record the result of a target in its span."""
        span.set_attribute("poolcensus.outcome", result.outcome.value)
        span.set_attribute("poolcensus.pools", result.pools)
        span.set_attribute("poolcensus.pages", result.pages)
        if not result.outcome.covered:
            span.set_status(self._status(self._error, result.error_message))

    def call(
        self, service: str, method: str, *, account_id: str | None, region: str, host: str, resent: int
    ) -> AbstractContextManager[Span]:
        """Start the span of one attempt at a call, by the conventions for AWS SDKs and HTTP clients.

        https://opentelemetry.io/docs/specs/semconv/cloud-providers/aws-sdk/
        """
        attributes: dict[str, str | int] = {
            "rpc.system": "aws-api",
            "rpc.service": service,
            "rpc.method": method,
            "server.address": host,
            "cloud.region": region,
        }
        if account_id is not None:
            attributes["cloud.account.id"] = account_id
        if resent:
            attributes["http.request.resend_count"] = resent
        return self._span(f"{service}/{method}", attributes, client=True)

    def end_call(
        self, span: Span, status: int | None, request_id: str | None, error: CallError | None
    ) -> None:
        """Record the reply to an attempt in its span."""
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if request_id is not None:
            span.set_attribute("aws.request_id", request_id)
        if error is not None:
            span.set_attribute("error.type", error.code)
            span.set_status(self._status(self._error, error.message))

    @contextmanager
    def _span(
        self, name: str, attributes: Mapping[str, str | int], *, client: bool = False
    ) -> Iterator[Span]:
        kind = self._client if client else self._internal
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except CallError:
                # `end_call` records it, with the reply.
                raise
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(self._status(self._error, str(error)))
                raise

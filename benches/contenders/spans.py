"""poolcensus in a process with a tracer provider. The spans are discarded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from poolcensus.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class Nowhere(SpanExporter):
    """Discards all spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the SDK's signature
        """Discard the spans."""
        return SpanExportResult.SUCCESS


if __name__ == "__main__":
    regions, place, concurrency = sys.argv[1:4]
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    code = main(["collect", "--dest", place, "--regions", regions, "--concurrency", concurrency])
    provider.shutdown()
    sys.exit(code)

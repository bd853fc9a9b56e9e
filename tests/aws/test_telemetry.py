"""The log messages and spans of calls, in a census of the simulator."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from poolcensus.aws.telemetry import CallTelemetry
from poolcensus.census import Census
from poolcensus.tracing import Tracing, tracing
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

REGION = "us-east-1"
REFUSED = "000000000003"
FAULTS = (
    f"throttle,account=000000000002,region={REGION},first=1",
    f"5xx,account={REFUSED},region={REGION}",
)
CALLS = Counter(
    {
        "sts:GetCallerIdentity": 1,
        "organizations:ListAccounts": 1,
        "sts:AssumeRole": 2,
        "workspaces:DescribeWorkspacesPools": 5,
    }
)


@pytest.fixture
def listening(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "poolcensus")
    return caplog


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that ended while the process had a tracer provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.__dict__ for record in caplog.records if record.name == "poolcensus"]


@both_transports
async def test_each_attempt_is_a_line_at_debug_with_what_a_search_needs(
    lab: Start, listening: pytest.LogCaptureFixture, transport: str
) -> None:
    here = await lab(accounts=3, pools_per_target=2, regions=(REGION,), faults=FAULTS)
    await here.collect(max_attempts=2)
    lines = said(listening)
    attempts = [each for each in lines if "milliseconds" in each]
    assert Counter(f"{each['service']}:{each['operation']}" for each in attempts) == CALLS
    assert len({each["request_id"] for each in attempts}) == len(attempts)
    pools = [
        (each["account_id"], each["region"], each["attempt"], each["http_status"], each["error_code"])
        for each in attempts
        if each["service"] == "workspaces"
    ]
    assert sorted(pools, key=str) == [
        ("000000000001", REGION, 1, 200, None),
        ("000000000002", REGION, 1, 400, "ThrottlingException"),
        ("000000000002", REGION, 2, 200, None),
        (REFUSED, REGION, 1, 500, "InternalServerException"),
        (REFUSED, REGION, 2, 500, "InternalServerException"),
    ]
    retries = {(each["account_id"], each["error_code"]) for each in lines if "wait_seconds" in each}
    assert retries == {("000000000002", "ThrottlingException"), (REFUSED, "InternalServerException")}
    renewed = [each["account_id"] for each in lines if "credentials for account" in str(each["message"])]
    assert sorted(renewed, key=str) == ["000000000002", REFUSED]


async def test_a_reply_that_never_comes_is_told_without_a_status(
    lab: Start, listening: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=1, regions=(REGION,), faults=("reset,service=workspaces",))
    await here.collect(max_attempts=1)
    (line,) = [each for each in said(listening) if each.get("service") == "workspaces" and "attempt" in each]
    assert (line["http_status"], line["request_id"]) == (None, None)
    assert "no reply, " in str(line["message"])


async def test_a_circuit_breaker_tells_of_each_state_that_it_enters(
    lab: Start, listening: pytest.LogCaptureFixture
) -> None:
    here = await lab(
        accounts=4, regions=(REGION, "eu-west-1"), faults=("reset,service=workspaces,region=eu-west-1",)
    )
    await here.collect(give_up_region_after=1)
    states = [
        (each["service"], each["region"], each["circuit_breaker"])
        for each in said(listening)
        if "circuit_breaker" in each
    ]
    assert states == [("workspaces", "eu-west-1", "open"), ("workspaces", "eu-west-1", "last round")]


async def test_nobody_is_told_of_calls_where_nobody_listens(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "poolcensus")
    assert CallTelemetry.of_run(None) is None
    here = await lab(accounts=3, regions=(REGION,), faults=FAULTS)
    await here.collect(max_attempts=2)
    assert not [each for each in said(caplog) if "attempt" in each]
    caller = "arn:aws:iam::000000000001:user/census"
    assert f"Querying 1 region as {caller}" in caplog.messages


def by_name(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def children(exporter: InMemorySpanExporter, parent: ReadableSpan) -> list[ReadableSpan]:
    return [
        each
        for each in exporter.get_finished_spans()
        if each.parent is not None and each.parent.span_id == parent.context.span_id
    ]


@both_transports
async def test_a_run_its_targets_and_their_calls_are_spans_under_the_program_s_own(
    lab: Start, spans: InMemorySpanExporter, transport: str
) -> None:
    here = await lab(accounts=3, pools_per_target=2, regions=(REGION,), faults=FAULTS)
    with trace.get_tracer_provider().get_tracer("program").start_as_current_span("program"):
        snapshot = await here.collect(max_attempts=2)
    found = by_name(spans)
    (program,), (run,) = found["program"], found["poolcensus.census"]
    assert children(spans, program) == [run]
    assert attributes(run) == {
        "poolcensus.operation": "workspaces:DescribeWorkspacesPools",
        "poolcensus.run_id": snapshot.id,
    }
    named = {name.replace("/", ":"): len(each) for name, each in found.items() if "/" in name}
    assert named == CALLS
    assert {each.kind for name in found if "/" in name for each in found[name]} == {SpanKind.CLIENT}
    targets = {str(attributes(each)["cloud.account.id"]): each for each in found["poolcensus.target"]}
    assert len(targets) == 3
    outcomes = {account: attributes(each)["poolcensus.outcome"] for account, each in targets.items()}
    assert outcomes == {"000000000001": "ok", "000000000002": "ok", REFUSED: "error"}
    assert targets[REFUSED].status.status_code is StatusCode.ERROR
    failed, again = children(spans, targets["000000000002"])
    assert failed.status.status_code is StatusCode.ERROR
    expected = {
        "rpc.system": "aws-api",
        "rpc.service": "workspaces",
        "rpc.method": "DescribeWorkspacesPools",
        "server.address": here.simulator.endpoint_url.removeprefix("http://"),
        "cloud.account.id": "000000000002",
        "cloud.region": REGION,
    }
    first, second = attributes(failed), attributes(again)
    assert first.pop("aws.request_id") != second.pop("aws.request_id")
    assert first == {
        **expected,
        "http.response.status_code": 400,
        "error.type": "ThrottlingException",
    }
    assert second == {**expected, "http.response.status_code": 200, "http.request.resend_count": 1}


async def test_only_the_span_of_a_collect_has_the_id_of_a_snapshot(
    lab: Start, spans: InMemorySpanExporter
) -> None:
    here = await lab(accounts=2, regions=(REGION,))
    async with Census(here.settings()) as census:
        snapshot = await census.collect()
        await census.plan()
        async for _ in census.pools():
            pass
    ids = [attributes(run).get("poolcensus.run_id") for run in by_name(spans)["poolcensus.census"]]
    assert ids == [snapshot.id, None, None]


async def test_a_stream_is_a_run_too_and_ends_its_spans_where_it_is_left(
    lab: Start, spans: InMemorySpanExporter
) -> None:
    here = await lab(accounts=4, pools_per_target=2, regions=(REGION,))
    async with Census(here.settings()) as census, census.pools() as stream:
        async for _ in stream:
            break
    found = by_name(spans)
    (run,) = found["poolcensus.census"]
    assert {each.context.trace_id for each in spans.get_finished_spans()} == {run.context.trace_id}


def test_a_process_without_a_tracer_provider_does_not_import_opentelemetry() -> None:
    script = (
        "import sys, poolcensus.census\n"
        "from poolcensus.tracing import tracing\n"
        "assert tracing() is None\n"
        "assert not [each for each in sys.modules if each.startswith('opentelemetry')]\n"
        "import opentelemetry.trace\n"
        "assert tracing() is None\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.usefixtures("spans")
def test_a_process_with_a_tracer_provider_has_spans() -> None:
    assert isinstance(tracing(), Tracing)
    provider = cast("TracerProvider", trace.get_tracer_provider())
    assert isinstance(provider, TracerProvider)

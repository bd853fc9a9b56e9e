"""Throttling, redirects, connections that break, replies that never end, regions that never answer."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from census_lab import result_of
from poolcensus.aws.transport.fast import FastTransport
from poolcensus.census import Census
from poolcensus.errors import FatalError, LocalLimit, LocalLimitError
from poolcensus.flow import breaker
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.results.remedies import remedy_of_outcome
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from faults.conftest import ExactBut, Start
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply

pytestmark = pytest.mark.usefixtures("transport")

REGIONS = ("us-east-1", "eu-west-1")


@asynccontextmanager
async def other_origin() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that notes whatever is sent to it, and answers nothing."""
    received: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1 << 16))
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", received


@both_transports
async def test_throttling_in_every_form_is_waited_for(lab: Start) -> None:
    forms = ("throttle", "throttle429", "throttle503")
    places = {form: f"{number:012d}" for number, form in enumerate(forms, 2)}
    here = await lab(
        accounts=4,
        pools_per_target=30,
        regions=REGIONS,
        faults=[f"{form},account={account},first=2" for form, account in places.items()],
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 8}
    attempts = {form: result_of(snapshot, account, "eu-west-1").attempts for form, account in places.items()}
    assert attempts == dict.fromkeys(forms, 4)
    throttles = {
        form: result_of(snapshot, account, "eu-west-1").throttles for form, account in places.items()
    }
    # A 503 that names no throttling is a service that is down for a moment.
    assert throttles == {"throttle": 2, "throttle429": 2, "throttle503": 0}
    assert snapshot.manifest.totals.throttles == 2 * 2 * len(REGIONS)


async def test_a_target_that_is_throttled_to_the_end_says_so(lab: Start, exact_but: ExactBut) -> None:
    here = await lab(
        accounts=3,
        pools_per_target=3,
        regions=REGIONS,
        faults=("throttle,account=000000000002,region=us-east-1",),
    )
    snapshot = await here.collect(max_attempts=2)
    found = result_of(snapshot, "000000000002", "us-east-1")
    assert (found.outcome, found.attempts, found.throttles) == (Outcome.THROTTLED, 2, 2)
    assert found.error_code == "ThrottlingException"
    exact_but(here, snapshot, [("000000000002", "us-east-1")])


@both_transports
async def test_a_redirect_is_not_followed(lab: Start, exact_but: ExactBut) -> None:
    async with other_origin() as (url, received):
        here = await lab(
            accounts=3,
            pools_per_target=3,
            regions=REGIONS,
            faults=(
                f"redirect,account=000000000002,region=us-east-1,location={url}",
                f"redirect,account=000000000003,region=eu-west-1,first=1,location={url}",
            ),
        )
        snapshot = await here.collect(max_attempts=2)
    found = result_of(snapshot, "000000000002", "us-east-1")
    assert (found.outcome, found.error_code) == (Outcome.BAD_RESPONSE, "307")
    exact_but(here, snapshot, [("000000000002", "us-east-1")])
    assert received == []


async def test_a_redirect_of_the_identity_ends_the_run_and_is_not_followed(lab: Start) -> None:
    async with other_origin() as (url, received):
        here = await lab(accounts=2, faults=(f"redirect,service=*,location={url}",))
        async with Census(here.settings()) as census:
            with pytest.raises(FatalError, match="redirect"):
                await census.collect()
    assert received == []


async def test_no_service_s_redirect_is_followed(lab: Start) -> None:
    # Each of them would carry a session token, or the caller's own signature, to another origin.
    async with other_origin() as (url, received):
        here = await lab(
            accounts=3,
            regions=("us-east-1", "af-south-1"),
            faults=(
                f"redirect,service=account,location={url}",
                f"redirect,service=ec2,location={url}",
                f"redirect,service=sts,operation=AssumeRole,first=1,per=all,location={url}",
            ),
        )
        snapshot = await here.collect(max_attempts=2)
        assert snapshot.manifest.totals.covered == 6
        here = await lab(accounts=3, faults=(f"redirect,service=organizations,location={url}",))
        async with Census(here.settings(max_attempts=2)) as census:
            with pytest.raises(FatalError, match="redirect"):
                await census.collect()
    assert received == []


@both_transports
async def test_connections_that_are_reset_lose_nothing(lab: Start) -> None:
    here = await lab(accounts=8, pools_per_target=30, regions=REGIONS, faults=("reset,first=2",))
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 16}
    # Two pages, and a retry for each reset but those of connections that were used before.
    assert {each.attempts for each in snapshot.targets()} <= {2, 3, 4}


@both_transports
@pytest.mark.parametrize("fault", ["drip,seconds=0.05", "hang"])
async def test_a_reply_that_never_ends_costs_one_target(lab: Start, exact_but: ExactBut, fault: str) -> None:
    here = await lab(
        accounts=4,
        pools_per_target=30,
        regions=REGIONS,
        faults=(f"{fault},account=000000000002,region=eu-west-1,page=2",),
    )
    snapshot = await here.collect(max_attempts=3, attempt_timeout=0.4)
    found = result_of(snapshot, "000000000002", "eu-west-1")
    assert (found.outcome, found.pages, found.pools) == (Outcome.TIMED_OUT, 1, 0)
    assert found.attempts >= 4
    exact_but(here, snapshot, [("000000000002", "eu-west-1")])


# Within 1.5 s, of which the SDK needs some for its clients.
@pytest.mark.parametrize("transport", ["fast"], indirect=True)
async def test_a_target_has_its_time_whatever_its_calls_do(lab: Start, exact_but: ExactBut) -> None:
    here = await lab(
        accounts=3,
        pools_per_target=3,
        regions=REGIONS,
        faults=("hang,account=000000000002,region=eu-west-1",),
    )
    snapshot = await here.collect(target_timeout=1.5)
    found = result_of(snapshot, "000000000002", "eu-west-1")
    assert (found.outcome, found.attempts) == (Outcome.TIMED_OUT, 1)
    exact_but(here, snapshot, [("000000000002", "eu-west-1")])


@pytest.mark.parametrize("transport", ["fast"], indirect=True)
async def test_a_target_that_waits_for_its_turn_as_its_time_ends_says_what_it_was_answered(
    lab: Start, exact_but: ExactBut
) -> None:
    here = await lab(accounts=40, pools_per_target=1, regions=REGIONS, faults=("throttle,region=eu-west-1",))
    snapshot = await here.collect(target_timeout=3)
    throttled = [each for each in snapshot.targets() if each.region == "eu-west-1"]
    # Not those whose first turn has not come, nor one whose attempt was under way.
    waited = [each for each in throttled if each.attempts == each.throttles > 0]
    assert {(each.outcome, each.error_code) for each in waited} == {
        (Outcome.THROTTLED, "ThrottlingException")
    }
    # At five calls a second, few have a second one within their time.
    late = [each for each in waited if each.error_message != "Rate exceeded"]
    assert len(late) > 10
    for each in late:
        assert each.error_message == "not finished within 3 s; the last attempt failed: Rate exceeded"
        assert each.request_id is not None
    exact_but(here, snapshot, [(each.account_id, each.region) for each in throttled])


@pytest.mark.parametrize("transport", ["fast"], indirect=True)
async def test_a_target_that_waits_for_what_this_machine_lacks_as_its_time_ends_says_so(
    lab: Start, exact_but: ExactBut, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = FastTransport.send

    async def lacking(self: FastTransport, template: RequestTemplate, *others: Any, **options: Any) -> Reply:
        if (template.region, template.service) == ("eu-west-1", "workspaces"):
            raise LocalLimitError("no file descriptor left", code=LocalLimit.FILES)
        return await send(self, template, *others, **options)

    monkeypatch.setattr(FastTransport, "send", lacking)
    here = await lab(accounts=2, pools_per_target=1, regions=REGIONS)
    snapshot = await here.collect(target_timeout=1)
    lost = [each for each in snapshot.targets() if each.region == "eu-west-1"]
    assert {(each.outcome, each.error_code, each.error_message, each.attempts) for each in lost} == {
        (
            Outcome.UNREACHABLE,
            "TooManyOpenFiles",
            "not finished within 1 s; the last attempt failed: no file descriptor left",
            0,
        )
    }
    assert "a lower `concurrency`" in remedy_of_outcome(Outcome.UNREACHABLE, lost[0].error_code)
    exact_but(here, snapshot, [(each.account_id, each.region) for each in lost])


@pytest.mark.parametrize("transport", ["fast"], indirect=True)
async def test_a_target_whose_time_ends_amid_an_attempt_says_what_the_one_before_was_answered(
    lab: Start, exact_but: ExactBut
) -> None:
    failed, paged = "000000000002", "000000000003"
    here = await lab(
        accounts=4,
        pools_per_target=30,
        regions=REGIONS[:1],
        faults=[
            f"5xx,first=1,account={failed}",
            f"hang,account={failed}",
            f"5xx,first=1,account={paged}",
            f"hang,page=2,account={paged}",
        ],
    )
    snapshot = await here.collect(target_timeout=2)
    first, second = (result_of(snapshot, each, REGIONS[0]) for each in (failed, paged))
    assert (
        (first.outcome, first.error_code)
        == (second.outcome, second.error_code)
        == (
            Outcome.TIMED_OUT,
            None,
        )
    )
    assert first.error_message is not None
    assert first.error_message.startswith("not finished within 2 s; the attempt before the last one failed: ")
    assert first.error_message.endswith(" (InternalServerException)")
    # What its first page was answered at first says nothing of the second.
    assert (second.attempts, second.error_message) == (3, "not finished within 2 s")
    exact_but(here, snapshot, [(failed, REGIONS[0]), (paged, REGIONS[0])])


@pytest.mark.parametrize("transport", ["fast"], indirect=True)
async def test_targets_after_one_whose_time_was_over_are_read(lab: Start, exact_but: ExactBut) -> None:
    here = await lab(accounts=3, pools_per_target=3, regions=REGIONS, faults=("hang,account=000000000002",))
    snapshot = await here.collect(target_timeout=0.7, concurrency=1)
    hung = [("000000000002", region) for region in REGIONS]
    for each in (result_of(snapshot, *where) for where in hung):
        assert (each.outcome, each.attempts, each.error_message) == (
            Outcome.TIMED_OUT,
            1,
            "not finished within 0.7 s",
        )
        assert each.seconds >= 0.7
    exact_but(here, snapshot, hung)


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("reset", {"per_region": 3}),
        ("hang", {"per_region": 3, "attempt_timeout": 0.2}),
        # As few places as there are: so many accounts find the region dead all the same.
        ("reset", {"per_region": 1, "concurrency": 1}),
    ],
)
async def test_a_dead_region_costs_each_account_a_few_calls(
    lab: Start, exact_but: ExactBut, fault: str, options: dict[str, float]
) -> None:
    here = await lab(accounts=30, pools_per_target=1, regions=REGIONS, faults=(f"{fault},region=eu-west-1",))
    snapshot = await here.collect(**options)
    dead = [each for each in snapshot.targets() if each.region == "eu-west-1"]
    assert {each.outcome for each in dead} == {Outcome.UNREACHABLE}
    # 30 accounts with 12 attempts each would be 360.
    assert sum(each.attempts for each in dead) < 30 * 4
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    exact_but(here, snapshot, [(each.account_id, "eu-west-1") for each in dead])


async def test_a_region_that_refuses_one_account_s_connections_is_not_given_up(
    lab: Start, exact_but: ExactBut
) -> None:
    here = await lab(
        accounts=20,
        pools_per_target=1,
        regions=REGIONS,
        faults=("reset,account=000000000002,region=eu-west-1",),
    )
    snapshot = await here.collect(max_attempts=4, concurrency=2)
    found = result_of(snapshot, "000000000002", "eu-west-1")
    assert (found.outcome, found.attempts) == (Outcome.UNREACHABLE, 4)
    exact_but(here, snapshot, [("000000000002", "eu-west-1")])


@both_transports
async def test_where_nothing_listens_every_target_says_so_itself(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=15, regions=REGIONS)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_WORKSPACES", f"http://127.0.0.1:{port}")
    # How many calls fit into the second of a last round says how fast the machine is.
    monkeypatch.setattr(breaker, "_LAST_ROUND", 20.0)
    with anyio.fail_after(20):
        # It asks STS whether anything answers, instead of waiting a minute for the network.
        snapshot = await here.collect(per_region=3)
    assert snapshot.manifest.outcomes == {Outcome.UNREACHABLE: 30}
    assert all(each.attempts for each in snapshot.targets())
    assert sum(each.attempts for each in snapshot.targets()) < 30 * 5
    assert {each.error_code for each in snapshot.targets()} == {"ConnectError"}
    assert here.calls("workspaces.DescribeWorkspacesPools") == 0

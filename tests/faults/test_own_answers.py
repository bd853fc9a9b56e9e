"""A target is covered by what it answered itself; what others were told changes no outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from census_lab import open_labs
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.simulator.latency import Latency
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from census_lab import Lab
    from faults.conftest import Bench, ExactBut, Run, Serve, Start
    from poolcensus.model import TargetResult
    from poolcensus.snapshot import Snapshot

pytestmark = pytest.mark.usefixtures("transport", "known_soon")

REGIONS = ("us-east-1", "eu-west-2")
OPT_IN = ("us-east-1", "af-south-1")


async def without_status(lab: Start, faults: Sequence[str], *, accounts: int, pools: int = 2) -> Lab:
    """Accounts of which none tells which regions it has enabled."""
    return await lab(
        accounts=accounts,
        pools_per_target=pools,
        regions=OPT_IN,
        faults=faults,
        refuse_list_regions=True,
        refuse_describe_regions=True,
    )


def _accounts(count: int) -> list[str]:
    return [f"{number:012d}" for number in range(2, count + 2)]


async def test_accounts_that_hear_at_once_that_a_region_lacks_the_operation_speak_for_themselves(
    lab: Start, exact_but: ExactBut
) -> None:
    told = _accounts(6)
    here = await lab(
        accounts=120,
        pools_per_target=2,
        regions=REGIONS,
        latency=Latency.parse("300"),
        faults=[f"unsupported,region=eu-west-2,account={each},latency=0" for each in told],
    )
    snapshot = await here.collect()
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    assert snapshot.manifest.outcomes == {Outcome.OK: 234, Outcome.REGION_UNSUPPORTED: 6}
    for each in snapshot.targets():
        unsupported = each.region == "eu-west-2" and each.account_id in told
        assert each.outcome is (Outcome.REGION_UNSUPPORTED if unsupported else Outcome.OK)
        assert each.attempts == 1
    assert sum(1 for _ in snapshot.pools()) == 2 * 234


def test_accounts_that_never_had_pools_are_covered(serve: Serve, run: Run, bench: Bench) -> None:
    regions = "us-east-1,us-west-2,eu-west-1,eu-central-1"
    served = serve("--accounts=41", f"--regions={regions}", "--not-entitled=0.725", "--mean-pools=3")
    ended = run("collect", "--regions", regions, **served.environment)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    shown = run("show", "--json")
    assert '"not_entitled":116' in shown.out.replace(" ", "")
    # The same again: an account that had none before has lost none.
    ended = run("collect", "--regions", regions, **served.environment)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("region", "hiding", "says"),
    [
        (
            "eu-west-1",
            "--fault=not-entitled,account=000000000003,region=eu-west-1",
            (
                "WorkSpaces Pools is closed now to 1 account in which an earlier snapshot saw 4 pools:"
                " 000000000003 acct-2 (eu-west-1). A closed service lists no pools; whether these are gone is"
                " unknown."
            ),
        ),
        (
            "af-south-1",
            "--opt-in-disabled=1",
            (
                "Regions are disabled now in 4 accounts where an earlier snapshot saw 16 pools:"
                " 000000000002 acct-1 (af-south-1), 000000000003 acct-2 (af-south-1), 000000000004 acct-3"
                " (af-south-1), 000000000005 acct-4 (af-south-1). A disabled region keeps its resources, and"
                " AWS goes on to charge for them. Enable the region to list them."
            ),
        ),
    ],
)
def test_pools_that_can_not_be_listed_since_the_last_run_are_told_of(
    serve: Serve, run: Run, region: str, hiding: str, says: str
) -> None:
    shape = ("--accounts=5", f"--regions=us-east-1,{region}", "--pools-per-target=4")
    arguments = ("collect", "--regions", f"us-east-1,{region}")
    assert run(*arguments, **serve(*shape).environment).code == 0
    hidden = serve(*shape, hiding)
    ended = run(*arguments, **hidden.environment)
    assert (ended.code, ended.out, ended.err) == (0, "", f"poolcensus: {says}\n")
    # It is told once: the newest snapshot knows it by now.
    ended = run(*arguments, **hidden.environment)
    assert (ended.code, ended.err) == (0, "")


def test_a_night_that_failed_hides_no_pools_of_an_account_that_is_closed_then(
    serve: Serve, run: Run, bench: Bench
) -> None:
    shape = ("--accounts=3", "--regions=us-east-1", "--pools-per-target=4")
    arguments = ("collect", "--regions", "us-east-1")
    assert run(*arguments, **serve(*shape).environment).code == 0
    failing = serve(*shape, "--fault=denied,account=000000000003")
    assert run(*arguments, **failing.environment).code == 3
    # One of another scope in between does not know the account either.
    assert run(*arguments, "--accounts", "000000000002", **failing.environment).code == 0
    closed = serve(*shape, "--fault=not-entitled,account=000000000003").environment
    for told in (1, 0):
        ended = run(*arguments, **closed)
        assert ended.code == 0
        assert ended.err.count("in which an earlier snapshot saw 4 pools: 000000000003 acct-2") == told


def test_scopes_that_take_turns_at_a_destination_are_no_news(serve: Serve, run: Run, bench: Bench) -> None:
    environment = serve("--accounts=2", "--regions=us-east-1").environment
    told = []
    for shard in ("1/2", "2/2", "1/2", "2/2"):
        ended = run("collect", "--regions", "us-east-1", "--shard", shard, **environment)
        assert ended.code == 0
        told.append("the snapshot before covers" in ended.err)
    assert told == [False, True, False, False]


OUTCOMES = {
    "denied,policy=identity": Outcome.ACCESS_DENIED,
    "denied,policy=boundary": Outcome.ACCESS_DENIED,
    "denied,policy=session": Outcome.ACCESS_DENIED,
    "denied,policy=resource": Outcome.ACCESS_DENIED,
    "denied,policy=endpoint,denial=explicit": Outcome.ACCESS_DENIED,
    "denied,policy=rcp": Outcome.ACCESS_DENIED,
    "denied,policy=scp": Outcome.SCP_DENIED,
    "denied,policy=scp,denial=implicit": Outcome.SCP_DENIED,
    "neutral": Outcome.ACCESS_DENIED,
    "unrecognized": Outcome.ERROR,
    "region-disabled": Outcome.ERROR,
}


async def test_each_refusal_is_its_own_outcome_and_covers_nothing(lab: Start, exact_but: ExactBut) -> None:
    # An account for each, and two beside them.
    refused = {
        (f"{number:012d}", "eu-west-2"): (fault, outcome)
        for number, (fault, outcome) in enumerate(OUTCOMES.items(), 3)
    }
    here = await lab(
        accounts=len(refused) + 2,
        pools_per_target=2,
        regions=REGIONS,
        faults=[
            f"{fault},account={account},region={region}" for (account, region), (fault, _) in refused.items()
        ],
    )
    snapshot = await here.collect()
    found = {(each.account_id, each.region): each.outcome for each in snapshot.uncovered()}
    assert found == {where: outcome for where, (_, outcome) in refused.items()}
    exact_but(here, snapshot, refused)


@both_transports
async def test_a_region_without_pools_is_told_by_the_catalogue_and_its_own_refusal(lab: Start) -> None:
    here = await lab(
        accounts=6, pools_per_target=2, regions=OPT_IN, neutral_regions=("af-south-1",), not_entitled=0.4
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {
        Outcome.OK: 4,
        Outcome.NOT_ENTITLED: 2,
        Outcome.REGION_UNSUPPORTED: 6,
    }


@pytest.mark.parametrize("code", ["unrecognized", "region-disabled"])
@pytest.mark.parametrize("status", [True, False])
async def test_a_region_is_disabled_by_its_status_or_by_keys_that_work_elsewhere(
    lab: Start, exact_but: ExactBut, code: str, status: bool
) -> None:
    where = ("000000000003", "af-south-1")
    here = await lab(
        accounts=5,
        pools_per_target=2,
        regions=OPT_IN,
        faults=[f"{code},account={where[0]},region={where[1]}"],
        refuse_list_regions=not status,
        refuse_describe_regions=not status,
    )
    snapshot = await here.collect()
    found = next(each for each in snapshot.targets() if (each.account_id, each.region) == where)
    if status:
        # The account says that the region is enabled: then it is the service that is wrong.
        assert found.outcome is Outcome.ERROR
        assert found.attempts == 5
        exact_but(here, snapshot, [where])
    else:
        assert found.outcome is Outcome.REGION_DISABLED
        assert found.attempts <= 2
        assert snapshot.manifest.status is SnapshotStatus.COMPLETE


async def test_keys_that_were_known_before_are_asked_about_again(lab: Start) -> None:
    where = ("000000000003", "af-south-1")
    here = await without_status(lab, [f"unrecognized,account={where[0]},region={where[1]}"], accounts=3)
    # One call at a time: what the other region has answered, it has answered before.
    snapshot = await here.collect(concurrency=1)
    found = next(each for each in snapshot.targets() if (each.account_id, each.region) == where)
    assert (found.outcome, found.attempts) == (Outcome.REGION_DISABLED, 2)
    # Six targets, one of them twice, and once more in a region that is always on.
    assert here.simulator.stats.calls["workspaces.DescribeWorkspacesPools"] == 8


async def test_a_region_is_disabled_where_pools_are_asked_for_that_no_other_region_has(lab: Start) -> None:
    where = ("000000000003", "af-south-1")
    here = await without_status(lab, [f"unrecognized,account={where[0]},region={where[1]}"], accounts=3)
    other = next(each for each in here.simulator.world.truth() if each.account_id != where[0] and each.pools)
    # One call at a time: what is known of the credentials was known before.
    snapshot = await here.collect(concurrency=1, pool_ids=(str(other.pools[0]["PoolId"]),))
    found = next(each for each in snapshot.targets() if (each.account_id, each.region) == where)
    assert found.outcome is Outcome.REGION_DISABLED
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE


async def test_where_no_region_that_is_always_on_answers_a_run_ends(lab: Start) -> None:
    here = await without_status(
        lab, ["reset,region=us-east-1,service=workspaces", "unrecognized,region=af-south-1"], accounts=8
    )
    snapshot = await here.collect()
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    assert {each.outcome for each in snapshot.uncovered() if each.region == "us-east-1"} == {
        Outcome.UNREACHABLE
    }


# Whether the region is off or the keys are no good is not always told, and covers nothing either way.
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("not-entitled", "refused after 1 page: "),
        ("unsupported", "refused after 1 page: "),
        ("unrecognized", ""),
        ("region-disabled", ""),
    ],
)
async def test_no_refusal_covers_a_target_of_which_a_page_has_been_read(
    lab: Start, exact_but: ExactBut, fault: str, says: str
) -> None:
    where = ("000000000003", "af-south-1")
    here = await without_status(
        lab, [f"{fault},account={where[0]},region={where[1]},page=2"], accounts=4, pools=40
    )
    snapshot = await here.collect()
    (found,) = snapshot.uncovered()
    assert (found.account_id, found.region) == where
    assert (found.outcome, found.pools, found.pages) == (Outcome.ERROR, 0, 1)
    assert (found.error_message or "").startswith(says)
    exact_but(here, snapshot, [where])


async def test_keys_that_work_nowhere_say_nothing_of_the_region(lab: Start, exact_but: ExactBut) -> None:
    here = await without_status(lab, ["unrecognized,service=*,account=000000000003"], accounts=3)
    snapshot = await here.collect()
    exact_but(here, snapshot, [("000000000003", region) for region in OPT_IN])
    assert snapshot.manifest.outcomes == {Outcome.OK: 4, Outcome.ERROR: 2}


REFUSALS = st.sampled_from(
    [
        "unsupported",
        "not-entitled",
        "neutral",
        "unrecognized",
        "region-disabled",
        "denied,policy=scp",
        "denied,policy=identity",
        "throttle",
        "5xx",
        "reset",
        "html",
        "empty-body",
    ]
)
RULES = st.tuples(
    REFUSALS,
    st.sampled_from([1.0, 0.5, 0.2]),
    st.sampled_from(["", ",account=000000000002", ",account=000000000005"]),
    st.sampled_from(["", *(f",region={region}" for region in (*OPT_IN, "eu-west-2"))]),
    st.sampled_from(["", ",first=1", ",first=3"]),
    st.sampled_from(["", ",latency=0", ",latency=40"]),
)
# Which refusals of a target's own may cover it, and as what.
COVERING: dict[Outcome, set[str | None]] = {
    Outcome.REGION_UNSUPPORTED: {"OperationNotSupportedException", "AccessDeniedException"},
    Outcome.NOT_ENTITLED: {"AccessDeniedException"},
    Outcome.REGION_DISABLED: {"UnrecognizedClientException", "OptInRequired", None},
}


def _check(snapshot: Snapshot, pools_of: dict[tuple[str, str], int]) -> None:
    results: list[TargetResult] = list(snapshot.targets())
    assert len(results) == len(pools_of)
    for each in results:
        pools = pools_of[each.account_id, each.region]
        match each.outcome:
            case Outcome.OK | Outcome.EMPTY:
                assert each.attempts >= each.pages >= 1
                assert each.pools == pools
            case Outcome.REGION_UNSUPPORTED | Outcome.NOT_ENTITLED:
                assert each.attempts >= 1
                assert each.error_code in COVERING[each.outcome]
                assert each.error_message
            case Outcome.REGION_DISABLED:
                assert each.region == "af-south-1"
                assert each.attempts >= 1
                assert each.error_code in COVERING[each.outcome]
            case _:
                assert not each.outcome.covered


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    rules=st.lists(RULES, min_size=1, max_size=4),
    latency=st.sampled_from([0, 5, 30]),
    concurrency=st.sampled_from([2, 8, 64]),
)
async def test_no_target_is_covered_without_an_answer_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    rules: list[tuple[str, float, str, str, str, str]],
    latency: int,
    concurrency: int,
) -> None:
    faults = [f"{kind}{rest}" for kind, rest in ((each[0], _rest(each)) for each in rules)]
    async with open_labs(monkeypatch, tmp_path) as start:
        here = await start(
            accounts=9,
            mean_pools=2,
            empty=0.3,
            regions=(*OPT_IN, "eu-west-2"),
            faults=faults,
            latency=Latency.parse(f"{latency}"),
            refuse_list_regions=True,
            refuse_describe_regions=True,
        )
        snapshot = await here.collect(concurrency=concurrency, max_attempts=3)
        truth = here.simulator.world.truth()
        _check(snapshot, {(each.account_id, each.region): len(each.pools) for each in truth})


def _rest(rule: tuple[str, float, str, str, str, str]) -> str:
    kind, probability, *others = rule
    # A kind that has a property of its own takes the chance by name.
    chance = f",probability={probability}" if "," in kind else f":{probability}"
    return "".join((chance, *others))

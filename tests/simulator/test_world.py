from __future__ import annotations

import dataclasses
import re
import time
import tracemalloc
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import botocore.session
import orjson
import pytest

from poolcensus.model import Outcome
from poolcensus.partitions import partitions
from poolcensus.simulator import (
    Fault,
    Latency,
    Limits,
    SimulatorConfig,
    World,
    WorldConfig,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.conftest import Start

OPT_IN = partitions()["aws"].opt_in
FRACTIONS: Any = {
    "accounts": 60,
    "seed": 11,
    "mean_pools": 3,
    "suspended": 0.05,
    "scp_denied": 0.035,
    "no_role": 0.02,
    "access_denied": 0.02,
    "opt_in_disabled": 0.3,
}


def test_the_fractions_are_exact_disjoint_and_spare_the_management_account() -> None:
    config = WorldConfig(
        accounts=201,
        suspended=0.05,
        scp_denied=0.1,
        no_role=0.033,
        access_denied=0.2,
        opt_in_disabled=0.25,
        not_entitled=0.335,
    )
    world = World(config)
    groups = [
        world.suspended,
        world.scp_denied,
        world.no_role,
        world.access_denied,
        world.opt_in_disabled,
        world.not_entitled,
    ]
    assert [len(group) for group in groups] == [10, 20, round(0.033 * 200), 40, 50, 67]
    together = frozenset[int]().union(*groups)
    assert len(together) == sum(len(group) for group in groups)
    assert 0 not in together


def test_each_group_has_the_outcome_that_it_stands_for() -> None:
    world = World(
        WorldConfig(
            accounts=60,
            pools_per_target=1,
            suspended=0.1,
            scp_denied=0.1,
            no_role=0.1,
            access_denied=0.1,
            opt_in_disabled=0.1,
            not_entitled=0.1,
            unsupported_regions=("sa-east-1",),
            neutral_regions=("us-east-2", "il-central-1"),
        )
    )
    expected = {}
    for group, outcome in (
        (world.suspended, Outcome.ASSUME_ROLE_FAILED),
        (world.no_role, Outcome.ASSUME_ROLE_FAILED),
        (world.scp_denied, Outcome.SCP_DENIED),
        (world.access_denied, Outcome.ACCESS_DENIED),
        (world.not_entitled, Outcome.NOT_ENTITLED),
    ):
        expected.update(dict.fromkeys(group, outcome))
    for target in world.truth():
        index = int(target.account_id) - 1
        outcome = expected.get(index, Outcome.OK)
        if index in world.opt_in_disabled and target.region in OPT_IN:
            outcome = Outcome.REGION_DISABLED
        elif (
            target.region in {"sa-east-1", "us-east-2", "il-central-1"}
            and outcome is not Outcome.ASSUME_ROLE_FAILED
        ):
            outcome = Outcome.REGION_UNSUPPORTED
        assert target.outcome is outcome
        assert len(target.pools) == (1 if outcome is Outcome.OK else 0)
        assert target.account_status == ("SUSPENDED" if index in world.suspended else "ACTIVE")


def test_a_seed_goes_on_to_give_the_world_that_it_gave() -> None:
    digest = sha256()
    for target in World(WorldConfig(**FRACTIONS, odd_texts=True)).truth():
        digest.update(orjson.dumps(list(dataclasses.astuple(target))))
    # From a version in which no members were without Pools, and all descriptions were odd.
    assert digest.hexdigest() == "923878a4cafc8e1d589d56a57c4ada14509e34bf919dd5dc101181b6e0cf5cfb"


def test_members_that_never_had_pools_are_taken_from_those_who_could_have_some() -> None:
    before = list(World(WorldConfig(**FRACTIONS)).truth())
    world = World(WorldConfig(**FRACTIONS, not_entitled=0.34))
    after = list(world.truth())
    assert len(world.not_entitled) == 20
    assert 0 not in world.not_entitled
    for one, other in zip(before, after, strict=True):
        if int(other.account_id) - 1 not in world.not_entitled:
            assert one == other
        else:
            assert one.outcome in {Outcome.OK, Outcome.EMPTY}
            assert (other.outcome, other.pools) == (Outcome.NOT_ENTITLED, [])
            assert other.outcome.covered


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    def first(seed: int) -> list[object]:
        return list(World(WorldConfig(accounts=5, seed=seed, suspended=0.25)).truth())

    assert first(7) == first(7)
    assert first(7) != first(8)


@pytest.mark.parametrize("seed", [-(10**20), 10**20])
def test_a_seed_may_be_any_number_of_64_bits(start: Start, seed: int) -> None:
    world = WorldConfig(accounts=3, seed=seed, mean_pools=30, empty=0)
    running = start(SimulatorConfig(world=world, faults=(Fault.parse("throttle:0"),)))
    assert running.pools().json["WorkspacesPools"]
    assert all(target.outcome in {Outcome.OK, Outcome.EMPTY} for target in running.simulator.world.truth())


def test_pools_are_unique_and_valid_and_lead_back_from_their_ids() -> None:
    world = World(WorldConfig(accounts=30, mean_pools=8, seed=3))
    ids: set[str] = set()
    states: Counter[str] = Counter()
    for target in world.truth():
        names = set()
        for number, pool in enumerate(target.pools):
            pool_id, arn, name = pool["PoolId"], pool["PoolArn"], pool["PoolName"]
            assert isinstance(pool_id, str)
            assert isinstance(name, str)
            assert re.fullmatch(r"wspool-[0-9a-z]{9}", pool_id)
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name)
            assert arn == f"arn:aws:workspaces:{target.region}:{target.account_id}:workspacespool/{pool_id}"
            assert world.press.locate(pool_id) == (int(target.account_id) - 1, target.region, number)
            capacity = pool["CapacityStatus"]
            assert isinstance(capacity, dict)
            available, active = capacity["AvailableUserSessions"], capacity["ActiveUserSessions"]
            assert isinstance(available, int)
            assert isinstance(active, int)
            assert capacity["ActualUserSessions"] == available + active
            assert isinstance(pool["CreatedAt"], float)
            assert 1.7e9 < pool["CreatedAt"] < 1.8e9
            states[str(pool["State"])] += 1
            ids.add(pool_id)
            names.add(name)
        assert len(names) == len(target.pools)
    assert len(ids) == states.total()
    assert states["RUNNING"] > states["STOPPED"] > states["DELETING"] > 0


def test_the_distribution_meets_its_mean_is_skewed_and_has_an_upper_limit() -> None:
    world = World(WorldConfig(accounts=1200, mean_pools=3.0, max_pools=150, empty=0.5))
    counts = [world.pool_count(index, region) for index in range(1200) for region in world.regions]
    assert sum(counts) / len(counts) == pytest.approx(3.0, rel=0.1)
    assert counts.count(0) / len(counts) == pytest.approx(0.5, abs=0.02)
    assert 60 < max(counts) <= 150


def test_stated_counts_come_before_everything_else() -> None:
    world = World(
        WorldConfig(accounts=3, pools_per_target=2, pool_counts={("000000000002", "us-east-1"): 61})
    )
    found = {(target.account_id, target.region): len(target.pools) for target in world.truth()}
    assert found.pop(("000000000002", "us-east-1")) == 61
    assert set(found.values()) == {2}


def test_where_a_page_is_cut_does_not_change_a_pool() -> None:
    world = World(WorldConfig(accounts=2, pools_per_target=120, cache_bytes=0))
    whole = orjson.loads(b"[%b]" % world.press.slice(1, "eu-west-1", 0, 120))
    for size in (1, 7, 25):
        cut = [
            pool
            for start in range(0, 120, size)
            for pool in orjson.loads(
                b"[%b]" % world.press.slice(1, "eu-west-1", start, min(size, 120 - start))
            )
        ]
        assert cut == whole


def test_the_cache_of_pages_keeps_to_its_size() -> None:
    world = World(WorldConfig(accounts=100, pools_per_target=5, cache_bytes=200_000))
    for index in range(100):
        world.press.slice(index, "us-east-1", 0, 5)
    tracemalloc.start()
    try:
        for index in range(100):
            for region in world.regions:
                world.press.slice(index, region, 0, 5)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 600_000


def test_a_large_organization_starts_at_once() -> None:
    began = time.perf_counter()
    world = World(WorldConfig(accounts=5000, mean_pools=50, max_pools=2000, suspended=0.01))
    world.outcome(4999, "us-east-1")
    assert time.perf_counter() - began < 2.0


def test_extra_fields_bring_what_no_sdk_knows() -> None:
    world = World(WorldConfig(accounts=40, pools_per_target=3, extra_fields=True))
    pools = [pool for target in world.truth() for pool in target.pools]
    assert all("SessionAffinity" in pool for pool in pools)
    assert {"HIBERNATING", "RUNNING"} < {str(pool["State"]) for pool in pools}


def test_descriptions_are_such_as_aws_takes_unless_odd_ones_are_asked_for() -> None:
    model = botocore.session.get_session().get_service_model("workspaces").shape_for("WorkspacesPool")
    pattern = model.members["Description"].metadata["pattern"]
    plain, odd = (
        [pool for target in World(WorldConfig(accounts=9, odd_texts=odd)).truth() for pool in target.pools]
        for odd in (False, True)
    )
    texts = {str(pool["Description"]) for pool in plain if "Description" in pool}
    assert len(texts) == 7
    assert all(re.fullmatch(pattern, text) for text in texts)
    assert any(not str(pool.get("Description", "")).isascii() for pool in odd)
    assert any('"' in str(pool.get("Description", "")) for pool in odd)
    # Everything else is the same, and so is the size.
    assert [len(orjson.dumps(pool)) for pool in plain] == [len(orjson.dumps(pool)) for pool in odd]
    assert all(
        {**one, "Description": ""} == {**other, "Description": ""}
        for one, other in zip(plain, odd, strict=True)
    )


def test_govcloud_has_its_own_regions_and_arns() -> None:
    world = World(WorldConfig(accounts=2, partition="aws-us-gov", pools_per_target=1))
    targets = list(world.truth())
    assert {target.region for target in targets} == {"us-gov-east-1", "us-gov-west-1"}
    assert all(str(target.pools[0]["PoolArn"]).startswith("arn:aws-us-gov:") for target in targets)
    assert world.role_arn("000000000002").startswith("arn:aws-us-gov:iam::")


@pytest.mark.parametrize(
    "make",
    [
        lambda: WorldConfig(accounts=0),
        lambda: WorldConfig(suspended=0.6, no_role=0.6),
        lambda: WorldConfig(access_denied=0.6, not_entitled=0.6),
        lambda: WorldConfig(not_entitled=-0.1),
        lambda: WorldConfig(unsupported_regions=("sa-east-1",), neutral_regions=("us-east-2", "sa-east-1")),
        lambda: WorldConfig(empty=1.5),
        lambda: WorldConfig(page_size=26),
        lambda: WorldConfig(partition="aws-iso"),
        lambda: WorldConfig(caller="root"),
        lambda: WorldConfig(states="state"),
        lambda: WorldConfig(ous=2001),
        lambda: WorldConfig(accounts=3, no_role=1.0, caller="delegated"),
        lambda: WorldConfig(hub_roles=("PoolCensusHub",)),
        lambda: WorldConfig(hub_roles=("arn:aws:iam::000000009999:role/Hub",)),
        lambda: WorldConfig(max_pools=-1),
        lambda: Latency.parse("sometimes:5"),
        lambda: Latency.parse("uniform:9-3"),
        lambda: Limits(rate=0.0),
        lambda: Limits(region_rate=0.0),
        lambda: Fault.parse("explode"),
        lambda: Fault.parse("throttle:1.5"),
        lambda: Fault.parse("throttle:often"),
        lambda: Fault.parse("reset,first=many"),
        lambda: Fault.parse("hang,kind=reset"),
        lambda: Fault.parse("throttle,colour=red"),
        lambda: Fault.parse("throttle,per=moon"),
        lambda: Fault.parse("throttle:0.1,probability=0.2"),
        lambda: WorldConfig(role_name="a b"),
        lambda: WorldConfig(role_name=""),
        lambda: WorldConfig(external_id=""),
        lambda: WorldConfig(role_names={"000000000002": ""}),
        lambda: WorldConfig(external_ids={"000000000002": "x"}),
    ],
)
def test_what_can_t_be_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make()


@pytest.mark.parametrize(
    ("rule", "takes"),
    [
        ("throttle:often", "probability must be a number, not 'often'"),
        ("throttle,retry-after=1.5", "retry_after must be a whole number, not '1.5'"),
        ("throttle,first=", "first must be a whole number, not ''"),
        ("drip,seconds=soon", "seconds must be a number, not 'soon'"),
        ("throttle,until=later", "until must be a number, not 'later'"),
        ("throttle,per=moon", "per must be target, account, credentials or all, not 'moon'"),
    ],
)
def test_a_property_of_a_fault_with_a_wrong_value_is_named_with_what_it_takes(rule: str, takes: str) -> None:
    with pytest.raises(ValueError, match="^fault ") as raised:
        Fault.parse(rule)
    assert str(raised.value).endswith(f": {takes}")


def test_the_chance_of_a_fault_needs_no_digit_before_its_point() -> None:
    assert Fault.parse("throttle:.25").probability == 0.25


def test_a_region_that_is_made_up_is_one_where_the_world_has_it() -> None:
    world = WorldConfig(regions=("us-east-1", "mars-north-1"), sts_off=("mars-north-1",))
    SimulatorConfig(world=world, faults=(Fault.parse("throttle,region=mars-north-1"),))
    # Every region has STS, with WorkSpaces or without.
    SimulatorConfig(world=world, faults=(Fault.parse("throttle,service=sts,region=eu-north-1"),))
    with pytest.raises(ValueError, match=r"throttle: region must be one that is simulated, not 'mars-1'"):
        SimulatorConfig(world=world, faults=(Fault.parse("throttle,region=mars-1"),))
    for name in ("account", "role_account"):
        with pytest.raises(ValueError, match=rf"throttle: {name} must be the 12-digit ID of an account"):
            SimulatorConfig(world=world, faults=(Fault.parse(f"throttle,{name}=999999999999"),))


@pytest.mark.parametrize("owner", [WorldConfig, Limits, SimulatorConfig])
def test_every_field_of_the_configuration_has_help(owner: Any) -> None:
    nested = {"world", "latency", "limits"}
    assert all(field.metadata["help"] for field in dataclasses.fields(owner) if field.name not in nested)

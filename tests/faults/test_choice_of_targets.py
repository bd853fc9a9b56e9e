"""Which accounts a run asks, in how many parts, and what it publishes when not all of them answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.census import Census
from poolcensus.errors import FatalError, NotPublishedError
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.simulator.directory import Directory
from poolcensus.simulator.world import account_id
from poolcensus.snapshot import list_snapshots
from storage.buckets import PLACE, stored

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Start
    from poolcensus.snapshot import Snapshot

REGIONS = ("us-east-1",)
SOME = ("000000000003", "000000000001", "000000000007")
FILES = {
    "accounts.txt": "# of it\n000000000003\n\n000000000001 the first\n000000000007  # why\n000000000003\n",
    "accounts": "000000000003\r\n000000000001\r\n000000000007\r\n",
    "accounts.csv": 'Name,Account Id,M\nthird,000000000003,x\n"first, of",000000000001,\n,000000000007,y\n',
    "accounts.json": json.dumps(["000000000003", "000000000001", "000000000007"]),
    "aws.json": json.dumps({"Accounts": [{"Id": each, "Name": f"n{each}"} for each in SOME]}),
    "accounts.toml": (
        'accounts = ["000000000003", { id = "000000000001", name = "first" }, { account = "000000000007" }]'
    ),
}
NAMES = {
    "accounts.txt": {"000000000001": "the first"},
    "accounts.csv": {"000000000003": "third", "000000000001": "first, of"},
    "aws.json": {each: f"n{each}" for each in SOME},
    "accounts.toml": {"000000000001": "first"},
}


def asked(snapshot: Snapshot) -> list[str]:
    """The accounts of the ledger."""
    return sorted(each.account_id for each in snapshot.targets())


@pytest.mark.parametrize("name", FILES)
async def test_accounts_come_from_a_file(lab: Start, tmp_path: Path, name: str) -> None:
    here = await lab(accounts=9, pools_per_target=1, regions=REGIONS)
    file = tmp_path / name
    file.write_text(FILES[name], newline="")
    snapshot = await here.collect(accounts_from=str(file))
    assert asked(snapshot) == sorted(SOME)
    names = {each.account_id: each.account_name for each in snapshot.targets()}
    assert names == {account: NAMES.get(name, {}).get(account) for account in SOME}
    assert sorted(each.account_id for each in snapshot.pools()) == sorted(SOME)
    assert here.calls("organizations.ListAccounts") == 0
    assert snapshot.manifest.organization_id is None


async def test_the_caller_alone(lab: Start) -> None:
    here = await lab(accounts=9, pools_per_target=1, regions=REGIONS)
    snapshot = await here.collect(accounts_from="self")
    assert asked(snapshot) == ["000000000001"]
    assert here.simulator.stats.calls == {
        "sts.GetCallerIdentity": 1,
        "workspaces.DescribeWorkspacesPools": 1,
    }


async def test_units_and_tags_choose_what_the_organization_says(lab: Start) -> None:
    here = await lab(accounts=41, mean_pools=0, regions=REGIONS)
    directory = Directory(here.simulator.world)
    everyone = {account_id(index) for index in range(41)}
    units = _units(directory)
    (workloads,) = [unit for unit in units if directory.unit(unit)["Name"] == "Workloads"]
    below = {unit: _below(directory, unit) for unit in units}
    assert len(below[workloads]) > len(directory.accounts_of(workloads))
    small = min((unit for unit in units if below[unit]), key=lambda unit: len(below[unit]))

    snapshot = await here.collect(ous=(workloads,))
    assert set(asked(snapshot)) == below[workloads]
    snapshot = await here.collect(exclude_ous=(workloads, small))
    assert set(asked(snapshot)) == everyone - below[workloads] - below[small]
    assert {each.reason for each in snapshot.manifest.accounts_skipped} == {
        "excluded by its organizational unit"
    }
    # A root and a unit below it: every account once.
    snapshot = await here.collect(ous=(directory.root_id, workloads))
    assert asked(snapshot) == sorted(everyone)

    prod = {each for each in everyone if (directory.tags_of(each) or {})["env"] == "prod"}
    snapshot = await here.collect(account_tags=("env=prod",), exclude_accounts=(min(prod),))
    assert set(asked(snapshot)) == prod - {min(prod)} != set()


_OPT_IN = ("us-east-1", "af-south-1")


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        ({}, ()),
        ({"ous": (Directory.root_id,)}, ()),
        ({"account_tags": ("env=prod",)}, ()),
        ({"account_tags": ("env=prod",), "ous": (Directory.root_id,), "shard": "1/2"}, ()),
        ({"accounts_from": "self"}, ()),
        ({"accounts_from": "FILE", "ous": (Directory.root_id,)}, ()),
        ({"accounts_from": "FILE", "account_tags": ("env=prod",)}, ()),
        ({"regions": ("us-east-1",)}, ()),
        ({}, ("denied,service=account",)),
        ({}, ("denied,service=account", "denied,service=ec2")),
        ({"exclude_accounts": ("000000000002",)}, ()),
    ],
)
async def test_a_plan_has_the_calls_that_a_run_makes(
    lab: Start, tmp_path: Path, settings: dict[str, object], faults: tuple[str, ...]
) -> None:
    here = await lab(accounts=25, mean_pools=0, regions=_OPT_IN, faults=faults)
    if settings.get("accounts_from") == "FILE":
        file = tmp_path / "accounts.txt"
        file.write_text("".join(f"{number:012d}\n" for number in range(1, 15)))
        settings = {**settings, "accounts_from": str(file)}
    async with Census(here.settings(**settings)) as census:
        plan = await census.plan()
    here.simulator.stats.calls.clear()
    await here.collect(**settings)
    assert {name.replace(":", "."): count for name, count in plan.calls.items()} == here.simulator.stats.calls


def _units(directory: Directory, parent: str = Directory.root_id) -> list[str]:
    here = directory.units_of(parent)
    return here + [unit for each in here for unit in _units(directory, each)]


def _below(directory: Directory, parent: str) -> set[str]:
    own = {account_id(index) for index in directory.accounts_of(parent)}
    return own.union(*(_below(directory, unit) for unit in directory.units_of(parent)))


async def test_the_parts_of_a_run_together_are_the_whole(lab: Start) -> None:
    here = await lab(accounts=20, mean_pools=4, regions=REGIONS)
    whole = await here.collect()
    targets: list[str] = []
    pools: list[str] = []
    for index in (1, 2, 3):
        part = await here.collect(shard=f"{index}/3")
        assert part.manifest.shard is not None
        assert 0 < part.manifest.accounts_planned < 20
        targets += asked(part)
        pools += [str(each.pool["PoolId"]) for each in part.pools()]
    assert sorted(targets) == asked(whole)
    assert sorted(pools) == sorted(str(each.pool["PoolId"]) for each in whole.pools())


async def test_a_deadline_ends_a_run_with_a_line_for_every_target(lab: Start) -> None:
    here = await lab(
        accounts=20,
        pools_per_target=30,
        regions=("us-east-1", "eu-west-1"),
        faults=("hang,region=eu-west-1",),
    )
    snapshot = await here.collect(deadline=2.5, concurrency=4)
    late = [each for each in snapshot.targets() if each.outcome in {Outcome.CANCELLED, Outcome.TIMED_OUT}]
    assert {each.error_code for each in late} == {"Deadline"}
    assert all("the run's deadline of 2.5 s passed" in str(each.error_message) for each in late)
    outcomes = snapshot.manifest.outcomes
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    assert outcomes.keys() <= {Outcome.OK, Outcome.TIMED_OUT, Outcome.CANCELLED}
    assert outcomes[Outcome.TIMED_OUT] > 0
    assert outcomes[Outcome.CANCELLED] > 0
    assert sum(outcomes.values()) == 40
    found = [(each.account_id, each.region) for each in snapshot.targets()]
    assert len(set(found)) == len(found) == 40
    covered = [each for each in snapshot.targets() if each.outcome.covered]
    assert sum(1 for _ in snapshot.pools()) == 30 * len(covered)
    assert {each.region for each in covered} <= {"us-east-1"}


async def test_a_deadline_that_passes_while_accounts_are_listed_publishes_nothing(lab: Start) -> None:
    here = await lab(
        accounts=200, mean_pools=0, regions=REGIONS, faults=("hang,service=organizations,first=1",)
    )
    async with Census(here.settings(deadline=1.0)) as census:
        with pytest.raises(FatalError, match="deadline of 1 s"):
            await census.collect()
    assert not list_snapshots(here.dest)


@pytest.mark.parametrize(
    ("fault", "dest"),
    [
        ("hang,service=sts,operation=GetCallerIdentity", None),
        ("hang,service=s3", PLACE),
        ("hang,service=s3,operation=POST", PLACE),
    ],
)
async def test_a_deadline_bounds_what_comes_before_the_first_account(
    lab: Start, fault: str, dest: str | None
) -> None:
    here = await lab(accounts=2, regions=REGIONS, faults=(fault,))
    stored(here.simulator)
    async with Census(here.settings(deadline=0.5)) as census:
        # Each of them is given up after minutes.
        with anyio.fail_after(30), pytest.raises(FatalError) as caught:
            await census.collect(dest or here.dest)
        assert (
            str(caught.value) == "The deadline of 0.5 s passed before AWS and the destination had answered."
        )
        # The next run has a deadline of its own.
        with pytest.raises(FatalError, match="had answered"):
            await census.collect(dest or here.dest)


async def test_a_deadline_bounds_what_comes_before_the_first_page_of_a_stream(lab: Start) -> None:
    here = await lab(accounts=2, faults=("hang,service=sts,operation=GetCallerIdentity",))
    async with Census(here.settings(deadline=0.5)) as census:
        with anyio.fail_after(30), pytest.raises(FatalError, match=r"deadline of 0\.5 s passed before AWS"):
            await anext(aiter(census.pages()))


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"strict": True}, False),
        ({"max_failed": 1}, False),
        ({"max_failed": 2}, True),
        ({"max_failed": "19%"}, False),
        ({"max_failed": "20%"}, True),
    ],
)
async def test_how_many_targets_may_fail(lab: Start, options: dict[str, object], published: bool) -> None:
    here = await lab(
        accounts=10,
        pools_per_target=1,
        regions=REGIONS,
        faults=("html,account=000000000002", "html,account=000000000003"),
    )
    async with Census(here.settings(max_attempts=1, **options)) as census:
        if published:
            await census.collect()
        else:
            with pytest.raises(NotPublishedError) as caught:
                await census.collect()
            assert caught.value.count == 2
            assert [each.account_id for each in caught.value.uncovered] == ["000000000002", "000000000003"]
    assert len(list_snapshots(here.dest)) == published
    files = [each.name for each in here.dest.rglob("*.ndjson")]
    assert sorted(files) == (["pools.ndjson", "targets.ndjson"] if published else ["targets.ndjson"])


async def test_strict_publishes_what_is_whole(lab: Start) -> None:
    here = await lab(
        accounts=10, pools_per_target=1, regions=("us-east-1", "af-south-1"), opt_in_disabled=0.5
    )
    snapshot = await here.collect(strict=True, max_failed=0)
    assert here.assert_exact(snapshot)[Outcome.REGION_DISABLED] > 0

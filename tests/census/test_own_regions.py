"""Accounts with regions of their own, and what records say of an account's place and tags."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from poolcensus.census import Census
from poolcensus.errors import SettingsError
from poolcensus.model import Outcome
from poolcensus.simulator.directory import Directory
from poolcensus.snapshot import list_snapshots
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.snapshot import Snapshot

    Start = Callable[..., Coroutine[None, None, Lab]]

A, B, C, D = (f"{number:012d}" for number in range(1, 5))
REGIONS = ("us-east-1", "eu-west-1", "eu-west-2", "af-south-1")


def targets(snapshot: Snapshot) -> set[tuple[str, str]]:
    found = [(each.account_id, each.region) for each in snapshot.targets()]
    assert len(found) == len(set(found)) == snapshot.manifest.totals.targets
    return set(found)


async def test_an_account_is_asked_in_its_own_regions_and_the_ledger_has_no_others(
    lab: Start, tmp_path: Path
) -> None:
    here = await lab(accounts=6, regions=REGIONS, pools_per_target=2)
    file = tmp_path / "own.csv"
    file.write_text(f"account_id,regions\n{A},eu-*\n{B},af-south-1 us-east-1\n{D},us-east-1\n")
    settings = {"accounts_from": f"organization,{file}", "regions": ("us-east-1", "eu-west-1")}
    snapshot = await here.collect(**settings, exclude_regions=("eu-west-2", "eu-central-1", "eu-west-3"))
    usual = {(f"{number:012d}", region) for number in (3, 5, 6) for region in ("us-east-1", "eu-west-1")}
    own = {(A, "eu-west-1"), (B, "af-south-1"), (B, "us-east-1"), (D, "us-east-1")}
    assert targets(snapshot) == usual | own
    assert {each.outcome for each in snapshot.targets()} == {Outcome.OK}
    assert not verify(snapshot)
    async with Census(here.settings(**settings)) as census:
        plan = await census.plan()
        streamed = [(each.account.id, each.region) async for each in census.targets()]
    further = {(A, region) for region in ("eu-central-1", "eu-west-2", "eu-west-3")}
    assert sorted(streamed) == sorted(usual | own | further)
    assert plan.targets == plan.calls["workspaces:DescribeWorkspacesPools"] == len(streamed)
    assert set(plan.regions) == {region for _, region in streamed}
    # Only one account is asked in a region that has to be enabled.
    assert plan.calls["account:ListRegions"] == 1


async def test_an_account_is_asked_as_its_file_says(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=6, regions=("us-east-1",), pools_per_target=1, external_id="right-one")
    config = tmp_path / "aws-config"
    key, secret = here.simulator.access_key_id, here.simulator.secret_access_key
    config.write_text(f"[profile hub]\naws_access_key_id={key}\naws_secret_access_key={secret}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    arn = f"arn:aws:iam::{C}:role/PoolCensusReader"
    file = tmp_path / "own.csv"
    file.write_text(
        "account_id,role,external_id,profile\n"
        f"{B},PoolCensusReader,right-one,\n{C},{arn},right-one,hub\n{D},PoolCensusReader,wrong-one,\n"
    )
    given: dict[str, object] = {
        "accounts_from": f"organization,{file}",
        "role_name": "Another",
        "external_id": "another-one",
    }
    snapshot = await here.collect(**given)
    found = {each.account_id: each for each in snapshot.targets()}
    read = {account for account, each in found.items() if each.outcome is Outcome.OK}
    # The first is the caller's own.
    assert read == {A, B, C}
    failed = [each for each in found.values() if each.outcome is not Outcome.OK]
    assert {each.outcome for each in failed} == {Outcome.ASSUME_ROLE_FAILED}
    assert len(failed) == 3
    written = b"".join(each.read_bytes() for each in here.dest.rglob("*") if each.is_file())
    for external_id in (b"right-one", b"wrong-one", b"another-one"):
        assert external_id not in written
    async with Census(here.settings(**given)) as census:
        plan = await census.plan()
    assert plan.calls["sts:AssumeRole"] == 5
    # For a profile alone, no role is assumed.
    file.write_text(f"account_id,profile\n{B},hub\n")
    async with Census(here.settings(**given)) as census:
        assert (await census.plan()).calls["sts:AssumeRole"] == 4


async def test_a_run_that_resumes_keeps_to_the_regions_of_each_account(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=4, regions=REGIONS, pools_per_target=1)
    file = tmp_path / "own.json"
    file.write_text(json.dumps([{"id": A, "regions": ["eu-west-1"]}, B]))
    given: dict[str, object] = {"accounts_from": str(file), "regions": ("us-east-1",), "resume": True}
    assert targets(await here.collect(**given)) == {(A, "eu-west-1"), (B, "us-east-1")}
    assert targets(await here.collect(**given)) == {(A, "eu-west-1"), (B, "us-east-1")}


async def test_records_and_ledger_say_where_an_account_is_and_its_tags(lab: Start) -> None:
    here = await lab(accounts=30, regions=("us-east-1",), pools_per_target=1)
    directory = Directory(here.simulator.world)
    plain = await here.collect()
    assert {(each.ou_path, each.account_tags) for each in plain.targets()} == {(None, None)}
    snapshot = await here.collect(include_ou_path=True, include_account_tags=True)
    for lines in (list(snapshot.targets()), list(snapshot.pools())):
        assert len(lines) == 30
        for each in lines:
            assert dict(each.account_tags or ()) == directory.tags_of(each.account_id)
            above, parent = each.account_id, []
            while (found := directory.parent_of(above)) is not None:
                parent.append(found)
                above = found
            assert each.ou_path == "/".join(
                (directory.organization_id, *reversed(parent), each.account_id, "")
            )
    assert here.calls("organizations.ListTagsForResource") == 30


async def test_a_unit_that_does_not_exist_publishes_nothing_and_asks_nobody(lab: Start) -> None:
    here = await lab(accounts=9, regions=("us-east-1",))
    for given in ({"ous": "ou-ab12-00000000"}, {"exclude_ous": "r-0000"}):
        with pytest.raises(SettingsError, match=f"{next(iter(given.values()))} in the caller's Organization"):
            await here.collect(**given)
    assert here.calls("sts.AssumeRole") == 0
    assert here.calls("workspaces.DescribeWorkspacesPools") == 0
    assert not list_snapshots(here.dest)

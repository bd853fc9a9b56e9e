"""Several Organizations in one run: each with its own credentials and partition, in one snapshot."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

import poolcensus
from poolcensus.analysis.account_failures import failures_by_account
from poolcensus.cli import main
from poolcensus.doctor.findings import Cause, Check
from poolcensus.errors import (
    AccountChoiceError,
    CredentialsError,
    MergeError,
    OrganizationError,
)
from poolcensus.model import Outcome
from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.merging import merge
from poolcensus.snapshot.verification import verify
from two_organizations import FIVE, FOUR, ONE, THREE, TWO

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.doctor.findings import Finding
    from two_organizations import Two


@pytest.fixture
async def two_snapshots(two: Two) -> Path:
    async with poolcensus.Census(two.settings()) as census:
        snapshot = await census.collect()
    assert snapshot.path is not None
    return snapshot.path


async def test_one_snapshot_has_the_pools_of_both_and_each_line_names_its_organization(two: Two) -> None:
    async with poolcensus.Census(two.settings()) as census:
        snapshot = await census.collect()
    assert verify(snapshot) == ()
    assert {
        (each.organization, each.account_id, each.region, each.outcome) for each in snapshot.targets()
    } == {
        *(
            ("commercial", each, region, Outcome.OK)
            for each in (ONE, TWO, THREE)
            for region in ("us-east-1", "eu-west-1")
        ),
        *(("gov", each, "us-gov-west-1", Outcome.OK) for each in (FOUR, FIVE)),
    }
    partitions = {(each.organization, each.partition) for each in snapshot.pools()}
    assert partitions == {("commercial", "aws"), ("gov", "aws-us-gov")}
    assert snapshot.manifest.totals.pools == 3 * 2 * 2 + 2
    commercial, gov = snapshot.manifest.organizations
    assert (commercial.name, commercial.caller.partition, commercial.accounts_planned) == (
        "commercial",
        "aws",
        3,
    )
    assert (gov.name, gov.caller.partition, gov.accounts_planned) == ("gov", "aws-us-gov", 2)
    assert commercial.id is not None
    assert gov.id is not None
    assert commercial.id != gov.id
    assert snapshot.path is not None
    again = poolcensus.Snapshot.open(snapshot.path)
    assert again.manifest == snapshot.manifest


async def test_streams_and_plans_are_of_both(two: Two) -> None:
    async with poolcensus.Census(two.settings()) as census:
        plan = await census.plan()
        assert (plan.targets, len(plan.accounts)) == (8, 5)
        assert [(each.name, each.accounts_planned) for each in plan.organizations] == [
            ("commercial", 3),
            ("gov", 2),
        ]
        assert plan.calls["workspaces:DescribeWorkspacesPools"] == 8
        targets = [each async for each in census.targets()]
        assert len(targets) == 8
        pools = [each async for each in census.pools()]
    assert {(each.organization, each.partition) for each in pools} == {
        ("commercial", "aws"),
        ("gov", "aws-us-gov"),
    }
    assert len(pools) == 14


async def test_an_account_of_two_tables_is_refused(two: Two) -> None:
    first, second = two.tables()
    again = {**first, "name": "again", "accounts": [ONE, TWO]}
    for tables, (one, other) in (
        ([first, again, second], ("commercial", "again")),
        ([again, second, first], ("again", "commercial")),
    ):
        async with poolcensus.Census(two.settings(organization=tables)) as census:
            with pytest.raises(AccountChoiceError) as caught:
                await census.collect()
        assert str(caught.value) == (
            f"Organization {other}: 2 accounts are listed by {one} too: {ONE}, {TWO}. Leave them out of one"
            " of them, with exclude_accounts in its table."
        )
        assert caught.value.organization == other
    disjoint = [{**first, "accounts": [THREE]}, again, second]
    async with poolcensus.Census(two.settings(organization=disjoint)) as census:
        snapshot = await census.collect()
    assert {each.account_id: each.organization for each in snapshot.targets()} == {
        ONE: "again",
        TWO: "again",
        THREE: "commercial",
        FOUR: "gov",
        FIVE: "gov",
    }


async def findings_of(settings: Settings) -> list[Finding]:
    async with poolcensus.diagnose(settings) as stream:
        return [each async for each in stream]


async def test_a_diagnosis_finds_the_account_that_a_run_would_be_refused_for(two: Two) -> None:
    first, second = two.tables()
    findings = await findings_of(two.settings(organization=[first, {**first, "name": "again"}, second]))
    (problem,) = [each for each in findings if each.is_problem]
    assert problem.check is Check.ORGANIZATION
    assert problem.organization == "again"
    assert str(problem.message).startswith(f"3 accounts are listed by commercial too: {ONE}, ")


async def test_a_diagnosis_tries_a_bucket_with_the_credentials_of_the_run(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = two.settings(dest="s3://some-bucket/there", endpoint_url=two.commercial.simulator.endpoint_url)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (problem,) = [each for each in await findings_of(settings) if each.is_problem]
    assert (problem.check, problem.cause) == (Check.DESTINATION, Cause.CREDENTIALS)
    async with poolcensus.Census(settings) as census:
        with pytest.raises(CredentialsError):
            await census.collect()


async def test_what_goes_wrong_names_its_organization_and_nothing_is_published(two: Two) -> None:
    first, second = two.tables()
    async with poolcensus.Census(
        two.settings(organization=[first, {**second, "accounts": ["999999999999"]}])
    ) as census:
        with pytest.raises(OrganizationError, match="Organization gov: 999999999999: not among"):
            await census.collect()
    async with poolcensus.Census(
        two.settings(organization=[first, {**second, "profile": "nobody"}])
    ) as census:
        with pytest.raises(poolcensus.SettingsError, match='Organization gov: Profile "nobody" not found'):
            await census.collect()
    assert list_snapshots(two.commercial.dest) == ()


async def test_a_run_of_both_goes_on_where_it_was_stopped(
    open_two: Callable[..., Coroutine[None, None, Two]],
) -> None:
    two = await open_two(faults=(f"hang,account={FIVE},service=workspaces,first=1",))
    async with poolcensus.Census(two.settings()) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        while census.progress().done < 7:
            await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    assert census.resumable
    calls = two.commercial.calls("workspaces.DescribeWorkspacesPools")
    async with poolcensus.Census(two.settings(resume=True)) as census:
        snapshot = await census.collect()
    assert two.commercial.calls("workspaces.DescribeWorkspacesPools") == calls
    assert verify(snapshot) == ()
    assert snapshot.manifest.outcomes == {Outcome.OK: 8}


async def test_a_run_of_both_does_not_go_on_where_one_has_another_endpoint(
    open_two: Callable[..., Coroutine[None, None, Two]], caplog: pytest.LogCaptureFixture
) -> None:
    two = await open_two(faults=(f"hang,account={FIVE},service=workspaces,first=1",))
    async with poolcensus.Census(two.settings()) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        # The other hangs by then, once.
        while census.progress().done < 7:
            await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    assert census.resumable
    tables = two.tables()
    tables[1]["endpoint_url"] = str(tables[1]["endpoint_url"]).replace("127.0.0.1", "localhost")
    async with poolcensus.Census(two.settings(resume=True, organization=tables)) as census:
        await census.collect()
    assert "is not resumed: it was asked for something else (endpoint_url)" in caplog.text


async def collected(settings: Settings) -> Snapshot:
    async with poolcensus.Census(settings) as census:
        return await census.collect()


async def test_the_order_of_the_tables_makes_no_difference(two: Two) -> None:
    first = await collected(two.settings())
    second = await collected(two.settings(organization=two.tables()[::-1]))
    assert first.info.scope == second.info.scope
    difference = poolcensus.diff(first, second)
    assert await to_thread.run_sync(list, difference) == []
    assert difference.warnings == ()
    statistics = difference.statistics
    assert (statistics.unchanged, statistics.unknown) == (14, 0)
    parts = [
        await collected(two.settings(organization=tables, shard=f"{index}/2"))
        for index, tables in ((1, two.tables()), (2, two.tables()[::-1]))
    ]
    merged = await merge([each.id for each in parts], two.commercial.dest)
    assert merged.manifest.totals.pools == 14


async def test_another_organization_behind_the_second_table_is_another_scope(two: Two) -> None:
    first = await collected(two.settings())
    manifest = replace(
        first.manifest,
        organizations=(
            first.manifest.organizations[0],
            replace(first.manifest.organizations[1], id="o-another"),
        ),
    )
    second = Snapshot(first._files, manifest)
    assert first.info.scope != second.info.scope
    assert second.info.scope.difference(first.info.scope) is not None
    assert "different Organizations" in " ".join(poolcensus.diff(first, second).warnings)


async def test_shards_without_any_account_are_not_merged(two: Two) -> None:
    def parts(**changes: object) -> list[Settings]:
        return [two.settings(shard=f"{index}/2", **changes) for index in (1, 2)]

    none = [await collected(each) for each in parts(account_names=("nobody",))]
    with pytest.raises(MergeError, match="no shard has an account"):
        await merge([each.id for each in none], two.commercial.dest)
    tables = two.tables()
    tables[1] |= {"account_names": ["nobody"]}
    some = [await collected(each) for each in parts(organization=tables)]
    with pytest.raises(MergeError, match="no shard has an account of Organization gov"):
        await merge([each.id for each in some], two.commercial.dest)


def test_a_snapshot_of_both_is_read_as_any_other(
    two_snapshots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(two_snapshots)]) == 0
    assert "2 organizations: commercial, gov" in capsys.readouterr().out
    assert main(["show", str(two_snapshots), "--pools", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["organization"] for each in records} == {"commercial", "gov"}
    assert main(["show", str(two_snapshots), "--pools", "--sort=-organization"]) == 0
    titles, *rows = capsys.readouterr().out.splitlines()
    column = titles.index("Organization")
    assert [row[column:].split()[0] for row in rows] == ["gov"] * 2 + ["commercial"] * 12
    failed = replace(next(iter(Snapshot.open(two_snapshots).targets())), outcome=Outcome.ACCESS_DENIED)
    assert [each.organization for each in failures_by_account([failed], None)] == [failed.organization]
    assert main(["verify", str(two_snapshots)]) == 0
    query = "SELECT organization, count(*) FROM pools GROUP BY ALL ORDER BY ALL"
    assert main(["query", query, "--snapshot", str(two_snapshots), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["commercial,12", "gov,2"]

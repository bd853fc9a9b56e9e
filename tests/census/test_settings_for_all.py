"""Settings that stand for the whole run: what they name may be in any of its Organizations."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

import poolcensus
from poolcensus.doctor.findings import Cause, Check
from poolcensus.errors import AccountChoiceError, FatalError, MergeError, ScopeError
from poolcensus.simulator.directory import Directory
from poolcensus.snapshot import list_snapshots
from poolcensus.snapshot.merging import merge
from poolcensus.snapshot.verification import verify
from two_organizations import FIVE, FOUR, ONE, THREE, TWO

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.doctor.findings import Finding
    from poolcensus.snapshot import Snapshot
    from two_organizations import Two

    OpenTwo = Callable[..., Coroutine[None, None, Two]]

NOTHING: Mapping[str, object] = {}
OPERATION = "workspaces.DescribeWorkspacesPools"


def settings_of(two: Two, given: Mapping[str, object], gov: Mapping[str, object] = NOTHING) -> Settings:
    """Settings of both, and of GovCloud's table, whose accounts with the numbers of others are left out."""
    first, second = two.tables()
    for table in (first, second):
        del table["accounts"], table["regions"]
    second |= {"exclude_accounts": [ONE, TWO, THREE], **gov}
    return two.settings(organization=[first, second], **given)


async def collected(settings: Settings) -> Snapshot:
    async with poolcensus.Census(settings) as census:
        return await census.collect()


def asked(snapshot: Snapshot) -> set[tuple[str | None, str]]:
    return {(each.organization, each.account_id) for each in snapshot.targets()}


def calls(two: Two) -> tuple[int, int]:
    return two.commercial.calls(OPERATION), two.gov.calls(OPERATION)


@pytest.mark.parametrize(
    "given",
    [{"accounts": FOUR}, {"account_names": "acct-3"}, {"exclude_account_names": ("acct-[0-2]", "acct-4")}],
)
async def test_accounts_of_one_organization_are_asked_there_alone(
    two: Two, given: Mapping[str, object]
) -> None:
    settings = settings_of(two, given)
    async with poolcensus.Census(settings) as census:
        plan = await census.plan()
        targets = [each async for each in census.targets()]
    assert {each.account.id for each in targets} == {each.id for each in plan.accounts} == {FOUR}
    assert [(each.name, each.accounts_planned) for each in plan.organizations] == [
        ("commercial", 0),
        ("gov", 1),
    ]
    snapshot = await collected(settings)
    assert asked(snapshot) == {("gov", FOUR)}
    assert calls(two)[0] == 0
    assert verify(snapshot) == ()
    assert [each.accounts_planned for each in snapshot.manifest.organizations] == [0, 1]


@pytest.mark.parametrize("paths", [True, False])
async def test_a_unit_of_one_organization_chooses_and_excludes_there(open_two: OpenTwo, paths: bool) -> None:
    two = await open_two(ous=3, paths=paths)
    unit = Directory(two.gov.simulator.world).parent_of(FOUR)
    chosen = await collected(settings_of(two, {"ous": unit}))
    assert asked(chosen) == {("gov", FOUR)}
    others = await collected(settings_of(two, {"exclude_ous": unit}))
    assert asked(others) == {*(("commercial", each) for each in (ONE, TWO, THREE)), ("gov", FIVE)}


UNIT, NOBODY = "ou-zzzz-zzzzzzzz", "999999999999"
NO_UNIT = f"There is no root or organizational unit {UNIT} in Organizations commercial, gov."
NO_ACCOUNT = f"{NOBODY}: not among the accounts of Organizations commercial, gov (check `accounts`)"


@pytest.mark.parametrize(
    ("given", "kind", "said", "check"),
    [
        ({"ous": UNIT}, ScopeError, NO_UNIT, " Check `ous` and `exclude_ous`."),
        ({"exclude_ous": UNIT}, ScopeError, NO_UNIT, " Check `ous` and `exclude_ous`."),
        ({"accounts": NOBODY}, AccountChoiceError, NO_ACCOUNT, ""),
        ({"accounts": (NOBODY, FOUR)}, AccountChoiceError, NO_ACCOUNT, ""),
        (
            {"account_names": "nobody"},
            FatalError,
            "No accounts match: all 8 were filtered out (5 without a name that matches, 3 excluded).",
            " Check `account_names`.",
        ),
        (
            {"account_tags": "no=tag"},
            FatalError,
            "No accounts match: all 8 were filtered out (5 without the tags, 3 excluded).",
            " Check `account_tags`.",
        ),
        (
            {"accounts": FOUR, "regions": "us-east-1"},
            FatalError,
            f"No accounts match: account {FOUR} was filtered out (in none of the regions that are asked).",
            " Check `accounts` and `regions`.",
        ),
    ],
)
async def test_what_none_has_is_told_before_any_target_is_called(
    two: Two, given: Mapping[str, object], kind: type[FatalError], said: str, check: str
) -> None:
    async with poolcensus.Census(settings_of(two, given)) as census:
        for take in (census.collect, census.plan):
            with pytest.raises(kind) as caught:
                await take()
            assert str(caught.value) == said + check
            assert caught.value.organization is None
    assert calls(two) == (0, 0)
    assert list_snapshots(two.commercial.dest) == ()


async def test_an_account_that_none_has_is_told_of_a_stream_too(two: Two) -> None:
    async with poolcensus.Census(settings_of(two, {"accounts": (NOBODY, FOUR)})) as census:
        for stream in (census.targets, census.pools):
            with pytest.raises(AccountChoiceError, match="Organizations commercial, gov"):
                [each async for each in stream()]
    assert calls(two) == (0, 0)


async def test_regions_of_one_partition_are_asked_there_alone(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(two, {"regions": "us-gov-west-1", "known_gaps": f"{NOBODY}:*:access_denied"})
    async with poolcensus.Census(settings) as census:
        plan = await census.plan()
        snapshot = await census.collect()
    assert (plan.regions, {each.id for each in plan.accounts}) == (("us-gov-west-1",), {FOUR, FIVE})
    assert asked(snapshot) == {("gov", FOUR), ("gov", FIVE)}
    assert [each.name for each in snapshot.manifest.organizations] == ["gov"]
    assert verify(snapshot) == ()
    assert two.commercial.calls("organizations.ListAccounts") == 0
    # All of an Organization is missing: whoever has set that for every night is to hear of it.
    (said, *_) = [each for each in caplog.records if "us-gov-west-1" in each.getMessage()]
    assert said.levelno == logging.WARNING
    assert said.getMessage().startswith(
        "nothing is asked in Organization commercial: us-gov-west-1: no region with"
    )
    # What was not listed may have the account.
    assert census.outdated_gaps == ()
    async with poolcensus.Census(settings_of(two, {"regions": "cn-north-1"})) as census:
        with pytest.raises(
            ScopeError, match="Organization commercial: cn-north-1: .* Organization gov: cn-north-1: "
        ):
            await census.collect()


async def test_an_account_that_is_named_and_skipped_is_told_where_another_is_asked(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = await collected(settings_of(two, {"accounts": (FOUR, FIVE)}, {"account_names": "acct-4"}))
    assert asked(snapshot) == {("gov", FIVE)}
    assert f"account {FOUR} is skipped: it is without a name that matches" in caplog.messages


async def test_an_account_that_a_table_excludes_is_asked_in_another_organization(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    for named, expected in (
        (THREE, {("commercial", THREE)}),
        ((THREE, FOUR), {("commercial", THREE), ("gov", FOUR)}),
    ):
        settings = settings_of(two, {"accounts": named})
        snapshot = await collected(settings)
        assert asked(snapshot) == expected
        assert verify(snapshot) == ()
    assert not [each for each in caplog.messages if "skipped" in each]
    async with poolcensus.diagnose(settings, every_account=True) as stream:
        findings = [each async for each in stream]
    assert not [each for each in findings if each.is_problem]


async def test_an_account_that_all_tables_exclude_or_lack_is_told(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    gov = {"exclude_accounts": [ONE, TWO, THREE, FIVE]}
    assert asked(await collected(settings_of(two, {"accounts": (FOUR, FIVE)}, gov))) == {("gov", FOUR)}
    assert f"account {FIVE} is skipped: it is excluded" in caplog.messages
    with pytest.raises(FatalError) as caught:
        await collected(settings_of(two, {"accounts": FIVE}, gov))
    assert str(caught.value) == (
        f"No accounts match: account {FIVE} was filtered out (excluded). Check `accounts`."
    )


async def test_accounts_of_the_run_are_those_of_the_tables_that_name_none(two: Two) -> None:
    first, second = two.tables()
    del first["accounts"]
    settings = two.settings(organization=[first, second], accounts=(ONE, THREE))
    assert asked(await collected(settings)) == {
        *(("commercial", each) for each in (ONE, THREE)),
        *(("gov", each) for each in (FOUR, FIVE)),
    }
    # Another one's table does not choose it.
    async with poolcensus.Census(two.settings(organization=[first, second], accounts=FOUR)) as census:
        with pytest.raises(
            AccountChoiceError, match=f"^{FOUR}: not among the accounts of Organization commercial "
        ):
            await census.collect()


async def test_what_a_table_sets_for_itself_is_checked_against_its_organization_alone(two: Two) -> None:
    cases: list[tuple[Mapping[str, object], Mapping[str, object], str]] = [
        (
            {"ous": UNIT},
            {},
            f"Organization gov: There is no root or organizational unit {UNIT} in the caller's",
        ),
        (
            {"accounts": [NOBODY]},
            {},
            f"Organization gov: {NOBODY}: not among the accounts of the Organization",
        ),
        ({"account_tags": ["no=tag"]}, {}, "Organization gov: No accounts match: all 5 were filtered out"),
        # What is excluded for all is one, and its own settings leave out the others.
        (
            {"account_tags": ["no=tag"]},
            {"exclude_account_names": "acct-3"},
            "Organization gov: No accounts match: all 5 were filtered out",
        ),
        ({"regions": ["eu-west-1"]}, {}, "Organization gov: eu-west-1: no region with"),
    ]
    for gov, given, said in cases:
        async with poolcensus.Census(settings_of(two, given, gov)) as census:
            with pytest.raises(FatalError) as caught:
                await census.plan()
        assert str(caught.value).startswith(said)
        assert caught.value.organization == "gov"


@pytest.mark.parametrize(
    "given",
    [{"accounts": FOUR}, {"exclude_account_names": ("acct-3", "acct-4")}, {"regions": "us-gov-west-1"}],
)
async def test_shards_of_such_a_run_are_joined(two: Two, given: Mapping[str, object]) -> None:
    whole = await collected(settings_of(two, given))
    parts = [await collected(settings_of(two, {**given, "shard": f"{index}/2"})) for index in (1, 2)]
    merged = await merge([each.id for each in parts], two.commercial.dest)
    assert asked(merged) == asked(whole)
    assert merged.info.scope == whole.info.scope


async def test_shards_lack_no_organization_whose_own_settings_choose_none(two: Two) -> None:
    gov = {"account_names": ["nobody"]}
    parts = [
        await collected(settings_of(two, {"shard": f"{index}/2", "exclude_account_names": "acct-0"}, gov))
        for index in (1, 2)
    ]
    with pytest.raises(MergeError, match="no shard has an account of Organization gov"):
        await merge([each.id for each in parts], two.commercial.dest)


async def test_such_a_run_goes_on_where_it_was_stopped(open_two: OpenTwo) -> None:
    two = await open_two(faults=(f"hang,account={FIVE},service=workspaces,first=1",))
    given = {"accounts": (FOUR, FIVE), "regions": "us-gov-west-1"}
    async with poolcensus.Census(settings_of(two, given)) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        while census.progress().done < 1:
            await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    assert census.resumable
    before = calls(two)
    snapshot = await collected(settings_of(two, {**given, "resume": True}))
    assert calls(two) == (before[0], before[1] + 1)
    assert asked(snapshot) == {("gov", FOUR), ("gov", FIVE)}


async def test_a_diagnosis_looks_in_all_of_them(two: Two) -> None:
    async def found(**given: object) -> list[Finding]:
        async with poolcensus.diagnose(settings_of(two, given), every_account=True) as stream:
            return [each async for each in stream]

    for given in ({"accounts": FOUR}, {"account_names": "acct-3"}, {"regions": "us-gov-west-1"}):
        findings = await found(**given)
        assert not [each for each in findings if each.is_problem]
        tried = {(each.organization, each.account_id) for each in findings if each.check is Check.OPERATION}
        assert tried - {("commercial", None)} == {("gov", FOUR), ("gov", FIVE)} - (
            set() if "regions" in given else {("gov", FIVE)}
        )
    (problem,) = [each for each in await found(account_names="nobody") if each.is_problem]
    assert (problem.check, problem.cause, problem.organization) == (Check.ORGANIZATION, Cause.ACCOUNTS, None)
    with pytest.raises(AccountChoiceError, match="Organizations commercial, gov"):
        await found(accounts=NOBODY)
    with pytest.raises(ScopeError, match="Organizations commercial, gov"):
        await found(ous=UNIT)
    with pytest.raises(ScopeError, match="Organization commercial: .* Organization gov: "):
        await found(regions="cn-north-1")


async def test_an_account_without_a_region_is_said_to_be_left_out(two: Two) -> None:
    async with poolcensus.diagnose(settings_of(two, {"regions": "us-east-1"}), accounts=[FOUR]) as stream:
        findings = [each async for each in stream]
    (left_out,) = [each for each in findings if each.account_id == FOUR]
    assert left_out.message == "A collect leaves the account out: in none of the regions that are asked."


async def test_the_command_line_names_its_own_options(two: Two, tmp_path: Path) -> None:
    tables = "".join(
        f'[[organization]]\nname = "{each["name"]}"\nprofile = "{each["profile"]}"\n'
        f'endpoint_url = "{each["endpoint_url"]}"\n{chosen}\n'
        for each, chosen in zip(
            two.tables(),
            (f'accounts = ["{ONE}"]', f'accounts = ["{FIVE}"]\nrole_name = "GovReader"'),
            strict=True,
        )
    )
    config, dest = tmp_path / "two.toml", tmp_path / "dest"
    config.write_text(tables, encoding="utf-8")

    async def ran(*given: str) -> tuple[int, str]:
        options = "--config", str(config), "--dest", str(dest)
        command = [sys.executable, "-m", "poolcensus", "collect", *options, *given]
        done = await anyio.run_process(command, check=False)
        assert done.stdout == b""
        return done.returncode, done.stderr.decode()

    code, said = await ran("--accounts", FOUR, "--regions", "us-gov-west-1")
    assert (code, said.count("\n")) == (0, 1)
    assert "nothing is asked in Organization commercial: us-gov-west-1: no region with" in said
    (info,) = await to_thread.run_sync(list_snapshots, dest)
    assert info.targets == 1
    said = (
        f"poolcensus: {NOBODY}: not among the accounts of Organizations commercial, gov (check --accounts)\n"
    )
    assert await ran("--accounts", f"{FOUR},{NOBODY}") == (1, said)
    assert await ran("--ou", UNIT) == (1, f"poolcensus: {NO_UNIT} Check --ou and --exclude-ou.\n")

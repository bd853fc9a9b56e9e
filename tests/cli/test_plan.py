"""What plan prints, and the list of accounts that it writes."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from poolcensus.cli import main, summaries
from poolcensus.cli.output import plan_object
from poolcensus.model import Account, Caller, OrganizationInfo, SkippedAccount
from poolcensus.planned import Estimate, EstimateStep
from poolcensus.scope.account_list import read_account_list

if TYPE_CHECKING:
    from ended_census import FakeLibrary
    from poolcensus.planned import Plan

ESTIMATE = Estimate(
    75.2,
    "organizations:ListAccounts",
    (EstimateStep("organizations:ListAccounts", 501, 75.2, "one page after the other"),),
    None,
)


@pytest.fixture
def whole(plan: Plan) -> Plan:
    skipped = [SkippedAccount(f"{number:012d}", f"acct-{number}", "excluded") for number in range(5, 9)]
    return replace(
        plan,
        accounts=(
            Account("000000000001", "acct-0", "o-abc/r-1/000000000001/", (("a", "b"),), None, ("x-1",)),
        ),
        skipped=(SkippedAccount("000000000003", None, "SUSPENDED"), *skipped),
        calls={"sts:GetCallerIdentity": 1, "sts:AssumeRole": 2, "organizations:ListAccounts": 501},
        estimate=ESTIMATE,
    )


def said_of(plan: Plan) -> str:
    screen = Console(width=200, file=io.StringIO(), color_system=None)
    for each in summaries.plan_summary(plan):
        screen.print(each)
    assert isinstance(screen.file, io.StringIO)
    return " ".join(screen.file.getvalue().split())


def test_a_table_counts_what_is_skipped_and_called_and_says_how_long(whole: Plan) -> None:
    said = said_of(whole)
    for expected in (
        "at least 504 (3 sts, 501 organizations)",
        "about 1 min 15 s, by assumed rates; most of it organizations:ListAccounts",
        "SUSPENDED 1 000000000003",
        "excluded 4 000000000005 (acct-5), 000000000006 (acct-6), 000000000007 (acct-7), and 1 more",
    ):
        assert expected in said
    later = replace(whole, estimate=replace(ESTIMATE, snapshot_id="20261123T020000Z-3f9a1c"))
    assert "about 1 min 15 s, as of 20261123T020000Z-3f9a1c; most of it" in said_of(later)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "Region status unknown for 1 account: 000000000000 Calls"),
        (3, "unknown for 3 accounts: 000000000000, 000000000001, 000000000002 Calls"),
        (1003, "unknown for 1,003 accounts: 000000000000, 000000000001, 000000000002, and 1,000 more"),
    ],
)
def test_accounts_whose_regions_are_not_known_are_named(whole: Plan, count: int, said: str) -> None:
    unknown = tuple(f"{number:012d}" for number in range(count))
    plan = replace(whole, region_status_unknown=unknown)
    assert said in said_of(plan)
    assert plan_object(plan)["region_status_unknown"] == [*unknown]
    assert "Region status" not in said_of(whole)


def test_it_is_said_why_the_regions_of_accounts_are_not_known(whole: Plan) -> None:
    one, two, three = (f"{number:012d}" for number in range(3))
    reasons = {one: "could not assume the role: AccessDenied", two: "account:ListRegions: X"}
    reasons[three] = reasons[one]
    plan = replace(whole, region_status_unknown=(one, two, three), region_status_reasons=reasons)
    assert (
        f"Region status unknown for 2 accounts: {one}, {three} (could not assume the role: AccessDenied)"
        f" unknown for 1 account: {two} (account:ListRegions: X) Calls"
    ) in said_of(plan)
    assert plan_object(plan)["region_status_reasons"] == reasons


def test_calls_are_counted_by_service_for_programs_of_either_kind(whole: Plan) -> None:
    assert whole.services == {"sts": 3, "organizations": 501}
    assert plan_object(whole)["services"] == whole.services


def test_each_key_for_programs_is_documented(whole: Plan) -> None:
    page = (Path(__file__).parents[2] / ".github" / "COMMANDS.md").read_text(encoding="utf-8")
    _, _, after = page.partition("## What a census would do\n")
    section, _, _ = after.partition("\n## ")
    documented = {*re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]+)\|", section, re.MULTILINE)))}
    organizations = (OrganizationInfo("main", "o-abc", whole.caller, 1),)
    assert documented == {*plan_object(replace(whole, organizations=organizations))}


def test_each_of_several_organizations_is_named_with_its_caller(whole: Plan) -> None:
    arn = "arn:aws-us-gov:iam::000000000004:user/x"
    gov = OrganizationInfo("gov", None, Caller("000000000004", arn, "aws-us-gov"), 2)
    both = replace(whole, organizations=(OrganizationInfo("main", "o-abc", whole.caller, 1), gov))
    said = said_of(both)
    assert f"Organization main, o-abc: 1 account, by {whole.caller.arn}" in said
    assert f"Organization gov: 2 accounts, by {arn}" in said
    found = plan_object(both)["organizations"]
    assert isinstance(found, list)
    assert found[1] == {
        "name": "gov",
        "organization_id": None,
        "caller": {"account": "000000000004", "arn": arn, "partition": "aws-us-gov"},
        "accounts_planned": 2,
    }
    assert "organizations" not in plan_object(whole)


def test_programs_get_the_whole(whole: Plan) -> None:
    found = plan_object(whole)
    assert found["services"] == {"sts": 3, "organizations": 501}
    assert found["accounts"] == {
        "planned": [
            {
                "account_id": "000000000001",
                "account_name": "acct-0",
                "ou_path": "o-abc/r-1/000000000001/",
                "account_tags": {"a": "b"},
                "regions": ["x-1"],
            }
        ],
        "skipped": [
            {"account_id": each.id, "account_name": each.name, "reason": each.reason}
            for each in whole.skipped
        ],
    }
    assert found["estimate"] == {
        "seconds": 75.2,
        "bound_by": "organizations:ListAccounts",
        "steps": (
            {
                "action": "organizations:ListAccounts",
                "calls": 501,
                "seconds": 75.2,
                "basis": "one page after the other",
            },
        ),
        "snapshot_id": None,
    }


def test_a_list_is_written_beside_what_is_printed(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--output", "list.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    listed = read_account_list("list.json")
    assert found["accounts_digest"] == listed.digest
    assert [(each.id, each.state) for each in listed.accounts] == [
        ("000000000001", "ACTIVE"),
        ("000000000009", "SUSPENDED"),
    ]


def test_a_list_goes_alone_to_standard_output(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--output", "-"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert main(["plan", "--output", "list.json"]) == 0
    ours, file = json.loads(captured.out), json.loads(Path("list.json").read_text())
    assert ours["accounts"] == file["accounts"]
    assert not Path("-").exists()
    Path("list.json").write_text(captured.out)
    assert len(read_account_list("list.json").accounts) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--config", ""], "poolcensus: --config needs the name of a file\n"),
        (["--metrics-file", "-"], "--metrics-file takes a file, and not standard output. A file that is"),
        (["--output", "nowhere/list.json"], "--output: There is no folder nowhere."),
        (["--output", "."], "--output: . is a folder, not a file"),
        (["--output", ""], "--output needs the name of a file"),
        (["--output", "list/."], "--output: list/. names a folder, not a file"),
        (["--output", "list/"], "--output: list/ names a folder, not a file"),
        (["--metrics-file", "metrics/"], "--metrics-file takes a file, and not a folder"),
        (["--output", "list.json", "--shard", "1/2"], "leave out --shard"),
        (["--output", "-", "--json"], "--json and --output - both want standard output: leave one out"),
    ],
)
def test_a_list_that_can_not_be_written_is_refused_before_any_call(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["plan", *given]) == 2
    assert said in capsys.readouterr().err
    assert not library.asked
    assert not Path("list.json").exists()


@pytest.mark.parametrize(
    ("arguments", "other"),
    [(("plan", "--output", "-"), "--output -"), (("collect", "--dest", "-"), "a destination of -")],
)
def test_a_json_that_nobody_typed_is_named_by_its_place(
    library: FakeLibrary,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    other: str,
) -> None:
    def refused(*more: str) -> str:
        assert main([*arguments, *more]) == 2
        return capsys.readouterr().err.splitlines()[0].removeprefix("poolcensus: ")

    both = f"and {other} both want standard output: leave one out"
    assert refused("--json") == f"--json {both}"
    Path("some.toml").write_text("json = true\n", encoding="utf-8")
    assert refused("--config", "some.toml") == f"some.toml: json {both}, or give --no-json"
    monkeypatch.setenv("POOLCENSUS_JSON", "1")
    assert refused() == f"POOLCENSUS_JSON {both}, or give --no-json"
    assert not library.asked
    assert main([*arguments, "--no-json"]) == 0


def test_a_list_of_several_organizations_is_refused_before_any_call(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("poolcensus.toml").write_text('[[organization]]\nname = "one"\n', encoding="utf-8")
    assert main(["plan", "--output", "list.json"]) == 2
    assert "writes the list of one Organization" in capsys.readouterr().err
    assert not Path("list.json").exists()


@pytest.mark.parametrize(
    "option", ["--config", "--accounts-from", "--accounts-snapshot", "--external-id-file"]
)
def test_a_file_with_a_name_of_two_lines_is_one_line(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", option, "a\nb.txt"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert r"a\nb.txt" in said


def test_every_wrong_setting_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--page-size", "0", "--metrics-file", "", "--ou", "a\nb"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [each.split(":")[1] for each in said] == [" --ou", " --page-size"]

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from poolcensus.cli import main
from poolcensus.cli.diagnoses import diagnoses
from poolcensus.cli.tables import console, put
from poolcensus.doctor import Cause, Check, CheckStatus, Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

KEYS = [
    "check", "account_id", "region", "status", "action", "code", "cause", "message", "remedy", "policy",
]  # fmt: skip
STATEMENT = {"Effect": "Allow", "Action": "workspaces:DescribeWorkspacesPools", "Resource": "*"}
ARN = "arn:aws:sts::000000000002:assumed-role/PoolCensusReader/\x1b[31mevil"


def operation(account: int, region: str) -> Finding:
    return Finding(
        check=Check.OPERATION,
        status=CheckStatus.FAILED,
        account_id=f"{account:012}",
        region=region,
        action="workspaces:DescribeWorkspacesPools",
        code="AccessDeniedException",
        cause=Cause.IDENTITY_POLICY,
        message=f"User: {ARN} is not authorized to perform: workspaces:DescribeWorkspacesPools",
        remedy="Attach this statement to role PoolCensusReader in the account, or set `role_name`.",
        policy=STATEMENT,  # type: ignore[arg-type] # a JSON object, whatever mypy takes it for
    )


OK = [
    Finding(check=Check.CALLER, status=CheckStatus.OK, account_id="000000000001"),
    Finding(
        check=Check.ORGANIZATION,
        status=CheckStatus.OK,
        account_id="000000000001",
        message="Tried 6 of 30 accounts.",
        remedy="`every_account` tries all of them.",
    ),
    Finding(check=Check.OPERATION, status=CheckStatus.OK, account_id="000000000001", region="us-east-1"),
]
CLOSED = Finding(
    check=Check.OPERATION,
    status=CheckStatus.NOT_MENDABLE,
    account_id="000000000001",
    region="eu-west-1",
    cause=Cause.NOT_ENTITLED,
    remedy="Nothing to do.",
)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the checks find, in place of the checks."""
    findings: list[Finding] = []

    class Fake:
        def __init__(self, settings: object, **asked: object) -> None: ...

        async def __aenter__(self) -> AsyncIterator[Finding]:
            return self._all()

        async def _all(self) -> AsyncIterator[Finding]:
            for each in findings:
                yield each

        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr("poolcensus.doctor.diagnose", Fake)
    return findings


@pytest.mark.parametrize(("more", "code"), [((), 0), ((CLOSED,), 0), ((operation(2, "us-east-1"),), 3)])
def test_the_exit_code_says_whether_a_collect_would_cover_it(
    found: list[Finding], more: Sequence[Finding], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found += [*OK, *more]
    assert main(["doctor"]) == code
    said = capsys.readouterr()
    assert said.err == ""
    covers = "A collect would cover everything that was tried: 1 account"
    assert (covers in said.out) is (code == 0)
    assert "Tried 6 of 30 accounts. --all tries all of them." in said.out


def test_what_is_a_known_gap_is_not_said_to_be_covered(
    found: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    gap = replace(operation(2, "us-east-1"), status=CheckStatus.SKIPPED, cause=Cause.KNOWN_GAP)
    found += [*OK, gap]
    assert main(["doctor"]) == 0
    assert "would cover everything that was tried, known gaps aside: 2 accounts" in capsys.readouterr().out


def test_json_is_a_line_a_finding_with_the_keys_of_the_contract(
    found: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    found += [*OK, operation(2, "us-east-1")]
    assert main(["doctor", "--json"]) == 3
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [[*each] for each in lines] == [KEYS] * 4
    assert lines[-1] == {
        "check": "operation",
        "account_id": "000000000002",
        "region": "us-east-1",
        "status": "failed",
        "action": "workspaces:DescribeWorkspacesPools",
        "code": "AccessDeniedException",
        "cause": "identity_policy",
        "message": operation(2, "").message,
        "remedy": "Attach this statement to role PoolCensusReader in the account, or set --role-name.",
        "policy": STATEMENT,
    }


def test_of_several_organizations_no_option_is_named_for_what_their_tables_set(
    found: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Finding(
        check=Check.ORGANIZATION,
        status=CheckStatus.FAILED,
        cause=Cause.ACCOUNTS,
        message="999999999999: not among the accounts of the Organization (check `accounts`)",
        remedy="Set `accounts_from`, or expect it with `known_gaps`.",
        organization="gov",
    )
    found += [refused, replace(refused, organization=None)]
    assert main(["doctor", "--json"]) == 3
    of_table, of_run = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert of_table["message"].endswith("(check accounts)")
    assert of_table["remedy"] == "Set accounts_from, or expect it with --known-gap."
    assert of_run["message"].endswith("(check --accounts)")
    assert of_run["remedy"] == "Set --accounts-from, or expect it with --known-gap."
    assert main(["doctor"]) == 3
    people = capsys.readouterr().out
    for each in (of_table, of_run):
        assert {each["message"], each["remedy"]} <= {*people.splitlines()}


def test_people_see_a_row_and_a_paragraph_for_each_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    failed = [operation(account, region) for account in range(2, 9) for region in ("eu-west-1", "us-east-1")]
    put(console(), *diagnoses([*OK, *failed]))
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()[:5]]
    assert rows == [
        ["Check", "Result", "Cause", "Accounts", "Regions"],
        ["caller", "ok", "1"],
        ["organization", "ok", "1"],
        ["operation", "ok", "1", "1"],
        ["operation", "failed", "identity_policy", "7", "2"],
    ]
    assert said.count("Attach this statement") == 1
    assert "and 2 more" in said
    assert "\x1b" not in said
    assert "\\x1b[31mevil" in said
    _, _, rest = said.partition("{")
    statement, _, _ = rest.partition("}")
    assert json.loads("{" + statement + "}") == STATEMENT
    assert all(len(line) <= 80 for line in said.splitlines())


def test_people_are_told_once_why_checks_were_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    own = Finding(
        check=Check.ROLE,
        status=CheckStatus.SKIPPED,
        account_id="000000000001",
        message="The caller's own account needs no role.",
    )
    regions = [
        Finding(
            check=Check.REGION_STATUS,
            status=CheckStatus.SKIPPED,
            account_id=f"{account:012}",
            message="Not tried: no region is asked that an account has to enable.",
        )
        for account in (1, 2, 3)
    ]
    put(console(), *diagnoses([*OK, own, *regions]))
    said = capsys.readouterr().out.splitlines()
    assert said.count("role skipped: The caller's own account needs no role.") == 1
    whole = " ".join(said)
    assert (
        whole.count("region_status skipped: Not tried: no region is asked that an account has to enable.")
        == 1
    )


def test_people_are_told_why_nothing_was_tried_of_an_account_that_they_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left_out = Finding(
        check=Check.ROLE,
        status=CheckStatus.SKIPPED,
        account_id="000000000009",
        message="A collect leaves the account out: SUSPENDED.",
    )
    put(console(), *diagnoses([OK[0], left_out]))
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith(
        "Nothing was tried of what a collect would ask."
        " 000000000009: A collect leaves the account out: SUSPENDED."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", "--account", "000000000001"], "--all and --account exclude each other"),
        (["--account", "12"], '--account: "12" is not an account ID of 12 digits'),
        (["--ou", "Production"], "is not an OU ID"),
    ],
)
def test_wrong_usage_is_a_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err

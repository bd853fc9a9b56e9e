"""What is said of each grant that is missing and each policy that refuses, and whether a collect agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import boto3
import pytest
from anyio import to_thread

import poolcensus
from poolcensus.aws.credentials.broker import CredentialBroker
from poolcensus.doctor import Cause, Check, CheckStatus, Finding
from poolcensus.doctor.caller import caller_unknown
from poolcensus.doctor.findings import UNADVISED
from poolcensus.errors import CredentialsError, DeadlineError, FatalError, OrganizationError, SettingsError
from poolcensus.model import SnapshotStatus
from poolcensus.simulator.directory import Directory
from poolcensus.simulator.services.sts import Sts
from poolcensus.simulator.unauthorized import denied

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.aws.credentials.sts import RoleSession
    from poolcensus.model import JsonObject
    from poolcensus.simulator.http import Identity, Request, Response

    Start = Callable[..., Coroutine[None, None, Lab]]

SECOND = "000000000002"
USER = "arn:aws:iam::000000000001:user/census"
ROLES = "arn:aws:iam::*:role/PoolCensusReader"
POOLS = "workspaces:DescribeWorkspacesPools"
FAILED, NOT_MENDABLE, OK, SKIPPED = (
    CheckStatus.FAILED, CheckStatus.NOT_MENDABLE, CheckStatus.OK, CheckStatus.SKIPPED,
)  # fmt: skip


def allow(action: str, resource: str = "*") -> JsonObject:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


async def examined(
    here: Lab, *, of: tuple[str, ...] = (), every: bool = False, **changes: object
) -> list[Finding]:
    settings = here.settings(**changes)
    async with poolcensus.diagnose(settings, accounts=of, every_account=every) as findings:
        return [each async for each in findings]


def by(findings: Sequence[Finding], check: Check, account_id: str | None = None) -> list[Finding]:
    return [
        each
        for each in findings
        if each.check is check and (account_id is None or each.account_id == account_id)
    ]


def problems(findings: Sequence[Finding]) -> set[tuple[object, ...]]:
    return {
        (each.check, each.account_id, each.status, each.action, each.cause)
        for each in findings
        if each.is_problem
    }


def profile_of_caller(here: Lab, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have a profile `caller` with the keys of the simulator."""
    config = folder / "config"
    simulator = here.simulator
    keys = f"aws_access_key_id = {simulator.access_key_id}\naws_secret_access_key = "
    config.write_text(f"[profile caller]\n{keys}{simulator.secret_access_key}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


async def is_complete(here: Lab, **changes: object) -> bool:
    return (await here.collect(**changes)).manifest.status is SnapshotStatus.COMPLETE


async def test_where_nothing_is_lacking_every_check_is_ok_and_a_collect_is_complete(lab: Start) -> None:
    here = await lab(accounts=3)
    findings = await examined(here, every=True)
    assert [each.check for each in findings] == sorted(
        (each.check for each in findings), key=list(Check).index
    )
    assert not any(each.is_problem for each in findings)
    assert {each.cause for each in findings} == {None}
    operations = by(findings, Check.OPERATION)
    regions = sorted(here.simulator.world.config.regions)
    assert [(each.account_id, each.region) for each in operations] == [
        (f"{number:012}", region) for number in (1, 2, 3) for region in regions
    ]
    (own, *others) = by(findings, Check.ROLE)
    assert (own.account_id, own.status) == ("000000000001", SKIPPED)
    assert {each.status for each in others} == {OK}
    assert not here.dest.exists()
    assert await is_complete(here)


STS = "denied,service=sts,operation=AssumeRole"
ANYBODY: JsonObject = {"Effect": "Allow", "Principal": "*", "Resource": "*"}
TRUST: JsonObject = {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "sts:AssumeRole"}


# Each is the fault of an account of its own, and what is found there.
REFUSALS: tuple[tuple[str, CheckStatus, Cause, JsonObject | None], ...] = (
    (STS, FAILED, Cause.IDENTITY_POLICY, allow("sts:AssumeRole", ROLES)),
    (f"{STS},denial=explicit", NOT_MENDABLE, Cause.IDENTITY_POLICY, None),
    (f"{STS},policy=boundary", FAILED, Cause.PERMISSIONS_BOUNDARY, allow("sts:AssumeRole", ROLES)),
    (f"{STS},policy=scp", NOT_MENDABLE, Cause.SCP, None),
    (f"{STS},policy=rcp", NOT_MENDABLE, Cause.RCP, None),
    (f"{STS},policy=trust", FAILED, Cause.TRUST_POLICY, TRUST),
    (f"{STS},policy=resource", FAILED, Cause.TRUST_POLICY, TRUST),
    (f"{STS},policy=trust,denial=explicit", NOT_MENDABLE, Cause.TRUST_POLICY, None),
    (f"{STS},policy=endpoint", FAILED, Cause.VPC_ENDPOINT_POLICY, {**ANYBODY, "Action": "sts:AssumeRole"}),
    ("denied", FAILED, Cause.IDENTITY_POLICY, allow(POOLS)),
    ("denied,denial=explicit", NOT_MENDABLE, Cause.IDENTITY_POLICY, None),
    ("denied,policy=boundary", FAILED, Cause.PERMISSIONS_BOUNDARY, allow(POOLS)),
    ("denied,policy=session", FAILED, Cause.SESSION_POLICY, allow(POOLS)),
    ("denied,policy=scp", NOT_MENDABLE, Cause.SCP, None),
    ("denied,policy=scp,denial=implicit", NOT_MENDABLE, Cause.SCP, None),
    ("denied,policy=rcp", NOT_MENDABLE, Cause.RCP, None),
    ("denied,policy=endpoint", FAILED, Cause.VPC_ENDPOINT_POLICY, {**ANYBODY, "Action": POOLS}),
    # One region that does not say why, where the role may call others.
    ("neutral,region=us-east-1", FAILED, Cause.UNEXPLAINED, None),
    ("html", FAILED, Cause.BAD_RESPONSE, None),
)


async def test_what_refuses_is_named_with_the_statement_that_mends_it(lab: Start) -> None:
    faults = {f"{number:012}": fault for number, (fault, *_) in enumerate(REFUSALS, 2)}
    here = await lab(
        accounts=len(faults) + 2,
        faults=[
            f"{fault},{'role_account' if fault.startswith(STS) else 'account'}={account}"
            for account, fault in faults.items()
        ],
    )
    failed = [each for each in await examined(here, every=True, max_attempts=2) if each.is_problem]
    assert {each.account_id for each in failed} == {*faults}
    for each in failed:
        fault, *expected = REFUSALS[int(str(each.account_id)) - 2]
        is_role = fault.startswith(STS)
        assert (each.check, each.action) == (
            (Check.ROLE, "sts:AssumeRole") if is_role else (Check.OPERATION, POOLS)
        )
        assert [each.status, each.cause, each.policy] == expected
        assert each.remedy


@pytest.mark.long
async def test_a_throttled_operation_is_no_matter_of_permissions(lab: Start) -> None:
    here = await lab(accounts=3, faults=("throttle",))
    failed = [each for each in await examined(here, max_attempts=2) if each.is_problem]
    assert {(each.check, each.status, each.cause, each.policy) for each in failed} == {
        (Check.OPERATION, FAILED, Cause.THROTTLED, None)
    }


async def test_a_refusal_without_a_reason_in_every_region_is_most_likely_the_role_s(lab: Start) -> None:
    here = await lab(accounts=2, faults=("neutral",), regions=("us-east-1", "eu-west-1"))
    failed = [each for each in await examined(here) if each.is_problem]
    assert len(failed) == 4
    assert {each.cause for each in failed} == {Cause.UNEXPLAINED}
    assert all(each.policy == allow(POOLS) for each in failed)


@pytest.mark.parametrize(
    ("world", "cause"),
    [
        ({"not_entitled": 1.0}, Cause.NOT_ENTITLED),
        ({"unsupported_regions": ("eu-west-1",)}, Cause.NOT_OFFERED),
    ],
)
async def test_what_no_grant_mends_and_a_collect_covers_is_no_problem(
    lab: Start, world: dict[str, object], cause: Cause
) -> None:
    here = await lab(accounts=3, **world)
    findings = await examined(here)
    found = [each for each in findings if each.cause is cause]
    assert found
    assert {(each.status, each.is_problem, each.policy) for each in found} == {(NOT_MENDABLE, False, None)}
    assert not any(each.is_problem for each in findings)
    assert await is_complete(here)


async def test_a_missing_role_is_told_by_the_accounts_that_have_one(lab: Start) -> None:
    here = await lab(accounts=5, no_role=0.25)
    findings = await examined(here, every=True)
    (missing,) = [each for each in findings if each.is_problem]
    assert (missing.check, missing.cause, missing.policy) == (Check.ROLE, Cause.MISSING_ROLE, None)
    assert "can be assumed in other accounts" in str(missing.remedy)
    (operation,) = by(findings, Check.OPERATION, missing.account_id)
    assert operation.status is SKIPPED
    assert not await is_complete(here)
    # Also where that account alone is looked at: one of the others is tried then, and not told of.
    alone = await examined(here, of=(str(missing.account_id),))
    (found,) = [each for each in alone if each.is_problem]
    assert (found.cause, found.remedy, found.policy) == (missing.cause, missing.remedy, None)
    assert {each.account_id for each in alone if each.check is Check.ROLE} == {missing.account_id}


@pytest.mark.parametrize(
    ("given", "cause"),
    [("the-wrong-one", Cause.EXTERNAL_ID), (None, Cause.MISSING_ROLE)],
)
async def test_an_external_id_that_differs_comes_first_where_no_account_accepts_it(
    lab: Start, given: str | None, cause: Cause
) -> None:
    here = await lab(accounts=4, external_id="the-right-one")
    findings = await examined(here, external_id=given)
    found = [each for each in findings if each.is_problem]
    assert {(each.check, each.cause) for each in found} == {(Check.ROLE, cause)}
    assert all("external ID" in str(each.remedy) for each in found)
    assert "the-wrong-one" not in repr(findings)
    assert not (await examined(here, external_id="the-right-one"))[-1].is_problem


async def test_a_hub_role_that_is_refused_keeps_every_role_from_being_tried(lab: Start) -> None:
    here = await lab(accounts=3)
    hub = f"arn:aws:iam::{SECOND}:role/NoSuchHub"
    findings = await examined(here, role_chain=[hub])
    assert problems(findings) == {(Check.ROLE, SECOND, FAILED, "sts:AssumeRole", Cause.UNEXPLAINED)}
    (role, _) = by(findings, Check.ROLE)
    assert role.policy == allow("sts:AssumeRole", hub)
    assert hub in str(role.remedy)
    assert {each.account_id for each in by(findings, Check.OPERATION)} == {"000000000001"}


async def test_a_hub_role_that_fails_ends_nothing_for_an_account_that_does_not_need_it(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=4, faults=(f"{STS},role_account={SECOND},policy=trust",))
    profile_of_caller(here, monkeypatch, tmp_path)
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(
        f"account_id,profile,role\n{SECOND},caller,PoolCensusReader\n000000000003,,\n000000000004,,\n"
    )
    hub = "arn:aws:iam::000000000004:role/NoSuchHub"
    findings = await examined(here, of=(SECOND,), accounts_from=str(accounts), role_chain=[hub])
    assert problems(findings) == {(Check.ROLE, SECOND, FAILED, "sts:AssumeRole", Cause.TRUST_POLICY)}
    assert [each.status for each in by(findings, Check.OPERATION)] == [SKIPPED]
    assert by(findings, Check.DESTINATION)


async def test_where_sts_says_nothing_a_hub_role_on_the_way_home_is_no_answer(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=4, no_role=1.0)
    profile_of_caller(here, monkeypatch, tmp_path)
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(
        f"account_id,profile,role\n000000000001,,PoolCensusReader\n{SECOND},caller,PoolCensusReader\n"
    )
    hub = "arn:aws:iam::000000000004:role/NoSuchHub"
    findings = await examined(here, of=(SECOND,), accounts_from=str(accounts), role_chain=[hub])
    assert problems(findings) == {(Check.ROLE, SECOND, FAILED, "sts:AssumeRole", Cause.MISSING_ROLE)}
    assert [each.status for each in by(findings, Check.OPERATION)] == [SKIPPED]


async def test_what_ends_a_look_at_other_accounts_is_a_finding_of_its_own(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=4, faults=(f"{STS},role_account={SECOND},policy=trust",))
    assume_role = CredentialBroker.assume_role

    async def fail_elsewhere(broker: CredentialBroker, account_id: str) -> RoleSession:
        if account_id != SECOND:
            raise FatalError("no connection can be opened")
        return await assume_role(broker, account_id)

    monkeypatch.setattr(CredentialBroker, "assume_role", fail_elsewhere)
    findings = await examined(here, of=(SECOND,))
    assert problems(findings) == {(Check.OPERATION, None, FAILED, POOLS, Cause.UNREACHABLE)}
    assert by(findings, Check.OPERATION)[0].message == "no connection can be opened"
    assert by(findings, Check.DESTINATION)


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (CredentialsError("There are none.", advice="Sign in."), Cause.CREDENTIALS, "Sign in."),
        (CredentialsError("There are none."), Cause.CREDENTIALS, UNADVISED),
        (FatalError("There is no way.", advice="Make one."), Cause.UNREACHABLE, "Make one."),
    ],
)
async def test_what_would_end_a_census_says_what_to_do(
    lab: Start, monkeypatch: pytest.MonkeyPatch, error: FatalError, cause: Cause, remedy: str
) -> None:
    here = await lab(accounts=3)

    async def observe(*_: object) -> None:
        raise error

    monkeypatch.setattr("poolcensus.doctor.examination.observe", observe)
    (found,) = by(await examined(here), Check.OPERATION)
    assert (found.status, found.cause) == (FAILED, cause)
    assert (found.message, found.remedy) == (error.problem, remedy)


async def test_a_setting_that_is_wrong_ends_the_stream_whenever_it_is_found(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=3)

    async def observe(*_: object) -> None:
        raise SettingsError("no request can be formed")

    monkeypatch.setattr("poolcensus.doctor.examination.observe", observe)
    with pytest.raises(SettingsError, match="no request can be formed"):
        await examined(here)


async def test_an_account_with_a_role_behind_a_hub_names_the_hub_s_role(lab: Start) -> None:
    here = await lab(accounts=4, faults=(f"{STS},role_account=000000000003,policy=trust",))
    hub = f"arn:aws:iam::{SECOND}:role/PoolCensusReader"
    findings = await examined(here, role_chain=[hub])
    role = by(findings, Check.ROLE, "000000000003")[0]
    assert role.cause is Cause.TRUST_POLICY
    assert role.policy is not None
    assert role.policy["Principal"] == {"AWS": f"arn:aws:iam::{SECOND}:root"}
    assert {each.account_id for each in findings if each.is_problem} == {"000000000003"}


async def test_a_trust_policy_that_refuses_an_external_id_no_account_accepts(lab: Start) -> None:
    here = await lab(accounts=3, faults=("denied,service=sts,operation=AssumeRole,policy=trust",))
    findings = await examined(here, external_id="some-secret")
    role = by(findings, Check.ROLE, SECOND)[0]
    assert role.cause is Cause.EXTERNAL_ID
    assert role.policy is not None
    assert role.policy["Condition"] == {"StringEquals": {"sts:ExternalId": "EXTERNAL_ID"}}
    assert "some-secret" not in repr(findings)


@pytest.mark.parametrize("role", ["", "PoolCensusReader"])
async def test_an_account_whose_profile_is_of_no_use(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str
) -> None:
    here = await lab(accounts=3)
    config = tmp_path / "config"
    keys = f"aws_access_key_id = {here.simulator.access_key_id}\naws_secret_access_key = no"
    config.write_text(f"[profile empty]\nregion = us-east-1\n[profile wrong]\n{keys}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(f"account_id,profile,role\n{SECOND},empty,{role}\n000000000003,wrong,{role}\n")
    findings = await examined(here, accounts_from=str(accounts))
    assert {(each.check, each.account_id, each.cause) for each in findings if each.is_problem} == {
        (Check.ROLE, account, Cause.CREDENTIALS) for account in (SECOND, "000000000003")
    }
    assert not await is_complete(here, accounts_from=str(accounts))


async def test_the_credentials_of_another_account_in_a_profile(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=3)
    profile_of_caller(here, monkeypatch, tmp_path)
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(f"account_id,profile,role\n{SECOND},caller,\n000000000003,caller,PoolCensusReader\n")
    findings = await examined(here, accounts_from=str(accounts))
    assert problems(findings) == {(Check.ROLE, SECOND, FAILED, None, Cause.CREDENTIALS)}
    assert "Correct the profile in the file" in str(by(findings, Check.ROLE, SECOND)[0].remedy)


async def test_a_role_that_was_not_assumed_before_the_caller_s_credentials_expired(lab: Start) -> None:
    here = await lab(accounts=2, faults=("expired,service=sts,operation=AssumeRole",))
    findings = await examined(here)
    (role,) = by(findings, Check.ROLE, SECOND)
    assert (role.status, role.cause) == (SKIPPED, None)
    assert {(each.account_id, each.cause) for each in findings if each.is_problem} == {
        (SECOND, Cause.EXPIRED)
    }


async def test_a_session_that_is_too_long_is_told_by_sts(lab: Start) -> None:
    here = await lab(accounts=3)
    findings = await examined(here, session_duration=7200)
    assert problems(findings) == {
        (Check.ROLE, f"{number:012}", FAILED, "sts:AssumeRole", Cause.DURATION) for number in (2, 3)
    }
    role = by(findings, Check.ROLE, SECOND)[0]
    # The ledger says what to set as well, which is not said twice here.
    assert str(role.message).endswith("MaxSessionDuration set for this role.")
    assert "`session_duration`" in str(role.remedy)


async def test_the_caller_s_own_policies_are_told_by_the_role_of_its_own_account(lab: Start) -> None:
    # Between accounts STS names no policy; `no_role` answers so. In the caller's account it does.
    here = await lab(
        accounts=3,
        no_role=1.0,
        faults=("denied,service=sts,operation=AssumeRole,role_account=000000000001",),
    )
    role = by(await examined(here), Check.ROLE, SECOND)[0]
    assert (role.cause, role.policy) == (Cause.IDENTITY_POLICY, allow("sts:AssumeRole", ROLES))
    assert "caller's own account" in str(role.remedy)


@pytest.mark.parametrize(
    ("parameter", "changes", "expected"),
    [
        ("Policy", {}, ("sts:AssumeRole", Cause.SESSION_POLICY)),
        ("SourceIdentity", {"source_identity": "census"}, ("sts:SetSourceIdentity", Cause.TRUST_POLICY)),
        pytest.param(
            "Tags.member.1.Key",
            {"session_tags": ["a=b"]},
            ("sts:TagSession", Cause.TRUST_POLICY),
            marks=pytest.mark.long,
        ),
        ("ExternalId", {"external_id": "not-wanted"}, ("sts:AssumeRole", Cause.EXTERNAL_ID)),
        ("DurationSeconds", {"session_duration": 3599}, ("sts:AssumeRole", Cause.DURATION)),
    ],
)
async def test_a_variation_that_is_allowed_says_what_stands_in_the_way(
    lab: Start,
    monkeypatch: pytest.MonkeyPatch,
    parameter: str,
    changes: dict[str, object],
    expected: tuple[str, Cause],
) -> None:
    answer = Sts._assume_role

    def assume_role(service: Sts, request: Request, caller: Identity, form: dict[str, str]) -> Response:
        refused = form.get(parameter) not in {None, "900"}
        if refused and f":{SECOND}:" in form["RoleArn"]:
            raise denied(request)
        return answer(service, request, caller, form)

    monkeypatch.setattr(Sts, "_assume_role", assume_role)
    here = await lab(accounts=3)
    settings = here.settings(**changes)
    async with poolcensus.diagnose(settings) as found:
        findings = [each async for each in found]
    assert problems(findings) == {(Check.ROLE, SECOND, FAILED, *expected)}
    # A session that a variation got is used for nothing.
    assert {each.account_id for each in by(findings, Check.OPERATION) if each.status is OK} == {
        "000000000001",
        "000000000003",
    }
    assert "not-wanted" not in repr(findings)


async def test_a_refusal_that_has_passed_is_not_laid_to_anything_else(lab: Start) -> None:
    here = await lab(
        accounts=3, faults=("denied,service=sts,operation=AssumeRole,policy=trust,first=2,per=all",)
    )
    (role, *_) = [each for each in await examined(here) if each.is_problem]
    assert (role.check, role.cause) == (Check.ROLE, Cause.UNEXPLAINED)
    assert "The second time the role could be assumed" in str(role.remedy)


async def test_organizations_that_share_an_account_are_told_apart_from_those_that_do_not(lab: Start) -> None:
    here = await lab(accounts=3)
    tables = [
        {"name": "one", "accounts": [SECOND]},
        {"name": "two", "accounts": ["000000000003"]},
    ]
    assert problems(await examined(here, organization=tables)) == set()
    tables[1]["accounts"] = [SECOND]
    (shared,) = [each for each in await examined(here, organization=tables) if each.is_problem]
    assert (shared.check, shared.cause) == (Check.ORGANIZATION, Cause.ACCOUNTS)
    assert "is listed by one too" in str(shared.message)


@pytest.mark.parametrize("why", ["all 3 were filtered out", "none was listed"])
async def test_a_choice_that_leaves_no_account_is_told_as_a_collect_tells_it(lab: Start, why: str) -> None:
    here = await lab(accounts=3)
    directory = Directory(here.simulator.world)
    units = [
        below for unit in directory.units_of(directory.root_id) for below in (unit, *directory.units_of(unit))
    ]
    empty = next(each for each in units if not directory.accounts_of(each) and not directory.units_of(each))
    choice: dict[str, Any] = {"account_names": "nobody-*"} if "all" in why else {"ous": empty}
    (organization,) = by(await examined(here, **choice), Check.ORGANIZATION)
    with pytest.raises(FatalError) as raised:
        async with poolcensus.Census(here.settings(**choice)) as census:
            await census.plan()
    assert organization.cause is Cause.ACCOUNTS
    assert f"{organization.message} {organization.remedy}" == str(raised.value)
    assert str(organization.message).startswith(f"No accounts match: {why}")


async def test_an_account_that_is_neither_management_nor_delegate(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=3)

    def session() -> dict[str, str]:
        sts = boto3.client("sts", region_name="us-east-1")
        role = f"arn:aws:iam::{SECOND}:role/PoolCensusReader"
        credentials: dict[str, str] = sts.assume_role(RoleArn=role, RoleSessionName="member")["Credentials"]
        sts.close()
        return credentials

    given = await to_thread.run_sync(session)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", given["SessionToken"])
    findings = await examined(here)
    (organization,) = by(findings, Check.ORGANIZATION)
    assert (organization.status, organization.cause) == (FAILED, Cause.NOT_MANAGEMENT)
    assert "delegated administrator" in str(organization.remedy)
    assert {each.account_id for each in by(findings, Check.OPERATION)} == {SECOND}


@pytest.mark.parametrize(
    ("refused", "actions", "others"),
    [
        (("account",), ["account:ListRegions"], True),
        (("account", "ec2"), ["account:ListRegions", "ec2:DescribeRegions"], False),
    ],
)
async def test_region_status_that_is_refused_is_named_and_costs_nothing(
    lab: Start, refused: tuple[str, ...], actions: list[str], others: bool
) -> None:
    here = await lab(accounts=3, faults=[f"denied,service={each}" for each in refused])
    findings = await examined(here)
    lacking = [each for each in by(findings, Check.REGION_STATUS, SECOND) if each.cause is not None]
    assert [(each.action, each.status, each.policy) for each in lacking] == [
        (action, OK, allow(action)) for action in actions
    ]
    assert ("answers in its place" in str(lacking[0].remedy)) is others
    assert not any(each.is_problem for each in findings)
    assert await is_complete(here)


async def test_a_known_gap_is_no_problem(lab: Start) -> None:
    here = await lab(accounts=3, faults=(f"denied,policy=scp,account={SECOND},region=eu-west-1",))
    assert [each.region for each in await examined(here) if each.is_problem] == ["eu-west-1"]
    findings = await examined(here, known_gaps=[f"{SECOND}:eu-west-1:scp_denied"])
    assert [each.region for each in findings if each.cause is Cause.KNOWN_GAP] == ["eu-west-1"]
    assert not any(each.is_problem for each in findings)


@pytest.mark.parametrize(
    ("fault", "cause", "policy"),
    [
        (
            "denied,service=organizations",
            Cause.IDENTITY_POLICY,
            allow("organizations:ListAccounts"),
        ),
        pytest.param("denied,service=organizations,policy=scp", Cause.SCP, None, marks=pytest.mark.long),
        ("html,service=organizations", Cause.BAD_RESPONSE, None),
    ],
)
async def test_where_accounts_can_t_be_listed_the_rest_goes_on(
    lab: Start, fault: str, cause: Cause, policy: JsonObject | None
) -> None:
    here = await lab(accounts=3, faults=(fault,))
    findings = await examined(here, max_attempts=2)
    (organization,) = by(findings, Check.ORGANIZATION)
    assert (organization.cause, organization.policy) == (cause, policy)
    assert organization.action == "organizations:ListAccounts"
    assert {each.account_id for each in by(findings, Check.OPERATION)} == {"000000000001"}
    assert {each.check for each in findings if each.is_problem} == {Check.ORGANIZATION}
    # Those that are named are tried, too.
    findings = await examined(here, of=(SECOND,), max_attempts=2)
    assert [each.status for each in by(findings, Check.ROLE)] == [OK]


async def test_a_file_needs_no_organization(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=3, faults=("denied,service=organizations",))
    accounts = tmp_path / "accounts.txt"
    accounts.write_text(f"{SECOND}\n")
    findings = await examined(here, accounts_from=str(accounts))
    assert [each.status for each in by(findings, Check.ORGANIZATION)] == [SKIPPED]
    assert not any(each.is_problem for each in findings)


@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "no"}, Cause.CREDENTIALS),
        ({"AWS_ACCESS_KEY_ID": "AKIANOSUCHKEY0000000"}, Cause.CREDENTIALS),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, Cause.UNREACHABLE),
    ],
)
async def test_without_a_caller_what_needs_one_is_skipped(
    lab: Start, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], cause: Cause
) -> None:
    here = await lab(accounts=3)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    findings = await examined(here)
    assert [(each.check, each.status) for each in findings] == [
        (Check.CALLER, FAILED),
        (Check.ORGANIZATION, SKIPPED),
        (Check.ROLE, SKIPPED),
        (Check.OPERATION, SKIPPED),
        (Check.REGION_STATUS, SKIPPED),
        (Check.DESTINATION, OK),
    ]
    assert findings[0].cause is cause
    assert findings[0].remedy


async def test_no_credentials_at_all(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=3)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    findings = await examined(here, dest="s3://bucket/prefix")
    assert findings[0].cause is Cause.CREDENTIALS
    assert findings[0].remedy == "Set AWS_PROFILE, pass `profile`, or run 'aws sso login --profile NAME'."
    assert (findings[-1].check, findings[-1].status) == (Check.DESTINATION, SKIPPED)


async def test_a_full_stop_in_what_failed_begins_no_remedy(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=1)
    config = tmp_path / "config"
    config.write_text("[profile 'a. b']\naws_access_key_id = AKIA\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (caller,) = by(await examined(here, profile="a. b"), Check.CALLER)
    assert "for profile a. b: " in str(caller.message)
    assert caller.remedy == "Set it, or remove what it belongs to."


async def test_a_sample_is_the_caller_and_five_others_and_says_so(lab: Start) -> None:
    here = await lab(accounts=30)
    findings = await examined(here)
    tried = {each.account_id for each in by(findings, Check.OPERATION)}
    assert len(tried) == 6
    assert "000000000001" in tried
    (organization,) = by(findings, Check.ORGANIZATION)
    assert organization.message == "Tried 6 of 30 accounts."
    assert organization.remedy == "`every_account` tries all of them."
    assert here.calls("sts.AssumeRole") == 5


async def test_accounts_that_are_named(lab: Start) -> None:
    here = await lab(accounts=10, suspended=0.2)
    suspended = next(
        each.account_id for each in here.simulator.world.truth() if each.account_status == "SUSPENDED"
    )
    findings = await examined(here, of=(suspended, "000000000001"))
    (organization,) = by(findings, Check.ORGANIZATION)
    # Who named them knows that there are others, and can't ask for all of them beside these.
    assert organization.message is not None
    assert (organization.message.startswith("Tried "), organization.remedy) == (True, None)
    assert {each.account_id for each in by(findings, Check.OPERATION)} == {"000000000001"}
    (left_out,) = by(findings, Check.ROLE, suspended)
    assert (left_out.status, left_out.message) == (SKIPPED, "A collect leaves the account out: SUSPENDED.")
    with pytest.raises(OrganizationError, match="999999999999: not among the accounts"):
        await examined(here, of=("999999999999",))
    with pytest.raises(SettingsError, match='`accounts`: "12" is not an account ID'):
        await examined(here, of=("12",))


async def test_every_account_and_some_of_them_exclude_each_other(lab: Start) -> None:
    here = await lab(accounts=3)
    with pytest.raises(
        SettingsError, match="`every_account` and `accounts` exclude each other: leave one out"
    ):
        async with poolcensus.diagnose(here.settings(), accounts=[SECOND], every_account=True):
            pytest.fail("nothing is to be tried")
    assert here.calls("sts.GetCallerIdentity") == 0


async def test_what_the_deadline_left_untried_is_no_success(lab: Start) -> None:
    here = await lab(accounts=3, faults=("hang,service=sts,operation=AssumeRole",))
    findings = await examined(here, deadline=1)
    assert [each.status for each in by(findings, Check.ROLE)] == [SKIPPED] * 3
    assert [each.status for each in by(findings, Check.REGION_STATUS)] == [OK, SKIPPED, SKIPPED]
    failed = {(each.check, each.account_id, each.cause) for each in findings if each.is_problem}
    assert failed == {(Check.OPERATION, f"{number:012}", Cause.TIMEOUT) for number in (2, 3)}


@pytest.mark.parametrize(
    "silent", ["sts,operation=GetCallerIdentity", "organizations,operation=ListAccounts"]
)
async def test_what_never_answers_ends_with_the_deadline(lab: Start, silent: str) -> None:
    here = await lab(accounts=3, faults=(f"hang,service={silent}",))
    with (
        pytest.raises(DeadlineError, match="deadline of 1 s passed before AWS told"),
        anyio.fail_after(20),
    ):
        await examined(here, deadline=1)


async def test_leaving_early_ends_everything(lab: Start) -> None:
    here = await lab(accounts=30)
    async with poolcensus.diagnose(here.settings(), every_account=True) as findings:
        async for each in findings:
            assert each.check is Check.CALLER
            break
    with pytest.raises(ZeroDivisionError):
        async with poolcensus.diagnose(here.settings()) as findings:
            raise ZeroDivisionError


def test_the_advice_on_missing_credentials_is_the_remedy_and_said_once() -> None:
    error = CredentialsError("No AWS credentials found.", advice="Set AWS_PROFILE.")
    finding = caller_unknown(error)
    assert (finding.message, finding.remedy) == ("No AWS credentials found.", "Set AWS_PROFILE.")

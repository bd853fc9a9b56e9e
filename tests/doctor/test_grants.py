"""Every grant removed in turn, and each kind of policy made to refuse, as the simulator evaluates them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from poolcensus.aws.region_status.management import TRUSTED_ACCESS
from poolcensus.doctor import Cause, Check, CheckStatus, Finding
from poolcensus.model import SnapshotStatus
from poolcensus.simulator import Document, Policies, PolicySet, read_document
from storage.buckets import NAME, PLACE, PREFIX, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from pathlib import Path

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

POOLS = "workspaces:DescribeWorkspacesPools"
ROLES = "arn:aws:iam::*:role/PoolCensusReader"
OBJECTS = f"arn:aws:s3:::{NAME}/{PREFIX.rstrip('/')}/*"
BUCKET = f"arn:aws:s3:::{NAME}"
# What the README asks for.
CALLER = {
    "organizations:ListAccounts": ("*", Check.ORGANIZATION),
    "sts:AssumeRole": (ROLES, Check.ROLE),
    POOLS: ("*", Check.OPERATION),
    "account:ListRegions": ("*", Check.REGION_STATUS),
    "ec2:DescribeRegions": ("*", Check.REGION_STATUS),
}
MEMBER = {
    POOLS: ("*", Check.OPERATION),
    "account:ListRegions": ("*", Check.REGION_STATUS),
    "ec2:DescribeRegions": ("*", Check.REGION_STATUS),
}
IN_S3 = {
    "s3:ListBucket": BUCKET,
    "s3:ListBucketMultipartUploads": BUCKET,
    "s3:GetObject": OBJECTS,
    "s3:PutObject": OBJECTS,
    "s3:DeleteObject": OBJECTS,
    "s3:AbortMultipartUpload": OBJECTS,
}


def document(*statements: dict[str, Any]) -> Document:
    return read_document(json.dumps({"Version": "2012-10-17", "Statement": [*statements]}))


def allowing(actions: Iterable[str]) -> Document:
    return document({"Effect": "Allow", "Action": [*actions], "Resource": "*"})


def without(grants: Iterable[str], action: str | None) -> Document:
    return allowing([each for each in grants if each != action])


def denying(action: str) -> Document:
    return document(
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": action, "Resource": "*"},
    )


async def agrees(here: Lab, findings: list[Finding], **changes: object) -> bool:
    """Whether a collect covers everything just where no finding is a problem."""
    complete = (await here.collect(**changes)).manifest.status is SnapshotStatus.COMPLETE
    return complete is not any(each.is_problem for each in findings)


async def assert_agree(here: Lab, findings: list[Finding]) -> None:
    """A collect leaves out just those accounts of which a finding is a problem."""
    left_out = {each.account_id for each in (await here.collect()).targets() if not each.outcome.covered}
    assert left_out == {each.account_id for each in findings if each.is_problem}


def policies(caller: str | None = None, member: str | None = None) -> Policies:
    return Policies(
        caller=PolicySet(identity=without([*CALLER, *IN_S3], caller)),
        members=PolicySet(identity=without(MEMBER, member)),
    )


async def test_with_every_grant_nothing_is_lacking(lab: Start) -> None:
    here = await lab(accounts=3, policies=policies())
    stored(here.simulator)
    findings = await here.examine(dest=PLACE)
    assert not [each for each in findings if each.cause is not None]
    assert await agrees(here, findings, dest=PLACE)


@pytest.mark.parametrize("action", CALLER)
async def test_each_grant_of_the_caller(lab: Start, action: str) -> None:
    here = await lab(accounts=2, policies=policies(caller=action))
    resource, check = CALLER[action]
    findings = await here.examine()
    # Of region status either is enough: the second one is asked only where the first is refused.
    lacking = {
        (each.check, each.cause, json.dumps(each.policy)) for each in findings if each.cause is not None
    }
    expected = {"Effect": "Allow", "Action": action, "Resource": resource}
    if action == "ec2:DescribeRegions":
        assert lacking == set()
    else:
        assert lacking == {(check, Cause.IDENTITY_POLICY, json.dumps(expected))}
    if check is not Check.ORGANIZATION:
        assert await agrees(here, findings)


async def test_each_grant_of_the_role(lab: Start) -> None:
    lacking = dict(zip(MEMBER, (f"{number:012}" for number in range(2, 5)), strict=True))
    members = {account: PolicySet(identity=without(MEMBER, action)) for action, account in lacking.items()}
    here = await lab(accounts=4, policies=Policies(accounts=members))
    findings = await here.examine()
    found = {(each.account_id, each.check, each.action) for each in findings if each.cause is not None}
    # Of region status either is enough: the second one is asked only where the first is refused.
    assert found == {
        (lacking[action], MEMBER[action][1], action) for action in (POOLS, "account:ListRegions")
    }
    for each in findings:
        if each.cause is not None:
            assert each.cause is Cause.IDENTITY_POLICY
            assert each.policy == {"Effect": "Allow", "Action": each.action, "Resource": "*"}
            assert "Attach this statement to role PoolCensusReader" in str(each.remedy)
    await assert_agree(here, findings)


@pytest.mark.parametrize("action", IN_S3)
async def test_each_grant_on_the_bucket(lab: Start, action: str) -> None:
    here = await lab(accounts=1, policies=policies(caller=action))
    stored(here.simulator)
    findings = await here.examine(dest=PLACE, accounts_from="self")
    (lacking,) = [each for each in findings if each.cause is not None]
    assert (lacking.check, lacking.status, lacking.cause) == (
        Check.DESTINATION,
        CheckStatus.FAILED,
        Cause.IDENTITY_POLICY,
    )
    assert lacking.policy == {"Effect": "Allow", "Action": action, "Resource": IN_S3[action]}


OTHER = allowing(["ec2:DescribeRegions"])


REFUSING = (
    ("boundary", OTHER, CheckStatus.FAILED, Cause.PERMISSIONS_BOUNDARY),
    ("boundary", denying(POOLS), CheckStatus.NOT_MENDABLE, Cause.PERMISSIONS_BOUNDARY),
    ("identity", OTHER, CheckStatus.FAILED, Cause.IDENTITY_POLICY),
    ("identity", denying(POOLS), CheckStatus.NOT_MENDABLE, Cause.IDENTITY_POLICY),
    ("scp", OTHER, CheckStatus.NOT_MENDABLE, Cause.SCP),
    ("scp", denying(POOLS), CheckStatus.NOT_MENDABLE, Cause.SCP),
    ("endpoint", OTHER, CheckStatus.FAILED, Cause.VPC_ENDPOINT_POLICY),
    ("endpoint", denying(POOLS), CheckStatus.NOT_MENDABLE, Cause.VPC_ENDPOINT_POLICY),
)


async def test_each_kind_of_policy_over_a_member(lab: Start) -> None:
    members = {
        f"{number:012}": PolicySet(**{kind: refusing})
        for number, (kind, refusing, *_) in enumerate(REFUSING, 2)
    }
    here = await lab(accounts=len(members) + 2, policies=Policies(accounts=members))
    findings = await here.examine()
    failed = [each for each in findings if each.is_problem]
    assert {(each.account_id, each.check, each.status, each.cause) for each in failed} == {
        (account, Check.OPERATION, *expected)
        for account, (_, _, *expected) in zip(members, REFUSING, strict=True)
    }
    assert all((each.policy is not None) is (each.status is CheckStatus.FAILED) for each in failed)
    await assert_agree(here, findings)


@pytest.mark.parametrize("names_trust", [True, False])
async def test_a_trust_policy_for_somebody_else(lab: Start, names_trust: bool) -> None:
    other = {"AWS": "arn:aws:iam::999999999999:root"}
    trust = document({"Effect": "Allow", "Principal": other, "Action": "sts:AssumeRole"})
    refusing = Policies(accounts={"000000000002": PolicySet(trust=trust)}, names_trust=names_trust)
    here = await lab(accounts=3, policies=refusing)
    findings = await here.examine()
    (role,) = [each for each in findings if each.is_problem]
    assert role.account_id == "000000000002"
    # Where STS names no policy it can't be told from a missing role.
    assert role.cause is (Cause.TRUST_POLICY if names_trust else Cause.MISSING_ROLE)
    assert "trust policy" in str(role.remedy)
    assert await agrees(here, findings)
    if names_trust:
        # What is offered mends it.
        assert role.policy is not None
        mended = Policies(accounts={"000000000002": PolicySet(trust=document(role.policy))})
        here = await lab(accounts=3, policies=mended)
        assert not any(each.is_problem for each in await here.examine())


async def test_what_the_management_account_is_not_told_the_accounts_are_asked(lab: Start) -> None:
    here = await lab(accounts=3, policies=policies(caller="account:ListRegions"))
    findings = await here.examine(region_status="management")
    lacking = [each for each in findings if each.cause is not None]
    assert {each.check for each in lacking} == {Check.REGION_STATUS}
    (member,) = [each for each in lacking if each.account_id == "000000000002"]
    assert "trusted access" in str(member.remedy)
    assert str(member.remedy).endswith(f"attach this statement to the caller. {TRUSTED_ACCESS}")
    assert member.policy == {"Effect": "Allow", "Action": "account:ListRegions", "Resource": "*"}
    assert await agrees(here, findings, region_status="management")


async def test_region_status_that_is_off_is_not_tried(lab: Start) -> None:
    here = await lab(accounts=2, policies=policies(member="account:ListRegions"))
    findings = await here.examine(region_status="off")
    assert {each.status for each in findings if each.check is Check.REGION_STATUS} == {CheckStatus.SKIPPED}


async def test_an_answer_of_a_former_run_hides_nothing(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    changes: dict[str, str] = {"region_status_max_age": "1d", "accounts_from": "self"}
    here = await lab(accounts=1, port=0)
    await here.collect(**changes)
    before = here.calls("account.ListRegions")
    await here.examine(**changes)
    assert here.calls("account.ListRegions") == before + 1

"""Each grant removed and each kind of policy refusing: what doctor offers mends it, or nothing does."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from anyio import to_thread

import poolcensus
from poolcensus.doctor import Cause, Check, CheckStatus, Finding
from poolcensus.errors import CensusError
from poolcensus.model import Outcome
from poolcensus.simulator import Document, Policies, PolicySet, read_document
from poolcensus.simulator.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

POOLS = "workspaces:DescribeWorkspacesPools"
ASSUME = "sts:AssumeRole"
LIST = "organizations:ListAccounts"
TWO, THREE = "000000000002", "000000000003"
ADMIN = "arn:aws:iam::000000000001:role/Admin"
FAILED, NOT_MENDABLE = CheckStatus.FAILED, CheckStatus.NOT_MENDABLE
EVERYTHING: dict[str, Any] = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: Mapping[str, Any]) -> Document:
    return read_document(json.dumps({"Version": "2012-10-17", "Statement": [*statements]}))


def lacking(action: str) -> list[dict[str, Any]]:
    """The statements of a policy that allows everything else."""
    return [{"Effect": "Allow", "NotAction": action, "Resource": "*"}]


def denying(action: str, **condition: str) -> list[dict[str, Any]]:
    conditions = {"Condition": {"StringEquals": condition}} if condition else {}
    return [EVERYTHING, {"Effect": "Deny", "Action": action, "Resource": "*", **conditions}]


async def problems(here: Lab, **changes: object) -> list[Finding]:
    """What doctor calls a problem, which a collect meets just there: its exit code is that of doctor."""
    found = [each for each in await here.examine(**changes) if each.is_problem]
    async with poolcensus.Census(here.settings(**changes)) as census:
        try:
            failed = (await census.collect()).manifest.failed
        except CensusError:
            failed = -1
    assert bool(found) is bool(failed)
    return found


@pytest.mark.parametrize(
    ("action", "asked", "paths"),
    [
        (LIST, {}, True),
        ("organizations:ListAccountsForParent", {"ous": Directory.root_id}, True),
        ("organizations:ListAccountsForParent", {"include_ou_path": True}, False),
        ("organizations:ListOrganizationalUnitsForParent", {"ous": Directory.root_id}, False),
        ("organizations:ListRoots", {"include_ou_path": True}, False),
        ("organizations:ListTagsForResource", {"account_tags": "env=prod"}, True),
    ],
)
async def test_each_grant_of_a_listing(
    lab: Start, action: str, asked: dict[str, object], paths: bool
) -> None:
    world: dict[str, Any] = {"accounts": 8, "regions": ("us-east-1",), "paths": paths}
    here = await lab(**world, policies=Policies(caller=PolicySet(identity=document(*lacking(action)))))
    (found,) = await problems(here, **asked)
    assert (found.check, found.status, found.cause) == (Check.ORGANIZATION, FAILED, Cause.IDENTITY_POLICY)
    assert found.policy == {"Effect": "Allow", "Action": action, "Resource": "*"}
    mended = document(*lacking(action), found.policy)
    here = await lab(**world, policies=Policies(caller=PolicySet(identity=mended)))
    assert await problems(here, **asked) == []


KINDS = {
    "identity": Cause.IDENTITY_POLICY,
    "boundary": Cause.PERMISSIONS_BOUNDARY,
    "endpoint": Cause.VPC_ENDPOINT_POLICY,
    "scp": Cause.SCP,
}
CHECKS = {LIST: Check.ORGANIZATION, ASSUME: Check.ROLE}


@pytest.mark.parametrize(
    ("kind", "action", "explicit"),
    [
        ("identity", LIST, False),
        ("boundary", ASSUME, False),
        ("endpoint", ASSUME, False),
        ("scp", ASSUME, True),
        *(
            pytest.param(kind, action, explicit, marks=pytest.mark.long)
            for kind in KINDS
            for action in CHECKS
            for explicit in (False, True)
        ),
    ],
)
async def test_each_kind_of_policy_over_the_caller(
    lab: Start, kind: str, action: str, explicit: bool
) -> None:
    world: dict[str, Any] = {"accounts": 4, "regions": ("us-east-1",)}
    if kind == "scp":
        # The management account is beyond them.
        world["caller"] = "delegated"
    statements = denying(action) if explicit else lacking(action)

    def refusing(*more: Mapping[str, Any]) -> Policies:
        policies = PolicySet(**{kind: document(*statements, *more)})
        return Policies(accounts={caller: policies}) if kind == "scp" else Policies(caller=policies)

    caller = (await lab(**world)).simulator.world.caller_account_id
    here = await lab(**world, policies=refusing())
    found = await problems(here)
    mendable = not explicit and kind != "scp"
    assert {(each.check, each.action, each.status, each.cause) for each in found} == {
        (CHECKS[action], action, FAILED if mendable else NOT_MENDABLE, KINDS[kind])
    }
    assert len({json.dumps(each.policy) for each in found}) == 1
    (first, *_) = found
    assert (first.policy is not None) is mendable
    if action == ASSUME:
        here.assert_exact(await here.collect())
    if first.policy is not None:
        assert await problems(await lab(**world, policies=refusing(first.policy))) == []


async def test_a_resource_control_policy_over_the_roles(lab: Start) -> None:
    policies = Policies(accounts={TWO: PolicySet(rcp=document(*denying(ASSUME)))})
    here = await lab(accounts=4, policies=policies)
    (found,) = await problems(here)
    assert (found.check, found.account_id, found.status, found.cause) == (
        Check.ROLE, TWO, NOT_MENDABLE, Cause.RCP,
    )  # fmt: skip
    outcomes = here.assert_exact(await here.collect())
    assert outcomes[Outcome.ASSUME_ROLE_FAILED] == 3


@pytest.mark.parametrize("action", [ASSUME, pytest.param(LIST, marks=pytest.mark.long)])
async def test_the_session_policy_of_the_caller(
    lab: Start, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    def session(*statements: Mapping[str, Any]) -> dict[str, str]:
        sts = boto3.client("sts", region_name="us-east-1")
        reply = sts.assume_role(
            RoleArn=ADMIN,
            RoleSessionName="census",
            Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        )
        sts.close()
        credentials: dict[str, str] = reply["Credentials"]
        return credentials

    here = await lab(accounts=3, policies=Policies(roles={ADMIN: PolicySet()}))
    user = {
        "AWS_ACCESS_KEY_ID": here.simulator.access_key_id,
        "AWS_SECRET_ACCESS_KEY": here.simulator.secret_access_key,
    }

    async def take(*statements: Mapping[str, Any]) -> None:
        for name, value in user.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        given = await to_thread.run_sync(session, *statements)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"])
        monkeypatch.setenv("AWS_SESSION_TOKEN", given["SessionToken"])

    await take(*lacking(action))
    found = await problems(here)
    assert {(each.check, each.action, each.status, each.cause) for each in found} == {
        (CHECKS[action], action, FAILED, Cause.SESSION_POLICY)
    }
    assert found[0].policy is not None
    await take(*lacking(action), found[0].policy)
    assert await problems(here) == []
    await take(*denying(action))
    found = await problems(here)
    assert {(each.status, each.cause) for each in found} == {(NOT_MENDABLE, Cause.SESSION_POLICY)}


@pytest.mark.parametrize(
    ("kind", "cause", "outcome"),
    [
        ("scp", Cause.SCP, Outcome.SCP_DENIED),
        *(
            pytest.param(kind, KINDS[kind], Outcome.ACCESS_DENIED, marks=pytest.mark.long)
            for kind in ("identity", "boundary", "endpoint")
        ),
    ],
)
async def test_a_region_of_an_account_that_is_refused_is_the_only_one(
    lab: Start, kind: str, cause: Cause, outcome: Outcome
) -> None:
    refusing = document(*denying(POOLS, **{"aws:RequestedRegion": "eu-west-1"}))
    here = await lab(
        accounts=4, pools_per_target=1, policies=Policies(accounts={THREE: PolicySet(**{kind: refusing})})
    )
    (found,) = await problems(here)
    assert (found.check, found.account_id, found.region, found.status, found.cause) == (
        Check.OPERATION, THREE, "eu-west-1", NOT_MENDABLE, cause,
    )  # fmt: skip
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 11, outcome: 1}
    # What is named as known is no problem, of neither.
    assert await problems(here, known_gaps=[f"{THREE}:eu-west-1:{outcome}"]) == []


@pytest.mark.parametrize("accounts", [90, pytest.param(1000, marks=pytest.mark.long)])
async def test_all_accounts_cost_the_calls_of_a_collect_and_a_few(lab: Start, accounts: int) -> None:
    here = await lab(accounts=accounts, regions=("us-east-1",), mean_pools=0, invited_without_role=1 / 3)
    await here.collect()
    collect = here.simulator.stats.calls.copy()
    here.simulator.stats.calls.clear()
    await here.examine()
    doctor = here.simulator.stats.calls
    assert not collect - doctor
    # Twenty of those that are refused are asked for in other ways, three each.
    assert doctor - collect <= Counter({"sts.AssumeRole": 20 * 3})


async def test_what_stands_in_the_way_of_all_is_found_with_a_call_each(lab: Start) -> None:
    user = {"AWS": "arn:aws:iam::000000000001:user/census"}
    trust = document({"Effect": "Allow", "Principal": user, "Action": ASSUME})
    here = await lab(
        accounts=60, regions=("us-east-1",), mean_pools=0, policies=Policies(members=PolicySet(trust=trust))
    )
    found = await problems(here, session_tags=["team=a"])
    assert {(each.check, each.action, each.cause) for each in found} == {
        (Check.ROLE, "sts:TagSession", Cause.TRUST_POLICY)
    }
    assert len(found) == 59
    assert found[0].policy is not None
    here.simulator.stats.calls.clear()
    await here.examine(session_tags=["team=a"])
    # The call itself, and of the first twenty those that leave something else out.
    assert here.calls("sts.AssumeRole") <= 59 * 2 + 20 * 3
    mended = document({"Effect": "Allow", "Principal": user, "Action": ASSUME}, found[0].policy)
    here = await lab(
        accounts=4, regions=("us-east-1",), mean_pools=0, policies=Policies(members=PolicySet(trust=mended))
    )
    assert await problems(here, session_tags=["team=a"]) == []

"""The policies of config/ allow what the program calls and nothing else; with less, something is lost."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.loaders import Loader

import poolcensus
from config.deployment import SINGLE_ACCOUNT, STACK_SET, Stack, actions, policy, without
from poolcensus.aws.credentials.roles import _HUB_ACTIONS
from poolcensus.aws.region_status.calls import IAM_ACTIONS
from poolcensus.doctor import Check
from poolcensus.errors import CensusError, OrganizationError
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.simulator import Document, Policies, PolicySet, read_document
from poolcensus.storage.s3.refusals import _IAM_ACTIONS, denial_of
from storage.buckets import NAME, PLACE, PREFIX, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab
    from poolcensus.simulator.policies import Query, Verdict

    Start = Callable[..., Coroutine[None, None, Lab]]

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "poolcensus"
EXTERNAL_ID = "hush-hush"
OPT_IN = ("us-east-1", "af-south-1")
CALLER = "arn:aws:iam::000000000001:user/census"
HUB = "arn:aws:iam::000000000002:role/Hub"
# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
# What S3 calls in the name of its caller where the bucket is encrypted with a key of KMS.
KEY = {"kms:Decrypt", "kms:GenerateDataKey"}
# A census that needs every action: choice by units and tags, and sessions that are marked.
EVERYTHING: dict[str, Any] = {
    "include_ou_path": True,
    "include_account_tags": True,
    "source_identity": "night",
    "session_tags": "team=desktops",
    "external_id": EXTERNAL_ID,
}


def document(found: dict[str, Any]) -> Document:
    return read_document(json.dumps(found))


def in_the_bucket(found: dict[str, Any]) -> dict[str, Any]:
    """The policy of the destination for the bucket of the tests."""
    text = json.dumps(found).replace("BUCKET", NAME).replace("PREFIX", PREFIX.rstrip("/"))
    filled: dict[str, Any] = json.loads(text)
    return filled


@dataclass(frozen=True, slots=True, eq=False)
class Recorder(Document):
    """A policy that takes down which actions are evaluated."""

    seen: set[str] = field(default_factory=set)

    def verdict(self, query: Query) -> Verdict:
        self.seen.add(query.action)
        return Document.verdict(self, query)


def recorder(*, trust: bool = False) -> Recorder:
    scope = {"Principal": "*"} if trust else {"Resource": "*"}
    allowed = document({"Statement": {"Effect": "Allow", "Action": "*", **scope}})
    return Recorder(allowed.statements)


def operations_in_the_code() -> set[str]:
    """Each operation of AWS that the code names in the SDK's words, as the IAM action that it needs."""
    services = {"organizations", "account", "ec2", "sts", "workspaces", "s3"}
    known = {
        xform_name(each): f"{service}:{each}"
        for service in services
        for each in Loader().load_service_model(service, "service-2")["operations"]
    }
    named = {
        node.value
        for file in SOURCES.rglob("*.py")
        if not file.is_relative_to(SOURCES / "simulator")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } & known.keys()
    found: set[str] = set()
    for name in named:
        # S3's actions have names of their own.
        found.update(_IAM_ACTIONS[name] if known[name].startswith("s3:") else [known[name]])
    # What an AssumeRole with tags and a source identity needs besides.
    return (found | {*_HUB_ACTIONS}) - NEEDS_NO_PERMISSION


def test_the_policies_allow_the_operations_that_the_code_names_and_no_other() -> None:
    allowed = actions(policy("caller")) | actions(policy("s3-destination"))
    assert allowed - KEY == operations_in_the_code()
    assert actions(policy("member")) == {poolcensus.operations.WORKSPACES_POOLS.iam_action, *IAM_ACTIONS}
    assert actions(policy("trust")) == {*_HUB_ACTIONS}


def test_the_policy_of_the_destination_has_what_a_key_needs() -> None:
    error = ClientError(
        {"Error": {"Code": "AccessDenied", "Message": "… kms:GenerateDataKey …"}}, "PutObject"
    )
    denied = denial_of(error, "put_object")
    assert denied is not None
    assert {*denied.iam_actions} == KEY == {each for each in actions(policy("s3-destination")) if each in KEY}


async def test_the_policies_allow_the_calls_that_the_simulator_sees_and_no_other(lab: Start) -> None:
    caller, member, trust, hub = recorder(), recorder(), recorder(trust=True), recorder()
    recorded = Policies(
        caller=PolicySet(identity=caller),
        members=PolicySet(identity=member, trust=trust),
        roles={HUB: PolicySet(identity=hub)},
    )
    # Where ListAccounts tells no paths, the tree is walked; where the Account API refuses, EC2 is asked.
    here = await lab(accounts=3, policies=recorded, paths=False, faults=("denied,service=account",))
    stored(here.simulator)
    snapshot = await here.collect(dest=PLACE, **EVERYTHING)
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    assert not [each for each in await here.examine(dest=PLACE) if each.is_problem]
    await here.collect(role_chain=HUB, region_status="management", **EVERYTHING)
    here = await lab(accounts=3, policies=recorded, caller="member")
    with pytest.raises(OrganizationError):
        await here.collect()
    assert caller.seen == actions(policy("caller")) | actions(policy("s3-destination")) - KEY
    assert member.seen == actions(policy("member"))
    assert trust.seen == actions(policy("trust"))
    assert hub.seen == {*_HUB_ACTIONS}


@dataclass
class Deployed:
    """The policies that the templates make, of which each may lack an action."""

    caller: dict[str, Any]
    member: dict[str, Any]
    trust: dict[str, Any]

    @classmethod
    def by_templates(cls, principal: str = CALLER) -> Deployed:
        role = Stack(STACK_SET, CallerPrincipal=principal, ExternalId=EXTERNAL_ID).resources["Role"]
        own = Stack(SINGLE_ACCOUNT, CallerPolicyName="PoolCensusCaller").resources["CallerPolicy"]
        (inline,) = role["Policies"]
        return cls(own["PolicyDocument"], inline["PolicyDocument"], role["AssumeRolePolicyDocument"])

    def without(self, name: str, *removed: str) -> Deployed:
        return Deployed(**{**vars(self), name: without(getattr(self, name), *removed)})

    def policies(self, destination: dict[str, Any] | None = None) -> Policies:
        caller = document(self.caller)
        if destination is not None:
            caller += document(in_the_bucket(destination))
        return Policies(
            caller=PolicySet(identity=caller),
            members=PolicySet(identity=document(self.member), trust=document(self.trust)),
        )


async def is_whole(here: Lab, **changes: object) -> bool:
    try:
        snapshot = await here.collect(**{**EVERYTHING, **changes})
    except CensusError:
        return False
    return snapshot.manifest.status is SnapshotStatus.COMPLETE


@pytest.mark.parametrize("principal", [CALLER, "000000000001", "arn:aws:iam::000000000001:root"])
async def test_with_what_the_templates_make_a_census_is_whole(lab: Start, principal: str) -> None:
    policies = Deployed.by_templates(principal).policies(policy("s3-destination"))
    here = await lab(
        accounts=4,
        policies=policies,
        external_id=EXTERNAL_ID,
        opt_in_disabled=1.0,
        paths=False,
        regions=OPT_IN,
    )
    stored(here.simulator)
    here.assert_exact(await here.collect(**EVERYTHING))
    assert await is_whole(here, dest=PLACE)
    assert not [each for each in await here.examine(dest=PLACE, **EVERYTHING) if each.is_problem]


async def test_a_role_of_the_templates_asks_for_its_external_id_and_its_caller(lab: Start) -> None:
    here = await lab(accounts=3, policies=Deployed.by_templates().policies(), regions=("us-east-1",))
    for changes in ({"external_id": None}, {"external_id": "another"}):
        snapshot = await here.collect(**{**EVERYTHING, **changes})
        assert snapshot.manifest.outcomes[Outcome.ASSUME_ROLE_FAILED] == 2
    here = await lab(accounts=3, policies=Deployed.by_templates("999999999999").policies())
    assert not await is_whole(here)


# Of region status either action is enough; DescribeOrganization is for a message.
ONE_OF_TWO = {*IAM_ACTIONS, "organizations:DescribeOrganization"}
NEEDED = [
    (name, action)
    for name, found in (("caller", "caller"), ("member", "member"), ("trust", "trust"))
    for action in sorted(actions(policy(found)) - ONE_OF_TWO)
]


@pytest.mark.parametrize(("name", "action"), NEEDED)
async def test_with_an_action_less_a_census_is_not_whole(lab: Start, name: str, action: str) -> None:
    lacking = Deployed.by_templates().without(name, action).policies()
    here = await lab(accounts=3, policies=lacking, paths=False, regions=("us-east-1",))
    assert not await is_whole(here)


@pytest.mark.parametrize("action", sorted(actions(policy("s3-destination")) - KEY))
async def test_with_an_action_less_on_the_bucket_nothing_can_be_written(lab: Start, action: str) -> None:
    lacking = Deployed.by_templates().policies(without(policy("s3-destination"), action))
    here = await lab(accounts=1, policies=lacking)
    stored(here.simulator)
    findings = await here.examine(dest=PLACE, accounts_from="self")
    (problem,) = [each for each in findings if each.is_problem]
    assert (problem.check, problem.action) == (Check.DESTINATION, action)


@pytest.mark.parametrize("name", ["caller", "member"])
async def test_without_either_action_of_region_status_doctor_says_what_is_lost(lab: Start, name: str) -> None:
    made = Deployed.by_templates()
    asked: dict[tuple[str, ...], int] = {}
    for removed in ((), IAM_ACTIONS[:1], IAM_ACTIONS[1:], IAM_ACTIONS):
        here = await lab(
            accounts=2, policies=made.without(name, *removed).policies(), opt_in_disabled=1.0, regions=OPT_IN
        )
        assert await is_whole(here)
        asked[removed] = here.calls("workspaces.DescribeWorkspacesPools")
        lacking = {
            each.account_id: each.action
            for each in await here.examine(**EVERYTHING)
            if each.check is Check.REGION_STATUS and each.cause is not None
        }
        # That the second one is lacking is not seen while the first is there.
        assert bool(lacking) == (IAM_ACTIONS[0] in removed)
    # Without both, regions that are not enabled are called to say so themselves; the caller's are enabled.
    usual = asked.pop(())
    assert (asked.pop(IAM_ACTIONS) > usual) == (name == "member")
    assert {*asked.values()} == {usual}


async def test_without_describe_organization_a_refusal_does_not_name_the_management_account(
    lab: Start,
) -> None:
    told = {}
    for removed in ((), ("organizations:DescribeOrganization",)):
        lacking = Deployed.by_templates().without("caller", *removed).policies()
        here = await lab(accounts=3, policies=lacking, caller="member")
        with pytest.raises(OrganizationError) as refused:
            await here.collect()
        told[removed] = "000000000001" in str(refused.value)
    assert [*told.values()] == [True, False]


def test_the_readme_asks_for_no_other_action() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prefixes = {
        each.partition(":")[0] for name in ("caller", "s3-destination") for each in actions(policy(name))
    }
    named = set(re.findall(rf"[`\"]((?:{'|'.join(sorted(prefixes))}):[A-Z]\w+)[`\"]", text))
    assert actions(policy("member")) <= named
    assert named - NEEDS_NO_PERMISSION <= actions(policy("caller")) | actions(policy("s3-destination"))

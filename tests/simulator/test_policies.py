"""Policies of each kind: their denials, as boto3 sees them, and the truth that follows from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from poolcensus.model import Outcome
from poolcensus.simulator import (
    Document,
    Policies,
    PolicySet,
    SimulatorConfig,
    World,
    WorldConfig,
    read_document,
)
from poolcensus.simulator.access import ENDPOINT_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.conftest import Start

USER = "arn:aws:iam::000000000001:user/census"
MEMBER = "000000000002"
ROLE = f"arn:aws:iam::{MEMBER}:role/PoolCensusReader"
SESSION = f"arn:aws:sts::{MEMBER}:assumed-role/PoolCensusReader/census"
POOLS = "workspaces:DescribeWorkspacesPools"
POOL = f"arn:aws:workspaces:us-east-1:{MEMBER}:workspacespool/*"


def policy(*statements: dict[str, Any]) -> Document:
    filled = [{"Effect": "Allow", "Action": "*", "Resource": "*", **each} for each in statements]
    return read_document(json.dumps({"Version": "2012-10-17", "Statement": filled}))


def trust(principal: object = "*", **more: Any) -> Document:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}
    return read_document(json.dumps({"Statement": [statement]}))


def deny(action: str) -> Document:
    return policy({}, {"Effect": "Deny", "Action": action})


OTHER = policy({"Action": "ec2:DescribeRegions"})


def world(**policies: Any) -> WorldConfig:
    return WorldConfig(accounts=4, regions=("us-east-1",), pools_per_target=1, policies=Policies(**policies))


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response: Any = error.value.response
    found = response["Error"]
    return found["Code"], response["ResponseMetadata"]["HTTPStatusCode"], found["Message"]


@pytest.mark.parametrize(
    ("policies", "reason", "outcome"),
    [
        ({"identity": OTHER}, f"because no identity-based policy allows the {POOLS} action", "access_denied"),
        ({"identity": deny(POOLS)}, "with an explicit deny in an identity-based policy", "access_denied"),
        ({"boundary": OTHER}, f"because no permissions boundary allows the {POOLS} action", "access_denied"),
        (
            {"boundary": deny("workspaces:*")},
            "with an explicit deny in a permissions boundary",
            "access_denied",
        ),
        ({"scp": OTHER}, f"because no service control policy allows the {POOLS} action", "scp_denied"),
        (
            {"scp": policy({"Effect": "Deny", "Action": POOLS})},
            "with an explicit deny in a service control policy",
            "scp_denied",
        ),
        ({"endpoint": OTHER}, f"because no VPC endpoint policy allows the {POOLS} action", "access_denied"),
        (
            {"endpoint": deny(POOLS)},
            "with an explicit deny in a VPC endpoint policy",
            "access_denied",
        ),
        (
            {"identity": OTHER, "scp": policy({"Effect": "Deny", "Action": "workspaces:D*"})},
            "with an explicit deny in a service control policy",
            "scp_denied",
        ),
    ],
)
def test_a_member_s_call_is_denied_by_each_kind_of_policy(
    start: Start, policies: dict[str, Document], reason: str, outcome: str
) -> None:
    config = world(accounts={MEMBER: PolicySet(**policies)})
    running = start(SimulatorConfig(world=config))
    client = running.client("workspaces", running.assume(MEMBER))
    assert refusal(client.describe_workspaces_pools) == (
        "AccessDeniedException",
        400,
        f"User: {SESSION} is not authorized to perform: {POOLS} on resource: {POOL} {reason}",
    )
    other = running.client("workspaces", running.assume("000000000003"))
    assert other.describe_workspaces_pools()["WorkspacesPools"]
    truth = {each.account_id: each.outcome for each in running.simulator.world.truth()}
    assert truth == dict.fromkeys(truth, Outcome.OK) | {MEMBER: Outcome(outcome)}


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        (
            {"caller": PolicySet(identity=OTHER)},
            " because no identity-based policy allows the sts:AssumeRole action",
        ),
        (
            {"caller": PolicySet(identity=deny("sts:*"))},
            " with an explicit deny in an identity-based policy",
        ),
        (
            {"caller": PolicySet(boundary=OTHER)},
            " because no permissions boundary allows the sts:AssumeRole action",
        ),
        (
            {"members": PolicySet(trust=trust({"AWS": "000000000004"}))},
            " because no role trust policy allows the sts:AssumeRole action",
        ),
        (
            {"members": PolicySet(trust=trust(Effect="Deny"))},
            " with an explicit deny in the role trust policy",
        ),
        (
            {"members": PolicySet(trust=trust({"AWS": "000000000004"})), "names_trust": False},
            "",
        ),
        (
            {"members": PolicySet(rcp=policy({"Effect": "Deny", "Action": "sts:AssumeRole"}))},
            " with an explicit deny in a resource control policy",
        ),
    ],
)
def test_a_role_is_refused_by_each_kind_of_policy(
    start: Start, policies: dict[str, Any], reason: str
) -> None:
    running = start(SimulatorConfig(world=world(**policies)))
    call = running.client("sts").assume_role
    assert refusal(call, RoleArn=ROLE, RoleSessionName="census") == (
        "AccessDenied",
        403,
        f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}{reason}",
    )
    truth = {each.account_id: each.outcome for each in running.simulator.world.truth()}
    assert truth.pop("000000000001") is (Outcome.OK if "members" in policies else truth_of_caller(policies))
    assert set(truth.values()) == {Outcome.ASSUME_ROLE_FAILED}


def truth_of_caller(policies: dict[str, Any]) -> Outcome:
    """Return the outcome in the caller's own account, which needs no role."""
    caller = policies["caller"]
    return Outcome.ACCESS_DENIED if OTHER in (caller.identity, caller.boundary) else Outcome.OK


def test_a_role_that_does_not_exist_is_refused_without_a_reason(start: Start) -> None:
    running = start(SimulatorConfig(world=world()))
    role = f"arn:aws:iam::{MEMBER}:role/Nobody"
    call = running.client("sts").assume_role
    assert refusal(call, RoleArn=role, RoleSessionName="census") == (
        "AccessDenied",
        403,
        f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {role}",
    )


def test_each_service_says_it_in_its_own_way(start: Start) -> None:
    nothing = policy({"Action": "iam:ListUsers"})
    running = start(SimulatorConfig(world=world(caller=PolicySet(identity=nothing))))

    def reason(action: str) -> str:
        return f"because no identity-based policy allows the {action} action"

    assert refusal(running.client("organizations").list_accounts) == (
        "AccessDeniedException",
        400,
        f"User: {USER} is not authorized to perform: organizations:ListAccounts on resource: * "
        + reason("organizations:ListAccounts"),
    )
    assert refusal(running.client("account").list_regions) == (
        "AccessDeniedException",
        403,
        (
            f"User: {USER} is not authorized to perform: account:ListRegions on resource: "
            f"arn:aws:account::000000000001:account {reason('account:ListRegions')}"
        ),
    )
    assert refusal(running.client("ec2").describe_regions) == (
        "UnauthorizedOperation",
        403,
        (
            "You are not authorized to perform this operation. "
            f"User: {USER} is not authorized to perform: ec2:DescribeRegions {reason('ec2:DescribeRegions')}"
        ),
    )
    found = refusal(running.client("s3").list_objects_v2, Bucket="census", Prefix="a/")
    assert found[:2] == ("AccessDenied", 403)
    assert found[2].endswith(f'on resource: "arn:aws:s3:::census" {reason("s3:ListBucket")}')
    found = refusal(running.client("s3").put_object, Bucket="census", Key="a/b", Body=b"")
    assert found[2].endswith(f'on resource: "arn:aws:s3:::census/a/b" {reason("s3:PutObject")}')
    assert running.client("sts").get_caller_identity()["Account"] == "000000000001"


def test_control_policies_leave_the_management_account_alone(start: Start) -> None:
    members = PolicySet(scp=policy({"Effect": "Deny", "Action": "*"}))
    running = start(SimulatorConfig(world=world(members=members)))
    assert running.client("workspaces").describe_workspaces_pools()["WorkspacesPools"]
    assert running.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="census")


def test_a_trust_policy_asks_for_its_conditions(start: Start) -> None:
    document = trust(
        {"AWS": "arn:aws:iam::000000000001:root"},
        Action=["sts:AssumeRole", "sts:TagSession"],
        Condition={"StringEquals": {"sts:ExternalId": "word"}, "StringLike": {"aws:RequestTag/Team": "cen*"}},
    )
    running = start(SimulatorConfig(world=world(members=PolicySet(trust=document))))
    call = running.client("sts").assume_role
    asked: dict[str, Any] = {"RoleArn": ROLE, "RoleSessionName": "census"}
    tagged = {**asked, "Tags": [{"Key": "Team", "Value": "census"}]}
    for lacking in (asked, {**asked, "ExternalId": "word"}, tagged, {**tagged, "ExternalId": "wrong"}):
        assert "no role trust policy allows the sts:AssumeRole action" in refusal(call, **lacking)[2]
    assert call(**tagged, ExternalId="word")["Credentials"]
    found = refusal(call, **tagged, ExternalId="word", SourceIdentity="alice")
    assert "to perform: sts:SetSourceIdentity on" in found[2]


def test_a_region_may_be_closed_by_a_control_policy() -> None:
    closed = policy(
        {"Effect": "Deny", "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["us-east-1"]}}}
    )
    config = WorldConfig(
        accounts=2,
        regions=("us-east-1", "eu-west-1"),
        pools_per_target=1,
        policies=Policies(members=PolicySet(scp=closed)),
    )
    found = {(each.account_id, each.region): each.outcome for each in World(config).truth()}
    assert found == {
        ("000000000001", "us-east-1"): Outcome.OK,
        ("000000000001", "eu-west-1"): Outcome.OK,
        (MEMBER, "us-east-1"): Outcome.OK,
        (MEMBER, "eu-west-1"): Outcome.SCP_DENIED,
    }


def listing(prefix: object, effect: str = "Allow", operator: str = "StringLike") -> dict[str, Any]:
    return {"Effect": effect, "Action": "s3:ListBucket", "Condition": {operator: {"s3:prefix": prefix}}}


OTHERS = {"Action": ["s3:CreateBucket", "s3:ListBucketMultipartUploads"]}


@pytest.mark.parametrize(
    ("statements", "listed", "refused"),
    [
        (
            [OTHERS, listing(["census", "census/*"])],
            ["census", "census/a+b"],
            [None, "", "c"],
        ),
        ([{}, listing("census/*", "Deny")], [None, "", "census"], ["census/", "census/a"]),
        ([OTHERS, listing("", operator="StringEquals")], [""], [None, "a"]),
        ([{}, listing("true", "Deny", "Null")], ["", "a"], [None]),
    ],
)
def test_the_prefix_of_a_listing_is_a_key_of_conditions(
    start: Start, statements: list[dict[str, Any]], listed: list[str | None], refused: list[str | None]
) -> None:
    running = start(SimulatorConfig(world=world(caller=PolicySet(identity=policy(*statements)))))
    s3 = running.client("s3")
    s3.create_bucket(Bucket="census")

    def asked(prefix: str | None) -> dict[str, str]:
        return {"Bucket": "census"} if prefix is None else {"Bucket": "census", "Prefix": prefix}

    for call in (s3.list_objects, s3.list_objects_v2):
        for each in listed:
            assert call(**asked(each))["Name"] == "census"
        for each in refused:
            assert refusal(call, **asked(each))[:2] == ("AccessDenied", 403)
    # No other call has the key, whatever its query.
    assert s3.list_multipart_uploads(**asked("census/a"))["Bucket"] == "census"


def test_whether_a_bucket_is_there_is_asked_for_no_prefix(start: Start) -> None:
    identity = policy({}, listing("census/*", "Deny"))
    running = start(SimulatorConfig(world=world(caller=PolicySet(identity=identity))))
    s3 = running.client("s3")
    s3.create_bucket(Bucket="census")

    def ask_with_prefix(params: dict[str, Any], **_: Any) -> None:
        params["url"] += "?prefix=census%2Fa"

    assert refusal(s3.list_objects_v2, Bucket="census", Prefix="census/a")[1] == 403
    s3.meta.events.register("before-call.s3.HeadBucket", ask_with_prefix)
    # No policy denies the call, but the simulator does not have the operation.
    assert refusal(s3.head_bucket, Bucket="census")[1] == 501


@pytest.mark.parametrize(("endpoint", "denied"), [(None, True), (policy({}), False)])
def test_calls_go_through_an_endpoint_where_it_has_a_policy(
    start: Start, endpoint: Document | None, denied: bool
) -> None:
    perimeter = policy(
        {}, {"Effect": "Deny", "Condition": {"StringNotEquals": {"aws:SourceVpce": ENDPOINT_ID}}}
    )
    members = PolicySet(identity=perimeter, endpoint=endpoint)
    running = start(SimulatorConfig(world=world(members=members)))
    client = running.client("workspaces", running.assume(MEMBER))
    if denied:
        assert "with an explicit deny" in refusal(client.describe_workspaces_pools)[2]
    else:
        assert client.describe_workspaces_pools()["WorkspacesPools"]
    truth = {each.account_id: each.outcome for each in running.simulator.world.truth()}
    assert truth[MEMBER] is (Outcome.ACCESS_DENIED if denied else Outcome.OK)


def test_a_session_policy_denies_explicitly_too(start: Start) -> None:
    running = start(SimulatorConfig(world=world()))
    document = {"Statement": [{"Effect": "Deny", "Action": POOLS, "Resource": "*"}]}
    client = running.client("workspaces", running.assume(MEMBER, Policy=json.dumps(document)))
    assert refusal(client.describe_workspaces_pools)[2].endswith("with an explicit deny in a session policy")

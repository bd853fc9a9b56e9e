"""Each refusal that AWS sends, as boto3 sees it: code, status and message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from poolcensus.simulator import Fault, Policy, SimulatorConfig, WorldConfig
from poolcensus.simulator.world import account_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.conftest import Running, Start

USER = "arn:aws:iam::000000000001:user/census"
POOLS = "workspaces:DescribeWorkspacesPools"
ANY_POOL = "arn:aws:workspaces:us-east-1:000000000001:workspacespool/*"
CLOSED = (
    "Amazon WorkSpaces Pools is no longer available to new customers as of 7/30/2026. Refer to "
    "https://docs.aws.amazon.com/workspaces/latest/adminguide/wsp-pools-end-of-support.html"
)
NEUTRAL = (
    "You do not have the permissions required to perform this action. Refer to "
    "https://docs.aws.amazon.com/workspaces/latest/adminguide/workspaces-access-control.html"
)
STS_IS_OFF = (
    "STS is not activated in this region for account:000000000001. Your account administrator can activate "
    "STS in this region using the IAM Console."
)


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response: Any = error.value.response
    found = response["Error"]
    return found["Code"], response["ResponseMetadata"]["HTTPStatusCode"], found["Message"]


def begin(start: Start, *faults: str, accounts: int = 4) -> Running:
    return start(
        SimulatorConfig(
            world=WorldConfig(accounts=accounts, pools_per_target=1),
            faults=tuple(Fault.parse(text) for text in faults),
        )
    )


def pools(running: Running, region: str = "us-east-1", member: int | None = None) -> Callable[..., Any]:
    credentials = None if member is None else running.assume(account_id(member))
    call: Callable[..., Any] = running.client("workspaces", credentials, region).describe_workspaces_pools
    return call


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("denied", f"because no identity-based policy allows the {POOLS} action"),
        ("denied,denial=explicit", "with an explicit deny in an identity-based policy"),
        ("denied,policy=boundary", f"because no permissions boundary allows the {POOLS} action"),
        ("denied,policy=boundary,denial=explicit", "with an explicit deny in a permissions boundary"),
        ("denied,policy=session", f"because no session policy allows the {POOLS} action"),
        ("denied,policy=session,denial=explicit", "with an explicit deny in a session policy"),
        ("denied,policy=resource", f"because no resource-based policy allows the {POOLS} action"),
        ("denied,policy=resource,denial=explicit", "with an explicit deny in a resource-based policy"),
        ("denied,policy=scp", "with an explicit deny in a service control policy"),
        ("denied,policy=scp,denial=implicit", f"because no service control policy allows the {POOLS} action"),
        ("denied,policy=rcp", "with an explicit deny in a resource control policy"),
        ("denied,policy=endpoint", f"because no VPC endpoint policy allows the {POOLS} action"),
        ("denied,policy=endpoint,denial=explicit", "with an explicit deny in a VPC endpoint policy"),
    ],
)
def test_a_denial_names_its_policy_in_the_words_of_iam(start: Start, rule: str, reason: str) -> None:
    assert refusal(pools(begin(start, rule))) == (
        "AccessDeniedException",
        400,
        f"User: {USER} is not authorized to perform: {POOLS} on resource: {ANY_POOL} {reason}",
    )


@pytest.mark.parametrize(
    ("service", "call", "code", "what"),
    [
        ("sts", ("get_caller_identity", {}), ("AccessDenied", 403), "sts:GetCallerIdentity"),
        ("ec2", ("describe_regions", {}), ("UnauthorizedOperation", 403), "ec2:DescribeRegions"),
        (
            "organizations",
            ("list_accounts", {}),
            ("AccessDeniedException", 400),
            "organizations:ListAccounts on resource: *",
        ),
        (
            "account",
            ("list_regions", {}),
            ("AccessDeniedException", 403),
            "account:ListRegions on resource: arn:aws:account::000000000001:account",
        ),
        (
            "s3",
            ("list_buckets", {}),
            ("AccessDenied", 403),
            's3:ListAllMyBuckets on resource: "arn:aws:s3:::*"',
        ),
        (
            "s3",
            ("list_objects_v2", {"Bucket": "kept"}),
            ("AccessDenied", 403),
            's3:ListBucket on resource: "arn:aws:s3:::kept"',
        ),
        (
            "s3",
            ("put_object", {"Bucket": "kept", "Key": "a/b c", "Body": b"x"}),
            ("AccessDenied", 403),
            's3:PutObject on resource: "arn:aws:s3:::kept/a/b c"',
        ),
    ],
)
def test_each_service_denies_in_its_own_form(
    start: Start, service: str, call: tuple[str, dict[str, Any]], code: tuple[str, int], what: str
) -> None:
    running = begin(start, "denied,service=*,policy=scp")
    first = "You are not authorized to perform this operation. " if service == "ec2" else ""
    operation, arguments = call
    reason = "with an explicit deny in a service control policy"
    message = f"{first}User: {USER} is not authorized to perform: {what} {reason}"
    assert refusal(getattr(running.client(service), operation), **arguments) == (*code, message)


@pytest.mark.parametrize(
    ("denial", "reason"),
    [
        ("implicit", "because no role trust policy allows the sts:AssumeRole action"),
        ("explicit", "with an explicit deny in the role trust policy"),
    ],
)
def test_the_trust_policy_of_one_role_denies_it(start: Start, denial: str, reason: str) -> None:
    rule = f"denied,policy=trust,denial={denial},service=sts,operation=AssumeRole,role_account=000000000003"
    running = begin(start, rule)
    role = running.simulator.world.role_arn("000000000003")
    call = running.client("sts").assume_role
    assert refusal(call, RoleArn=role, RoleSessionName="census") == (
        "AccessDenied",
        403,
        f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {role} {reason}",
    )
    assert running.assume("000000000002")
    assert running.client("sts").get_caller_identity()


def test_a_denial_across_accounts_names_no_policy(start: Start) -> None:
    call = begin(start).client("sts").assume_role
    role = "arn:aws:iam::000000000002:role/Other"
    assert refusal(call, RoleArn=role, RoleSessionName="census") == (
        "AccessDenied",
        403,
        f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {role}",
    )


def test_a_denial_is_about_the_session_the_region_and_the_partition(start: Start) -> None:
    world = WorldConfig(accounts=3, partition="aws-us-gov")
    running = start(SimulatorConfig(world=world, faults=(Fault.parse("denied"),)))
    assert refusal(pools(running, "us-gov-east-1", 1))[2].startswith(
        "User: arn:aws-us-gov:sts::000000000002:assumed-role/PoolCensusReader/census is not authorized to "
        f"perform: {POOLS} on resource: arn:aws-us-gov:workspaces:us-gov-east-1:000000000002:workspacespool/*"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("not-entitled", ("AccessDeniedException", 400, CLOSED)),
        ("neutral", ("AccessDeniedException", 400, NEUTRAL)),
        (
            "unsupported",
            ("OperationNotSupportedException", 400, "The operation is not supported in this Region."),
        ),
    ],
)
def test_workspaces_refuses_what_it_does_not_offer(
    start: Start, kind: str, expected: tuple[str, int, str]
) -> None:
    running = begin(start, f"{kind},account=000000000002,region=us-west-2,first=1")
    assert pools(running, "us-west-2")()
    call = pools(running, "us-west-2", 1)
    assert refusal(call) == expected
    assert call()


@pytest.mark.parametrize(
    ("service", "operation", "unrecognized", "disabled"),
    [
        (
            "workspaces",
            "describe_workspaces_pools",
            (
                "UnrecognizedClientException",
                400,
                "The security token included in the request is invalid.",
            ),
            ("OptInRequired", 403, "The AWS access key ID needs a subscription for the service."),
        ),
        (
            "sts",
            "get_caller_identity",
            ("InvalidClientTokenId", 403, "The security token included in the request is invalid."),
            ("RegionDisabledException", 403, STS_IS_OFF),
        ),
        (
            "ec2",
            "describe_regions",
            ("AuthFailure", 401, "AWS was not able to validate the provided access credentials"),
            (
                "OptInRequired",
                401,
                "You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe.",
            ),
        ),
    ],
)
def test_a_service_that_is_off_says_so_in_its_own_words(
    start: Start,
    service: str,
    operation: str,
    unrecognized: tuple[str, int, str],
    disabled: tuple[str, int, str],
) -> None:
    for kind, expected in (("unrecognized", unrecognized), ("region-disabled", disabled)):
        running = begin(start, f"{kind},service=*,first=1")
        call = getattr(running.client(service), operation)
        assert refusal(call) == expected
        assert call()


def test_a_disabled_sts_names_the_account_of_the_role(start: Start) -> None:
    running = begin(start, "region-disabled,service=sts")
    role = running.simulator.world.role_arn("000000000002")
    code, _, message = refusal(running.client("sts").assume_role, RoleArn=role, RoleSessionName="census")
    assert code == "RegionDisabledException"
    assert "for account:000000000002." in message


def test_a_member_that_never_had_pools_is_refused_wherever_there_are_any(start: Start) -> None:
    world = WorldConfig(
        accounts=5,
        pools_per_target=1,
        not_entitled=0.5,
        regions=("us-east-1", "eu-west-1", "af-south-1", "sa-east-1", "us-east-2"),
        neutral_regions=("sa-east-1",),
        unsupported_regions=("us-east-2",),
    )
    running = start(SimulatorConfig(world=world))
    members = running.simulator.world.not_entitled
    assert len(members) == 2
    for index in range(5):
        for region in ("us-east-1", "eu-west-1", "af-south-1"):
            call = pools(running, region, index or None)
            if index in members:
                assert refusal(call) == ("AccessDeniedException", 400, CLOSED)
            else:
                assert len(call()["WorkspacesPools"]) == 1
        assert refusal(pools(running, "sa-east-1", index or None)) == ("AccessDeniedException", 400, NEUTRAL)
        assert refusal(pools(running, "us-east-2", index or None))[0] == "UnknownOperationException"


def test_the_members_of_the_world_are_denied_in_the_words_of_iam(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, scp_denied=0.5, access_denied=0.5)))
    world = running.simulator.world
    for group, reason in (
        (world.scp_denied, "with an explicit deny in a service control policy"),
        (world.access_denied, f"because no identity-based policy allows the {POOLS} action"),
    ):
        (index,) = group
        account = account_id(index)
        user = f"arn:aws:sts::{account}:assumed-role/PoolCensusReader/census"
        pool = f"arn:aws:workspaces:us-east-1:{account}:workspacespool/*"
        message = f"User: {user} is not authorized to perform: {POOLS} on resource: {pool} {reason}"
        assert refusal(pools(running, member=index)) == ("AccessDeniedException", 400, message)


def test_the_refused_status_of_regions_is_a_denial_like_the_others(start: Start) -> None:
    running = start(SimulatorConfig(refuse_list_regions=True, refuse_describe_regions=True))
    for service, call in (("account", "list_regions"), ("ec2", "describe_regions")):
        message = refusal(getattr(running.client(service), call))[2]
        action = f"{service}:{call.title().replace('_', '')}"
        assert f"is not authorized to perform: {action}" in message
        assert message.endswith(f"because no identity-based policy allows the {action} action")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("denied,policy=acl", "^fault denied: policy must be identity, boundary, .* or trust, not 'acl'$"),
        ("denied,denial=perhaps", "^fault denied: denial must be explicit or implicit, not 'perhaps'$"),
        ("denied,policy=rcp,denial=implicit", "denies explicitly only"),
        ("denied,policy=trust", "service=sts,operation=AssumeRole"),
        ("denied,policy=trust,service=sts", "service=sts,operation=AssumeRole"),
        ("denied,policy=trust,service=*,operation=AssumeRole", "service=sts,operation=AssumeRole"),
    ],
)
def test_a_denial_that_no_policy_makes_is_refused(rule: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Fault.parse(rule)


def test_a_denial_is_implicit_unless_an_organization_s_policy_makes_it() -> None:
    explicit = {
        policy
        for policy in Policy
        if policy is not Policy.TRUST and Fault.parse(f"denied,policy={policy}").explicit
    }
    assert explicit == {Policy.SCP, Policy.RCP}

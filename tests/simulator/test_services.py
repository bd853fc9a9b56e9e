from __future__ import annotations

import datetime as dt
import json
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from poolcensus.simulator import Fault, Latency, Limits, SimulatorConfig, WorldConfig
from poolcensus.simulator.world import account_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.conftest import Start


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response: Any = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def all_pools(client: Any, **arguments: Any) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = client.describe_workspaces_pools(**arguments, **token)
        pools += page["WorkspacesPools"]
        if "NextToken" not in page:
            return pools
        token = {"NextToken": page["NextToken"]}


def test_boto3_reads_the_organization_and_the_pools_that_are_the_truth(start: Start) -> None:
    running = start(
        SimulatorConfig(
            world=WorldConfig(
                accounts=9,
                regions=("us-east-1", "af-south-1"),
                mean_pools=12,
                suspended=1 / 8,
                scp_denied=1 / 8,
                no_role=1 / 8,
                access_denied=1 / 8,
                opt_in_disabled=1 / 8,
                not_entitled=1 / 8,
                pool_counts={("000000000001", "us-east-1"): 60},
            )
        )
    )
    world = running.simulator.world
    pages = running.client("organizations").get_paginator("list_accounts").paginate()
    accounts = {account["Id"]: account for page in pages for account in page["Accounts"]}
    assert list(accounts) == [account_id(index) for index in range(9)]
    outcomes = set()
    for target in world.truth():
        account = accounts[target.account_id]
        assert account["State"] == account["Status"] == target.account_status
        assert account["Name"] == target.account_name
        outcome: str = "ok"
        found: list[dict[str, Any]] = []
        try:
            own = target.account_id == world.management_account_id
            credentials = None if own else running.assume(target.account_id)
            found = all_pools(running.client("workspaces", credentials, target.region))
            outcome = "ok" if found else "empty"
        except ClientError as error:
            denied = "scp_denied" if "service control" in str(error) else "access_denied"
            outcome = {
                "AccessDenied": "assume_role_failed",
                "UnrecognizedClientException": "region_disabled",
                "AccessDeniedException": "not_entitled" if "new customers" in str(error) else denied,
            }[error.response["Error"]["Code"]]
        assert outcome == target.outcome
        for pool in found:
            pool["CreatedAt"] = pool["CreatedAt"].timestamp()
        assert found == [
            {**pool, "CreatedAt": pytest.approx(pool["CreatedAt"], abs=1e-6)} for pool in target.pools
        ]
        outcomes.add(outcome)
    assert outcomes >= {
        "ok",
        "assume_role_failed",
        "region_disabled",
        "scp_denied",
        "access_denied",
        "not_entitled",
    }


def test_the_tree_holds_every_account_once_and_agrees_with_itself(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=75)))
    client = running.client("organizations")
    root = client.list_roots()["Roots"][0]["Id"]
    assert re.fullmatch(r"r-[0-9a-z]{4,32}", root)
    names: dict[str, str] = {}
    seen: list[str] = []
    queue = [root]
    while queue:
        parent = queue.pop()
        for page in client.get_paginator("list_accounts_for_parent").paginate(ParentId=parent):
            seen += [account["Id"] for account in page["Accounts"]]
            for account in page["Accounts"][:1]:
                assert client.list_parents(ChildId=account["Id"])["Parents"][0]["Id"] == parent
        units = client.list_organizational_units_for_parent(ParentId=parent)["OrganizationalUnits"]
        children = client.list_children(ParentId=parent, ChildType="ORGANIZATIONAL_UNIT")["Children"]
        assert [unit["Id"] for unit in units] == [child["Id"] for child in children]
        for unit in units:
            assert re.fullmatch(r"ou-[0-9a-z]{4,32}-[a-z0-9]{8,32}", unit["Id"])
            assert (
                client.describe_organizational_unit(OrganizationalUnitId=unit["Id"])["OrganizationalUnit"]
                == unit
            )
            names[unit["Name"]] = parent
            queue.append(unit["Id"])
    assert sorted(seen) == [account_id(index) for index in range(75)]
    assert names["Workloads"] == names["Sandbox"] == names["Security"] == names["Infrastructure"] == root
    assert names["Prod"] == names["Dev"] != root
    tags = {tag["Key"]: tag["Value"] for tag in client.list_tags_for_resource(ResourceId=seen[3])["Tags"]}
    assert set(tags) == {"env", "team", "cost-center"}
    described = client.describe_account(AccountId=seen[3])["Account"]
    assert described["Id"] == seen[3]
    assert isinstance(described["JoinedTimestamp"], dt.datetime)
    assert client.describe_organization()["Organization"]["MasterAccountId"] == "000000000001"


def test_organizations_pages_by_twenty_and_refuses_what_is_not_its_own(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=45)))
    client = running.client("organizations")
    page = client.list_accounts()
    assert len(page["Accounts"]) == 20
    assert len(client.list_accounts(MaxResults=7)["Accounts"]) == 7
    rest = client.list_accounts(NextToken=page["NextToken"])["Accounts"]
    assert rest[0]["Id"] == "000000000021"
    assert refused(client.list_accounts, NextToken="made-up")[0] == "InvalidInputException"
    assert (
        refused(client.list_accounts_for_parent, ParentId="ou-ab12-00000000")[0] == "ParentNotFoundException"
    )
    assert refused(client.describe_account, AccountId="999999999999")[0] == "AccountNotFoundException"
    member = running.client("organizations", running.assume("000000000002"))
    assert refused(member.list_accounts)[0] == "AccessDeniedException"


def test_an_empty_page_of_accounts_may_carry_a_token(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=25), empty_list_pages=True))
    client = running.client("organizations")
    first = client.list_accounts()
    assert first["Accounts"] == []
    pages = list(client.get_paginator("list_accounts").paginate())
    assert [len(page["Accounts"]) for page in pages] == [0, 20, 0, 5]


def test_an_account_may_be_in_no_organization(start: Start) -> None:
    running = start(SimulatorConfig(no_organization=True))
    assert refused(running.client("organizations").list_accounts)[0] == "AWSOrganizationsNotInUseException"


def test_organizations_throttles_concurrent_calls(start: Start) -> None:
    running = start(SimulatorConfig(latency=Latency.parse("600"), limits=Limits(organizations_concurrency=1)))
    target = "AWSOrganizationsV20161128.ListRoots"
    signed = running.signed(service="organizations", target=target)
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(running.send(b"{}", signed).status)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 400, 400]
    assert running.simulator.stats.codes["TooManyRequestsException"] == 2


def test_sts_says_who_a_caller_is(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3)))
    own = running.client("sts").get_caller_identity()
    assert own["Account"] == "000000000001"
    session = running.client("sts", running.assume("000000000002")).get_caller_identity()
    assert session["Account"] == "000000000002"
    assert session["Arn"] == "arn:aws:sts::000000000002:assumed-role/PoolCensusReader/census"
    assert session["UserId"].endswith(":census")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RoleArn": "arn:aws:iam::000000000002:role/Other"}, "AccessDenied"),
        ({"RoleArn": "arn:aws-cn:iam::000000000002:role/PoolCensusReader"}, "AccessDenied"),
        ({"RoleArn": "arn:aws:iam::000000000099:role/PoolCensusReader"}, "AccessDenied"),
        ({"RoleArn": "arn:aws:iam::000000000001:role/PoolCensusReader"}, "AccessDenied"),
        ({"RoleArn": "arn:aws:iam::000000000002:user/PoolCensusReader"}, "ValidationError"),
        ({"ExternalId": "another"}, "AccessDenied"),
        ({"ExternalId": None}, "AccessDenied"),
        ({"RoleSessionName": "not a name"}, "ValidationError"),
        ({"DurationSeconds": 43201}, "ValidationError"),
        ({"DurationSeconds": 3601}, "ValidationError"),
        ({"TokenCode": "12345a"}, "ValidationError"),
        ({"TokenCode": "1234567"}, "ValidationError"),
        ({"Tags": [{"Key": "aws:team", "Value": "x"}]}, "InvalidParameterValue"),
        ({"Tags": [{"Key": "AWS:team", "Value": "x"}]}, "InvalidParameterValue"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}, "ValidationError"),
    ],
)
def test_assume_role_is_refused_where_aws_would(start: Start, changes: dict[str, Any], code: str) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=4, external_id="shared-word")))
    arguments: dict[str, Any] = {
        "RoleArn": "arn:aws:iam::000000000002:role/PoolCensusReader",
        "RoleSessionName": "census",
        "ExternalId": "shared-word",
        **changes,
    }
    client = running.client("sts", parameter_validation=False)
    given = {name: value for name, value in arguments.items() if value is not None}
    assert refused(client.assume_role, **given)[0] == code
    good = {
        "RoleArn": running.simulator.world.role_arn("000000000002"),
        "RoleSessionName": "census",
        "ExternalId": "shared-word",
    }
    assert client.assume_role(**good, DurationSeconds=900)["Credentials"]


_TOO_SHORT = "Member must have length greater than or equal to"
_TOO_LONG = "Member must have length less than or equal to"
_NO_MATCH = "Member must satisfy regular expression pattern:"


@pytest.mark.parametrize(
    ("changes", "value", "field", "constraint"),
    [
        ({"RoleSessionName": "a"}, "a", "roleSessionName", f"{_TOO_SHORT} 2"),
        ({"RoleSessionName": "a" * 65}, "a" * 65, "roleSessionName", f"{_TOO_LONG} 64"),
        ({"RoleSessionName": "a b"}, "a b", "roleSessionName", rf"{_NO_MATCH} [\w+=,.@-]*"),
        ({"ExternalId": "a"}, "a", "externalId", f"{_TOO_SHORT} 2"),
        ({"ExternalId": "a" * 1225}, "a" * 1225, "externalId", f"{_TOO_LONG} 1224"),
        ({"SourceIdentity": "a" * 65}, "a" * 65, "sourceIdentity", f"{_TOO_LONG} 64"),
        ({"SourceIdentity": "aws:me"}, "aws:me", "sourceIdentity", rf"{_NO_MATCH} [\w+=,.@-]*"),
        ({"TokenCode": "12345"}, "12345", "tokenCode", f"{_TOO_SHORT} 6"),
        ({"TokenCode": "12345a"}, "12345a", "tokenCode", rf"{_NO_MATCH} [\d]*"),
        ({"Policy": ""}, "", "policy", f"{_TOO_SHORT} 1"),
        ({"Policy": "{" * 2049}, "{" * 2049, "policy", f"{_TOO_LONG} 2048"),
        ({"Tags": [{"Key": "", "Value": "a"}]}, "", "tags.1.member.key", f"{_TOO_SHORT} 1"),
        ({"Tags": [{"Key": "a" * 129, "Value": ""}]}, "a" * 129, "tags.1.member.key", f"{_TOO_LONG} 128"),
        ({"Tags": [{"Key": "a", "Value": "b" * 257}]}, "b" * 257, "tags.1.member.value", f"{_TOO_LONG} 256"),
        (
            {"Tags": [{"Key": f"k{number}", "Value": "a"} for number in range(51)]},
            f"[{', '.join(f'k{number}' for number in range(51))}]",
            "tags",
            f"{_TOO_LONG} 50",
        ),
    ],
    ids=lambda each: f"{each:.40}" if isinstance(each, str) else "",
)
def test_a_refusal_names_the_constraint_that_is_not_satisfied(
    start: Start, changes: dict[str, Any], value: str, field: str, constraint: str
) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3)))
    arguments = {"RoleArn": running.simulator.world.role_arn("000000000002"), "RoleSessionName": "census"}
    client = running.client("sts", parameter_validation=False)
    with pytest.raises(ClientError) as caught:
        client.assume_role(**{**arguments, **changes})
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationError"
    what = f"Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"
    assert error["Message"] == f"1 validation error detected: {what}"


def test_a_session_says_how_much_room_policy_and_tags_take(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=4)))
    assume = running.client("sts").assume_role
    named = {"RoleArn": running.simulator.world.role_arn("000000000002"), "RoleSessionName": "census"}
    policy = json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    tags = [{"Key": f"team-{number}", "Value": "x" * 256} for number in range(4)]
    assert "PackedPolicySize" not in assume(**named)
    sizes = [
        assume(**named, **more)["PackedPolicySize"]
        for more in ({"Tags": tags[:1]}, {"Tags": tags}, {"Policy": policy}, {"Policy": policy, "Tags": tags})
    ]
    assert sizes[0] < sizes[1] < sizes[3] <= 100
    assert sizes[2] == len(policy) * 100 // 2048
    assert assume(**named, SerialNumber="arn:aws:iam::000000000001:mfa/me", TokenCode="123456")


def test_a_chained_session_lasts_an_hour_at_most(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=4, role_max_session=43200)))
    arguments = {"RoleArn": running.simulator.world.role_arn("000000000003"), "RoleSessionName": "census"}
    direct = running.client("sts").assume_role(**arguments, DurationSeconds=7200)
    left = direct["Credentials"]["Expiration"] - dt.datetime.now(dt.UTC)
    assert left.total_seconds() == pytest.approx(7200, abs=5)
    chained = running.client("sts", running.assume("000000000002"))
    assert refused(chained.assume_role, **arguments, DurationSeconds=3601)[0] == "ValidationError"
    assert chained.assume_role(**arguments, DurationSeconds=3600)["Credentials"]


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([{"Effect": "Allow", "Action": "workspaces:Describe*", "Resource": "*"}], True),
        ([{"Effect": "Allow", "Action": ["WORKSPACES:describeworkspacespools"], "Resource": "*"}], True),
        ([{"Effect": "Allow", "Action": ["ec2:DescribeRegions"], "Resource": "*"}], False),
        ({"Effect": "Allow", "Action": "workspaces:DescribeWorkspaces", "Resource": "*"}, False),
        (
            [
                {"Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "Action": "workspaces:DescribeWorkspacesPools", "Resource": "*"},
            ],
            False,
        ),
    ],
)
def test_a_session_policy_narrows_what_a_session_may_do(
    start: Start, statements: object, allowed: bool
) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, regions=("us-east-1",))))
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    session = running.assume("000000000002", Policy=policy)
    assert running.client("sts", session).get_caller_identity()["Account"] == "000000000002"
    client = running.client("workspaces", session)
    if allowed:
        assert "WorkspacesPools" in client.describe_workspaces_pools()
        return
    with pytest.raises(ClientError, match="session policy"):
        client.describe_workspaces_pools()


@pytest.mark.parametrize(
    "policy",
    [
        "{",
        "[]",
        "{}",
        '{"Statement":[{"Effect":"Maybe","Action":"*"}]}',
        "null",
        '{"Statement":[]}',
        '{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","NotPrincipal":"*","Action":"*","Resource":"*"}]}',
    ],
)
def test_a_session_policy_that_is_none_is_refused(start: Start, policy: str) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3)))
    arguments = {"RoleArn": running.simulator.world.role_arn("000000000002"), "RoleSessionName": "census"}
    found = refused(running.client("sts").assume_role, **arguments, Policy=policy)
    assert found == ("MalformedPolicyDocument", 400)


def test_what_the_simulator_can_t_evaluate_is_said_and_not_passed_over(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3)))
    role = running.simulator.world.role_arn("000000000002")
    assume = running.client("sts").assume_role
    variable = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:username}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": variable})
    with pytest.raises(ClientError, match="does not evaluate policy variables"):
        assume(RoleArn=role, RoleSessionName="census", Policy=policy)
    managed = [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]
    with pytest.raises(ClientError, match="PolicyArns"):
        assume(RoleArn=role, RoleSessionName="census", PolicyArns=managed)


def test_a_role_may_have_a_path(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, role_name="census/Reader")))
    identity = running.client("sts", running.assume("000000000002")).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::000000000002:assumed-role/Reader/census"


def test_list_regions_says_what_is_enabled(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=5, opt_in_disabled=0.5)))
    world = running.simulator.world
    client = running.client("account")
    off = account_id(min(world.opt_in_disabled))
    on = account_id(min(set(range(1, 5)) - world.opt_in_disabled))

    def statuses(**arguments: Any) -> dict[str, str]:
        regions = [
            region
            for page in client.get_paginator("list_regions").paginate(**arguments)
            for region in page["Regions"]
        ]
        return {region["RegionName"]: region["RegionOptStatus"] for region in regions}

    assert statuses(AccountId=off)["af-south-1"] == "DISABLED"
    assert statuses(AccountId=on)["af-south-1"] == "ENABLED"
    assert statuses()["us-east-1"] == "ENABLED_BY_DEFAULT"
    assert len(client.list_regions(MaxResults=5)["Regions"]) == 5
    assert statuses(PaginationConfig={"PageSize": 7}) == statuses()
    enabled = statuses(AccountId=off, RegionOptStatusContains=["ENABLED", "ENABLED_BY_DEFAULT"])
    assert set(enabled) == set(world.partition.regions) - world.partition.opt_in
    assert client.get_region_opt_status(RegionName="af-south-1")["RegionOptStatus"] == "ENABLED"
    assert refused(client.list_regions, AccountId="000000000001") == ("AccessDeniedException", 403)
    member = running.client("account", running.assume(on))
    assert refused(member.list_regions, AccountId=off) == ("AccessDeniedException", 403)
    assert member.list_regions()["Regions"]


@pytest.mark.parametrize(
    ("partition", "region", "endpoint"),
    [
        ("aws", "us-east-1", "ec2.us-east-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "ec2.us-gov-west-1.amazonaws.com"),
        ("aws-cn", "cn-north-1", "ec2.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_endpoints_are_the_partition_s(start: Start, partition: str, region: str, endpoint: str) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=2, partition=partition)))
    client = running.client("ec2", region=region)
    filters = [{"Name": "endpoint", "Values": [endpoint]}]
    (found,) = client.describe_regions(Filters=filters)["Regions"]
    assert (found["RegionName"], found["Endpoint"]) == (region, endpoint)


def test_describe_regions_says_the_same(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, opt_in_disabled=0.5)))
    off = account_id(min(running.simulator.world.opt_in_disabled))
    client = running.client("ec2", running.assume(off))
    everything = {
        region["RegionName"]: region["OptInStatus"]
        for region in client.describe_regions(AllRegions=True)["Regions"]
    }
    assert everything["us-east-1"] == "opt-in-not-required"
    assert everything["af-south-1"] == "not-opted-in"
    usual = {region["RegionName"] for region in client.describe_regions()["Regions"]}
    assert usual == {region for region, status in everything.items() if status != "not-opted-in"}
    filters = [
        {"Name": "opt-in-status", "Values": ["not-opted-in"]},
        {"Name": "region-name", "Values": ["af-south-1"]},
    ]
    found = client.describe_regions(AllRegions=True, Filters=filters)["Regions"]
    assert [region["RegionName"] for region in found] == ["af-south-1"]
    named = client.describe_regions(RegionNames=["us-west-2"])["Regions"]
    assert [region["RegionName"] for region in named] == ["us-west-2"]
    own = running.client("ec2").describe_regions(Filters=[{"Name": "opt-in-status", "Values": ["opted-in"]}])
    assert {region["RegionName"] for region in own["Regions"]} == {
        "af-south-1",
        "ap-southeast-5",
        "il-central-1",
    }


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("region-name", "us-*", {"us-east-1", "us-east-2", "us-west-1", "us-west-2"}),
        ("region-name", "us-east-?", {"us-east-1", "us-east-2"}),
        # Unlike in a shell, `?` stands for one character or none.
        ("region-name", "us-east-1?", {"us-east-1"}),
        ("region-name", "*-west-?2", {"us-west-2", "eu-west-2"}),
        ("region-name", "US-EAST-1", set()),
        ("region-name", r"us-east-\\?", set()),
        ("region-name", r"us-\\*", set()),
        ("region-name", r"us-east-\\1", set()),
        ("endpoint", "ec2.us-east-*.amazonaws.com", {"us-east-1", "us-east-2"}),
        ("opt-in-status", "opt-in-not-*", None),
        ("region-name", "*?" * 60 + "!", set()),
    ],
)
def test_the_values_of_a_filter_may_have_wildcards(
    start: Start, name: str, pattern: str, expected: set[str] | None
) -> None:
    client = start(SimulatorConfig(world=WorldConfig(accounts=3))).client("ec2")
    every = {each["RegionName"] for each in client.describe_regions(AllRegions=True)["Regions"]}
    usual = {
        each["RegionName"]
        for each in client.describe_regions(AllRegions=True)["Regions"]
        if each["OptInStatus"] == "opt-in-not-required"
    }
    found = client.describe_regions(AllRegions=True, Filters=[{"Name": name, "Values": ["none", pattern]}])
    assert {each["RegionName"] for each in found["Regions"]} == (usual if expected is None else expected)
    assert usual < every


def test_the_status_of_regions_may_be_refused(start: Start) -> None:
    running = start(SimulatorConfig(refuse_list_regions=True, refuse_describe_regions=True))
    assert refused(running.client("account").list_regions) == ("AccessDeniedException", 403)
    assert refused(running.client("ec2").describe_regions) == ("UnauthorizedOperation", 403)


def test_a_region_that_is_off_does_not_know_the_account_s_credentials(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, opt_in_disabled=0.5)))
    session = running.assume(account_id(min(running.simulator.world.opt_in_disabled)))
    assert running.client("workspaces", session, "us-east-1").describe_workspaces_pools()
    for service, call, code in (
        ("workspaces", "describe_workspaces_pools", "UnrecognizedClientException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("ec2", "describe_regions", "AuthFailure"),
    ):
        assert refused(getattr(running.client(service, session, "af-south-1"), call))[0] == code


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("sts", "get_caller_identity", "Throttling"),
        ("organizations", "list_roots", "TooManyRequestsException"),
        ("account", "list_regions", "TooManyRequestsException"),
        ("ec2", "describe_regions", "RequestLimitExceeded"),
        ("s3", "list_buckets", "SlowDown"),
        ("workspaces", "describe_workspaces_pools", "ThrottlingException"),
    ],
)
def test_each_service_throttles_with_its_own_code(
    start: Start, service: str, operation: str, code: str
) -> None:
    running = start(SimulatorConfig(faults=(Fault.parse("throttle,first=1,service=*"),)))
    call = getattr(running.client(service), operation)
    assert refused(call)[0] == code
    assert call()


def test_no_service_knows_an_operation_that_it_lacks(start: Start) -> None:
    running = start()
    assert (
        refused(running.client("workspaces").describe_tags, ResourceId="x")[0] == "UnknownOperationException"
    )
    assert (
        refused(running.client("organizations").list_policies, Filter="TAG_POLICY")[0]
        == "UnknownOperationException"
    )
    assert refused(running.client("ec2").describe_vpcs)[0] == "InvalidAction"
    assert refused(running.client("sts").get_session_token)[0] == "InvalidAction"
    assert refused(running.client("account").get_contact_information)[0] == "UnknownOperationException"
    assert refused(running.client("iam").list_users)[0] == "InvalidAction"

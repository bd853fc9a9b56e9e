"""Organizations that differ from the default: their trees, their callers, older replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from poolcensus.model import Outcome
from poolcensus.simulator import Latency, Limits, SimulatorConfig, World, WorldConfig
from poolcensus.simulator.world import account_id

if TYPE_CHECKING:
    from poolcensus.simulator.directory import Directory
    from simulator.conftest import Running, Start


def depth(directory: Directory, unit: str) -> int:
    above = directory.parent_of(unit)
    return 0 if above is None else 1 + depth(directory, above)


@pytest.mark.parametrize("ous", [1, 5, 60])
def test_units_nest_to_the_depth_that_aws_allows(ous: int) -> None:
    directory = World(WorldConfig(accounts=400, ous=ous)).directory
    units: list[str] = []
    queue = [directory.root_id]
    accounts: list[int] = []
    while queue:
        parent = queue.pop()
        accounts += directory.accounts_of(parent)
        units += directory.units_of(parent)
        queue += directory.units_of(parent)
    assert len(units) == len(set(units)) == ous
    assert max(depth(directory, unit) for unit in units) == min(ous, 5)
    assert sorted(accounts) == list(range(400))
    again = World(WorldConfig(accounts=400, ous=ous)).directory
    assert [again.accounts_of(unit) for unit in units] == [directory.accounts_of(unit) for unit in units]


def raw(running: Running, operation: str, body: bytes = b"{}") -> Any:
    # boto3 drops fields that its model does not know.
    target = f"AWSOrganizationsV20161128.{operation}"
    reply = running.send(body, running.signed(body, service="organizations", target=target))
    assert reply.status == 200
    return reply.json


def test_the_paths_of_accounts_agree_with_the_tree(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=15, ous=20)))
    directory = running.simulator.world.directory
    accounts = raw(running, "ListAccounts")["Accounts"]
    assert len(accounts) == 15
    for account in accounts:
        (path,) = account["Paths"]
        assert path.startswith(f"{directory.organization_id}/{directory.root_id}/")
        *above, own, end = path.split("/")
        assert (own, end) == (account["Id"], "")
        child = own
        for parent in reversed(above[1:]):
            assert directory.parent_of(child) == parent
            child = parent
        body = b'{"AccountId":"%b"}' % own.encode()
        assert raw(running, "DescribeAccount", body)["Account"] == account
        siblings = raw(running, "ListAccountsForParent", b'{"ParentId":"%b"}' % above[-1].encode())
        assert account in siblings["Accounts"]


@pytest.mark.parametrize(
    ("options", "there", "lacking"),
    [
        ({"paths": False}, {"State", "Status"}, {"Paths"}),
        ({"states": "Status"}, {"Status", "Paths"}, {"State"}),
        ({"states": "State"}, {"State", "Paths"}, {"Status"}),
    ],
)
def test_older_and_newer_replies(
    start: Start, options: dict[str, Any], there: set[str], lacking: set[str]
) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, **options)))
    for account in raw(running, "ListAccounts")["Accounts"]:
        assert there <= account.keys()
        assert not lacking & account.keys()


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return str(error.value.response["Error"]["Code"])


def test_a_delegated_administrator_lists_the_organization(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=5, pools_per_target=1, caller="delegated")))
    world = running.simulator.world
    own = running.client("sts").get_caller_identity()["Account"]
    assert own == world.caller_account_id != world.management_account_id
    client = running.client("organizations")
    assert len(client.list_accounts()["Accounts"]) == 5
    assert client.describe_organization()["Organization"]["MasterAccountId"] == world.management_account_id
    other = next(account_id(each) for each in range(1, 5) if account_id(each) != own)
    assert running.client("account").list_regions(AccountId=other)["Regions"]
    # The management account has no such role unless it is configured.
    outcomes: dict[str, set[Outcome]] = {}
    for each in world.truth():
        outcomes.setdefault(each.account_id, set()).add(each.outcome)
    assert outcomes.pop(world.management_account_id) == {Outcome.ASSUME_ROLE_FAILED}
    assert set.union(*outcomes.values()) == {Outcome.OK}


def test_the_management_account_may_have_the_role(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, caller="delegated", management_role=True)))
    session = running.assume("000000000001")
    assert running.client("sts", session).get_caller_identity()["Account"] == "000000000001"


def test_a_member_account_can_t_list_the_organization(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=5, caller="member")))
    client = running.client("organizations")
    assert code(client.list_accounts) == "AccessDeniedException"
    assert client.describe_organization()["Organization"]["MasterAccountId"] == "000000000001"
    assert code(running.client("account").list_regions, AccountId="000000000002") == "AccessDeniedException"


@pytest.mark.parametrize("caller", ["management", "delegated"])
def test_the_regions_of_others_need_trusted_access(start: Start, caller: str) -> None:
    config = WorldConfig(accounts=5, caller=caller, trusted_access=False)
    running = start(SimulatorConfig(world=config))
    client = running.client("account")
    with pytest.raises(ClientError, match="must first enable trusted access") as error:
        client.list_regions(AccountId="000000000002")
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    assert client.list_regions()["Regions"]


def test_accounts_that_were_invited_may_lack_the_role(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=7, invited_without_role=0.5)))
    world = running.simulator.world
    pages = running.client("organizations").list_accounts()["Accounts"]
    for account in pages:
        index = world.index(account["Id"])
        assert index is not None
        if index in world.invited_without_role:
            assert account["JoinedMethod"] == "INVITED"
            call = running.client("sts").assume_role
            assert (
                code(call, RoleArn=world.role_arn(account["Id"]), RoleSessionName="census") == "AccessDenied"
            )
            assert world.outcome(index, "us-east-1") is Outcome.ASSUME_ROLE_FAILED
    assert len(world.invited_without_role) == 3


def test_organizations_says_that_another_request_is_in_progress(start: Start) -> None:
    running = start(SimulatorConfig(latency=Latency.parse("400"), limits=Limits(organizations_concurrency=1)))
    stats = running.simulator.stats
    stats.in_flight["organizations", "000000000001", "us-east-1"] = 1
    with pytest.raises(ClientError) as error:
        running.client("organizations").list_roots()
    assert error.value.response["Error"] == {
        "Code": "TooManyRequestsException",
        "Message": (
            "AWS Organizations can't complete your request because another request is already in progress. "
            "Try again later."
        ),
    }


@pytest.mark.parametrize(
    ("operation", "arguments", "reason"),
    [
        ("list_accounts", {"MaxResults": 0}, "MIN_VALUE_EXCEEDED"),
        ("list_accounts", {"MaxResults": -1}, "MIN_VALUE_EXCEEDED"),
        ("list_accounts", {"MaxResults": 21}, "MAX_VALUE_EXCEEDED"),
        ("list_accounts", {"NextToken": "made up"}, "INVALID_NEXT_TOKEN"),
        ("list_children", {"ParentId": "r-ab12", "ChildType": "USER"}, "INVALID_ENUM"),
        ("list_children", {"ParentId": "r-ab12"}, "INPUT_REQUIRED"),
        ("list_children", {"ChildType": "ACCOUNT"}, "INPUT_REQUIRED"),
        ("list_accounts_for_parent", {}, "INPUT_REQUIRED"),
        ("list_accounts_for_parent", {"ParentId": ""}, "INPUT_REQUIRED"),
        ("list_accounts_for_parent", {"ParentId": "000000000002"}, "INVALID_PATTERN"),
        ("list_organizational_units_for_parent", {"ParentId": "r-ab12/"}, "INVALID_PATTERN"),
        ("list_parents", {"ChildId": "r-ab12"}, "INVALID_PATTERN"),
        ("describe_account", {}, "INPUT_REQUIRED"),
        ("describe_account", {"AccountId": "2"}, "INVALID_PATTERN"),
        ("describe_account", {"AccountId": "٠٠٠٠٠٠٠٠٠٠٠٢"}, "INVALID_PATTERN"),
        ("describe_organizational_unit", {"OrganizationalUnitId": "ou-ab12"}, "INVALID_PATTERN"),
        ("list_tags_for_resource", {"ResourceId": ""}, "INPUT_REQUIRED"),
        ("list_tags_for_resource", {"ResourceId": "acct-2"}, "INVALID_PATTERN"),
    ],
)
def test_input_that_is_invalid_says_why(
    start: Start, operation: str, arguments: dict[str, Any], reason: str
) -> None:
    client = start(SimulatorConfig(world=WorldConfig(accounts=3))).client(
        "organizations", parameter_validation=False
    )
    with pytest.raises(ClientError) as error:
        getattr(client, operation)(**arguments)
    found: Any = error.value.response
    assert (found["Error"]["Code"], found["Reason"]) == ("InvalidInputException", reason)


def test_a_well_formed_id_of_nothing_is_not_found(start: Start) -> None:
    client = start(SimulatorConfig(world=WorldConfig(accounts=3))).client("organizations")
    unit = "ou-ab12-00000000"
    assert code(client.list_parents, ChildId=unit) == "ChildNotFoundException"
    assert code(client.list_tags_for_resource, ResourceId="p-examplepolicy") == "TargetNotFoundException"
    assert (
        code(client.describe_organizational_unit, OrganizationalUnitId=unit)
        == "OrganizationalUnitNotFoundException"
    )


def test_china_has_no_pools(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=3, partition="aws-cn")))
    world = running.simulator.world
    assert world.role_arn("000000000002").startswith("arn:aws-cn:iam::")
    assert {each.outcome for each in world.truth()} == {Outcome.REGION_UNSUPPORTED}
    client = running.client("workspaces", region="cn-northwest-1")
    assert code(client.describe_workspaces_pools) == "AccessDeniedException"

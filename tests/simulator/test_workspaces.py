from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from poolcensus.simulator import SimulatorConfig, WorldConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.conftest import Running

ACCOUNT = "000000000001"


@pytest.fixture(scope="module")
def running(open_simulator: Any) -> Iterator[Running]:
    config = SimulatorConfig(
        world=WorldConfig(
            accounts=3,
            pools_per_target=2,
            unsupported_regions=("eu-west-3",),
            pool_counts={(ACCOUNT, "us-east-1"): 61},
        )
    )
    with open_simulator(config) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def truth(running: Running) -> list[dict[str, Any]]:
    return next(
        target.pools
        for target in running.simulator.world.truth()
        if (target.account_id, target.region) == (ACCOUNT, "us-east-1")
    )


def read(running: Running, **query: Any) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = []
    while True:
        reply = running.pools(query)
        assert reply.status == 200, reply.body
        pools += reply.json["WorkspacesPools"]
        if "NextToken" not in reply.json:
            return pools
        query["NextToken"] = reply.json["NextToken"]


@pytest.mark.parametrize(("limit", "pages"), [(None, 3), (25, 3), (20, 4), (61, None), (1, 61)])
def test_the_pages_hold_every_pool_once(
    running: Running, truth: list[dict[str, Any]], limit: int | None, pages: int | None
) -> None:
    if pages is None:
        assert running.pools({"Limit": limit}).code == "InvalidParameterValuesException"
        return
    before = running.simulator.stats.calls["workspaces.DescribeWorkspacesPools"]
    assert read(running, **({} if limit is None else {"Limit": limit})) == truth
    assert running.simulator.stats.calls["workspaces.DescribeWorkspacesPools"] - before == pages


def test_a_page_may_be_shorter_than_was_asked_for(open_simulator: Any) -> None:
    world = WorldConfig(accounts=2, pools_per_target=7, page_size=3)
    with open_simulator(SimulatorConfig(world=world)) as short:
        reply = short.pools({"Limit": 25})
        assert len(reply.json["WorkspacesPools"]) == 3
        assert len(read(short)) == 7


def test_an_empty_body_asks_for_the_first_page(running: Running) -> None:
    assert len(running.pools(b"").json["WorkspacesPools"]) == 25


@pytest.mark.parametrize(
    "query",
    [
        {"PoolIds": []},
        {"PoolIds": ["wspool-000000000"] * 26},
        {"PoolIds": ["wspool-ABCDEFGHI"]},
        {"PoolIds": ["wspool-00000000"]},
        {"PoolIds": ["wspool-0000000001"]},
        {"PoolIds": "wspool-000000000"},
        {"PoolIds": [7]},
        {"Filters": []},
        {"Filters": [{"Name": "PoolName", "Operator": "EQUALS", "Values": ["a"]}] * 26},
        {"Filters": [{"Name": "State", "Operator": "EQUALS", "Values": ["a"]}]},
        {"Filters": [{"Operator": "EQUALS", "Values": ["a"]}]},
        {"Filters": [{"Name": "PoolName", "Operator": "LIKE", "Values": ["a"]}]},
        {"Filters": [{"Name": "PoolName", "Values": ["a"]}]},
        {"Filters": [{"Name": "PoolName", "Operator": "EQUALS"}]},
        {"Filters": [{"Name": "PoolName", "Operator": "EQUALS", "Values": []}]},
        {"Filters": [{"Name": "PoolName", "Operator": "EQUALS", "Values": ["a"] * 26}]},
        {"Filters": [{"Name": "PoolName", "Operator": "EQUALS", "Values": [""]}]},
        {"Filters": [{"Name": "PoolName", "Operator": "EQUALS", "Values": ["a" * 129]}]},
        {"Filters": ["PoolName"]},
        {"Limit": 0},
        {"Limit": 26},
        {"Limit": "5"},
        {"Limit": True},
        {"NextToken": ""},
        {"NextToken": "x" * 2049},
        {"NextToken": "made-up"},
        {"NextToken": "AAMAAAAA"},
        {"NextToken": 7},
    ],
)
def test_a_request_that_breaks_the_model_is_refused(running: Running, query: dict[str, Any]) -> None:
    reply = running.pools(query)
    assert (reply.status, reply.code) == (400, "InvalidParameterValuesException")


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff"])
def test_a_body_that_is_no_object_is_refused(running: Running, body: bytes) -> None:
    reply = running.pools(body)
    assert (reply.status, reply.code) == (400, "SerializationException")


def test_the_largest_request_is_accepted(running: Running, truth: list[dict[str, Any]]) -> None:
    ids = [pool["PoolId"] for pool in truth[:25]]
    values = ["x" * 128] * 24 + ["-"]
    filters = [{"Name": "PoolName", "Operator": "CONTAINS", "Values": values}] * 25
    assert read(running, PoolIds=ids, Filters=filters, Limit=25) == truth[:25]


def test_a_token_is_good_for_its_own_question_only(running: Running) -> None:
    token = running.pools({}).json["NextToken"]
    filters = [{"Name": "PoolName", "Operator": "NOTEQUALS", "Values": ["none"]}]
    assert running.pools({"NextToken": token}).status == 200
    assert running.pools({"NextToken": token, "Filters": filters}).code == "InvalidParameterValuesException"
    assert running.pools({"NextToken": token}, region="us-west-2").code == "InvalidParameterValuesException"
    altered = token[:8] + ("A" if token[8] != "A" else "B") + token[9:]
    assert running.pools({"NextToken": altered}).code == "InvalidParameterValuesException"


def test_pools_are_found_by_their_ids(running: Running, truth: list[dict[str, Any]]) -> None:
    wanted = [truth[40], truth[3]]
    assert read(running, PoolIds=[pool["PoolId"] for pool in wanted]) == wanted
    assert read(running, PoolIds=[truth[0]["PoolId"]] * 2) == [truth[0]]


def test_an_id_of_another_account_region_or_of_nobody_is_not_found(
    running: Running, truth: list[dict[str, Any]]
) -> None:
    press = running.simulator.world.press
    others = [
        orjson.loads(press.one(1, "us-east-1", 0))["PoolId"],
        orjson.loads(press.one(0, "us-west-2", 0))["PoolId"],
        orjson.loads(press.one(0, "us-east-1", 61))["PoolId"],
        "wspool-zzzzzzzzz",
    ]
    for other in others:
        reply = running.pools({"PoolIds": [truth[0]["PoolId"], other]})
        assert (reply.status, reply.code) == (400, "ResourceNotFoundException")


def test_filters_select_by_name(running: Running, truth: list[dict[str, Any]]) -> None:
    names = [pool["PoolName"] for pool in truth]

    def found(*filters: tuple[str, list[str]]) -> list[str]:
        asked = [{"Name": "PoolName", "Operator": operator, "Values": values} for operator, values in filters]
        return [pool["PoolName"] for pool in read(running, Filters=asked)]

    one, other = names[2], names[50]
    assert found(("EQUALS", [one, other, "nobody"])) == [one, other]
    assert found(("EQUALS", [one.upper()])) == []
    assert found(("NOTEQUALS", [one, other])) == [name for name in names if name not in (one, other)]
    legal = [name for name in names if "legal" in name or "kiosk" in name]
    assert legal
    assert found(("CONTAINS", ["legal", "kiosk"])) == legal
    assert found(("NOTCONTAINS", ["legal", "kiosk"])) == [name for name in names if name not in legal]
    both = [name for name in names if "legal" in name and "1" not in name]
    assert found(("CONTAINS", ["legal"]), ("NOTCONTAINS", ["1"])) == both


def test_a_region_without_the_operation_does_not_know_it(running: Running) -> None:
    for region in ("eu-west-3", "us-west-1"):
        reply = running.pools({}, region=region)
        assert (reply.status, reply.code) == (404, "UnknownOperationException")


def test_every_reply_names_its_request_and_its_time(running: Running) -> None:
    good, bad = running.pools({}), running.pools({"Limit": 0})
    for reply in (good, bad):
        assert len(reply.headers["x-amzn-requestid"]) == 36
        assert reply.headers["date"].endswith("GMT")
        assert reply.headers["content-type"] == "application/x-amz-json-1.1"
    assert good.headers["x-amzn-requestid"] != bad.headers["x-amzn-requestid"]


def test_a_policy_s_denial_says_whose_it_is(open_simulator: Any) -> None:
    world = WorldConfig(accounts=3, scp_denied=0.5, access_denied=0.5)
    with open_simulator(SimulatorConfig(world=world)) as denied:
        for group, by_scp in (
            (denied.simulator.world.scp_denied, True),
            (denied.simulator.world.access_denied, False),
        ):
            reply = denied.pools({}, credentials=denied.assume(f"{min(group) + 1:012d}"))
            assert (reply.status, reply.code) == (400, "AccessDeniedException")
            words = "with an explicit deny in a service control policy"
            assert reply.json["Message"].endswith(words) is by_scp
            assert "workspaces:DescribeWorkspacesPools" in reply.json["message"]

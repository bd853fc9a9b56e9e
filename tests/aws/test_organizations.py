"""Listing the accounts of an Organization, with a scripted client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from poolcensus.aws.organizations import Organization, _listed
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import (
    AccessDeniedError,
    CallError,
    OrganizationError,
    ScpDeniedError,
    ServiceError,
    SettingsError,
)
from poolcensus.format import codec
from poolcensus.model import Caller

if TYPE_CHECKING:
    from poolcensus.aws.call import Call, CallWatch, CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.model import JsonObject, JsonValue

ARN = "arn:aws:organizations::000000000001:account/o-abc/000000000002"


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"Status": "ACTIVE", "State": "ACTIVE"}, "ACTIVE"),
        ({"Status": "ACTIVE", "State": "SUSPENDED"}, "SUSPENDED"),
        ({"Status": "SUSPENDED", "State": "ACTIVE"}, "ACTIVE"),
        ({"Status": "PENDING_CLOSURE"}, "PENDING_CLOSURE"),
        ({"Status": "SUSPENDED", "State": None}, "SUSPENDED"),
        ({"State": "CLOSED"}, "CLOSED"),
        ({}, "ACTIVE"),
    ],
)
def test_state_goes_before_status(fields: JsonObject, state: str) -> None:
    account = _listed({"Id": "000000000002", "Name": "two", "Arn": ARN, **fields})
    assert (account.state, account.name, account.organization_id) == (state, "two", "o-abc")


@pytest.mark.parametrize(
    "account_id", [None, 2, "", "2", "00000000000x", "0000000000022", "\u0660" * 12, ["x"]]
)
def test_an_account_without_an_id_is_refused(account_id: Any) -> None:
    with pytest.raises(OrganizationError, match="12-digit"):
        _listed({"Id": account_id})


@pytest.mark.parametrize("arn", [None, 7, "", "arn:aws:x", "a/b/c/d"])
def test_an_odd_arn_names_no_organization(arn: Any) -> None:
    assert _listed({"Id": "000000000002", "Arn": arn, "Name": 5}).organization_id is None


class Scripted:
    """An SDK whose templates are operation names, and a client that answers from a script."""

    def __init__(self, answers: dict[str, list[JsonObject | CallError]]) -> None:
        self._answers = answers
        self.requests: list[tuple[str, JsonObject]] = []

    async def template(self, service: str, region: str, method: str, sample: object = None) -> str:
        return method

    async def call(self, call: Call[Any], **_: object) -> Any:
        operation = str(call.template)
        request = codec.loads(call.body)
        assert isinstance(request, dict)
        self.requests.append((operation, request))
        parent = request.get("ParentId", "")
        answers = self._answers.get(f"{operation} {parent}".strip(), [])
        answer: JsonObject | CallError = answers.pop(0) if answers else _NOTHING.get(operation, {})
        if isinstance(answer, CallError):
            raise answer
        return call.parse(Reply(200, {}, codec.dumps(answer)))


_NOTHING: dict[str, JsonObject] = {
    "list_accounts_for_parent": {"Accounts": []},
    "list_organizational_units_for_parent": {"OrganizationalUnits": []},
}


def organization(scripted: Scripted) -> Organization:
    return Organization(
        cast("Sdk", scripted),
        cast("Client", scripted),
        cast("CredentialSource", None),
        Caller("000000000001", "arn:aws:iam::000000000001:root", "aws"),
        "us-east-1",
        concurrent_runs=1,
    )


def one(number: int) -> JsonObject:
    return {"Id": f"{number:012d}", "State": "ACTIVE"}


async def test_an_empty_page_may_be_followed_by_others() -> None:
    scripted = Scripted(
        {
            "list_accounts": [
                {"Accounts": [one(1)], "NextToken": "a"},
                {"Accounts": [], "NextToken": "b"},
                {"Accounts": [one(2)], "NextToken": ""},
            ]
        }
    )
    found = [each.id async for page in organization(scripted).accounts() for each in page]
    assert found == ["000000000001", "000000000002"]
    assert [request.get("NextToken") for _, request in scripted.requests] == [None, "a", "b"]


async def test_tokens_that_go_round_in_a_circle_are_an_error() -> None:
    circle: list[JsonObject | CallError] = [{"Accounts": [], "NextToken": token} for token in "ABAB"]
    with pytest.raises(OrganizationError, match="had given before"):
        _ = [page async for page in organization(Scripted({"list_accounts": circle})).accounts()]


async def test_units_are_walked_to_their_depth() -> None:
    scripted = Scripted(
        {
            "list_accounts_for_parent ou-1": [
                {"Accounts": [one(1)], "NextToken": "x"},
                {"Accounts": [one(2)]},
            ],
            "list_accounts_for_parent ou-3": [{"Accounts": [one(3)]}],
            "list_organizational_units_for_parent ou-1": [{"OrganizationalUnits": [{"Id": "ou-2"}]}],
            "list_organizational_units_for_parent ou-2": [{"OrganizationalUnits": [{"Id": "ou-3"}]}],
        }
    )
    found = [each.id async for page in organization(scripted).accounts_under("ou-1") for each in page]
    assert found == ["000000000001", "000000000002", "000000000003"]


async def test_units_that_go_round_in_a_circle_are_walked_once() -> None:
    def scripted() -> Scripted:
        circle = (("r-1", "ou-1"), ("ou-1", "ou-2"), ("ou-2", "ou-1"))
        return Scripted(
            {
                "list_roots": [{"Roots": [{"Id": "r-1"}]}],
                "list_accounts_for_parent ou-2": [{"Accounts": [one(2)]}],
                **{
                    f"list_organizational_units_for_parent {parent}": [
                        {"OrganizationalUnits": [{"Id": unit}]}
                    ]
                    * 2
                    for parent, unit in circle
                },
            }
        )

    walk, tree = scripted(), scripted()
    under = [each.id async for page in organization(walk).accounts_under("ou-1") for each in page]
    assert (under, len(walk.requests)) == (["000000000002"], 4)
    assert await organization(tree).paths() == {"000000000002": "/r-1/ou-1/ou-2/000000000002/"}
    assert len(tree.requests) == 7


@pytest.mark.parametrize("tag", [{}, {"Value": "b"}, {"Key": None, "Value": "b"}, {"Key": "a", "Value": 7}])
async def test_a_tag_that_is_none_is_refused(tag: JsonObject) -> None:
    with pytest.raises(OrganizationError, match="a tag whose key or value is no text"):
        await organization(Scripted({"list_tags_for_resource": [{"Tags": [tag]}]})).tags("000000000002")


async def test_a_tag_without_a_value_has_an_empty_one_and_not_none() -> None:
    tags: list[JsonValue] = [{"Key": "a"}, {"Key": "b", "Value": None}, {"Key": "c", "Value": ""}]
    found = await organization(Scripted({"list_tags_for_resource": [{"Tags": tags}]})).tags("000000000002")
    assert found == {("a", ""), ("b", ""), ("c", "")}


async def test_a_unit_without_an_id_is_not_passed_over() -> None:
    scripted = Scripted(
        {
            "list_accounts_for_parent ou-1": [{"Accounts": [one(1)]}],
            "list_organizational_units_for_parent ou-1": [{"OrganizationalUnits": [{"Name": "no id"}]}],
        }
    )
    with pytest.raises(OrganizationError, match="without an id"):
        async for _ in organization(scripted).accounts_under("ou-1"):
            pass


async def test_fewer_are_asked_for_tags_at_once_where_organizations_throttles() -> None:
    class Throttling(Scripted):
        in_flight = most = calls = 0

        async def call(self, call: Call[Any], **others: Any) -> Any:
            watch: CallWatch = others["watch"]
            self.in_flight += 1
            self.calls += 1
            self.most = max(self.most, self.in_flight)
            await anyio.wait_all_tasks_blocked()
            watch.throttles += self.in_flight > 2
            self.in_flight -= 1
            return (), None

    scripted = Throttling({})
    asked = organization(scripted)
    most = []
    for _ in range(2):
        scripted.most = 0
        async with anyio.create_task_group() as group:
            for number in range(16):
                group.start_soon(asked.tags, f"{number:012d}")
        most.append(scripted.most)
    assert most[0] == 8
    assert most[1] < 5
    assert scripted.calls == 32


async def test_tags_of_an_account() -> None:
    tags: list[JsonObject | CallError] = [
        {"Tags": [{"Key": "a", "Value": "1"}], "NextToken": "x"},
        {"Tags": [{"Key": "b", "Value": ""}]},
    ]
    scripted = Scripted({"list_tags_for_resource": tags})
    assert await organization(scripted).tags("000000000002") == {("a", "1"), ("b", "")}
    assert scripted.requests[0][1] == {"ResourceId": "000000000002"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ServiceError("x", code="AWSOrganizationsNotInUseException"),
            "000000000001 is in no AWS .*`accounts_from` to self",
        ),
        (AccessDeniedError("x", code="AccessDeniedException"), "organizations:ListAccounts was refused"),
        (ServiceError("broken", code="Odd"), r"organizations:ListAccounts failed: broken \(Odd\)"),
    ],
)
async def test_what_fails_is_said_so_that_a_person_can_act(error: CallError, sentence: str) -> None:
    with pytest.raises(OrganizationError, match=sentence):
        _ = [page async for page in organization(Scripted({"list_accounts": [error]})).accounts()]


UNIT, ROOT = "ou-ab12-34cd56ef", "r-ab12"
PLACE = f"o-abcdefghij/{ROOT}/{UNIT}/"


@pytest.mark.parametrize(
    ("paths", "path"),
    [
        ([f"{PLACE}000000000002/"], f"{PLACE}000000000002/"),
        ([f"{PLACE}000000000002"], f"{PLACE}000000000002/"),
        ([PLACE], f"{PLACE}000000000002/"),
        ([PLACE, f"{PLACE}000000000002/"], f"{PLACE}000000000002/"),
        ([f"o-abcdefghij/{ROOT}/000000000002/"], f"o-abcdefghij/{ROOT}/000000000002/"),
        ([f"{PLACE}{UNIT}/000000000002/"], f"{PLACE}{UNIT}/000000000002/"),
        # Two different paths, another account's, another Organization's, and a text that is not a path.
        ([PLACE, f"o-abcdefghij/{ROOT}/"], None),
        ([f"{PLACE}000000000003/"], None),
        ([f"o-zzzzzzzzzz/{ROOT}/000000000002/"], None),
        ([f"{ROOT}/{UNIT}/000000000002/"], None),
        ([f"o-abcdefghij/{UNIT}/000000000002/"], None),
        ([f"{PLACE}000000000002/", 7], None),
        ([""], None),
        ([], None),
        (PLACE, None),
        (None, None),
    ],
)
def test_a_path_counts_where_it_is_one_and_no_other(paths: Any, path: str | None) -> None:
    arn = "arn:aws:organizations::000000000001:account/o-abcdefghij/000000000002"
    assert _listed({"Id": "000000000002", "Arn": arn, "Paths": paths}).path == path


async def test_the_whole_tree_is_walked_from_its_roots() -> None:
    arn = f"arn:aws:organizations::000000000001:root/o-abc/{ROOT}"
    scripted = Scripted(
        {
            "list_roots": [{"Roots": [{"Id": ROOT, "Arn": arn}]}],
            f"list_accounts_for_parent {ROOT}": [
                {"Accounts": [one(1)], "NextToken": "x"},
                {"Accounts": [one(2)]},
            ],
            "list_accounts_for_parent ou-2": [{"Accounts": [one(3)]}],
            f"list_organizational_units_for_parent {ROOT}": [{"OrganizationalUnits": [{"Id": "ou-1"}]}],
            "list_organizational_units_for_parent ou-1": [{"OrganizationalUnits": [{"Id": "ou-2"}]}],
        }
    )
    assert await organization(scripted).paths() == {
        "000000000001": f"o-abc/{ROOT}/000000000001/",
        "000000000002": f"o-abc/{ROOT}/000000000002/",
        "000000000003": f"o-abc/{ROOT}/ou-1/ou-2/000000000003/",
    }


@pytest.mark.parametrize("code", ["ParentNotFoundException", "InvalidInputException"])
async def test_a_unit_that_is_not_there_is_the_settings_fault(code: str) -> None:
    scripted = Scripted({"list_accounts_for_parent ou-2": [ServiceError("x", code=code)] * 2})
    with pytest.raises(SettingsError, match="unit ou-2 in the caller's Organization"):
        await organization(scripted).check_units(("ou-1", "ou-2", "ou-3"))
    assert [request["ParentId"] for _, request in scripted.requests] == ["ou-1", "ou-2"]
    assert await organization(scripted).missing_units(("ou-1", "ou-2", "ou-3")) == {"ou-2"}
    refused = Scripted({"list_accounts_for_parent ou-2": [AccessDeniedError("x", code="AccessDenied")] * 2})
    with pytest.raises(OrganizationError, match="ListAccountsForParent"):
        await organization(refused).check_units(("ou-2",))
    with pytest.raises(OrganizationError, match="ListAccountsForParent"):
        await organization(refused).missing_units(("ou-2",))


IAM = "User: arn:x is not authorized to perform: organizations:ListAccounts on resource: * because"


@pytest.mark.parametrize(
    ("error", "management", "said", "unsaid"),
    [
        (
            AccessDeniedError(
                "You don't have permissions to access this resource.", code="AccessDeniedException"
            ),
            "000000000009",
            "Account 000000000001 can't read .* management account 000000000009, .* delegated administrator",
            "policy",
        ),
        (
            AccessDeniedError("You don't have permissions.", code="AccessDeniedException"),
            None,
            "Account 000000000001 can't read .* of the management account, or register",
            "None",
        ),
        (
            AccessDeniedError(f"{IAM} no identity-based policy allows it", code="AccessDeniedException"),
            "000000000001",
            "organizations:ListAccounts was refused to arn:aws:iam::000000000001:root.*with that permission",
            "can't read",
        ),
        (
            ScpDeniedError(f"{IAM} explicit deny in a service control policy.", code="AccessDeniedException"),
            "000000000009",
            "denied to account 000000000001 by a service control policy.*management account 000000000009",
            "register",
        ),
    ],
)
async def test_who_is_refused_and_who_is_not_is_said(
    error: CallError, management: str | None, said: str, unsaid: str
) -> None:
    described: JsonObject = {"Organization": {"Id": "o-abc", "MasterAccountId": management}}
    answer = described if management is not None else ServiceError("x", code="Odd")
    scripted = Scripted({"list_accounts": [error], "describe_organization": [answer]})
    with pytest.raises(OrganizationError, match=said) as raised:
        _ = [page async for page in organization(scripted).accounts()]
    assert unsaid not in str(raised.value)


@pytest.mark.parametrize(
    "body", [{}, {"Accounts": None}, {"Accounts": [1]}, {"Accounts": [], "NextToken": 1}]
)
async def test_a_page_that_is_none_is_an_error(body: JsonObject) -> None:
    with pytest.raises(OrganizationError):
        _ = [page async for page in organization(Scripted({"list_accounts": [body]})).accounts()]

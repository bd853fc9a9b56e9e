"""Organizations: the accounts, OUs and tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from poolcensus.simulator.http import Request, Response
from poolcensus.simulator.members import account_id
from poolcensus.simulator.refusal import JSON_TYPE, RefusalError
from poolcensus.simulator.tokens import Position, TokenMint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolcensus.model import JsonObject, JsonValue
    from poolcensus.simulator.world import World

PREFIX = "AWSOrganizationsV20161128."
_HEADERS = (("Content-Type", JSON_TYPE),)
_MAX_RESULTS = 20
# https://docs.aws.amazon.com/organizations/latest/APIReference/API_Operations.html
_ACCOUNT = r"\d{12}"
_UNIT = "ou-[0-9a-z]{4,32}-[a-z0-9]{8,32}"
_ROOT = "r-[0-9a-z]{4,32}"
_PATTERNS = {
    "AccountId": re.compile(_ACCOUNT, re.ASCII),
    "OrganizationalUnitId": re.compile(_UNIT),
    "ParentId": re.compile(f"{_ROOT}|{_UNIT}"),
    "ChildId": re.compile(f"{_ACCOUNT}|{_UNIT}", re.ASCII),
    "ResourceId": re.compile(
        f"{_ROOT}|{_ACCOUNT}|{_UNIT}|p-[0-9a-zA-Z_]{{8,128}}|rp-[0-9a-zA-Z_]{{4,128}}", re.ASCII
    ),
}


class Organizations:
    """Returns the Organization to its management account and to a delegated administrator."""

    def __init__(self, world: World, mint: TokenMint, *, exists: bool, empty_pages: bool) -> None:
        self._world = world
        self._mint = mint
        self._exists = exists
        self._empty_pages = empty_pages
        self._directory = world.directory
        self._operations: dict[str, Callable[[JsonObject], JsonObject]] = {
            "DescribeOrganization": self._describe_organization,
            "ListRoots": self._list_roots,
            "ListAccounts": self._list_accounts,
            "ListAccountsForParent": self._list_accounts_for_parent,
            "ListOrganizationalUnitsForParent": self._list_units_for_parent,
            "ListChildren": self._list_children,
            "ListParents": self._list_parents,
            "DescribeAccount": self._describe_account,
            "DescribeOrganizationalUnit": self._describe_unit,
            "ListTagsForResource": self._list_tags,
        }

    def handle(self, request: Request) -> Response:
        """Return the reply to a call.

        Raises RefusalError if the call is refused.
        """
        target = request.headers.get("x-amz-target", "")
        operation = self._operations.get(target.removeprefix(PREFIX)) if target.startswith(PREFIX) else None
        if operation is None:
            raise RefusalError(400, "UnknownOperationException", "")
        if not self._exists:
            raise RefusalError(
                400, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization."
            )
        manages = self._world.manages(request.identity.account_id)
        if not manages and operation != self._describe_organization:
            raise RefusalError(
                400, "AccessDeniedException", "You don't have permissions to access this resource."
            )
        query = request.json_object
        if query is None:
            raise RefusalError(400, "SerializationException", "")
        return Response(200, orjson.dumps(operation(query)), _HEADERS)

    def _describe_organization(self, query: JsonObject) -> JsonObject:
        del query
        return {"Organization": self._directory.organization()}

    def _list_roots(self, query: JsonObject) -> JsonObject:
        return self._page(query, "Roots", "roots", (0,), lambda _: self._directory.root())

    def _list_accounts(self, query: JsonObject) -> JsonObject:
        return self._page(
            query, "Accounts", "accounts", range(self._world.config.accounts), self._directory.account
        )

    def _list_accounts_for_parent(self, query: JsonObject) -> JsonObject:
        parent = self._parent(query)
        return self._page(
            query,
            "Accounts",
            f"accounts/{parent}",
            self._directory.accounts_of(parent),
            self._directory.account,
        )

    def _list_units_for_parent(self, query: JsonObject) -> JsonObject:
        parent = self._parent(query)
        units = self._directory.units_of(parent)
        return self._page(
            query,
            "OrganizationalUnits",
            f"units/{parent}",
            range(len(units)),
            lambda number: self._directory.unit(units[number]),
        )

    def _list_children(self, query: JsonObject) -> JsonObject:
        kind, parent = _required(query, "ChildType"), self._parent(query)
        if kind == "ACCOUNT":
            children = [account_id(index) for index in self._directory.accounts_of(parent)]
        elif kind == "ORGANIZATIONAL_UNIT":
            children = self._directory.units_of(parent)
        else:
            raise _invalid("INVALID_ENUM", "ChildType must be ACCOUNT or ORGANIZATIONAL_UNIT.")
        return self._page(
            query,
            "Children",
            f"children/{kind}/{parent}",
            range(len(children)),
            lambda number: {"Id": children[number], "Type": kind},
        )

    def _list_parents(self, query: JsonObject) -> JsonObject:
        child = _id(query, "ChildId")
        parent = self._directory.parent_of(child)
        if parent is None:
            raise RefusalError(400, "ChildNotFoundException", "You specified a child that doesn't exist.")
        kind = "ROOT" if parent == self._directory.root_id else "ORGANIZATIONAL_UNIT"
        return self._page(query, "Parents", f"parents/{child}", (0,), lambda _: {"Id": parent, "Type": kind})

    def _describe_account(self, query: JsonObject) -> JsonObject:
        index = self._world.index(_id(query, "AccountId"))
        if index is None:
            raise RefusalError(
                400, "AccountNotFoundException", "You specified an account that doesn't exist."
            )
        return {"Account": self._directory.account(index)}

    def _describe_unit(self, query: JsonObject) -> JsonObject:
        unit = _id(query, "OrganizationalUnitId")
        if not self._directory.is_unit(unit):
            raise RefusalError(
                400,
                "OrganizationalUnitNotFoundException",
                "You specified an organizational unit that doesn't exist.",
            )
        return {"OrganizationalUnit": self._directory.unit(unit)}

    def _list_tags(self, query: JsonObject) -> JsonObject:
        resource = _id(query, "ResourceId")
        tags = self._directory.tags_of(resource)
        if tags is None:
            raise RefusalError(
                400, "TargetNotFoundException", "We can't find a resource with the id that you specified."
            )
        pairs = sorted(tags.items())
        return self._page(
            query,
            "Tags",
            f"tags/{resource}",
            range(len(pairs)),
            lambda number: {"Key": pairs[number][0], "Value": pairs[number][1]},
        )

    def _parent(self, query: JsonObject) -> str:
        parent = _id(query, "ParentId")
        if parent != self._directory.root_id and not self._directory.is_unit(parent):
            raise RefusalError(400, "ParentNotFoundException", "You specified a parent that doesn't exist.")
        return parent

    def _page(
        self,
        query: JsonObject,
        name: str,
        scope: str,
        numbers: Sequence[int],
        show: Callable[[int], JsonValue],
    ) -> JsonObject:
        size = query.get("MaxResults", _MAX_RESULTS)
        if not isinstance(size, int) or isinstance(size, bool):
            raise RefusalError(400, "SerializationException", "NUMBER_VALUE expected.")
        if not 1 <= size <= _MAX_RESULTS:
            reason = "MIN_VALUE_EXCEEDED" if size < 1 else "MAX_VALUE_EXCEEDED"
            raise _invalid(reason, f"MaxResults must be between 1 and {_MAX_RESULTS}.")
        position = self._mint.position(query.get("NextToken"), scope)
        if position is None:
            raise _invalid("INVALID_NEXT_TOKEN", "You provided a NextToken that is not valid.")
        if self._empty_pages and position.turn == 0:
            following = Position(position.offset, position.page + 1, 1)
            return {name: [], "NextToken": self._mint.make(following, scope)}
        end = position.offset + size
        reply: JsonObject = {name: [show(number) for number in numbers[position.offset : end]]}
        if end < len(numbers):
            reply["NextToken"] = self._mint.make(Position(end, position.page + 1), scope)
        return reply


def _required(query: JsonObject, name: str) -> str:
    """Return a required parameter that is a string.

    Raises RefusalError if it is missing or is not a string.
    """
    value = query.get(name)
    if value is None or value == "":
        raise _invalid("INPUT_REQUIRED", f"You must provide {name}.")
    if not isinstance(value, str):
        raise RefusalError(400, "SerializationException", "STRING_VALUE expected.")
    return value


def _id(query: JsonObject, name: str) -> str:
    """Return a required parameter that is an ID.

    Raises RefusalError if it is missing or does not match the pattern of its kind.
    """
    value = _required(query, name)
    if _PATTERNS[name].fullmatch(value) is None:
        raise _invalid("INVALID_PATTERN", f"{name} doesn't match the required pattern.")
    return value


def _invalid(reason: str, message: str) -> RefusalError:
    return RefusalError(400, "InvalidInputException", message, {"Reason": reason})

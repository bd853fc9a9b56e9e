"""Organizations: the accounts, the tree that they hang in, and their tags."""

from __future__ import annotations

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


class Organizations:
    """The organization of the world, for its management account and a delegated administrator."""

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
        """Answer one call.

        Raises RefusalError: the call is refused.
        """
        target = request.headers.get("x-amz-target", "")
        operation = self._operations.get(target.removeprefix(PREFIX)) if target.startswith(PREFIX) else None
        if operation is None:
            raise RefusalError(400, "UnknownOperationException", "")
        if not self._exists:
            raise RefusalError(
                400, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization."
            )
        account = request.identity.account_id
        delegated = self._world.config.caller == "delegated" and account == self._world.caller_account_id
        member = account != self._world.management_account_id and not delegated
        if member and operation != self._describe_organization:
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
        parent, kind = self._parent(query), query.get("ChildType")
        if kind == "ACCOUNT":
            children = [account_id(index) for index in self._directory.accounts_of(parent)]
        elif kind == "ORGANIZATIONAL_UNIT":
            children = self._directory.units_of(parent)
        else:
            raise _invalid("ChildType must be ACCOUNT or ORGANIZATIONAL_UNIT.")
        return self._page(
            query,
            "Children",
            f"children/{kind}/{parent}",
            range(len(children)),
            lambda number: {"Id": children[number], "Type": kind},
        )

    def _list_parents(self, query: JsonObject) -> JsonObject:
        child = query.get("ChildId")
        parent = self._directory.parent_of(child) if isinstance(child, str) else None
        if parent is None:
            raise RefusalError(400, "ChildNotFoundException", "You specified a child that doesn't exist.")
        kind = "ROOT" if parent == self._directory.root_id else "ORGANIZATIONAL_UNIT"
        return self._page(query, "Parents", f"parents/{child}", (0,), lambda _: {"Id": parent, "Type": kind})

    def _describe_account(self, query: JsonObject) -> JsonObject:
        account = query.get("AccountId")
        index = self._world.index(account) if isinstance(account, str) else None
        if index is None:
            raise RefusalError(
                400, "AccountNotFoundException", "You specified an account that doesn't exist."
            )
        return {"Account": self._directory.account(index)}

    def _describe_unit(self, query: JsonObject) -> JsonObject:
        unit = query.get("OrganizationalUnitId")
        if not isinstance(unit, str) or not self._directory.is_unit(unit):
            raise RefusalError(
                400,
                "OrganizationalUnitNotFoundException",
                "You specified an organizational unit that doesn't exist.",
            )
        return {"OrganizationalUnit": self._directory.unit(unit)}

    def _list_tags(self, query: JsonObject) -> JsonObject:
        resource = query.get("ResourceId")
        tags = self._directory.tags_of(resource) if isinstance(resource, str) else None
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
        parent = query.get("ParentId")
        if not isinstance(parent, str) or not (
            parent == self._directory.root_id or self._directory.is_unit(parent)
        ):
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
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_RESULTS:
            raise _invalid(f"MaxResults must be between 1 and {_MAX_RESULTS}.")
        position = self._mint.position(query.get("NextToken"), scope)
        if position is None:
            raise _invalid("You provided a NextToken that is not valid.", "INVALID_NEXT_TOKEN")
        if self._empty_pages and position.turn == 0:
            following = Position(position.offset, position.page + 1, 1)
            return {name: [], "NextToken": self._mint.make(following, scope)}
        end = position.offset + size
        reply: JsonObject = {name: [show(number) for number in numbers[position.offset : end]]}
        if end < len(numbers):
            reply["NextToken"] = self._mint.make(Position(end, position.page + 1), scope)
        return reply


def _invalid(message: str, reason: str = "INVALID_PATTERN") -> RefusalError:
    return RefusalError(400, "InvalidInputException", message, {"Reason": reason})

"""WorkSpaces: DescribeWorkspacesPools, with all of its parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import orjson

from poolcensus.model import Outcome
from poolcensus.simulator import unauthorized
from poolcensus.simulator.http import Request, Response
from poolcensus.simulator.policies import Policy
from poolcensus.simulator.pools import pool_name
from poolcensus.simulator.refusal import JSON_TYPE, RefusalError
from poolcensus.simulator.tokens import START, Position, TokenMint

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.model import JsonValue
    from poolcensus.simulator.world import World

Test: TypeAlias = "Callable[[str], bool]"

TARGET = "WorkspacesService.DescribeWorkspacesPools"
_POOL_ID = re.compile(r"wspool-[0-9a-z]{9}")
_HEADERS = (("Content-Type", JSON_TYPE),)
_MAX_ITEMS = 25
_MAX_VALUE = 128
_MAX_TOKEN = 2048
_OPERATORS = frozenset({"EQUALS", "NOTEQUALS", "CONTAINS", "NOTCONTAINS"})


class WorkSpaces:
    """Returns the pools of any account and region of the world."""

    def __init__(self, world: World, mint: TokenMint) -> None:
        self._world = world
        self._mint = mint

    def handle(self, request: Request) -> Response:
        """Return the reply to a call.

        Raises RefusalError if the call is refused.
        """
        target = request.headers.get("x-amz-target", "")
        if target != TARGET:
            raise RefusalError(404, "UnknownOperationException", "")
        account = request.identity.account_id
        index = self._admit(account, request)
        query = read_query(request.body)
        token = query.get("NextToken")
        ids, filters, limit = _pool_ids(query), _filters(query), _limit(query)
        scope = scope_of(account, request.region, query)
        position = START if token is None else self._position(token, scope)
        size = min(limit, self._world.config.page_size)
        if ids is None and filters is None:
            total = self._world.pool_count(index, request.region)
            count = max(0, min(size, total - position.offset))
            pools = self._world.press.slice(index, request.region, position.offset, count) if count else b""
            end = position.offset + count
        else:
            numbers = self._select(index, request.region, ids, filters)
            total = len(numbers)
            chosen = numbers[position.offset : position.offset + size]
            pools = b",".join(self._world.press.one(index, request.region, number) for number in chosen)
            end = position.offset + len(chosen)
        if end >= total:
            return Response(200, b'{"WorkspacesPools":[%b]}' % pools, _HEADERS)
        following = self._mint.make(Position(end, position.page + 1), scope)
        return Response(
            200, b'{"NextToken":"%b","WorkspacesPools":[%b]}' % (following.encode(), pools), _HEADERS
        )

    def _admit(self, account: str, request: Request) -> int:
        index = self._world.index(account)
        if index is None:
            raise ValueError(account)
        match self._world.answer(index, request.region):
            case Outcome.REGION_UNSUPPORTED:
                if request.region in self._world.neutral:
                    raise unauthorized.neutral()
                raise RefusalError(404, "UnknownOperationException", "")
            case Outcome.NOT_ENTITLED:
                raise unauthorized.not_entitled()
            case Outcome.SCP_DENIED:
                raise unauthorized.denied(request, Policy.SCP, explicit=True)
            case Outcome.ACCESS_DENIED:
                raise unauthorized.denied(request, Policy.IDENTITY)
        return index

    def _position(self, token: JsonValue, scope: str) -> Position:
        if not isinstance(token, str) or not 1 <= len(token) <= _MAX_TOKEN:
            raise _invalid(f"NextToken must be a string of 1 to {_MAX_TOKEN} characters.")
        position = self._mint.read(token, scope)
        if position is None:
            raise _invalid("The specified NextToken is not valid.")
        return position

    def _select(
        self, index: int, region: str, ids: list[str] | None, filters: list[Test] | None
    ) -> list[int]:
        world = self._world
        total = world.pool_count(index, region)
        if ids is None:
            numbers = list(range(total))
        else:
            numbers = []
            for pool_id in dict.fromkeys(ids):
                place = world.press.locate(pool_id)
                if place is None or place[:2] != (index, region) or place[2] >= total:
                    raise RefusalError(
                        400,
                        "ResourceNotFoundException",
                        f"The WorkSpaces Pool {pool_id} was not found.",
                        {"ResourceId": pool_id},
                    )
                numbers.append(place[2])
        if filters:
            numbers = [each for each in numbers if all(test(pool_name(each)) for test in filters)]
        return numbers


def read_query(body: bytes) -> dict[str, JsonValue]:
    """Return the JSON object in the body of a request.

    Raises RefusalError if the body is not a JSON object.
    """
    try:
        query = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        raise RefusalError(400, "SerializationException", "") from None
    if not isinstance(query, dict):
        raise RefusalError(
            400, "SerializationException", "Start of structure or map found where not expected."
        )
    return query


def scope_of(account: str, region: str, query: dict[str, JsonValue]) -> str:
    """Return the scope of the page tokens of a query.

    Raises RefusalError if the query is nested too deeply. orjson encodes fewer levels than it decodes.
    """
    if "PoolIds" in query or "Filters" in query:
        try:
            asked = orjson.dumps([query.get("PoolIds"), query.get("Filters")]).decode()
        except orjson.JSONEncodeError:
            raise RefusalError(400, "SerializationException", "The request is nested too deeply.") from None
        return f"{account}/{region}/{asked}"
    return f"{account}/{region}"


def _pool_ids(query: dict[str, JsonValue]) -> list[str] | None:
    values = query.get("PoolIds")
    if values is None:
        return None
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_ITEMS:
        raise _invalid(f"PoolIds must have 1 to {_MAX_ITEMS} items.")
    ids = []
    for value in values:
        if not isinstance(value, str) or _POOL_ID.fullmatch(value) is None:
            raise _invalid(f"{value} is not a valid PoolId: it must match ^wspool-[0-9a-z]{{9}}$.")
        ids.append(value)
    return ids


def _limit(query: dict[str, JsonValue]) -> int:
    limit = query.get("Limit")
    if limit is None:
        return _MAX_ITEMS
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MAX_ITEMS:
        raise _invalid(f"Limit must be between 1 and {_MAX_ITEMS}.")
    return limit


def _filters(query: dict[str, JsonValue]) -> list[Test] | None:
    values = query.get("Filters")
    if values is None:
        return None
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_ITEMS:
        raise _invalid(f"Filters must have 1 to {_MAX_ITEMS} items.")
    return [_filter(value) for value in values]


def _filter(value: JsonValue) -> Test:
    if not isinstance(value, dict):
        raise _invalid("A filter must have a Name, an Operator and Values.")
    name, operator = value.get("Name"), value.get("Operator")
    if not isinstance(name, str | None) or not isinstance(operator, str | None):
        raise RefusalError(400, "SerializationException", "STRING_VALUE expected.")
    if name != "PoolName":
        raise _invalid("The Name of a filter must be PoolName.")
    if operator not in _OPERATORS:
        raise _invalid(f"The Operator of a filter must be one of {', '.join(sorted(_OPERATORS))}.")
    given = value.get("Values")
    if not isinstance(given, list) or not 1 <= len(given) <= _MAX_ITEMS:
        raise _invalid(f"The Values of a filter must have 1 to {_MAX_ITEMS} items.")
    wanted = [each for each in given if isinstance(each, str) and 1 <= len(each) <= _MAX_VALUE]
    if len(wanted) != len(given):
        raise _invalid(f"A value of a filter must have 1 to {_MAX_VALUE} characters.")
    match operator:
        case "EQUALS":
            return lambda name: name in wanted
        case "NOTEQUALS":
            return lambda name: name not in wanted
        case "CONTAINS":
            return lambda name: any(each in name for each in wanted)
    return lambda name: not any(each in name for each in wanted)


def _invalid(message: str) -> RefusalError:
    return RefusalError(400, "InvalidParameterValuesException", message)

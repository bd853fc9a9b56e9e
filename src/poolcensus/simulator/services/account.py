"""Account: ListRegions and GetRegionOptStatus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from poolcensus.simulator import unauthorized
from poolcensus.simulator.call import ACCOUNT_PATHS
from poolcensus.simulator.http import Identity, Request, Response
from poolcensus.simulator.policies import Policy
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.tokens import Position, TokenMint

if TYPE_CHECKING:
    from poolcensus.model import JsonValue
    from poolcensus.simulator.world import World

_HEADERS = (("Content-Type", "application/json"),)
_MAX_RESULTS = 50
_STATUSES = frozenset({"ENABLED", "ENABLING", "DISABLING", "DISABLED", "ENABLED_BY_DEFAULT"})


class AccountManagement:
    """Returns which regions an account has enabled."""

    def __init__(self, world: World, mint: TokenMint, *, refuse: bool) -> None:
        self._world = world
        self._mint = mint
        self._refuse = refuse

    def handle(self, request: Request) -> Response:
        """Return the reply to a call.

        Raises RefusalError if the call is refused.
        """
        operation = ACCOUNT_PATHS.get(request.path)
        if operation is None or request.method != "POST":
            raise RefusalError(404, "UnknownOperationException", "")
        if self._refuse:
            raise unauthorized.denied(request, Policy.IDENTITY)
        query = request.json_object
        if query is None:
            raise _invalid("The body is not a JSON object.")
        index = self._subject(request.identity, query)
        body = self._list(index, query) if operation == "ListRegions" else self._status(index, query)
        return Response(200, orjson.dumps(body), _HEADERS)

    def _subject(self, identity: Identity, query: dict[str, JsonValue]) -> int:
        own = self._world.index(identity.account_id)
        asked = query.get("AccountId")
        if asked is None and own is not None:
            return own
        if not isinstance(asked, str) or len(asked) != 12 or not asked.isdecimal():
            raise _invalid("AccountId must be 12 digits.")
        member = self._world.index(asked)
        manages = self._world.manages(identity.account_id)
        if manages and member is not None and not self._world.config.trusted_access:
            raise RefusalError(
                403,
                "AccessDeniedException",
                f"User: {identity.arn} is not authorized to perform: account:ListRegions (Your organization "
                "must first enable trusted access for AWS Account Management.)",
            )
        if member is None or member == 0 or not manages:
            raise RefusalError(
                403,
                "AccessDeniedException",
                "User is not allowed to specify the AccountId parameter with this account: it must be a "
                "member of the organization, and the caller its management account.",
            )
        return member

    def _list(self, index: int, query: dict[str, JsonValue]) -> dict[str, JsonValue]:
        wanted = query.get("RegionOptStatusContains")
        if wanted is not None and not (
            isinstance(wanted, list) and all(isinstance(each, str) and each in _STATUSES for each in wanted)
        ):
            raise _invalid("RegionOptStatusContains must list region statuses.")
        size = query.get("MaxResults", _MAX_RESULTS)
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_RESULTS:
            raise _invalid(f"MaxResults must be between 1 and {_MAX_RESULTS}.")
        position = self._mint.position(query.get("NextToken"), f"regions/{index}")
        if position is None:
            raise _invalid("NextToken is not valid.")
        statuses = [(region, self._world.opt_status(index, region)) for region in self._world.all_regions]
        chosen = [pair for pair in statuses if not wanted or pair[1] in wanted]
        end = position.offset + size
        reply: dict[str, JsonValue] = {
            "Regions": [
                {"RegionName": region, "RegionOptStatus": status}
                for region, status in chosen[position.offset : end]
            ]
        }
        if end < len(chosen):
            reply["NextToken"] = self._mint.make(Position(end, position.page + 1), f"regions/{index}")
        return reply

    def _status(self, index: int, query: dict[str, JsonValue]) -> dict[str, JsonValue]:
        region = query.get("RegionName")
        if not isinstance(region, str) or region not in self._world.all_regions:
            raise _invalid("RegionName is not a region.")
        return {"RegionName": region, "RegionOptStatus": self._world.opt_status(index, region)}


def _invalid(message: str) -> RefusalError:
    return RefusalError(400, "ValidationException", message, {"reason": "fieldValidationFailed"})

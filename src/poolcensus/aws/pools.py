"""DescribeWorkspacesPools: the requests of one target, and what may pass as their replies.

https://docs.aws.amazon.com/workspaces/latest/api/API_DescribeWorkspacesPools.html. botocore has no
paginator for it, and takes a body that is not JSON for a page without pools: neither is used here.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.client import Call
from poolcensus.aws.json_api import TokenTrail, bad_response, json_object, next_token
from poolcensus.errors import ServiceError
from poolcensus.flow.concurrency import CallKey
from poolcensus.format import codec
from poolcensus.format.times import rfc3339, rfc3339_of_epoch
from poolcensus.model import Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from poolcensus.aws.client import CallWatch, Channel, CredentialSource
    from poolcensus.aws.sdk import Sdk
    from poolcensus.aws.transport.fast import Reply
    from poolcensus.config.values import PoolFilter
    from poolcensus.model import JsonObject, JsonValue, Target

_SERVICE = "workspaces"
_OPERATION = "describe_workspaces_pools"
_IDS_A_CALL = 25
_POOL_ID = re.compile(r"wspool-[0-9a-z]{9}")


class PoolQuery(msgspec.Struct, frozen=True):
    """What every target is asked: which pools, by id or by filter, and how many in a page."""

    pool_ids: tuple[str, ...] = ()
    filters: tuple[PoolFilter, ...] = ()
    page_size: int = 25

    def id_groups(self) -> list[tuple[str, ...]]:
        """The ids in groups that one call may carry; one empty group where none were asked for."""
        ids = self.pool_ids
        return [ids[at : at + _IDS_A_CALL] for at in range(0, len(ids), _IDS_A_CALL)] or [()]

    def body(self, ids: tuple[str, ...], token: str | None) -> bytes:
        """The body of one call."""
        request: dict[str, JsonValue] = {"Limit": self.page_size}
        if ids:
            request["PoolIds"] = list(ids)
        if self.filters:
            request["Filters"] = [
                {"Name": each.name, "Operator": str(each.operator), "Values": list(each.values)}
                for each in self.filters
            ]
        if token is not None:
            request["NextToken"] = token
        return codec.dumps(request)


class PoolReader:
    """Reads the pools of targets through one channel."""

    def __init__(self, sdk: Sdk, channel: Channel, query: PoolQuery) -> None:
        self._sdk = sdk
        self._channel = channel
        self._query = query
        self._first_bodies = {
            ids: (body := query.body(ids, None), sha256(body).hexdigest()) for ids in query.id_groups()
        }

    async def read(
        self,
        target: Target,
        source: CredentialSource,
        watch: CallWatch,
        take: Callable[[Page], Awaitable[None]],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        """Hand every page of a target to `take`, in order; a pool that is on several only the first time.

        `ready` is awaited before each call.

        Raises the CallError that ended the target. What came before it is then not the whole.
        """
        template = await self._sdk.template(_SERVICE, target.region, _OPERATION)
        key = CallKey(target.account.id, target.region, _SERVICE)
        seen: _SeenIds | None = None
        number = 0
        groups = self._query.id_groups()
        while groups:
            ids = groups.pop(0)
            trail = TokenTrail()
            token: str | None = None
            while True:
                body, digest = self._body(ids, token)
                await ready()
                try:
                    pools, token = await self._channel.call(
                        Call(template, body, digest, key, begun=number > 0), source, _page, watch=watch
                    )
                except ServiceError as error:
                    if error.code != "ResourceNotFoundException" or not ids:
                        raise
                    groups[:0] = _without_missing(ids, error.message)
                    break
                number += 1
                if seen is None and (token is not None or groups or not _are_different(pools)):
                    seen = _SeenIds()
                new = tuple(pools) if seen is None else _new(pools, seen)
                await take(Page(target, number, rfc3339(datetime.now(UTC)), new))
                if token is None:
                    break
                trail.follow(token, f"{target.region} in {target.account.id}")

    def _body(self, ids: tuple[str, ...], token: str | None) -> tuple[bytes, str]:
        if token is None and ids in self._first_bodies:
            return self._first_bodies[ids]
        body = self._query.body(ids, token)
        return body, sha256(body).hexdigest()


def _without_missing(ids: tuple[str, ...], message: str) -> list[tuple[str, ...]]:
    # The service refuses the whole call for one id that it does not know. The message may name it;
    # where it does not, the ids are asked for in halves until each missing one stands alone.
    # A message that names all of them may only repeat what was asked.
    if len(ids) == 1:
        return []
    missing = set(_POOL_ID.findall(message)).intersection(ids)
    rest = tuple(each for each in ids if each not in missing)
    if missing and rest:
        return [rest]
    half = len(ids) // 2
    return [ids[:half], ids[half:]]


def _page(reply: Reply) -> tuple[list[JsonObject], str | None]:
    body = json_object(reply)
    found = body.get("WorkspacesPools")
    if not isinstance(found, list):
        raise bad_response(reply, "the body has no list WorkspacesPools")
    pools: list[JsonObject] = []
    for pool in found:
        if not isinstance(pool, dict):
            raise bad_response(reply, f"a pool is a JSON {type(pool).__name__}, not an object")
        pool_id = pool.get("PoolId")
        if not isinstance(pool_id, str) or not pool_id:
            raise bad_response(reply, "a pool has no PoolId")
        if "CreatedAt" in pool:
            try:
                pool["CreatedAt"] = _created_at(pool["CreatedAt"])
            except ValueError as error:
                raise bad_response(reply, f"CreatedAt of {pool_id[:40]} is not a time: {error}") from None
        pools.append(pool)
    return pools, next_token(reply, body)


def _created_at(value: JsonValue) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"it is a {type(value).__name__}")  # noqa: TRY004 - the value is the service's
    return rfc3339_of_epoch(value)


def _are_different(pools: Collection[JsonObject]) -> bool:
    return len({str(pool["PoolId"]) for pool in pools}) == len(pools)


def _new(pools: Iterable[JsonObject], seen: _SeenIds) -> tuple[JsonObject, ...]:
    # Pools may shift between pages while they are read.
    return tuple(pool for pool in pools if seen.is_new(str(pool["PoolId"])))


class _SeenIds:
    """The ids of a target's pools, which are kept for as long as it is read.

    One of the usual form is a number of nine digits to the base of 36. They lie sorted in eight bytes each,
    where a set of strings takes more than ten times as much: there are as many targets as calls in flight.
    """

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._others: set[str] = set()

    def is_new(self, pool_id: str) -> bool:
        """Whether an id is seen for the first time; from then on it is not."""
        if not _POOL_ID.fullmatch(pool_id):
            if pool_id in self._others:
                return False
            self._others.add(pool_id)
            return True
        number = int(pool_id[-9:], 36)
        numbers = self._numbers
        at = bisect_left(numbers, number)
        if at < len(numbers) and numbers[at] == number:
            return False
        numbers.insert(at, number)
        return True

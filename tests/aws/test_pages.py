"""The pages of a target: groups of IDs, tokens, and items that come twice."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.call import CallWatch
from poolcensus.aws.json_api import list_pages
from poolcensus.aws.pages import PageReader, _SeenIds
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import CallError, PagingLoopError, ServiceError
from poolcensus.flow.concurrency import CallKey
from poolcensus.format import codec
from poolcensus.model import Account, Outcome, Target
from poolcensus.operations import WORKSPACES_POOLS, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.aws.call import Call, CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.model import JsonObject, Page

TARGET = Target(Account("000000000001"), "us-east-1")


def pool_ids(count: int) -> tuple[str, ...]:
    return tuple(f"wspool-{number:09d}" for number in range(count))


class Service:
    """A client that answers like the service: filters by ids, pages, and refuses unknown ids."""

    def __init__(
        self,
        existing: Sequence[str],
        *,
        tokens: Sequence[str] = (),
        error: CallError | None = None,
        always: str = "",
    ) -> None:
        self.existing = existing
        self.always = always
        self.tokens = list(tokens)
        self.error = error
        self.requests: list[dict[str, Any]] = []
        self.begun: list[bool] = []

    async def template(self, *_: object) -> str:
        return "template"

    async def call(self, call: Call[Any], *, watch: object) -> Any:
        request = codec.loads(call.body)
        assert isinstance(request, dict)
        self.requests.append(request)
        self.begun.append(call.begun)
        if self.error is not None:
            raise self.error
        asked = cast("list[str]", request.get("PoolIds", []))
        if any(each not in self.existing for each in asked):
            raise ServiceError("not found", code="ResourceNotFoundException", status=400)
        found = list(asked or self.existing)
        found += [self.always] if self.always and self.always not in found else []
        body: JsonObject = {"WorkspacesPools": [{"PoolId": each} for each in found]}
        if self.tokens:
            body["NextToken"] = self.tokens.pop(0)
        return call.parse(Reply(200, {}, codec.dumps(body)))

    async def pages(self, query: Query) -> list[Page]:
        reader = PageReader(cast("Sdk", self), cast("Client", self), WORKSPACES_POOLS, query)
        pages = reader.open(TARGET, cast("CredentialSource", None), CallWatch())
        found: list[Page] = []
        while not pages.ended:
            if (page := await pages.next()) is not None:
                found.append(page)
        return found


async def test_ids_are_read_in_groups_and_the_missing_left_out() -> None:
    ids = pool_ids(60)
    service = Service(ids[::2])
    pages = await service.pages(Query(ids))
    assert [pool["PoolId"] for page in pages for pool in page.pools] == list(ids[::2])
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    assert all(1 <= len(request["PoolIds"]) <= 25 for request in service.requests)


async def test_a_pool_on_two_pages_is_on_the_first_only() -> None:
    service = Service(("a", "b"), tokens=("1", "2"))
    pages = await service.pages(Query(page_size=2))
    assert [[pool["PoolId"] for pool in page.pools] for page in pages] == [["a", "b"], [], []]
    assert [request.get("NextToken") for request in service.requests] == [None, "1", "2"]
    assert {request["Limit"] for request in service.requests} == {2}
    assert service.begun == [False, True, True]


async def test_a_pool_twice_on_the_only_page_is_there_once() -> None:
    service = Service(("a", "b", "a"))
    pages = await service.pages(Query())
    assert [[pool["PoolId"] for pool in page.pools] for page in pages] == [["a", "b"]]


async def test_a_pool_that_is_sent_for_other_ids_too_is_there_once() -> None:
    ids = pool_ids(60)
    service = Service(ids, always=ids[0])
    pages = await service.pages(Query(ids))
    assert len(pages) == 3
    assert [pool["PoolId"] for page in pages for pool in page.pools] == list(ids)


_IDS = st.one_of(
    st.integers(0, 30).map(lambda number: f"wspool-{number:09d}"),
    st.text(st.sampled_from("0az"), min_size=9, max_size=9).map(lambda digits: f"wspool-{digits}"),
    st.text(st.sampled_from("ab/-\n"), max_size=3),
    st.sampled_from(["wspool-00000000/", "/wspool-000000001/", "000000001", "wspool-000000001\n"]),
)


@given(ids=st.lists(_IDS, max_size=60))
def test_an_id_is_new_once_whatever_it_looks_like(ids: list[str]) -> None:
    seen, model = _SeenIds(WORKSPACES_POOLS.number_of), set[str]()
    for each in ids:
        assert seen.is_new(each) == (each not in model)
        model.add(each)


@given(pages=st.lists(st.lists(_IDS, max_size=25), max_size=12), few=st.integers(0, 40))
def test_ids_of_whole_pages_are_new_once(pages: list[list[str]], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_SeenIds, "_FEW", few)
        seen, model = _SeenIds(WORKSPACES_POOLS.number_of), set[str]()
        for page in pages:
            taken = seen.takes(page)
            assert not taken or (len(set(page)) == len(page) and model.isdisjoint(page))
            if not taken:
                assert [seen.is_new(each) for each in page] == [
                    each not in model and each not in page[:at] for at, each in enumerate(page)
                ]
            model.update(page)


@pytest.mark.parametrize("tokens", ["AA", "ABA", "ABCB"])
async def test_tokens_that_come_again_end_the_target(tokens: str) -> None:
    service = Service((), tokens=[*tokens, *"XYZ"])
    with pytest.raises(PagingLoopError):
        await service.pages(Query())
    assert len(service.requests) == len(tokens)


class Empties:
    """A client whose every page names a next one; those of the given numbers have a new pool.

    The rest have none, or with `moving` the one of the first page.
    """

    def __init__(self, full: Sequence[int] = (), pages: int = 10_000, *, moving: bool = False) -> None:
        self.calls = 0
        self._rest = [{"PoolId": "wspool-000000001"}] if moving else []
        self._full = frozenset(full)
        self._pages = pages

    async def template(self, *_: object) -> str:
        return "template"

    async def call(self, call: Call[Any], **_: object) -> Any:
        self.calls += 1
        pools = [{"PoolId": f"wspool-{self.calls:09d}"}] if self.calls in self._full else self._rest
        token = {} if self.calls == self._pages else {"NextToken": str(self.calls)}
        return call.parse(Reply(200, {}, codec.dumps({"WorkspacesPools": pools, **token})))

    async def read(self, way: str) -> int:
        """Return the number of items, read as a target or as a listing."""
        if way == "listing":
            listing = list_pages(
                cast("Client", self),
                cast("RequestTemplate", None),
                cast("CredentialSource", None),
                CallKey("1", "us-east-1", "workspaces"),
                request={},
                items="WorkspacesPools",
            )
            async with aclosing(listing) as found:
                return sum([len(page) async for page in found])
        reader = PageReader(cast("Sdk", self), cast("Client", self), WORKSPACES_POOLS, Query())
        pages = reader.open(TARGET, cast("CredentialSource", None), CallWatch())
        items = 0
        while not pages.ended:
            page = await pages.next()
            assert page is not None
            items += len(page.pools)
        return items


WAYS = ("target", "listing")


@pytest.mark.parametrize("way", WAYS)
async def test_empty_pages_with_ever_new_tokens_end_it(way: str) -> None:
    service = Empties()
    with pytest.raises(PagingLoopError, match="1,001 pages without anything new") as caught:
        await service.read(way)
    assert caught.value.outcome is Outcome.BAD_RESPONSE
    assert service.calls == 1001


@pytest.mark.parametrize("way", WAYS)
async def test_pages_of_what_is_known_with_ever_new_tokens_end_it(way: str) -> None:
    service = Empties((1, 900), moving=True)
    with pytest.raises(PagingLoopError, match="1,001 pages without anything new"):
        await service.read(way)
    assert service.calls == 900 + 1001


@pytest.mark.parametrize("way", WAYS)
async def test_empty_pages_with_items_in_between_are_read_to_the_end(way: str) -> None:
    service = Empties((1001, 2002, 2004), pages=2500)
    assert await service.read(way) == 3
    assert service.calls == 2500
    # Only empty pages after the last item count.
    service = Empties((900,))
    with pytest.raises(PagingLoopError):
        await service.read(way)
    assert service.calls == 900 + 1001


async def test_not_found_without_ids_is_an_error() -> None:
    service = Service((), error=ServiceError("?", code="ResourceNotFoundException", status=400))
    with pytest.raises(ServiceError):
        await service.pages(Query())
    assert len(service.requests) == 1

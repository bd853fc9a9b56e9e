"""DescribeWorkspacesPools: valid and invalid pages, and requests by ID."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolcensus.aws.pages import PageReader
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import BadResponseError
from poolcensus.format import codec
from poolcensus.operations import WORKSPACES_POOLS, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.model import JsonObject, JsonValue

READER = PageReader(cast("Sdk", None), cast("Client", None), WORKSPACES_POOLS, Query())


def page_of(body: JsonValue | bytes) -> tuple[list[JsonObject], str | None]:
    return READER.parse(Reply(200, {}, body if isinstance(body, bytes) else codec.dumps(body)))


_JUNK: st.SearchStrategy[JsonValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([1e30, 1.7e308, -1.0, 1741064767.123, 10**400, 2**63])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["PoolId", "CreatedAt", "WorkspacesPools", "NextToken", "State", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_POOLS = st.fixed_dictionaries(
    {"PoolId": st.text(max_size=6) | _JUNK}, optional={"CreatedAt": _JUNK, "PoolName": _JUNK, "New": _JUNK}
)
_BODIES = st.fixed_dictionaries(
    {"WorkspacesPools": st.lists(_POOLS, max_size=4) | _JUNK}, optional={"NextToken": _JUNK, "Other": _JUNK}
)


@settings(max_examples=120)
@given(_BODIES.map(codec.dumps) | _JUNK.map(codec.dumps) | st.binary(max_size=80))
def test_any_body_is_a_right_page_or_a_bad_response(body: bytes) -> None:
    try:
        pools, token = page_of(body)
    except BadResponseError:
        return
    sent = codec.loads(body)
    assert isinstance(sent, dict)
    sent_pools = sent["WorkspacesPools"]
    assert isinstance(sent_pools, list)
    assert token == (sent.get("NextToken") or None)
    assert token is None or isinstance(token, str)
    assert len(pools) == len(sent_pools)
    for pool, before in zip(pools, sent_pools, strict=True):
        assert isinstance(before, dict)
        assert isinstance(pool["PoolId"], str)
        assert pool["PoolId"]
        # Nothing but CreatedAt changes, and no field comes or goes.
        assert list(pool) == list(before)
        assert {**pool, "CreatedAt": 0} == {**before, "CreatedAt": 0}
        created = pool.get("CreatedAt")
        if created is not None:
            assert isinstance(created, str)
            datetime.fromisoformat(created)


@pytest.mark.parametrize(
    ("created", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1.5, "1969-12-31T23:59:58.500Z"),
        (1741064767.1234, "2025-03-04T05:06:07.123Z"),
        (1741064767, "2025-03-04T05:06:07.000Z"),
        (1.7410647671e9, "2025-03-04T05:06:07.100Z"),
        (None, None),
    ],
)
def test_created_at_becomes_a_time(created: JsonValue, text: str | None) -> None:
    pools, _ = page_of({"WorkspacesPools": [{"PoolId": "p", "CreatedAt": created}]})
    assert pools == [{"PoolId": "p", "CreatedAt": text}]


def test_a_pool_without_created_at_gets_none() -> None:
    assert page_of({"WorkspacesPools": [{"PoolId": "p"}]})[0] == [{"PoolId": "p"}]


_NO_TIMES = b'1e30 1.7e308 -1e30 "2025-03-04" true false [1] {} NaN 1e999 253402300800 -62135596801'


@pytest.mark.parametrize("created", [*_NO_TIMES.split(), b"1" + b"0" * 400])
def test_created_at_that_is_no_time_is_a_bad_response(created: bytes) -> None:
    with pytest.raises(BadResponseError):
        page_of(b'{"WorkspacesPools":[{"PoolId":"p","CreatedAt":%s}]}' % created)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html><body>ok</body></html>",
        b'{"WorkspacesPools":[{"PoolId":"p"}',
        b'{"WorkspacesPools":null}',
        b'{"WorkspacesPools":{}}',
        b'{"WorkspacesPools":"[]"}',
        b'{"workspacesPools":[]}',
        b'{"WorkspacesPools":[null]}',
        b'{"WorkspacesPools":[[]]}',
        b'{"WorkspacesPools":["wspool-1"]}',
        b'{"WorkspacesPools":[{}]}',
        b'{"WorkspacesPools":[{"PoolId":""}]}',
        b'{"WorkspacesPools":[{"PoolId":null}]}',
        b'{"WorkspacesPools":[{"PoolId":7}]}',
        b'{"WorkspacesPools":[{"PoolId":["p"]}]}',
        b'{"WorkspacesPools":[{"PoolId":"p"},{"PoolName":"n"}]}',
        b'{"WorkspacesPools":[],"NextToken":7}',
        b'{"WorkspacesPools":[],"NextToken":false}',
        b'{"WorkspacesPools":[],"NextToken":["t"]}',
        b'{"WorkspacesPools":[],"NextToken":{}}',
        b'{"WorkspacesPools":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_not_the_result_is_never_an_empty_page(body: bytes) -> None:
    with pytest.raises(BadResponseError):
        page_of(body)


@pytest.mark.parametrize(
    ("token", "expected"),
    [(b'"t"', "t"), (b'""', None), (b"null", None), (b'"' + b"t" * 2048 + b'"', "t" * 2048)],
)
def test_the_token_of_the_next_page(token: bytes, expected: str | None) -> None:
    assert page_of(b'{"WorkspacesPools":[],"NextToken":%s}' % token) == ([], expected)
    assert page_of(b'{"WorkspacesPools":[]}') == ([], None)


def pool_ids(count: int) -> tuple[str, ...]:
    return tuple(f"wspool-{number:09d}" for number in range(count))


@given(st.integers(0, 120))
def test_a_call_carries_at_most_25_ids_and_all_are_asked_for(count: int) -> None:
    listings = WORKSPACES_POOLS.listings(Query(pool_ids(count)))
    assert tuple(each for listing in listings for each in listing.ids) == pool_ids(count)
    assert all(1 <= len(each.ids) <= 25 for each in listings) or [each.ids for each in listings] == [()]
    assert all(each.parameters.get("PoolIds", []) == [*each.ids] for each in listings)
    assert listings


def _ask(
    ids: Sequence[str], existing: set[str], *, message: Callable[[list[str]], str]
) -> tuple[list[str], int]:
    """The IDs that are found with a service that refuses unknown ones, and the number of calls."""
    groups = [tuple(ids)]
    answered: list[str] = []
    calls = 0
    while groups:
        group = groups.pop(0)
        calls += 1
        assert group, "a call for no id asks for every pool"
        unknown = [each for each in group if each not in existing]
        if unknown:
            others = WORKSPACES_POOLS.without_missing(group, "ResourceNotFoundException", message(unknown))
            assert others is not None
            groups[:0] = others
        else:
            answered += group
        assert calls <= 2 * len(ids), "it does not end"
    return answered, calls


_MESSAGES: dict[str, Callable[[list[str]], str]] = {
    "all": lambda unknown: f"The following could not be found: [{', '.join(unknown)}]",
    "the first": lambda unknown: f"The pool {unknown[0]} does not exist.",
    "none": lambda unknown: "A requested resource could not be found.",
    "another": lambda unknown: "wspool-zzzzzzzzz does not exist",
}


@given(
    st.integers(1, 25).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))),
    st.sampled_from(sorted(_MESSAGES)),
)
@example((25, set(range(25))), "none")
@example((25, {0, 24}), "none")
def test_every_id_that_exists_is_asked_for_whatever_the_service_says(
    sizes: tuple[int, set[int]], message: str
) -> None:
    count, missing = sizes
    ids = pool_ids(count)
    existing = {each for number, each in enumerate(ids) if number not in missing}
    answered, _ = _ask(ids, existing, message=_MESSAGES[message])
    assert answered == [each for each in ids if each in existing]


def test_a_message_that_names_what_is_missing_saves_calls() -> None:
    ids = pool_ids(25)
    _, calls = _ask(ids, set(ids[5:]), message=_MESSAGES["all"])
    assert calls == 2

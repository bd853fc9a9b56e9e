"""The package accepts the same bodies as pages as the simplest reading does, with the same records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.test_codec import VALUES, same
from operations.plain_page import DEEPEST, plain_page
from poolcensus.aws.pages import PageReader
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import BadResponseError
from poolcensus.format.schema import Schema
from poolcensus.model import Account, Page, Target
from poolcensus.operations import WORKSPACES_POOLS, Query

if TYPE_CHECKING:
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.model import JsonObject

READER = PageReader(cast("Sdk", None), cast("Client", None), WORKSPACES_POOLS, Query())
SCHEMA = Schema(WORKSPACES_POOLS.info)
ENCODER = SCHEMA.encoder("20261123T020000Z-3f9a1c", "aws")
TARGET = Target(Account("000000000001", "one"), "us-east-1")
AT = datetime(2026, 11, 23, 2, 0, 3, 123000, tzinfo=UTC)


def lines_of(body: bytes) -> tuple[list[bytes], str | None]:
    """The lines that the package writes for a body, and the token of the next page."""
    pools, token = READER.parse(Reply(200, {}, body))
    data = ENCODER.encode(Page(TARGET, 1, AT, tuple(pools)))
    assert data.endswith(b"\n") or not pools
    return data.split(b"\n")[:-1], token


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object that must not have a key twice."""
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def pool_in(line: bytes) -> JsonObject:
    """The pool of a line, which other JSON readers have to understand, too."""
    assert not line.strip().startswith(b"\xef")
    record = json.loads(line.decode("utf-8"), object_pairs_hook=unique)
    assert [record[key] for key in ("account_id", "region", "collected_at")] == [
        "000000000001",
        "us-east-1",
        "2026-11-23T02:00:03.123Z",
    ]
    pool: JsonObject = record["pool"]
    assert same(SCHEMA.decode_record(line)[1].pool, pool)
    return pool


def assert_as_plain(body: bytes) -> None:
    try:
        pools, token = plain_page(body)
    except ValueError:
        with pytest.raises(BadResponseError):
            READER.parse(Reply(200, {}, body))
        return
    lines, found_token = lines_of(body)
    assert found_token == token
    found = [pool_in(line) for line in lines]
    assert same([*found], [*pools])
    assert [list(each) for each in found] == [list(each) for each in pools]


_TIMES = (
    st.integers(1_700_000_000_000, 1_800_000_000_000).map(lambda number: number / 1000)
    | st.floats(-1e11, 1e12)
    | st.none()
    | st.integers(-(10**11), 10**12)
)
_POOLS = st.fixed_dictionaries(
    {"PoolId": st.integers(0, 10**9 - 1).map(lambda number: f"wspool-{number:09d}")},
    optional={
        "CreatedAt": _TIMES,
        "PoolName": st.text(max_size=8),
        "State": st.sampled_from(["RUNNING", "STOPPED", "HIBERNATING"]),
        "CapacityStatus": st.just({"DesiredUserSessions": 3, "ActualUserSessions": 0}),
        "Errors": st.just([{"ErrorCode": "DEFAULT_OU_IS_MISSING", "ErrorMessage": 'no "OU" \\'}]),
        "New": VALUES,
    },
)
_PAGES = st.fixed_dictionaries(
    {"WorkspacesPools": st.lists(_POOLS, max_size=3)},
    optional={"NextToken": st.text(max_size=4) | st.none(), "Other": VALUES},
)
_PIECES = st.sampled_from(
    [
        b"", b" ", b"\n", b"\r\n", b"\t", b"\x00", b"\x0b", b"\x7f", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80",
        b"\xef\xbb\xbf", b"\xe2\x80\xa8", b'"', b"\\", b"\\u00e9", b"\\ud800", b"\\ud83d\\ude00", b"\\/",
        b"\\x", b"{", b"}", b"[", b"]", b",", b":", b"null", b"NaN", b"-Infinity", b"1e999", b"1E5", b"-0",
        b"-0.0", b"00", b".5", b"1" * 19, b"1" * 25, b"1" * 400, b"0." + b"1" * 40, b'"PoolId":"p",',
        b'"CreatedAt":1,', b'"New":1,"New":2,', b'"Pool\\u0049d":"q",', b'{"PoolId":"x"},', b'"PoolId":"",',
        b'"WorkspacesPools":[],', b'"__type":"X",', b"[" * DEEPEST, b"]" * DEEPEST, b'{"a":' * 150,
        b"}" * 150,
    ]
)  # fmt: skip
_MUTATIONS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), _PIECES | st.binary(max_size=2)), max_size=3
)


def printed(page: JsonObject, ascii_only: bool, indent: int | None, spaces: bool) -> bytes:
    separators = (" , ", " : ") if spaces else (",", ":")
    text = json.dumps(page, ensure_ascii=ascii_only, indent=indent, separators=separators)
    # A lone surrogate can't be encoded in UTF-8 then.
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=200)
@given(_PAGES, st.booleans(), st.sampled_from([None, None, 1]), st.booleans(), _MUTATIONS)
def test_any_page_and_any_change_of_its_bytes(
    page: JsonObject,
    ascii_only: bool,
    indent: int | None,
    spaces: bool,
    mutations: list[tuple[float, int, bytes]],
) -> None:
    body = printed(page, ascii_only, indent, spaces)
    for place, removed, piece in mutations:
        at = round(place * len(body))
        body = body[:at] + piece + body[at + removed :]
    assert_as_plain(body)


NESTED = b"[" * 197 + b"1" + b"]" * 197
# A pool, and its record if that differs.
IN_RECORDS: dict[str, tuple[bytes, bytes | None]] = {
    "as it came": (b'{"PoolId":"p","a":{"b":[1,"c",null,true]}}', None),
    "order of keys": (b'{"z":1,"PoolId":"p","a":2}', None),
    "white space": (b'{ "PoolId" :\r\n\t"p" }', b'{"PoolId":"p"}'),
    "time": (
        b'{"PoolId":"p","CreatedAt":1.5}',
        b'{"PoolId":"p","CreatedAt":"1970-01-01T00:00:01.500Z"}',
    ),
    "no time": (b'{"PoolId":"p","CreatedAt":null}', None),
    "time of something inside": (b'{"PoolId":"p","a":{"CreatedAt":1.5}}', None),
    "time twice": (
        b'{"CreatedAt":"x","PoolId":"p","CreatedAt":1}',
        b'{"CreatedAt":"1970-01-01T00:00:01.000Z","PoolId":"p"}',
    ),
    "keys twice": (b'{"PoolId":"q","a":1,"PoolId":"p","a":[]}', b'{"PoolId":"p","a":[]}'),
    "a key twice, as an escape": (b'{"Pool\\u0049d":"q","PoolId":"p"}', b'{"PoolId":"p"}'),
    "a key inside twice": (b'{"PoolId":"p","a":[{"b":1,"b":2}]}', b'{"PoolId":"p","a":[{"b":2}]}'),
    "escapes": (
        b'{"PoolId":"p","a":"\\u00e9\\/\\n\\u2028\\ud83d\\ude00"}',
        '{"PoolId":"p","a":"\u00e9/\\n\u2028\U0001f600"}'.encode(),
    ),
    "a lone surrogate": (b'{"PoolId":"p","a":"\\ud800 \\u00e9"}', None),
    "what looks like an end": (b'{"PoolId":"p","a":"}\\n{"}', None),
    "65 bits": (b'{"PoolId":"p","n":18446744073709551616}', None),
    "a long integer": (b'{"PoolId":"p","n":%b}' % (b"9" * 400), None),
    "numbers": (b'{"PoolId":"p","n":[-0,-0.0,1E2,0.10]}', b'{"PoolId":"p","n":[0,-0.0,100.0,0.1]}'),
    "200 levels": (b'{"PoolId":"p","a":%b}' % NESTED, None),
}


@pytest.mark.parametrize("name", IN_RECORDS)
def test_a_pool_in_its_record(name: str) -> None:
    pool, written = IN_RECORDS[name]
    body = b'{"WorkspacesPools":[%b]}' % pool
    (line,), token = lines_of(body)
    assert line.endswith(b'"region":"us-east-1","pool":%b}' % (written or pool))
    assert token is None
    assert_as_plain(body)


NO_PAGES = {
    "a byte order mark": b'\xef\xbb\xbf{"WorkspacesPools":[]}',
    "trailing bytes": b'{"WorkspacesPools":[]}}',
    "two texts": b'{"WorkspacesPools":[]}{}',
    "no id": b'{"WorkspacesPools":[{"PoolId":"p"},{"PoolName":"q"}]}',
    "an empty id": b'{"WorkspacesPools":[{"PoolId":""}]}',
    "an error": b'{"__type":"X","WorkspacesPools":[]}',
    "a list twice": b'{"WorkspacesPools":[{"PoolId":"p"}],"WorkspacesPools":null}',
    "a list twice, and none in the second": b'{"WorkspacesPools":[{"PoolId":"p"}],"WorkspacesPools":[]}',
    "a list twice, and once in escapes": b'{"WorkspacesPools":[{"PoolId":"p"}],"Workspaces\\u0050ools":[]}',
    "a token twice": b'{"WorkspacesPools":[],"NextToken":"t","NextToken":null}',
    "no UTF-8 beside the list": b'{"WorkspacesPools":[],"x":"\xff"}',
    "no UTF-8 in a key": b'{"WorkspacesPools":[],"\xff":1}',
    "infinity beside the list": b'{"WorkspacesPools":[],"x":1e999}',
    "201 levels beside the list": b'{"WorkspacesPools":[],"x":[[[%b]]]}' % NESTED,
    "201 levels": b'{"WorkspacesPools":[{"PoolId":"p","a":[%b]}]}' % NESTED,
    **{
        name: b'{"WorkspacesPools":[{"PoolId":"p","a":%b}]}' % value
        for name, value in {
            "NaN": b"NaN",
            "infinity": b"-Infinity",
            "past double": b"1e309",
            "past what Python reads": b"9" * 4301,
            "no escape": b'"\\x"',
            "a lone surrogate and no UTF-8": b'"\\ud800\xff"',
            "a line's end in a text": b'"\n"',
        }.items()
    },
}


def test_a_field_of_a_pool_may_be_called_as_the_list_is() -> None:
    assert_as_plain(
        b'{"WorkspacesPools":[{"PoolId":"p","a":{"WorkspacesPools":1,"NextToken":2}}],"NextToken":"t"}'
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"null", "the body is null, not an object"),
        (b"[1]", "the body is an array, not an object"),
        (b"<html>", "the body is not JSON: expecting value at column 1"),
        (b'{"a":%b}' % (b"9" * 4301), "the body is not JSON: a number has too many digits"),
        (b'{"WorkspacesPools":[1.5]}', "a pool is a number, not an object"),
        (b'{"WorkspacesPools":[{"PoolId":"p","CreatedAt":true}]}', "it is a boolean"),
        (b'{"WorkspacesPools":[],"WorkspacesPools":[]}', 'the body has "WorkspacesPools" twice'),
    ],
)
def test_why_it_is_no_page_is_said_in_words_of_json(body: bytes, why: str) -> None:
    with pytest.raises(BadResponseError, match=why):
        READER.parse(Reply(200, {}, body))


@pytest.mark.parametrize("name", NO_PAGES)
def test_what_is_no_page(name: str) -> None:
    with pytest.raises(BadResponseError):
        READER.parse(Reply(200, {}, NO_PAGES[name]))
    assert_as_plain(NO_PAGES[name])

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.format.compression import compressor, read_lines
from poolcensus.format.manifest import NewerSchemaError, decode_manifest, encode_manifest
from poolcensus.format.schema import Schema
from poolcensus.model import (
    Account,
    Compression,
    FileEntry,
    Manifest,
    Outcome,
    Page,
    Shard,
    SkippedAccount,
    SnapshotStatus,
    Target,
    TargetResult,
    Totals,
)
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify
from snapshot.making import CALLER, ID, RECEIVED, page, pool, target

if TYPE_CHECKING:
    from poolcensus.model import JsonObject

# Any code point: newlines of every kind, NUL, and surrogates without their other half.
TEXT = st.text(st.characters(exclude_categories=())).map(
    # Two matching halves next to each other are one character, in JSON and here.
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
NUMBERS = st.integers(-(2**200), 2**200) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
POOLS = st.dictionaries(TEXT, VALUES, max_size=5)
COUNTS = st.integers(0, 10**9)
TAGS = st.none() | st.dictionaries(TEXT, TEXT, max_size=3).map(lambda tags: tuple(tags.items()))
SCHEMA = Schema(WORKSPACES_POOLS.info)


def test_a_pool_line_is_the_contracts_to_the_letter() -> None:
    line = SCHEMA.encoder(ID, "aws").encode(page(target(), {"PoolId": "wspool-1", "New": {"é": [1, None]}}))
    assert line.decode() == (
        '{"snapshot_id":"20261123T020000Z-3f9a1c","collected_at":"2026-11-23T02:00:03.123Z",'
        '"partition":"aws","account_id":"000000000001","account_name":"acct-1","region":"us-east-1",'
        '"pool":{"PoolId":"wspool-1","New":{"é":[1,null]}}}\n'
    )


def test_a_ledger_line_is_the_contracts_to_the_letter() -> None:
    result = TargetResult("000000000001", None, "us-east-1", Outcome.OK, 3, 1, 1, 0, 0.21249)
    assert SCHEMA.encode_result(result).decode() == (
        '{"account_id":"000000000001","account_name":null,"region":"us-east-1",'
        '"operation":"workspaces:DescribeWorkspacesPools","outcome":"ok","pools":3,"pages":1,"attempts":1,"throttles":0,"seconds":0.212,"error_code":null,"error_message":null,'
        '"request_id":null}\n'
    )


def test_a_page_without_pools_has_no_line() -> None:
    assert SCHEMA.encoder(ID, "aws").encode(page(target())) == b""


@given(pools=st.lists(POOLS, min_size=1, max_size=4), account=TEXT, name=st.none() | TEXT, region=TEXT)
def test_records_come_back_as_they_went(
    pools: list[JsonObject], account: str, name: str | None, region: str
) -> None:
    encoder = SCHEMA.encoder(ID, "aws")
    data = encoder.encode(Page(Target(Account(account, name), region), 1, RECEIVED, tuple(pools)))
    lines = data.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(pools)
    for line, expected in zip(lines, pools, strict=True):
        snapshot_id, record = SCHEMA.decode_record(line)
        assert (snapshot_id, record.account_id, record.account_name) == (ID, account, name)
        assert (record.region, record.partition, record.collected_at) == (region, "aws", RECEIVED)
        assert record.pool == expected
        assert list(record.pool) == list(expected)
        # Another reader finds the same value, and no additional lines.
        assert json.loads(line)["pool"] == expected


def test_a_pool_that_orjson_refuses_leaves_the_rest_of_its_page_alone() -> None:
    odd: JsonObject = {"PoolId": "wspool-2", "Description": "\ud800", "Count": 2**70}
    data = SCHEMA.encoder(ID, "aws").encode(page(target(), pool("wspool-1"), odd, pool("wspool-3")))
    assert [SCHEMA.decode_record(line)[1].pool for line in data.splitlines()] == [
        pool("wspool-1"),
        odd,
        pool("wspool-3"),
    ]
    assert rb"\ud800" in data


def test_a_pool_that_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="can't be written"):
        SCHEMA.encoder(ID, "aws").encode(page(target(), {"PoolId": object()}))  # type: ignore[dict-item]
    endless: JsonObject = {}
    for _ in range(100_000):
        endless = {"a": endless}
    with pytest.raises(ValueError, match="can't be written"):
        SCHEMA.encoder(ID, "aws").encode(page(target(), endless))


@given(
    st.builds(
        TargetResult,
        account_id=TEXT,
        account_name=st.none() | TEXT,
        region=TEXT,
        outcome=st.sampled_from(Outcome),
        pools=COUNTS,
        pages=COUNTS,
        attempts=COUNTS,
        throttles=COUNTS,
        seconds=st.floats(0, 1e6).map(lambda seconds: round(seconds, 3)),
        error_code=st.none() | TEXT,
        error_message=st.none() | TEXT,
        request_id=st.none() | TEXT,
        operation=TEXT.filter(bool),
        ou_path=st.none() | TEXT,
        account_tags=TAGS,
    )
)
def test_ledger_lines_come_back_as_they_went(result: TargetResult) -> None:
    line = SCHEMA.encode_result(result)
    assert line.count(b"\n") == 1
    assert SCHEMA.decode_result(line) == result
    assert SCHEMA.target_of(line) == (result.account_id, result.region)


def test_a_target_is_told_by_every_line_that_can_be_read() -> None:
    line = SCHEMA.encode_result(TargetResult("000000000001", "x", "eu-west-1", Outcome.OK))
    # A service may send this, and msgspec refuses it.
    odd = line.replace(b'"account_name":"x"', b'"account_name":"\\ud800"')
    assert odd != line
    assert SCHEMA.target_of(odd) == SCHEMA.target_of(line) == ("000000000001", "eu-west-1")


MANIFEST = Manifest(
    schema_version=2,
    snapshot_id=ID,
    status=SnapshotStatus.PARTIAL,
    started_at=datetime(2026, 11, 23, 2, tzinfo=UTC),
    finished_at=datetime(2026, 11, 23, 2, 0, 4, tzinfo=UTC),
    tool="poolcensus 0",
    caller=CALLER,
    organization_id=None,
    operation=WORKSPACES_POOLS.info,
    request={"filters": ["PoolName:EQUALS:a"]},
    accounts_planned=2,
    accounts_skipped=(SkippedAccount("000000000009", "nine", "SUSPENDED"),),
    totals=Totals(targets=2, covered=1, pools=3, pages=2, requests=9, throttles=1),
    outcomes={Outcome.OK: 1, Outcome.THROTTLED: 1},
    files=(FileEntry("pools.ndjson", 10, 3, "ab" * 32), FileEntry("targets.ndjson", 11, 2, "cd" * 32)),
    shard=Shard(1, 3, "ab"),
)


@pytest.mark.parametrize(
    "manifest",
    [MANIFEST, replace(MANIFEST, shard=None, organization_id="o-1"), replace(MANIFEST, tool="\ud800")],
)
def test_a_manifest_comes_back_as_it_went(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_the_manifests_keys_are_the_contracts() -> None:
    content = json.loads(encode_manifest(MANIFEST))
    assert list(content) == [
        "schema_version",
        "snapshot_id",
        "status",
        "started_at",
        "finished_at",
        "tool",
        "caller",
        "organization_id",
        "operation",
        "request",
        "accounts",
        "totals",
        "outcomes",
        "files",
        "shard",
    ]
    assert content["operation"] == {
        "name": "workspaces:DescribeWorkspacesPools",
        "item": "pool",
        "items": "pools",
        "identity": "PoolId",
    }
    assert content["caller"] == {"account": CALLER.account_id, "arn": CALLER.arn, "partition": "aws"}
    assert content["accounts"] == {
        "planned": 2,
        "skipped": [{"account_id": "000000000009", "account_name": "nine", "reason": "SUSPENDED"}],
    }
    assert content["outcomes"] == {"ok": 1, "throttled": 1}
    assert content["files"][0] == {"name": "pools.ndjson", "bytes": 10, "records": 3, "sha256": "ab" * 32}
    assert content["shard"] == {"index": 1, "count": 3, "accounts_digest": "ab"}


def test_a_newer_schema_is_told_apart_from_damage() -> None:
    content = json.loads(encode_manifest(MANIFEST))
    with pytest.raises(NewerSchemaError, match="schema_version is 3"):
        decode_manifest(json.dumps({**content, "schema_version": 3}).encode())
    # A later release may add keys to the same schema.
    assert decode_manifest(json.dumps({**content, "more": 1}).encode()) == MANIFEST


def test_fields_of_a_later_release_are_passed_over() -> None:
    line = json.loads(SCHEMA.encoder(ID, "aws").encode(page(target(), pool("wspool-1"))))
    assert SCHEMA.decode_record(json.dumps({**line, "new": [1]}).encode())[1].pool == pool("wspool-1")
    result = TargetResult("000000000001", None, "us-east-1", Outcome.EMPTY, operation="a:B")
    line = json.loads(SCHEMA.encode_result(result))
    assert SCHEMA.decode_result(json.dumps({**line, "new": {"x": None}}).encode()) == result


def test_places_and_tags_of_accounts_are_there_where_they_are_known() -> None:
    account = Account("000000000001", "one", "o-1/r-1/ou-1/000000000001/", (("env", "prod"), ("x", "")))
    (line,) = (
        SCHEMA.encoder(ID, "aws").encode(page(Target(account, "us-east-1"), pool("wspool-1"))).splitlines()
    )
    record = SCHEMA.decode_record(line)[1]
    assert (record.ou_path, record.account_tags) == (account.ou_path, account.tags)
    assert list(json.loads(line)) == [
        "snapshot_id", "collected_at", "partition", "account_id", "account_name", "ou_path", "account_tags",
        "region", "pool",
    ]  # fmt: skip


@pytest.mark.parametrize("items", ["", "../pools", "pools/x", "a b", "pools.ndjson"])
def test_what_a_file_is_called_after_is_a_name(items: str) -> None:
    content = json.loads(encode_manifest(MANIFEST))
    content["operation"]["items"] = items
    with pytest.raises(ValueError, match="items is not a name"):
        decode_manifest(json.dumps(content).encode())


VERSION_1 = Path(__file__).with_name("version1") / "20261128T135448Z-0a9dfd"


def test_a_snapshot_of_version_1_is_read() -> None:
    snapshot = Snapshot.open(VERSION_1)
    assert snapshot.manifest.schema_version == 1
    assert snapshot.manifest.operation == WORKSPACES_POOLS.info
    assert verify(snapshot) == ()
    results = [*snapshot.targets()]
    assert len(results) == 16
    assert {each.operation for each in results} == {WORKSPACES_POOLS.iam_action}
    assert [each.outcome for each in results].count(Outcome.NOT_ENTITLED) == 2
    records = [*snapshot.pools()]
    assert len(records) == snapshot.manifest.totals.pools == 7
    line = (VERSION_1 / "pools.ndjson").read_bytes().splitlines()[0]
    assert SCHEMA.record_object(snapshot.id, records[0]) == json.loads(line)


def test_a_manifest_of_the_wrong_types_is_a_value_error() -> None:
    sound = json.loads(encode_manifest(MANIFEST))
    texts = {"snapshot_id", "tool"}
    values: tuple[object, ...] = ([], -1, True, "x", None)
    for key in sound:
        for value in values:
            fits = (key, value) in [
                *((text, "x") for text in texts),
                ("organization_id", "x"),
                ("organization_id", None),
                ("shard", None),
                ("files", []),
            ]
            data = json.dumps({**sound, key: value}).encode()
            if fits:
                decode_manifest(data)
            else:
                with pytest.raises(ValueError):  # noqa: PT011 - of any text
                    decode_manifest(data)
        without = {name: content for name, content in sound.items() if name != key}
        with pytest.raises(ValueError, match=f"{key} is missing"):
            decode_manifest(json.dumps(without).encode())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T02:00:00+05:30", datetime(2026, 11, 22, 20, 30, tzinfo=UTC)),
        ("2026-11-23T02:00:00", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
    ],
)
def test_the_zone_of_a_time_is_heeded_and_is_utc_where_none_is_named(text: str, moment: datetime) -> None:
    sound = json.loads(encode_manifest(MANIFEST))
    manifest = decode_manifest(json.dumps({**sound, "started_at": text}).encode())
    assert manifest.started_at == moment
    assert manifest.started_at.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "9999-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    sound = json.loads(encode_manifest(MANIFEST))
    for key in ("started_at", "finished_at"):
        with pytest.raises(ValueError, match=f"{key} is not a time"):
            decode_manifest(json.dumps({**sound, key: text}).encode())


@given(st.binary(max_size=200))
def test_junk_is_a_value_error_and_nothing_else(junk: bytes) -> None:
    for decode in (SCHEMA.decode_record, SCHEMA.decode_result, SCHEMA.target_of, decode_manifest):
        with pytest.raises(ValueError):  # noqa: PT011 - of any text
            decode(junk)


def test_json_that_is_no_record_is_a_value_error() -> None:
    sound = json.loads(SCHEMA.encoder(ID, "aws").encode(page(target(), pool("wspool-1"))))
    wrong = [
        {**sound, "snapshot_id": 1},
        {**sound, "pool": []},
        {**sound, "account_name": 3},
        {**sound, "ou_path": 3},
        {**sound, "account_tags": {"a": 1}},
    ]
    for value in ({}, [], 7, *wrong):
        with pytest.raises(ValueError):  # noqa: PT011 - of any text
            SCHEMA.decode_record(json.dumps(value).encode())


@pytest.mark.parametrize("compression", Compression)
@given(
    lines=st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    cut=st.integers(1, 9),
)
def test_lines_survive_compression_in_any_pieces(
    compression: Compression, lines: list[bytes], cut: int
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    packer = compressor(compression)
    pieces = [packer.compress(data[start : start + cut]) for start in range(0, len(data), cut)]
    packed = b"".join((*pieces, packer.flush()))
    assert list(read_lines(_Dripping(packed), compression)) == [line + b"\n" for line in lines]


class _Dripping:
    """A file that returns fewer bytes than requested."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        piece, self._data = self._data[: min(size, 7)], self._data[min(size, 7) :]
        return piece


@pytest.mark.parametrize("compression", Compression)
def test_the_same_data_compresses_to_the_same_bytes(
    compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed() -> bytes:
        packer = compressor(compression)
        return packer.compress(b"abc" * 1000) + packer.flush()

    monkeypatch.setattr("time.time", lambda: 1.0)
    first = packed()
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert packed() == first

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import botocore.session
import pyarrow.parquet as pq
import pytest
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.reading_lab import day_id, days_ago_id, in_memory, written
from poolcensus import query, query_named, verify
from poolcensus.analysis import database as database_module
from poolcensus.analysis.named import named_queries, named_query
from poolcensus.analysis.staging import Staging
from poolcensus.analysis.statement import parse
from poolcensus.analysis.views import views_of
from poolcensus.cli import main
from poolcensus.cli.rows import csv_pieces, json_pieces, table_pieces
from poolcensus.errors import (
    DamagedSnapshotError,
    DestinationError,
    MissingExtraError,
    QueryError,
    SettingsError,
    SnapshotError,
)
from poolcensus.extras import installation
from poolcensus.format import compression as compression_module
from poolcensus.format.compression import compressor
from poolcensus.model import ColumnType, Compression, KnownGap, Outcome
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Snapshot
from snapshot.making import NOTHING_SPECIAL, POOLS, folder_of, result, target
from storage.buckets import PLACE, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from pathlib import Path

    from analysis.reading_lab import Content
    from census_lab import Lab
    from poolcensus.format.compression import Readable
    from poolcensus.model import FileEntry, JsonObject, JsonValue

    Start = Callable[..., Coroutine[None, None, Lab]]

FULL: JsonObject = {
    "PoolId": "wspool-000000001",
    "PoolName": "analysts",
    "PoolArn": "arn:aws:workspaces:us-east-1:000000000001:workspacespool/wspool-000000001",
    "State": "RUNNING",
    "Description": "for analysts",
    "RunningMode": "AUTO_STOP",
    "CreatedAt": "2025-03-04T05:06:07.123Z",
    "BundleId": "wsb-1",
    "DirectoryId": "wsd-1",
    "CapacityStatus": {
        "AvailableUserSessions": 1,
        "DesiredUserSessions": 2,
        "ActualUserSessions": 3,
        "ActiveUserSessions": 4,
    },
    "ApplicationSettings": {"Status": "ENABLED", "SettingsGroup": "group", "S3BucketName": "bucket"},
    "TimeoutSettings": {
        "DisconnectTimeoutInSeconds": 5,
        "IdleDisconnectTimeoutInSeconds": 6,
        "MaxUserDurationInSeconds": 7,
    },
    "Errors": [{"ErrorCode": "E", "ErrorMessage": "m"}],
    "NewField": {"of": ["a", "later", 123456789012345678901234567890]},
}


def rows_of(sql: str, dest: Path, **given: object) -> list[tuple[object, ...]]:
    with query(sql, dest, **given) as rows:  # type: ignore[arg-type] # a test's own words
        return [*rows]


def pool(pool_id: str, **fields: JsonValue) -> JsonObject:
    return {"PoolId": pool_id, "State": "RUNNING", **fields}


def in_use(pool_id: str, active: int) -> JsonObject:
    return pool(pool_id, CapacityStatus={"ActiveUserSessions": active, "DesiredUserSessions": 5})


@pytest.fixture(scope="module")
def one_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("one")
    written(dest, day_id(23), {target(): []})
    return dest


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    written(
        tmp_path,
        day_id(23),
        {
            target(1): [FULL, pool("wspool-000000002")],
            target(2): Outcome.EMPTY,
            target(3): Outcome.ACCESS_DENIED,
        },
    )
    return tmp_path


def test_a_pool_has_every_field_in_its_column(dest: Path) -> None:
    with query("SELECT * FROM pools ORDER BY pool_id LIMIT 1", dest) as rows:
        names = [each.name for each in rows.columns]
        (row,) = rows
        assert rows.snapshots == (day_id(23),)
    assert dict(zip(names, row, strict=True)) == {
        "snapshot_id": day_id(23),
        "collected_at": datetime(2026, 11, 23, 2, 0, 3, 123000, tzinfo=UTC),
        "partition": "aws",
        "account_id": "000000000001",
        "account_name": "acct-1",
        "organization": None,
        "ou_path": None,
        "account_tags": None,
        "region": "us-east-1",
        "pool_id": "wspool-000000001",
        "pool_name": "analysts",
        "pool_arn": FULL["PoolArn"],
        "state": "RUNNING",
        "description": "for analysts",
        "running_mode": "AUTO_STOP",
        "created_at": datetime(2025, 3, 4, 5, 6, 7, 123000, tzinfo=UTC),
        "bundle_id": "wsb-1",
        "directory_id": "wsd-1",
        "desired_user_sessions": 2,
        "available_user_sessions": 1,
        "actual_user_sessions": 3,
        "active_user_sessions": 4,
        "application_settings_status": "ENABLED",
        "settings_group": "group",
        "s3_bucket_name": "bucket",
        "disconnect_timeout_in_seconds": 5,
        "idle_disconnect_timeout_in_seconds": 6,
        "max_user_duration_in_seconds": 7,
        "errors": FULL["Errors"],
        "pool": FULL,
    }


def test_every_field_of_the_sdk_s_model_has_a_column() -> None:
    model = botocore.session.get_session().get_service_model("workspaces")
    leaves: set[tuple[str, ...]] = set()
    for name, shape in model.shape_for("WorkspacesPool").members.items():
        nested = shape.members if shape.type_name == "structure" else {}
        leaves |= {(name, each) for each in nested} or {(name,)}
    assert leaves <= {each.keys for each in WORKSPACES_POOLS.fields}


@pytest.mark.parametrize("view", views_of(POOLS), ids=lambda view: str(view.name))
def test_the_columns_of_a_view_are_those_that_are_documented(dest: Path, view: object) -> None:
    assert hasattr(view, "columns")
    with query(f"SELECT * FROM {view.name}", dest) as rows:  # type: ignore[attr-defined]
        found = [(each.name, each.type) for each in rows.columns]
    assert found == [(each.name, each.type) for each in view.columns]
    assert all(each.description for each in view.columns)


def test_a_target_has_its_line_of_the_ledger(dest: Path) -> None:
    found = rows_of(
        "SELECT snapshot_id, account_id, region, operation, outcome, covered, pools, seconds FROM targets"
        " ORDER BY account_id",
        dest,
    )
    common = ("us-east-1", "workspaces:DescribeWorkspacesPools")
    assert found == [
        (day_id(23), "000000000001", *common, "ok", True, 2, 0.212),
        (day_id(23), "000000000002", *common, "empty", True, 0, 0.212),
        (day_id(23), "000000000003", *common, "access_denied", False, 0, 0.212),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_KEYS = [each.keys for each in WORKSPACES_POOLS.fields if each.keys != ("PoolId",)]


@st.composite
def _pools(draw: st.DrawFn) -> JsonObject:
    made: JsonObject = {"PoolId": draw(st.text(min_size=1))}
    for keys in draw(st.lists(st.sampled_from(_KEYS), unique=True, max_size=6)):
        level: JsonObject = made
        for key in keys[:-1]:
            inner = level.setdefault(key, {})
            if not isinstance(inner, dict):
                break
            level = inner
        else:
            level[keys[-1]] = draw(JSON)
    if draw(st.booleans()):
        made[draw(st.sampled_from(["CapacityStatus", "Extra"]))] = draw(JSON)
    return made


def _expected(item: JsonObject, keys: tuple[str, ...], kind: ColumnType) -> JsonValue:
    """What the column of a field has, by the rule: what is not of the type is None."""
    value: JsonValue = item
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if kind is ColumnType.TEXT:
        return value if isinstance(value, str) else None
    if kind is ColumnType.INTEGER:
        fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        return value if fits else None
    return value


def _whole(value: JsonValue) -> JsonValue:
    """With U+FFFD in place of halves of surrogate pairs."""
    match value:
        case str():
            return "".join(
                "\N{REPLACEMENT CHARACTER}" if "\ud800" <= each <= "\udfff" else each for each in value
            )
        case list():
            return [_whole(each) for each in value]
        case dict():
            return {str(_whole(key)): _whole(each) for key, each in value.items()}
        case _:
            return value


@settings(
    # Many items at a time: a query takes 50 ms, an item none.
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(items=st.lists(_pools(), max_size=15))
def test_no_value_changes_a_type_or_is_lost(
    items: list[JsonObject], tmp_path_factory: pytest.TempPathFactory
) -> None:
    dest = tmp_path_factory.mktemp("any")
    written(dest, day_id(23), {target(): items})
    fields = [each for each in WORKSPACES_POOLS.fields if each.type is not ColumnType.TIMESTAMP]
    names = ", ".join(each.name for each in fields)
    with query(f"SELECT {names}, pool FROM pools", dest) as rows:
        assert [each.type for each in rows.columns] == [*(each.type for each in fields), ColumnType.JSON]
        found = [*rows]
    whole = [_whole(each) for each in items]
    assert [row[-1] for row in found] == whole
    for row, item in zip(found, whole, strict=True):
        assert isinstance(item, dict)
        assert list(row[:-1]) == [_expected(item, each.keys, each.type) for each in fields]


@pytest.mark.parametrize("text", ["infinity", "epoch", "yesterday", "2026-13-01T00:00:00.000Z", "2026-11-23"])
def test_a_text_that_is_no_time_is_no_time(tmp_path: Path, text: str) -> None:
    written(tmp_path, day_id(23), {target(): [pool("a", CreatedAt=text)]})
    assert rows_of("SELECT created_at, pool FROM pools", tmp_path) == [(None, pool("a", CreatedAt=text))]


HOSTILE = [
    "'; COPY pools TO 'x'; --",
    '"',
    "\x1b[2J\r\n\t",
    "=cmd()",
    "<script>",
    "%s{}$1",
    "x" * 100_000,
    "\x00",
    "\ud800half",
]


def test_names_that_others_chose_are_data(tmp_path: Path) -> None:
    written(
        tmp_path, day_id(23), {target(): [pool(f"p{n}", PoolName=each) for n, each in enumerate(HOSTILE)]}
    )
    found = rows_of("SELECT pool_name FROM pools ORDER BY pool_id", tmp_path)
    assert [name for (name,) in found] == [_whole(each) for each in HOSTILE]


@pytest.mark.parametrize("compression", list(Compression))
def test_a_snapshot_may_be_compressed(tmp_path: Path, compression: Compression) -> None:
    content: Content = {target(1): [pool("a"), pool("b", PoolName="\ud800")], target(2): Outcome.EMPTY}
    written(tmp_path, day_id(23), content, compression=compression)
    written(tmp_path, day_id(24), {target(1): Outcome.EMPTY}, compression=compression)
    assert rows_of("SELECT count(*) FROM pools", tmp_path, ref=None) == [(2,)]
    assert rows_of("SELECT count(*), count(DISTINCT snapshot_id) FROM targets", tmp_path, ref=None) == [
        (3, 2)
    ]
    assert rows_of("SELECT pool_name FROM pools ORDER BY 1", tmp_path, ref=day_id(23)) == [
        ("\ufffd",),
        (None,),
    ]


def test_nothing_at_all_still_has_its_types(tmp_path: Path) -> None:
    written(tmp_path, day_id(23), {target(): Outcome.ACCESS_DENIED})
    sql = "SELECT max(created_at) AS t, sum(active_user_sessions) AS n, max(pool_id) AS i FROM pools"
    with query(sql, tmp_path) as rows:
        assert [*rows] == [(None, None, None)]
        assert [each.type for each in rows.columns] == [
            ColumnType.TIMESTAMP,
            ColumnType.INTEGER,
            ColumnType.TEXT,
        ]


def test_a_destination_with_signs_of_globs_is_a_folder(tmp_path: Path) -> None:
    dest = tmp_path / "a*b[c]?'d"
    written(dest, day_id(23), {target(): [pool("a")]})
    assert rows_of("SELECT pool_id FROM pools", dest) == [("a",)]


def test_a_temporary_folder_with_signs_of_globs_is_a_folder(
    dest: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("a*b[c]?'d")))
    assert rows_of("SELECT count(*) FROM pools, targets", dest) == [(6,)]
    with query("SELECT 7 AS a", dest) as rows:
        assert rows.parquet().stat().st_size > 0
    # DuckDB takes what follows the ? for a URL's query, and would not see how a file is compressed.
    for day, compression in enumerate(Compression, 24):
        written(dest, day_id(day), {target(): [pool("a")]}, compression=compression)
        assert rows_of("SELECT count(*) FROM pools, targets", dest) == [(1,)]
    assert rows_of("SELECT count(*), count(DISTINCT snapshot_id) FROM pools", dest, ref=None) == [(5, 4)]


def test_snapshots_are_their_manifests(dest: Path) -> None:
    written(dest, day_id(24), {target(1): Outcome.EMPTY})
    columns = "snapshot_id, status, started_at, scope, targets, covered, pools, manifest"
    (first, second) = rows_of(f"SELECT {columns} FROM snapshots ORDER BY 1", dest, ref=None)
    started = datetime(2026, 11, 23, 2, tzinfo=UTC)
    assert first[:-1] == (day_id(23), "partial", started, "whole organization", 3, 2, 2)
    assert first[-1] == json.loads((dest / day_id(23) / "manifest.json").read_text())
    assert second[1] == "complete"


def test_halves_of_surrogate_pairs_are_replaced_in_every_view(tmp_path: Path) -> None:
    written(tmp_path, day_id(22), {target(): []})
    half: JsonObject = {"PoolId": "a", "Description": "x\ud800"}
    snapshot = written(tmp_path, day_id(23), {target(): [half]})
    manifest = folder_of(snapshot) / "manifest.json"
    manifest.write_text(manifest.read_text().replace("SUSPENDED", "\\ud800"))
    found = [
        rows_of(f"SELECT {column} FROM {view}", tmp_path)[0][0]
        for column, view in (
            ("description", "pools"),
            ("pool->>'Description'", "changes"),
            ("manifest->>'$.accounts.skipped[0].reason'", "snapshots"),
        )
    ]
    assert found == ["x\N{REPLACEMENT CHARACTER}", "x\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}"]


CHANGES = "SELECT snapshot_before, snapshot_id, change, pool_id, fields, reason FROM changes ORDER BY ALL"


@pytest.fixture
def three_days(tmp_path: Path) -> Path:
    written(tmp_path, day_id(21), {target(1): [pool("a"), pool("b")], target(2): [pool("c")]})
    # Another scope: no step from one day to the other.
    written(tmp_path, day_id(22, "111111"), {target(9): []}, request={"accounts": ["000000000009"]})
    written(tmp_path, day_id(22), {target(1): [pool("a")], target(2): Outcome.ACCESS_DENIED})
    changed: JsonObject = {"PoolId": "a", "State": "STOPPED"}
    written(tmp_path, day_id(23), {target(1): [changed], target(2): [pool("c")]})
    return tmp_path


def test_changes_are_those_from_one_snapshot_to_the_next_of_its_scope(three_days: Path) -> None:
    one, two, three = day_id(21), day_id(22), day_id(23)
    found = rows_of(CHANGES, three_days, ref=None)
    assert [row[:5] for row in found] == [
        (one, two, "removed", "b", None),
        (one, two, "unknown", None, None),
        (two, three, "changed", "a", {"State": ["RUNNING", "STOPPED"]}),
        (two, three, "unknown", None, None),
    ]
    assert [row[-1] is not None for row in found] == [False, True, False, True]


def test_what_both_runs_expect_is_marked_and_no_change_of_the_week(tmp_path: Path) -> None:
    gap = KnownGap(("000000000001",), ("eu-*",), (Outcome.SCP_DENIED,), targets=1)
    refused = {target(1, "eu-west-1"): Outcome.SCP_DENIED, target(2): Outcome.SCP_DENIED}
    for days in (2, 1):
        written(tmp_path, days_ago_id(days), {target(1): [pool("a")], **refused}, known_gaps=(gap,))
    written(tmp_path, days_ago_id(0), {target(1): Outcome.THROTTLED, **refused}, known_gaps=(gap,))
    sql = "SELECT account_id, region, pools, expected FROM changes ORDER BY snapshot_id, account_id, region"
    nothing, one, two = [None, None], "000000000001", "000000000002"
    found: list[tuple[object, ...]] = [
        (one, "eu-west-1", nothing, True),
        (two, "us-east-1", nothing, False),
    ]
    assert rows_of(sql, tmp_path, ref=None) == [
        *found,
        found[0],
        (one, "us-east-1", [1, None], False),
        found[1],
    ]
    of_the_week = [(row[2], row[4]) for row in run_named("changes-of-the-last-week", tmp_path)]
    assert of_the_week == [(two, "us-east-1"), (one, "us-east-1"), (two, "us-east-1")]
    assert rows_of("SELECT DISTINCT pools, expected FROM changes WHERE change <> 'unknown'", tmp_path) == []


@pytest.mark.parametrize("ref", ["latest", "id", "path"])
def test_changes_of_one_snapshot_are_those_since_the_one_before(three_days: Path, ref: str) -> None:
    given: object = {"latest": "latest", "id": day_id(23), "path": three_days / day_id(23)}[ref]
    found = rows_of(CHANGES, three_days, ref=given)
    assert [row[:3] for row in found] == [
        (day_id(22), day_id(23), "changed"),
        (day_id(22), day_id(23), "unknown"),
    ]
    assert rows_of(CHANGES, three_days, ref=day_id(21)) == []


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("WITH a AS (SELECT * FROM pools) SELECT count(*) FROM a", [(2,)]),
        ("FROM pools SELECT count(*)", [(2,)]),
        ("TABLE targets LIMIT 0", []),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("SELECT n FROM range(2) r(n) -- a comment", [(0,), (1,)]),
        ("SELECT 1;", [(1,)]),
        ("(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 DESC", [(2,), (1,)]),
        ("PIVOT pools ON state IN ('RUNNING') USING count(*) GROUP BY region", [("us-east-1", 2)]),
        ("SELECT column_name FROM (DESCRIBE pools) LIMIT 1", [("snapshot_id",)]),
        ("SELECT count(*) FROM pools, json_each(pool) WHERE key = 'PoolId'", [(2,)]),
        ("SELECT current_date = today()", [(True,)]),
        (f"SELECT {'+'.join(['1'] * 150)}", [(150,)]),
    ],
)
def test_what_is_one_select_is_run(dest: Path, sql: str, found: list[tuple[object, ...]]) -> None:
    assert rows_of(sql, dest) == found


def test_a_view_can_be_described(dest: Path) -> None:
    assert rows_of("DESCRIBE pools;\n", dest)[0][:2] == ("snapshot_id", "VARCHAR")
    assert len(rows_of("SUMMARIZE targets", dest)) == 18


REFUSED = [
    ("", "this is none"),
    ("-- nothing", "this is none"),
    ("SELECT 1; SELECT 2", "this is 2 statements"),
    ("SELECT 1; COPY pools TO 'x'", "query takes one SELECT"),
    ("COPY pools TO '{dest}/x.csv'", "this is COPY"),
    ("EXPLAIN ANALYZE COPY pools TO '{dest}/x.csv'", "this is EXPLAIN"),
    ("EXPORT DATABASE '{dest}/x'", "this is EXPORT"),
    ("ATTACH '{dest}/x.db'", "this is ATTACH"),
    ("INSTALL httpfs", "this is LOAD"),
    ("LOAD httpfs", "this is LOAD"),
    ("SET enable_external_access = true", "this is SET"),
    ("RESET lock_configuration", "this is SET"),
    ("pragma version", "this is PRAGMA."),
    ("/* a */ PRAGMA table_info('pools')", "this is PRAGMA."),
    ("SELECT 1; PRAGMA show_tables", "this is SELECT and PRAGMA."),
    ("PRAGMA enable_profiling", "query takes one SELECT"),
    ("CALL enable_logging()", "this is CALL"),
    ("CREATE TABLE x AS SELECT 1", "this is CREATE"),
    ("DROP VIEW pools", "this is DROP"),
    ("INSERT INTO pools VALUES (1)", "this is INSERT"),
    ("PREPARE x AS SELECT 1", "this is PREPARE"),
    ("SHOW TABLES", "poolcensus query --schema"),
    ("PIVOT pools ON state", "Name the values of PIVOT"),
    ("SELECT * FROM read_csv('/etc/passwd')", r"read_csv() is not available"),
    ("SELECT (SELECT count(*) FROM read_text('/etc/passwd'))", "read_text() is not available"),
    ("SELECT 1 LIMIT (SELECT count(*) FROM glob('/*'))", "glob() is not available"),
    ("FROM enable_logging(storage_path = '{dest}/x')", "enable_logging() is not available"),
    ("FROM query('COPY pools TO ''x''')", "query() is not available"),
    ("FROM query_table('pools')", "query_table() is not available"),
    ("FROM duckdb_settings()", "duckdb_settings() is not available"),
    ("FROM '/etc/passwd'", 'There is no view "/etc/passwd"'),
    ("FROM '{dest}/latest/pools.ndjson'", "There is no view"),
    ("FROM rows_of", 'There is no view "rows_of"'),
    ("FROM information_schema.tables", "There is no view"),
    ("FROM pool", 'There is no view "pool". The views are pools, targets, snapshots and changes'),
    ("SELEC 1", 'syntax error at or near "SELEC"'),
    ("SELECT nothing FROM pools", 'Referenced column "nothing" not found'),
    ("SELECT error('as it says')", "as it says"),
    ("SELECT $1", "parameter"),
    ("SELECT 1\0", "holds a NUL"),
    ("SELECT '\udcff'", "not text in UTF-8"),
    (f"SELECT {'+'.join(['1'] * 600)}", "nested too deeply"),
    ("SELECT 'a'::INTEGER", "Could not convert"),
]


def test_what_is_no_select_over_the_views_is_refused(dest: Path) -> None:
    before = sorted(dest.rglob("*"))
    names = [each.name for each in views_of(POOLS)]
    said = {}
    with database_module.Database() as database:
        for sql, _ in REFUSED:
            given = sql.replace("{dest}", str(dest))
            with pytest.raises(QueryError) as raised:
                # A database takes 25 ms. What can be parsed is refused when it is run.
                parse(database.connection, given, names)
                rows_of(given, dest)
            said[sql] = str(raised.value)
    assert not [(sql, said[sql]) for sql, says in REFUSED if says not in said[sql]]
    with pytest.raises(QueryError, match="this is COPY"):
        rows_of("COPY pools TO 'x'", dest)
    assert sorted(dest.rglob("*")) == before


LOCKED_OUT = [
    "FROM read_text('/etc/hostname')",
    "FROM glob('/etc/*')",
    "COPY (SELECT 1) TO '{dest}/x'",
    "COPY (SELECT 1) TO '{dest}/latest/targets.ndjson'",
    "ATTACH '{dest}/x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "SET allowed_paths = ['/etc/hostname']",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SELECT * FROM dest",
]


def test_the_connection_is_locked_besides(dest: Path) -> None:
    from poolcensus.analysis.selection import select_one

    before = sorted(dest.rglob("*"))
    taken = []
    with database_module.Database() as database:
        database.load(select_one("latest", dest, None), ["pools"])
        database.lock()
        database.run("SELECT count(*) FROM pools")
        for sql in LOCKED_OUT:
            with suppress(QueryError):
                database.run(sql.replace("{dest}", str(dest)))
                taken.append(sql)
    assert not taken
    assert sorted(dest.rglob("*")) == before


def test_a_mistake_is_shown_in_its_line(dest: Path) -> None:
    with pytest.raises(QueryError) as raised:
        rows_of("SELECT pool_id\nFROM pools\nWHERE nothing = 1", dest)
    assert str(raised.value).splitlines()[-2:] == ["LINE 3: WHERE nothing = 1", "              ^"]


def test_values_come_in_python_s_types(dest: Path) -> None:
    sql = """
        SELECT 1::TINYINT AS a, 2::HUGEINT AS b, 1.5::DECIMAL(4, 2) AS c, true AS d, 'x' AS e,
            DATE '2026-11-23' AS f, TIMESTAMPTZ '2026-11-23 02:00:00+02' AS g, [1, 2] AS h, {'k': 'v'} AS i,
            INTERVAL 1 DAY AS j, NULL AS k, 1 AS a
    """
    with query(sql, dest) as rows:
        assert len(rows) == 1
        assert [each.name for each in rows.columns] == [*"abcdefghijk", "a_1"]
        (row,) = rows
        assert [*rows] == [row]
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    assert row == (1, 2, 1.5, True, "x", date(2026, 11, 23), midnight, [1, 2], {"k": "v"}, "1 day", None, 1)
    assert [type(each) for each in row[:3]] == [int, int, Decimal]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("[1.5, 2.5]", [1.5, 2.5]),
        ("array_value(1.5)", [1.5]),
        ("[[1.5]]", [[1.5]]),
        ("{'k': [1.5::DECIMAL(38, 10)]}", {"k": [1.5]}),
        ("map(['k'], [1.5])", {"k": 1.5}),
        ("[union_value(k := 1.5)]", [{"k": 1.5}]),
    ],
)
def test_decimals_inside_a_value_are_numbers_of_its_json(dest: Path, sql: str, value: JsonValue) -> None:
    with query(f"SELECT {sql} AS a", dest) as rows:
        assert [each.type for each in rows.columns] == [ColumnType.JSON]
        assert [*rows] == [(value,)]


@st.composite
def _decimals(draw: st.DrawFn) -> tuple[str, list[Decimal]]:
    """A type, and values of it with all digits behind the point that it has."""
    width = draw(st.integers(1, 38))
    scale = draw(st.integers(0, width))
    numbers = draw(st.lists(st.integers(1 - 10**width, 10**width - 1), min_size=1, max_size=10))
    return f"DECIMAL({width}, {scale})", [Decimal(f"{each}e-{scale}") for each in numbers]


@settings(max_examples=40, deadline=None)
@given(decimals=_decimals())
def test_a_decimal_is_exact_wherever_it_stands_and_is_printed_with_its_digits(
    decimals: tuple[str, list[Decimal]], one_snapshot: Path
) -> None:
    kind, numbers = decimals
    given = ", ".join(f"({number}, '{each:f}'::{kind})" for number, each in enumerate(numbers))
    sql = f"""
        SELECT x AS a, [x, NULL] AS b, [[x]] AS c, array_value(x) AS d, {{'DECIMAL(4,2)': x, 'n': 1}} AS e,
            map(['k'], [{{'x': x, 'e': 'FLOAT'::ENUM('FLOAT')}}]) AS f, union_value(k := x) AS g
        FROM (VALUES {given}) AS t(number, x) ORDER BY number
    """
    with query(sql, one_snapshot) as rows:
        assert [each.type for each in rows.columns] == [ColumnType.DECIMAL, *[ColumnType.JSON] * 6]
        found = [*rows]
        lines = b"".join(json_pieces(rows)).decode().splitlines()
        fields = [*csv.reader(io.StringIO(b"".join(csv_pieces(rows)).decode()))][1:]
        assert len(b"".join(table_pieces(rows, None)).decode().splitlines()) == len(numbers) + 1
    assert [str(row) for row in found] == [
        str((x, [x, None], [[x]], [x], {"DECIMAL(4,2)": x, "n": 1}, {"k": {"x": x, "e": "FLOAT"}}, {"k": x}))
        for x in numbers
    ]
    for x, line, values in zip(numbers, lines, fields, strict=True):
        nested = (
            f"[{x:f},null]",
            f"[[{x:f}]]",
            f"[{x:f}]",
            f'{{"DECIMAL(4,2)":{x:f},"n":1}}',
            f'{{"k":{{"x":{x:f},"e":"FLOAT"}}}}',
            f'{{"k":{x:f}}}',
        )
        others = ",".join(map('"{}":{}'.format, "bcdefg", nested))
        assert line == f'{{"a":{x:f},{others}}}'
        assert values == [f"{x:f}", *nested]


@settings(max_examples=20, deadline=None)
@given(numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_float_of_32_bits_has_no_more_digits_than_it_needs(
    numbers: list[float], one_snapshot: Path
) -> None:
    given = ", ".join(f"({number}, '{each!r}'::FLOAT)" for number, each in enumerate(numbers))
    sql = f"SELECT x AS a, [x] AS b, {{'k': x}} AS c FROM (VALUES {given}) AS t(number, x) ORDER BY number"
    with query(sql, one_snapshot) as rows:
        found = [*rows]
    for x, (a, b, c) in zip(numbers, found, strict=True):
        assert isinstance(a, float)
        assert struct.pack("f", a) == struct.pack("f", x)
        # Where the shorter text is in the middle between two, DuckDB gives the value itself.
        assert a == x or len(Decimal(repr(a)).normalize().as_tuple().digits) <= 9
        assert (b, c) == ([a], {"k": a})


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
def test_numbers_that_json_has_no_room_for_are_null_beside_others(dest: Path, kind: str) -> None:
    sql = f"""
        SELECT [0.1::{kind}, 'nan'::{kind}, '-inf'::{kind}] AS a, {{'n': {2**126}, 'x': 'inf'::{kind}}} AS b
    """
    with query(sql, dest) as rows:
        lines = b"".join(json_pieces(rows))
    assert lines == b'{"a":[0.1,null,null],"b":{"n":%d,"x":null}}\n' % 2**126


def test_what_is_too_deep_for_a_value_is_a_text(dest: Path) -> None:
    nested = f"{'[' * 205}1.5{']' * 205}"
    ((deep, other),) = rows_of(f"SELECT {nested} AS a, {{'d': 1.50, 'j': '{nested}'::JSON}} AS b", dest)
    assert deep == nested
    assert other == f'{{"d":"1.50","j":{nested}}}'


def test_parquet_keeps_the_types_of_numbers(dest: Path) -> None:
    sql = """
        SELECT 9007199254740993::DECIMAL(20, 0) AS a, 0.1::FLOAT AS b, 18446744073709551615::UBIGINT AS c,
            [1.50] AS d, {'k': 12345678901234567.89} AS e
    """
    with query(sql, dest) as rows:
        path = rows.parquet()
        table = pq.read_table(in_memory(path))
    assert [*map(str, table.schema.types)] == [
        "decimal128(20, 0)",
        "float",
        "uint64",
        "list<element: decimal128(3, 2)>",
        "struct<k: decimal128(19, 2)>",
    ]
    assert table.column("a").to_pylist() == [9007199254740993]
    assert table.column("e").to_pylist() == [{"k": Decimal("12345678901234567.89")}]


def test_rows_that_duckdb_cannot_give_any_more_are_a_query_error(dest: Path) -> None:
    with query("SELECT 1 AS a", dest) as rows:
        rows._database.connection.execute("DROP TABLE result")
        with pytest.raises(QueryError, match="result"):
            next(iter(rows))


def damage_pools(snapshot: Snapshot, old: bytes, new: bytes) -> None:
    file = folder_of(snapshot) / "pools.ndjson"
    file.write_bytes(file.read_bytes().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"RUNNING", b"STOPPED", "sha256"),
        (b"RUNNING", b'RUNNING"', "bytes where the manifest says"),
        (b"\n", b"", "bytes where the manifest says"),
        (b'{"snapshot_id"', b'["snapshot_id"', "sha256"),
    ],
)
@pytest.mark.parametrize("ref", ["latest", None])
def test_a_damaged_snapshot_is_said(
    tmp_path: Path, old: bytes, new: bytes, says: str, ref: str | None
) -> None:
    written(tmp_path, day_id(22), {target(): [pool("a")]})
    damage_pools(written(tmp_path, day_id(23), {target(): [pool("a"), pool("b")]}), old, new)
    with pytest.raises(DamagedSnapshotError, match=says):
        rows_of("SELECT count(*) FROM pools", tmp_path, ref=ref)
    assert rows_of("SELECT count(*) FROM targets", tmp_path) == [(1,)]


def rewritten(snapshot: Snapshot, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file as another tool would that keeps the manifest right."""
    folder = folder_of(snapshot)
    data = change((folder / name).read_bytes())
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    for each in manifest["files"]:
        if each["name"] == name:
            each |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("targets.ndjson", b'"pages":1', b'"pages":"x"'),
        ("targets.ndjson", b'"attempts":1', b'"attempts":1180591620717411303424'),
        ("pools.ndjson", b'"pool":{', b'"pool":{"PoolId":"b"},"pool":{'),
        ("pools.ndjson", b'"pool":{', b'"pool":{"Long":"' + b"x" * (34 << 20) + b'",'),
        ("pools.ndjson", b'"pool":{', b'"pool":['),
    ],
)
def test_lines_that_cannot_be_read_are_damage_and_no_mistake_in_the_sql(
    tmp_path: Path, name: str, old: bytes, new: bytes
) -> None:
    snapshot = written(tmp_path, day_id(23), {target(): [pool("a")]})
    rewritten(snapshot, name, lambda data: data.replace(old, new))
    with pytest.raises(DamagedSnapshotError, match=f"{day_id(23)}/{name}") as raised:
        rows_of(f"FROM {name.partition('.')[0]}", tmp_path)
    assert "poolcensus-" not in str(raised.value)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b'{"snapshot_id":"\\ud800' + b"x" * (65 << 20) + b'"}\n', "a line is longer than 67108864 bytes"),
        (b'{"snapshot_id":"\\ud800"]\n', "not JSON"),
    ],
    ids=["too long", "malformed"],
)
def test_lines_that_cannot_be_repaired_are_damage(
    tmp_path: Path, compression: Compression, line: bytes, wrong: str
) -> None:
    snapshot = written(tmp_path, day_id(23), {target(): [pool("a")]}, compression=compression)
    packer = compressor(compression)
    name = f"pools.ndjson{compression.suffix}"
    rewritten(snapshot, name, lambda _: packer.compress(line) + packer.flush())
    with pytest.raises(DamagedSnapshotError, match=f"{name}.*{wrong}.*; the snapshot is damaged"):
        rows_of("SELECT count(pool_id) FROM pools", tmp_path, ref=None)


def test_no_room_is_no_mistake_in_the_sql() -> None:
    with database_module.Database() as database:
        database.connection.execute("SET memory_limit = '4MB'; SET max_temp_directory_size = '0KB'")
        with pytest.raises(DestinationError, match="set TMPDIR to a folder that has room"):
            database.run("CREATE TABLE x AS SELECT md5(n::VARCHAR) FROM range(1000000) r(n)")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    snapshot = written(tmp_path, day_id(23), {target(): [pool("a")]})
    (folder_of(snapshot) / "pools.ndjson").unlink()
    with pytest.raises(DamagedSnapshotError, match="pools.ndjson is missing"):
        rows_of("SELECT count(*) FROM pools", tmp_path)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize(
    ("said", "wrong"),
    [(1, "has more lines than the 1 that the manifest says"), (3, "has 2 lines where the manifest says 3")],
)
@pytest.mark.parametrize("ref", ["latest", None])
def test_a_count_that_the_manifest_has_wrong_is_said(
    tmp_path: Path, compression: Compression, said: int, wrong: str, ref: str | None
) -> None:
    snapshot = written(tmp_path, day_id(23), {target(): [pool("a"), pool("b")]}, compression=compression)
    manifest = folder_of(snapshot) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"records": 2', f'"records": {said}'))
    with pytest.raises(DamagedSnapshotError, match=wrong):
        rows_of("SELECT count(*) FROM pools", tmp_path, ref=ref)
    with pytest.raises(DamagedSnapshotError, match=wrong):
        list(Snapshot.open("latest", tmp_path).pools())
    assert wrong in [each.message for each in verify(Snapshot.open("latest", tmp_path))]


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_no_more_is_read_of_a_compressed_file_than_its_manifest_says(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = written(tmp_path, day_id(23), {target(): [pool("a")]}, compression=compression)
    packer = compressor(compression)
    bomb = b"".join(packer.compress(b"x\n" * (1 << 22)) for _ in range(16)) + packer.flush()
    rewritten(snapshot, f"pools.ndjson{compression.suffix}", lambda _: bomb)
    read = 0
    pieces = compression_module.pieces

    def counting(raw: Readable, how: Compression) -> Iterator[bytes]:
        nonlocal read
        for piece in pieces(raw, how):
            read += len(piece)
            yield piece

    monkeypatch.setattr(compression_module, "pieces", counting)
    with pytest.raises(DamagedSnapshotError, match="has more lines than the 1 that"):
        rows_of("SELECT count(*) FROM pools", tmp_path)
    assert any("has more lines" in each.message for each in verify(Snapshot.open("latest", tmp_path)))
    assert 0 < read < 1 << 20


def test_snapshots_that_cannot_be_read_are_named_beside_the_rows(tmp_path: Path) -> None:
    for day in (21, 22, 23):
        written(tmp_path, day_id(day), {target(): [pool("a")]})
    (tmp_path / day_id(21) / "manifest.json").write_text("{")
    newer = json.loads((tmp_path / day_id(22) / "manifest.json").read_text())
    (tmp_path / day_id(22) / "manifest.json").write_text(json.dumps({**newer, "schema_version": 99}))
    with query("SELECT count(*) FROM pools", tmp_path, ref=None) as rows:
        assert [*rows] == [(1,)]
        assert rows.unreadable.keys() == {day_id(21), day_id(22)}
        assert "newer poolcensus" in rows.unreadable[day_id(22)]
    with pytest.raises(SnapshotError, match="newer poolcensus"):
        rows_of("SELECT 1", tmp_path, ref=day_id(22))
    (tmp_path / day_id(23) / "manifest.json").write_text("")
    with pytest.raises(SnapshotError, match="None of the 3 snapshots in .* can be read"):
        rows_of("SELECT 1", tmp_path, ref=None)


@pytest.mark.parametrize("ref", ["latest", None])
def test_no_snapshots_are_said(tmp_path: Path, ref: str | None) -> None:
    with pytest.raises(SnapshotError, match=r"No snapshots in .* yet\. Run 'poolcensus collect --dest"):
        rows_of("SELECT 1", tmp_path, ref=ref)


def test_without_duckdb_it_says_what_to_install(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match=re.escape(installation("query"))):
        rows_of("SELECT 1", dest)


def test_nothing_is_left_of_a_query(
    dest: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path_factory.mktemp("own")
    monkeypatch.setattr("tempfile.tempdir", str(own))
    threads = {*threading.enumerate()}
    with query("SELECT * FROM pools", dest) as rows:
        assert [*own.iterdir()]
        next(iter(rows))
    with pytest.raises(QueryError):
        rows_of("SELECT error('x') FROM pools", dest)
    assert not [*own.iterdir()]
    assert {*threading.enumerate()} <= threads


def test_a_snapshot_that_is_removed_meanwhile_is_no_full_disk_and_no_damage(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Staging.add

    def added(
        staging: Staging,
        snapshots: Iterable[Snapshot],
        file_of: Callable[[Snapshot], tuple[FileEntry, Compression]],
    ) -> list[Path]:
        paths = add(staging, snapshots, file_of)
        staging.check()
        for each in [*dest.iterdir()]:
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
        return paths

    opened = Snapshot.open("latest", dest)
    monkeypatch.setattr(Staging, "add", added)
    with pytest.raises(SnapshotError, match="was removed while it was read$"):
        rows_of("SELECT * FROM pools", dest)
    with pytest.raises(SnapshotError, match="was removed while it was read$"):
        [*opened.pools()]


async def test_a_bucket_is_fetched_and_read(lab: Start) -> None:
    here = await lab(accounts=6, mean_pools=4.0)
    stored(here.simulator)
    snapshot = await here.collect(dest=PLACE, compress="zstd")
    totals = snapshot.manifest.totals

    def ask() -> list[tuple[object, ...]]:
        counts = ", ".join(f"(SELECT count(*) FROM {each})" for each in ("pools", "targets", "changes"))
        sql = f"SELECT {counts}"
        with query(sql, PLACE) as one, query(sql, PLACE, ref=None) as every:
            with query(sql, ref=f"{PLACE}/{snapshot.id}") as named:
                return [*one, *every, *named]

    assert await to_thread.run_sync(ask) == [(totals.pools, totals.targets, 0)] * 3


def test_threads_may_ask_side_by_side(dest: Path) -> None:
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(rows_of(f"SELECT count(*) + {n} FROM pools", dest)))
        for n in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(map(str, found)) == [str([(2 + n,)]) for n in range(4)]


def run_named(name: str, dest: Path, **given: object) -> list[tuple[object, ...]]:
    with query_named(name, dest, **given) as rows:  # type: ignore[arg-type] # a test's own words
        return [*rows]


@pytest.fixture
def weeks(tmp_path: Path) -> Path:
    """Three snapshots: of 30 days, three days and one day ago."""
    denied = Outcome.ACCESS_DENIED
    written(
        tmp_path,
        days_ago_id(30),
        {target(1): [in_use("a", 0), in_use("b", 3)], target(2): denied, target(3): [in_use("e", 0)]},
    )
    written(
        tmp_path,
        days_ago_id(3),
        {
            target(1): [in_use("a", 0), in_use("b", 0), in_use("c", 0)],
            target(2): denied,
            target(3): [in_use("e", 0)],
        },
    )
    written(
        tmp_path,
        days_ago_id(1),
        {target(1): [in_use("a", 0), in_use("b", 0)], target(2): denied, target(3): denied},
    )
    return tmp_path


def test_every_named_query_runs_and_is_described(weeks: Path) -> None:
    names = [each.name for each in named_queries()]
    assert names == [
        "accounts-never-covered",
        "accounts-without-pools",
        "capacity-by-account",
        "capacity-by-region",
        "changes-of-the-last-week",
        "coverage-by-outcome",
        "idle-pools",
        "pools-by-bundle",
        "pools-with-errors",
    ]
    for each in named_queries():
        assert each.description[0].isupper()
        assert each.description.endswith(".")
        run_named(each.name, weeks)


def test_idle_pools_are_those_that_are_there_and_were_never_seen_in_use(weeks: Path) -> None:
    # b was in use, c is gone, e is in a target that the newest snapshot does not cover.
    assert [(row[3], row[7]) for row in run_named("idle-pools", weeks)] == [("a", 3), ("e", 2)]


def test_accounts_never_covered_are_those_of_all_snapshots(weeks: Path) -> None:
    (row,) = run_named("accounts-never-covered", weeks)
    assert row[:5] == ("000000000002", "acct-2", 3, 1, "access_denied")


def test_a_disabled_region_says_nothing_of_the_others(tmp_path: Path) -> None:
    disabled, denied = Outcome.REGION_DISABLED, Outcome.SCP_DENIED
    written(
        tmp_path,
        days_ago_id(1),
        {
            target(1): denied,
            target(1, "af-south-1"): disabled,
            # Their own word: nothing is there.
            target(2): Outcome.NOT_ENTITLED,
            target(3): denied,
            target(3, "af-south-1"): Outcome.EMPTY,
            # Nobody was refused.
            target(4, "af-south-1"): disabled,
        },
    )
    (row,) = run_named("accounts-never-covered", tmp_path)
    assert row[:5] == ("000000000001", "acct-1", 1, 2, "scp_denied")


def test_idle_pools_stay_where_their_targets_list_nothing_any_more(tmp_path: Path) -> None:
    written(tmp_path, days_ago_id(2), {target(each): [in_use(str(each), 0)] for each in (1, 2, 3, 4)})
    written(
        tmp_path,
        days_ago_id(1),
        {
            target(1): Outcome.REGION_DISABLED,
            target(2): Outcome.NOT_ENTITLED,
            target(3): Outcome.ACCESS_DENIED,
            target(4): Outcome.EMPTY,
        },
    )
    assert [row[3] for row in run_named("idle-pools", tmp_path)] == ["1", "2", "3"]


def test_snapshots_from_the_future_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, days_ago_id(2), {target(1): [in_use("a", 0)]})
    written(tmp_path, days_ago_id(1), {target(1): [in_use("a", 0)]})
    ahead = f"{datetime.now(UTC) + timedelta(days=400):%Y%m%dT%H%M%SZ}-000000"
    written(tmp_path, ahead, {target(1): Outcome.EMPTY})
    assert [row[3] for row in run_named("idle-pools", tmp_path)] == ["a"]
    assert run_named("changes-of-the-last-week", tmp_path) == []
    for command in (
        ["query", "SELECT count(*) AS n FROM snapshots", "--all", "--format", "csv"],
        ["export", "--all", "--output", str(tmp_path / "parquet")],
    ):
        assert main([*command, "--dest", str(tmp_path)]) == 0
        said = capsys.readouterr()
        assert f"Snapshot {ahead} is dated in the future and left out: it is never the latest" in said.err
    assert not [*tmp_path.glob(f"parquet/pools/*/{ahead}.parquet")]
    # Whoever names it sees it.
    with query("SELECT snapshot_id FROM snapshots", tmp_path, ref=ahead) as rows:
        assert [*rows] == [(ahead,)]
    alone = tmp_path / "alone"
    written(alone, ahead, {target(1): Outcome.EMPTY})
    with query("SELECT snapshot_id FROM snapshots", alone, ref=None) as rows:
        assert ([*rows], rows.ahead) == ([(ahead,)], ())


def test_what_the_last_record_of_an_idle_pool_lacks_is_not_taken_from_one_before(tmp_path: Path) -> None:
    written(tmp_path, days_ago_id(2), {target(1): [{**in_use("a", 0), "PoolName": "old"}]})
    last: JsonObject = {"PoolId": "a", "CapacityStatus": {"DesiredUserSessions": 5}}
    written(tmp_path, days_ago_id(1), {target(1): [last]})
    (row,) = run_named("idle-pools", tmp_path)
    # Of two snapshots one told how many sessions there were.
    assert row[3:8] == ("a", None, None, 5, 1)


@pytest.mark.parametrize("name", ["capacity-by-region", "capacity-by-account"])
def test_a_share_is_one_of_pools_that_tell_both(name: str, tmp_path: Path) -> None:
    status: list[JsonObject] = [
        {"ActiveUserSessions": 50},
        {"ActiveUserSessions": 1, "ActualUserSessions": 10},
        {"ActualUserSessions": 90},
    ]
    pools = [pool(str(number), CapacityStatus=each) for number, each in enumerate(status)]
    written(tmp_path, days_ago_id(1), {target(1): pools})
    (row,) = run_named(name, tmp_path)
    assert row[-2:] == (51, 10.0)


def test_of_accounts_never_covered_an_outcome_stands_beside_its_own_error(tmp_path: Path) -> None:
    here, there = target(1), target(1, "us-west-2")
    denied = replace(result(here, Outcome.ACCESS_DENIED), error_code="Old", error_message="old")
    written(tmp_path, days_ago_id(2), {here: denied, there: replace(denied, region=there.region)})
    later = replace(result(there, Outcome.THROTTLED), error_code="Slow", error_message="slow")
    written(tmp_path, days_ago_id(1), {here: Outcome.CANCELLED, there: later})
    (row,) = run_named("accounts-never-covered", tmp_path)
    assert row[2:] == (2, 2, "cancelled", None, None)


def test_accounts_without_pools_have_answered_so_in_each_region(tmp_path: Path) -> None:
    written(
        tmp_path,
        days_ago_id(1),
        {
            target(1): Outcome.EMPTY,
            target(1, "eu-west-1"): Outcome.NOT_ENTITLED,
            target(2): Outcome.EMPTY,
            target(2, "eu-west-1"): [pool("a")],
            # Nobody knows what this one has.
            target(3): Outcome.EMPTY,
            target(3, "eu-west-1"): Outcome.ACCESS_DENIED,
        },
    )
    assert run_named("accounts-without-pools", tmp_path) == [
        ("000000000001", "acct-1", 2, 1, "empty, not_entitled")
    ]


@pytest.mark.parametrize(
    "some",
    [{"pool_ids": ["wspool-1"]}, {"filters": [{"Name": "PoolName", "Values": ["x"], "Operator": "EQUALS"}]}],
)
def test_a_run_that_asked_for_some_pools_says_nothing_of_the_others(tmp_path: Path, some: JsonObject) -> None:
    written(tmp_path, days_ago_id(2), {target(1): [in_use("a", 0), in_use("b", 0)]})
    written(tmp_path, days_ago_id(1), {target(1): [in_use("b", 0)]}, request={**NOTHING_SPECIAL, **some})
    assert [row[3] for row in run_named("idle-pools", tmp_path)] == ["a", "b"]
    written(tmp_path, days_ago_id(0), {target(1): Outcome.EMPTY}, request={**NOTHING_SPECIAL, **some})
    assert run_named("accounts-without-pools", tmp_path) == []
    assert [row[3] for row in run_named("idle-pools", tmp_path)] == ["a", "b"]
    later = tmp_path / "later"
    written(later, days_ago_id(0), {target(1): Outcome.EMPTY})
    assert [row[0] for row in run_named("accounts-without-pools", later)] == ["000000000001"]


def test_pools_with_errors_have_their_codes(tmp_path: Path) -> None:
    errors: list[JsonValue] = [{"ErrorCode": "DOMAIN_JOIN", "ErrorMessage": "x"}, {"ErrorCode": "IMAGE"}]
    pools: list[JsonObject] = [{**pool("a"), "Errors": errors}, {**pool("b"), "Errors": []}, pool("c")]
    written(tmp_path, days_ago_id(1), {target(1): pools})
    (row,) = run_named("pools-with-errors", tmp_path)
    assert (row[3], row[6]) == ("a", "DOMAIN_JOIN, IMAGE")


def test_changes_of_the_last_week_begin_with_the_snapshot_before_it(weeks: Path) -> None:
    found = [(row[1], row[2], row[5]) for row in run_named("changes-of-the-last-week", weeks)]
    assert found == [
        ("added", "000000000001", "c"),
        ("unknown", "000000000002", None),
        ("removed", "000000000001", "c"),
        ("unknown", "000000000002", None),
        ("unknown", "000000000003", None),
    ]


def test_a_named_query_is_over_other_snapshots_where_they_are_asked_for(weeks: Path) -> None:
    def changes(**given: object) -> set[object]:
        return {row[0] for row in run_named("changes-of-the-last-week", weeks, **given)}

    assert (len(changes()), len(changes(every=True)), len(changes(ref="latest~1"))) == (2, 2, 1)
    written(weeks, days_ago_id(20), {target(1): []})
    assert (len(changes()), len(changes(every=True)), len(changes(ref="latest~2"))) == (2, 3, 1)
    with pytest.raises(SettingsError, match="pools-by-bundle is over one snapshot: leave out `every`"):
        run_named("pools-by-bundle", weeks, every=True)
    with pytest.raises(SettingsError, match="exclude each other"):
        run_named("idle-pools", weeks, every=True, ref="latest")


def test_a_week_without_snapshots_has_no_changes(tmp_path: Path) -> None:
    written(tmp_path, days_ago_id(30), {target(1): [pool("a")]})
    assert run_named("changes-of-the-last-week", tmp_path) == []


def test_counts_by_name(weeks: Path) -> None:
    assert run_named("coverage-by-outcome", weeks) == [
        ("access_denied", False, 2, 2, None),
        ("ok", True, 1, 1, 2),
    ]
    assert run_named("capacity-by-region", weeks) == [("us-east-1", 2, 10, None, None, 0, None)]
    assert run_named("capacity-by-account", weeks) == [("000000000001", "acct-1", 2, 10, None, None, 0, None)]
    assert run_named("pools-by-bundle", weeks) == [(None, 2, 1, 1, "RUNNING")]


def test_an_unknown_name_suggests_a_close_one() -> None:
    with pytest.raises(SettingsError, match="Did you mean idle-pools"):
        named_query("idle-pool")
    with pytest.raises(SettingsError, match="poolcensus query --list"):
        named_query("zzz")

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHES = Path(__file__).parents[2] / "benches"
TWO = "us-east-1,af-south-1"
OF_FLOORS = ("of_lower_floor", "cpu_of_lower_floor", "of_floor", "cpu_of_floor")


def bench(name: str, *options: str) -> dict[str, Any]:
    """Run a bench, and return what it prints for programs. Its table goes to standard error."""
    command = [sys.executable, str(BENCHES / f"{name}.py"), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["bench"] == name
    assert name in done.stderr
    assert found["rows"]
    return found


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def assert_positive(rows: list[dict[str, Any]], *keys: str) -> None:
    for row in rows:
        for key in keys:
            assert row[key] > 0, (key, row)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHES)


@pytest.fixture
def harness(modules: None) -> ModuleType:
    return import_module("harness")


@pytest.fixture
def latency(modules: None) -> ModuleType:
    return import_module("latency")


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ((), ()),
        pytest.param(
            ("--all",),
            ("no_safety", "two_shards", "shared_client", "boto3_threads", "aioboto3_idiom"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_throughput_has_every_contender_find_every_pool(
    options: tuple[str, ...], others: tuple[str, ...]
) -> None:
    found = bench("throughput", "--accounts", "2", "--regions", TWO, "--rounds", "1", *options)
    rows = found["rows"]
    assert names(rows) == ["lower_floor", "floor", "poolcensus", *others]
    assert_positive(rows, "wall", "cpu", "peak_mb", "pools", "calls", *OF_FLOORS)
    assert rows[0]["of_lower_floor"] == rows[1]["of_floor"] == 1
    # A census calls GetCallerIdentity, and the floors do not.
    assert [row["calls"] - rows[0]["calls"] for row in rows[:3]] == [0, 0, 1]
    assert found["options"]["accounts"] == 2


@pytest.mark.long
def test_throughput_over_tls_has_the_same_calls() -> None:
    rows = bench("throughput", "--accounts", "2", "--regions", TWO, "--rounds", "1", "--tls")["rows"]
    assert names(rows) == ["lower_floor", "floor", "poolcensus"]
    assert_positive(rows, "wall", "cpu", *OF_FLOORS)
    assert [row["calls"] - rows[0]["calls"] for row in rows] == [0, 0, 1]


@pytest.mark.long
def test_transports_are_side_by_side() -> None:
    small = ("--accounts", "2", "--regions", TWO, "--rounds", "1", "--latency", "5")
    rows = bench("transports", *small)["rows"]
    assert [(row["name"], row["service"]) for row in rows] == [
        (kind, service) for service in ("busy", "far") for kind in ("lower_floor", "floor", "fast", "sdk")
    ]
    assert_positive(rows, "wall", "cpu", "peak_mb", "calls", "calls_per_second", "of_fast", "memory_of_fast")
    assert_positive(rows, *OF_FLOORS)
    assert len({row["pools"] for row in rows}) == 1
    # A census calls GetCallerIdentity, and the floors do not.
    assert [row["calls"] - rows[0]["calls"] for row in rows] == [0, 0, 1, 1] * 2


@pytest.mark.long
def test_telemetry_has_every_way_make_the_same_calls() -> None:
    rows = bench("telemetry", "--accounts", "2", "--regions", TWO, "--rounds", "1")["rows"]
    assert names(rows) == ["poolcensus", "debug_log", "spans"]
    assert_positive(rows, "wall", "cpu", "peak_mb", "of_quiet", "cpu_of_quiet")
    assert len({(row["pools"], row["calls"]) for row in rows}) == 1


@pytest.mark.long
def test_scaling_has_both_curves() -> None:
    small = ("--accounts", "1,3", "--pages", "2", "--total-pages", "4")
    rows = bench("scaling", *small, "--regions", TWO, "--rounds", "1")["rows"]
    assert [(row["curve"], row["size"], row["name"]) for row in rows] == [
        (curve, size, name)
        for curve, size in (("accounts", 1), ("accounts", 3), ("pages", 2))
        for name in ("lower_floor", "floor", "poolcensus")
    ]
    assert_positive(rows, "wall", "calls", "us_per_call", "cpu_us_per_call", "peak_mb", *OF_FLOORS)
    assert [row["us_per_call_more"] is None for row in rows] == [True] * 3 + [False] * 3 + [True] * 3
    # One account, two regions, and two pages of 25 pools in each.
    assert rows[-1]["pools"] == 100
    # GetCallerIdentity, ListAccounts, ListRegions and the four pages. The floors don't call
    # GetCallerIdentity.
    assert [row["calls"] for row in rows[-3:]] == [6, 6, 7]


@pytest.mark.long
def test_latency_is_held_against_the_path() -> None:
    small = ("--accounts", "3", "--regions", TWO, "--rounds", "1", "--draws", "20")
    rows = bench("latency", *small, "--latency", "exponential:5,exponential:5+tls")["rows"]
    assert [row["latency"] for row in rows] == ["exponential:5", "exponential:5+tls"]
    assert_positive(rows, "path", "path_deviation", "last_account", "run", "wall", "run_of_path", *OF_FLOORS)
    for row in rows:
        assert row["last_account"] <= row["path"]
        assert row["run"] <= row["wall"]
        assert row["of_path"] > 1
        assert names(row["floors"]) == ["lower_floor", "floor"]


@pytest.mark.long
def test_throttling_is_beside_backoff_alone() -> None:
    # A target with 190 pools has three pages more than the burst of an account in a region.
    small = ("--accounts", "3", "--regions", TWO, "--mean-pools", "60", "--rounds", "1")
    rows = bench("throttling", *small, "--regimes", "random-20,pair-2")["rows"]
    assert names(rows) == ["random-20", "pair-2"]
    assert_positive(rows, "wall", "alone_wall", "of_alone", "pools")
    throttled = {row["name"]: row["throttles"] for row in rows}
    assert throttled["random-20"]["poolcensus"][0] > 0
    assert throttled["pair-2"]["backoff_alone"][0] > 0


@pytest.mark.long
def test_throttling_has_an_account_that_is_slower_than_the_others() -> None:
    small = ("--accounts", "3", "--regions", TWO, "--rounds", "1", "--mean-pools", "10")
    slow = ("--regimes", "slow-account", "--slow-account", "000000000002")
    (row,) = bench("throttling", *small, *slow)["rows"]
    assert_positive([row], "wall", "alone_wall")


@pytest.mark.long
def test_memory_has_its_curves() -> None:
    small = ("--pools", "2500", "--accounts", "2", "--slow-pools", "2500", "--slow-mb", "1", "--parts", "1")
    rows = bench("memory", *small)["rows"]
    assert [(row["curve"], row["targets"], row["pools"]) for row in rows] == [
        ("pools", 5, 2500),
        ("empty", 34, 0),
        ("slow", 5, 2500),
    ]
    assert_positive(rows, "wall", "cpu", "peak_mb")
    # 2,500 pools have at least about 600 bytes each, so this is the least time of the slow reader.
    assert rows[-1]["wall"] > 1.5


@pytest.mark.long
def test_query_has_both_contenders_find_the_same() -> None:
    rows = bench("query", "--pools", "2000", "--rounds", "1", "--files", "zstd")["rows"]
    assert [(row["question"], row["pools"], row["name"]) for row in rows] == [
        (question, 2000, name)
        for question in ("count", "states", "capacity")
        for name in ("poolcensus", "duckdb")
    ]
    assert_positive(rows, "wall", "cpu", "peak_mb", "time_ratio", "memory_ratio")


@pytest.mark.long
def test_startup_is_beside_a_bare_interpreter() -> None:
    rows = bench("startup", "--rounds", "1")["rows"]
    quiet = ["python -c pass", "--version", "--help", "collect --help"]
    assert names(rows) == [*quiet, "lower_floor", "floor", "collect"]
    assert_positive(rows, "wall", "cpu", "peak_mb", "of_python")
    assert_positive(rows[len(quiet) :], *OF_FLOORS)
    # ListAccounts or GetCallerIdentity, and the page.
    assert [row["calls"] for row in rows] == [0] * len(quiet) + [2, 2, 2]


@pytest.mark.long
def test_diff_has_both_contenders_find_the_same() -> None:
    found = bench("diff", "--pools", "2500,5000", "--one-target", "1000", "--rounds", "1")
    rows = found["rows"]
    assert [(row["curve"], row["files"], row["pools"], row["name"]) for row in rows] == [
        ("many targets", "none", 2500, "poolcensus"),
        ("many targets", "none", 2500, "dicts"),
        ("many targets", "none", 5000, "poolcensus"),
        ("many targets", "none", 5000, "dicts"),
        ("many targets", "zstd", 5000, "poolcensus"),
        ("one target", "none", 1000, "poolcensus"),
        ("one target", "none", 1000, "dicts"),
    ]
    assert_positive(rows, "wall", "cpu", "peak_mb", "us_per_pool", "changed", "unchanged")
    assert all(row["time_ratio"] > 0 for row in rows if row["files"] == "none")


@pytest.mark.long
def test_merge_is_beside_joining_the_files() -> None:
    rows = bench("merge", "--pools", "2500,5000", "--shards", "2", "--rounds", "1")["rows"]
    assert [(row["pools"], row["files"], row["name"]) for row in rows] == [
        (pools, files, name)
        for pools in (2500, 5000)
        for files, name in (("none", "poolcensus"), ("none", "cat, sha256sum"), ("zstd", "poolcensus"))
    ]
    assert_positive(rows, "wall", "cpu", "peak_mb", "records_per_second", "us_per_pool")
    assert all(row["time_ratio"] > 0 for row in rows if row["files"] == "none")


@pytest.mark.parametrize("lines", [[], ["{}"], ["{}", "[]"], ["{}", "{}", "{}"]])
def test_a_merge_that_loses_or_changes_records_is_refused(
    harness: ModuleType, tmp_path: Path, lines: list[str]
) -> None:
    path = tmp_path / "pools.ndjson"
    merge = import_module("merge")
    path.write_text("{}\n{ }\n")
    merge.check(path, 2, 7)
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(harness.BenchError, match="pools in"):
        merge.check(path, 2, 7)


@pytest.mark.long
def test_listing_has_both_contenders_print_the_same() -> None:
    rows = bench("listing", "--pools", "2500")["rows"]
    assert [(row["pools"], row["name"]) for row in rows] == [
        (2500, name) for name in ("show --json", "show", "list")
    ]
    assert_positive(rows, "wall", "cpu", "peak_mb", "us_per_pool", "time_ratio", "memory_ratio")


@pytest.mark.long
def test_loop_names_its_longest_blocks() -> None:
    (row,) = bench("loop", "--accounts", "3", "--regions", TWO, "--rounds", "1")["rows"]
    assert_positive([row], "pools", "callbacks", "turns", "longest_ms", "p999_ms", "longest_turn_ms")
    assert row["longest_ms"] >= row["p999_ms"]
    assert row["longest_ms"] == row["longest"][0]["wall_ms"]
    assert len(row["longest"]) == 5
    assert all(block["what"] for block in row["longest"])


@pytest.mark.long
def test_report_is_beside_reading_the_same_files() -> None:
    rows = bench("report", "--days", "12", "--accounts", "14", "--rounds", "1")["rows"]
    assert names(rows)[:2] == ["poolcensus", "orjson"]
    assert_positive(rows, "wall", "cpu", "peak_mb", "time_ratio", "memory_ratio")
    # Every seventh pool is never used.
    assert {(row["days"], row["pools"], row["never"]) for row in rows} == {(12, 70, 10)}
    assert rows[0]["page_mb"] < 1


@pytest.mark.long
def test_workers_are_held_against_one_of_them() -> None:
    rows = bench(
        "workers", "--accounts", "4", "--latencies", "1", "--workers", "1", "--rounds", "1", "--regions", TWO
    )["rows"]
    assert names(rows) == ["local", "dask 1"]
    assert_positive(rows, "wall", "start", "calls_per_second", "speed", "peak_mb")


def test_all_runs_what_it_is_asked_for_and_codec_is_beside_bare_orjson() -> None:
    command = [sys.executable, str(BENCHES / "all.py"), "--quick", "--only", "codec"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bench"] == "codec"
    rows = found["rows"]
    assert [(row["name"], row["pools"]) for row in rows] == [
        (name, pools)
        for pools in (25, 1, 0)
        for name in (
            "check of a reply",
            "lines of pools.ndjson",
            "from a reply to its lines",
            "own texts",
            "own texts, checked",
            "line of the ledger",
        )
    ]
    assert_positive(rows, "us_per_page", "bare_us_per_page", "of_bare")


def test_all_has_every_bench(modules: None) -> None:
    every = {path.stem for path in BENCHES.glob("*.py")} - {"all", "harness"}
    catalogue = import_module("all")
    assert set(catalogue.FULL) == set(catalogue.QUICK) == every


def test_a_contender_that_misses_a_pool_is_refused(harness: ModuleType, tmp_path: Path) -> None:
    world = ("--accounts", "1", "--regions", "us-east-1", "--pools-per-target", "3")
    with harness.simulation(*world) as simulator:
        assert simulator.pools() == 3
        for name in ("lower_floor", "floor"):
            floor = harness.Contender(name, "us-east-1", 4, tmp_path)
            assert floor.run(simulator, 3).wall > 0
            with pytest.raises(harness.BenchError, match=f"{name} wrote 3 pools, and there are 4"):
                floor.run(simulator, 4)


def test_the_lower_floor_reads_every_page_and_writes_what_is_there(
    harness: ModuleType, tmp_path: Path
) -> None:
    # 60 accounts are three pages of ListAccounts, and 60 pools are three pages of a target.
    world = ("--accounts", "60", "--regions", TWO, "--pools-per-target", "60")
    found = tmp_path / "pools.ndjson"
    with harness.simulation(*world, authority=tmp_path / "authority.pem") as simulator:
        script = str(BENCHES / "contenders" / "lower_floor.py")
        harness.run([sys.executable, script, TWO, str(found), "16"], simulator)
        calls = simulator.stats()["calls"]
    assert calls == {
        "organizations.ListAccounts": 3,
        "sts.AssumeRole": 59,
        "account.ListRegions": 60,
        "workspaces.DescribeWorkspacesPools": 360,
    }
    pools = [json.loads(line) for line in found.read_bytes().splitlines()]
    each = {(line["account_id"], line["region"], line["pool"]["PoolId"]) for line in pools}
    assert len(pools) == len(each) == 60 * 2 * 60


@pytest.mark.parametrize("fault", ["throttle:0.5", "reset:0.5", "5xx:1,service=organizations"])
def test_the_lower_floor_ends_at_the_first_call_that_fails(
    harness: ModuleType, tmp_path: Path, fault: str
) -> None:
    with harness.simulation("--accounts", "60", "--regions", TWO, "--fault", fault) as simulator:
        floor = harness.Contender("lower_floor", TWO, 16, tmp_path)
        with pytest.raises(harness.BenchError, match="exit code 1"):
            floor.run(simulator, 1)


def test_a_program_that_fails_is_refused(harness: ModuleType) -> None:
    with pytest.raises(harness.BenchError, match="exit code 5"):
        harness.run([sys.executable, "-c", "raise SystemExit(5)"])


def test_a_simulator_that_does_not_start_is_refused(harness: ModuleType) -> None:
    with (
        pytest.raises(harness.BenchError, match="the simulator ended with 2"),
        harness.simulation("--accounts", "0"),
    ):
        pass


@pytest.mark.parametrize(
    ("pages", "opt_in", "calls"),
    [
        # GetCallerIdentity, ListAccounts and a page. The caller's own account needs no role.
        ([[1]], [False], 3),
        # The opt-in region waits for ListRegions.
        ([[1]], [True], 4),
        # A chain of three pages is longer than ListRegions and one page.
        ([[1, 3]], [True, False], 5),
        # The AssumeRole of a member account.
        ([[1], [1]], [False], 4),
        # The 21st account is on the second page of the listing.
        ([[1]] * 21, [False], 5),
        # The longest chain may be that of an account on an early page.
        ([[9], *[[1]] * 20], [False], 11),
    ],
)
def test_the_path_is_the_longest_chain(
    latency: ModuleType, pages: list[list[int]], opt_in: list[bool], calls: int
) -> None:
    longest, last = latency.draw("100", 1, pages, opt_in)
    assert longest == pytest.approx(calls * 0.1)
    assert last <= longest

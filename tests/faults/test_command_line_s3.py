"""The program with a destination on S3: what it says, what it ends with, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from poolcensus.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.conftest import Bench, Ended, Run, Serve, Served

DEST = "s3://census/nightly"
OPTIONS = ("--dest", DEST)
REGIONS = ("--regions", "us-east-1,eu-west-1")


@contextmanager
def made_bucket(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket `census`, empty, as boto3 sees it."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    resource = boto3.Session().resource("s3", region_name="us-east-1")
    made = resource.Bucket("census")
    made.create()
    yield made
    for key in keys(made):
        made.Object(key).delete()
    resource.meta.client.close()


@pytest.fixture
def bucket(simulator: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket of the simulator that several tests share."""
    with made_bucket(simulator, monkeypatch) as made:
        yield made


def keys(bucket: Any) -> set[str]:
    page = bucket.meta.client.list_objects_v2(Bucket=bucket.name)
    return {each["Key"] for each in page.get("Contents", ())}


def assert_one_sentence(ended: Ended, code: int, *words: str) -> None:
    assert (ended.code, ended.out) == (code, ""), ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("poolcensus: ")
    for word in words:
        assert word in line


@pytest.mark.usefixtures("renderer")
def test_a_census_is_published_and_read_again(
    bucket: Any,
    bench: Bench,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def said(*arguments: str, code: int = 0) -> str:
        assert main([*arguments, *OPTIONS]) == code
        captured = capsys.readouterr()
        assert (captured.out if code else captured.err) == ""
        return captured.err if code else captured.out

    for _ in range(2):
        ended = run("collect", *OPTIONS, *REGIONS)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    older, newer = (json.loads(each)["snapshot_id"] for each in said("snapshots", "--json").splitlines())
    assert json.loads(bucket.Object("nightly/latest.json").get()["Body"].read()) == {"snapshot_id": newer}

    monkeypatch.setattr("tempfile.tempdir", str(bench.folder))
    shown = json.loads(said("show", "--json"))
    assert shown["path"] == f"{DEST}/{newer}"
    assert shown["manifest"]["snapshot_id"] == newer
    assert older in said("show", "latest~1")
    pools = said("show", f"{DEST}/{older}", "--pools", "--json")
    kept = bucket.Object(f"nightly/{older}/pools.ndjson").get()["Body"].read()
    assert sorted(pools.encode().splitlines()) == sorted(kept.splitlines())
    assert said("verify", older, f"{DEST}/{newer}/") == ""
    statistics = json.loads(said("diff", "--json"))
    assert (statistics["a"], statistics["b"]) == (older, newer)
    assert statistics["unchanged"] == pools.count("\n") > 0
    page = said("report", "--output", "-")
    assert page.startswith("<!doctype html>")
    assert f"Since {older}" in page

    bucket.Object(f"nightly/{newer}/targets.ndjson").put(Body=b"{}\n")
    bucket.Object(f"nightly/{older}/pools.ndjson").delete()
    found = said("verify", older, newer, "latest~2", code=1)
    assert f"{older}: pools.ndjson: is missing" in found
    assert f"{older}/pools.ndjson is missing" in said("diff", older, older, code=1)
    assert f"{newer}: targets.ndjson: its sha256 is not the manifest's" in found
    assert "latest~2: No snapshot latest~2 in s3://census/nightly" in found
    assert "poolcensus: No snapshot latest~2 in s3://census/nightly" in said("show", "latest~2", code=1)
    assert "s3://BUCKET/PREFIX/ID" in said("show", "s3://census/x", code=1)
    assert list(bench.folder.iterdir()) == []


def test_a_lock_that_is_held_ends_with_11(bucket: Any, simulator: Served, run: Run) -> None:
    lock = {"host": "other-host", "pid": 7, "started_at": "2026-11-23T02:00:00Z", "lease_seconds": 120}
    bucket.Object("nightly/.lock").put(Body=json.dumps(lock).encode())
    ended = run("collect", *OPTIONS, *REGIONS, **simulator.environment)
    assert_one_sentence(
        ended, 11, DEST, "2026-11-23T02:00:00Z", "other-host", f"run 'poolcensus unlock --dest {DEST}'"
    )
    assert keys(bucket) == {"nightly/.lock"}
    assert "workspaces.DescribeWorkspacesPools" not in simulator.calls


def test_a_bucket_that_is_missing_ends_with_1(simulator: Served, run: Run) -> None:
    # What reads, reads by one way.
    for command in ("collect", "show"):
        ended = run(command, "--dest", "s3://nowhere/x", **simulator.environment)
        assert_one_sentence(ended, 1, "s3://nowhere: there is no bucket nowhere", "create it")
    assert "workspaces.DescribeWorkspacesPools" not in simulator.calls


def test_a_bucket_of_another_account_ends_with_1(bucket: Any, simulator: Served, run: Run) -> None:
    environment = {**simulator.environment, "POOLCENSUS_S3_BUCKET_OWNER": "000000000009"}
    ended = run("collect", *OPTIONS, *REGIONS, **environment)
    assert_one_sentence(ended, 1, "access is denied", "account 000000000009")
    assert keys(bucket) == set()


def test_a_wrong_destination_ends_with_2_and_without_a_call(simulator: Served, run: Run) -> None:
    for command in ("collect", "snapshots"):
        ended = run(command, "--dest", "s3://Census/x", **simulator.environment)
        assert_one_sentence(ended, 2, "--dest", "s3://BUCKET/PREFIX")
    assert simulator.calls == {}


def test_a_run_that_is_terminated_leaves_nothing(bucket: Any, serve: Any, bench: Bench) -> None:
    slow = serve("--accounts=3", "--regions=us-east-1", "--fault=hang")
    # The census hangs at one simulator, the bucket is at the other.
    elsewhere = {"AWS_ENDPOINT_URL_S3": bucket.meta.client.meta.endpoint_url}
    environment = {**slow.environment, **elsewhere}
    with bench.popen("collect", *OPTIONS, "--regions", "us-east-1", **environment) as process:
        try:
            deadline = time.monotonic() + 30
            while "workspaces.DescribeWorkspacesPools" not in slow.calls and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()
            assert keys(bucket) == {"nightly/.lock"}
            process.terminate()
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (143, "", "poolcensus: terminated\n")
    assert keys(bucket) == set()


@pytest.mark.parametrize(
    ("options", "loaded"),
    [
        (["--dest", "snapshots"], False),
        # Another second of imports; that this transport is the SDK's is shown in tests/transport.
        pytest.param(["--dest", "snapshots", "--transport", "sdk"], True, marks=pytest.mark.long),
        (["--dest", DEST], True),
    ],
)
def test_only_a_destination_on_s3_and_the_sdks_transport_load_the_asynchronous_sdk(
    bucket: Any, simulator: Served, bench: Bench, options: list[str], loaded: bool
) -> None:
    script = (
        "import sys; from poolcensus.cli import main; code = main(sys.argv[1:]);"
        "found = {'aioboto3', 'aiobotocore', 'aiohttp', 'boto3'} & sys.modules.keys();"
        "print(bool(found)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "collect", *options, *REGIONS],
        cwd=bench.folder,
        env={**bench.environment, **simulator.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{loaded}\n", "")


def test_pools_of_accounts_that_are_closed_are_told_of_by_the_snapshot_in_the_bucket(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second call of the target is refused: that of the second run.
    served = serve(
        "--accounts=3", "--regions=us-east-1", "--pools-per-target=1", "--fault=not-entitled,every=2"
    )
    with made_bucket(served, monkeypatch):
        arguments = ("collect", "--regions", "us-east-1", "--dest", "s3://census/nightly")
        assert run(*arguments, **served.environment).err == ""
        ended = run(*arguments, **served.environment)
    assert ended.code == 0
    assert "closed now to 3 accounts in which an earlier snapshot saw 3 pools" in ended.err


def test_a_lock_is_removed_by_hand(bucket: Any, simulator: Served, run: Run) -> None:
    lock = {"host": "other-host", "pid": 7, "started_at": "2026-11-23T02:00:00Z", "lease_seconds": 120}
    bucket.Object("nightly/.lock").put(Body=json.dumps(lock).encode())
    for said in (
        f'Removed the lock of destination "{DEST}" (started 2026-11-23T02:00:00Z, host other-host, PID 7).\n',
        f'Destination "{DEST}" is not locked.\n',
    ):
        ended = run("unlock", *OPTIONS, **simulator.environment)
        assert (ended.code, ended.out, ended.err) == (0, said, "")
    assert keys(bucket) == set()
    assert_one_sentence(
        run("unlock", "--dest", "s3://nowhere", **simulator.environment), 1, "no bucket nowhere"
    )

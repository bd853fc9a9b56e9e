"""The program as a process: what it says, how it exits and what it leaves, when something is wrong."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from faults.conftest import assert_one_sentence
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify
from snapshot.making import folder_of

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Bench, Run, Serve, Served

REGIONS = "us-east-1,eu-west-1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--page-size", "26"), ("--page-size", "26", "1 to 25")),
        (("--pool-id", "wspool-UPPERCASE"), ("--pool-id", "wspool-UPPERCASE")),
        (("--filter", "Name:EQUALS:a"), ("--filter", "PoolName")),
        (("--filter", "PoolName:LIKE:a"), ("--filter", "LIKE")),
        (("--regions", "eu-wset-1"), ("eu-wset-1", "eu-west-1")),
        (("--accounts", "123"), ("--accounts", "123")),
        (("--shard", "4/3"), ("--shard", "4/3")),
        (("--max-failed", "lots"), ("--max-failed", "lots")),
        (("--profile", "nobody"), ('Profile "nobody" not found', "aws configure list-profiles")),
        (("--dest", ""), ("--dest",)),
        (("--endpoint-url", "not a url"), ("--endpoint-url",)),
        (("--config", "missing.toml"), ("missing.toml",)),
        (("--json", "--dest", "-"), ("--json", "standard output")),
        (("--ou", "everything"), ("--ou", "everything")),
        (("--account-tag", "env"), ("--account-tag",)),
        (("--accounts", "000000000002", "--exclude-accounts", "000000000002"), ("000000000002",)),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_called(
    simulator: Served, run: Run, bench: Bench, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_sentence(run("collect", *arguments, **simulator.environment), 2, *words)
    assert simulator.calls == {}
    assert _published(bench.folder / "snapshots") == []


def test_a_wrong_option_names_the_right_one(simulator: Served, run: Run) -> None:
    ended = run("collect", "--concurency", "3", **simulator.environment)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    assert "--concurrency" in ended.err
    assert all(line.startswith("poolcensus: ") for line in ended.err.splitlines())
    assert simulator.calls == {}


def test_a_misspelt_key_in_the_file_names_the_right_one(simulator: Served, run: Run) -> None:
    ended = run("collect", config="concurency = 3\n", **simulator.environment)
    assert_one_sentence(ended, 2, "poolcensus.toml", "concurency", "concurrency")
    assert simulator.calls == {}


def test_a_misspelt_key_in_the_environment_names_the_right_one(simulator: Served, run: Run) -> None:
    ended = run("collect", POOLCENSUS_ROLENAME="x", **simulator.environment)
    assert_one_sentence(ended, 2, "POOLCENSUS_ROLENAME", "role_name".upper())
    assert simulator.calls == {}


def test_a_file_that_is_no_toml_says_where(simulator: Served, run: Run) -> None:
    ended = run("collect", config='regions = ["us-east-1"\nstrict = true\n', **simulator.environment)
    assert_one_sentence(ended, 2, "poolcensus.toml", "line 2")
    assert simulator.calls == {}


def test_a_file_of_accounts_that_is_missing_leaves_no_trace(
    simulator: Served, run: Run, bench: Bench
) -> None:
    ended = run("collect", "--accounts-from", "missing.csv", **simulator.environment)
    assert_one_sentence(ended, 2, "missing.csv")
    assert simulator.calls == {}
    assert list(bench.folder.iterdir()) == []


def test_a_destination_that_cannot_be_written_makes_no_call(
    simulator: Served, run: Run, bench: Bench
) -> None:
    (bench.folder / "file").write_text("in the way")
    for dest in ("file", "file/snapshots", "/proc/snapshots"):
        ended = run("collect", "--dest", dest, "--regions", REGIONS, **simulator.environment)
        assert_one_sentence(ended, 1, dest)
    assert simulator.calls == {}


def test_no_credentials(simulator: Served, run: Run) -> None:
    ended = run("collect", "--regions", REGIONS, AWS_ENDPOINT_URL=simulator.endpoint_url)
    assert_one_sentence(ended, 1, "credentials", "--profile")
    assert simulator.calls == {}


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(simulator: Served, run: Run, bench: Bench, wrong: str) -> None:
    environment = {**simulator.environment, wrong: "AKIAWRONGWRONGWRONG1"}
    ended = run("collect", "--regions", REGIONS, **environment)
    assert_one_sentence(ended, 1, "does not accept the caller's credentials")
    assert simulator.calls == {"sts.GetCallerIdentity": 1}
    assert _published(bench.folder / "snapshots") == []


def test_credentials_of_another_partition_need_a_region(simulator: Served, run: Run) -> None:
    environment = {**simulator.environment, "AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWRONG1"}
    sentence = (
        "No region is configured, so STS in us-east-1 was asked: for credentials of another partition, such"
        " as GovCloud, set AWS_REGION."
    )
    assert_one_sentence(run("collect", **environment), 1, sentence)
    for name in ("AWS_REGION", "POOLCENSUS_STS_REGION"):
        ended = run("collect", **environment, **{name: "us-east-1"})
        assert_one_sentence(ended, 1, "does not accept the caller's credentials")
        assert "AWS_REGION" not in ended.err


def test_no_network(simulator: Served, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolcensus.aws.credentials.patience.PATIENCE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environment = {**simulator.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    assert_one_sentence(run("collect", **environment), 1, "can't be reached", "network")


def test_a_host_that_does_not_exist(simulator: Served, run: Run) -> None:
    environment = {**simulator.environment, "AWS_ENDPOINT_URL": "http://no-such-host.invalid"}
    assert_one_sentence(run("collect", **environment), 1, "can't be reached", "no-such-host.invalid")


def test_no_organization_names_the_way_without_one(serve: Serve, run: Run, bench: Bench) -> None:
    served = serve("--accounts=1", "--regions=us-east-1", "--no-organization", "--pools-per-target=3")
    assert_one_sentence(run("collect", **served.environment), 1, "Organization", "--accounts-from to self")
    assert _published(bench.folder / "snapshots") == []
    ended = run("collect", "--accounts-from", "self", "--regions", "us-east-1", **served.environment)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    snapshot = Snapshot.open("latest", dest=bench.folder / "snapshots")
    assert snapshot.manifest.totals.pools == 3


def test_an_account_that_is_not_in_the_organization_is_named(
    simulator: Served, run: Run, bench: Bench
) -> None:
    ended = run(
        "collect", "--accounts", "000000000002,999999999999", "--regions", REGIONS, **simulator.environment
    )
    assert_one_sentence(ended, 1, "999999999999", "--accounts")
    assert "000000000002" not in ended.err
    assert _published(bench.folder / "snapshots") == []


def test_a_run_without_trouble_says_nothing(simulator: Served, run_alone: Run, bench: Bench) -> None:
    ended = run_alone("collect", "--regions", REGIONS, "--concurrency", "8", **simulator.environment)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    snapshot = Snapshot.open("latest", dest=bench.folder / "snapshots")
    assert not verify(snapshot)
    truth = simulator.truth
    assert snapshot.manifest.totals.targets == len(truth) == 26
    assert snapshot.manifest.totals.pools == sum(len(each["pools"]) for each in truth)


def test_standard_output_carries_the_records_and_nothing_else(
    simulator: Served, run_alone: Run, bench: Bench
) -> None:
    ended = run_alone("collect", "--regions", REGIONS, "--dest", "-", **simulator.environment)
    assert (ended.code, ended.err) == (0, "")
    records = [json.loads(line) for line in ended.out.splitlines()]
    found = {(each["account_id"], each["region"], each["pool"]["PoolId"]) for each in records}
    truth = {
        (each["account_id"], each["region"], pool["PoolId"])
        for each in simulator.truth
        for pool in each["pools"]
    }
    assert found == truth
    assert len(records) == len(truth) > 20
    assert list(bench.folder.iterdir()) == []


def test_a_pool_of_a_target_that_fails_is_not_on_standard_output_either(serve: Serve, run: Run) -> None:
    served = serve(
        "--accounts=2",
        "--regions=us-east-1",
        "--pools-per-target=30",
        "--fault=html,account=000000000002,page=2",
    )
    ended = run(
        "collect", "--regions", "us-east-1", "--dest", "-", config="max_attempts = 2\n", **served.environment
    )
    assert ended.code == 3
    assert {json.loads(line)["account_id"] for line in ended.out.splitlines()} == {"000000000001"}
    assert "000000000002" in ended.err


def test_json_on_standard_output_is_the_manifest(simulator: Served, run: Run, bench: Bench) -> None:
    ended = run("collect", "--regions", REGIONS, "--json", **simulator.environment)
    assert (ended.code, ended.err) == (0, "")
    snapshot = Snapshot.open("latest", dest=bench.folder / "snapshots")
    assert json.loads(ended.out) == json.loads((folder_of(snapshot) / "manifest.json").read_text())


def test_trouble_is_a_few_lines_that_name_the_accounts(serve: Serve, run: Run, bench: Bench) -> None:
    served = serve("--accounts=11", "--regions=us-east-1", "--no-role=0.1", "--scp-denied=0.3")
    ended = run("collect", "--regions", "us-east-1", **served.environment)
    assert (ended.code, ended.out) == (3, "")
    lines = ended.err.splitlines()
    assert len(lines) == 3
    refused = {each["account_id"] for each in served.truth if each["outcome"] == "scp_denied"}
    assert len(refused) == 3
    assert all(account in lines[0] for account in refused)
    assert "7 of 11" in lines[2]
    for options, published in (
        (("--strict",), False),
        (("--max-failed", "36%"), False),
        (("--max-failed", "37%"), True),
    ):
        dest = bench.folder / "-".join(options).replace("%", "p")
        ended = run("collect", "--regions", "us-east-1", "--dest", dest, *options, **served.environment)
        assert ended.code == (3 if published else 4)
        assert bool(_published(dest)) is published, options
        assert any(account in ended.err for account in refused)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_publishes_nothing_and_leaves_no_draft(
    serve: Serve, bench: Bench, number: signal.Signals, code: int
) -> None:
    served = serve("--accounts=60", "--regions=us-east-1", "--latency=150", "--pools-per-target=600")
    with bench.popen(
        "collect", "--regions", "us-east-1", "--concurrency", "2", **served.environment
    ) as process:
        while process.poll() is None and served.calls.get("workspaces.DescribeWorkspacesPools", 0) < 4:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert len(err.splitlines()) == 1
    assert _published(bench.folder / "snapshots") == []
    left = [each.name for each in (bench.folder / "snapshots").rglob("*.ndjson*")]
    assert left == []


def _published(dest: Path) -> list[str]:
    return sorted(each.parent.name for each in dest.glob("*/manifest.json"))


@pytest.mark.parametrize("command", [("collect",), ("plan",), ("doctor",), ("prune", "--keep-last=1")])
def test_a_machine_without_threads_is_one_sentence(
    simulator: Served, bench: Bench, command: tuple[str, ...]
) -> None:
    sabotage = bench.sabotage(
        "import threading\n"
        "def fail(thread):\n"
        '    raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = fail\n"
    )
    (bench.folder / "snapshots").mkdir()
    ended = bench.run(*command, **simulator.environment, **sabotage)
    assert_one_sentence(ended, 1, "start no more threads", "ulimit -u")

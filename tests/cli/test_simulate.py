from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from poolcensus.cli import main, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "poolcensus", "simulate", "--json", "--accounts=5", "--fault=throttle:0.5"]


@contextmanager
def simulator(*more: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    with subprocess.Popen([*COMMAND, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_it_says_where_it_is_serves_and_ends_when_told() -> None:
    with simulator() as (process, said):
        assert said.keys() == {"endpoint_url", "access_key_id", "secret_access_key"}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(said["endpoint_url"], data=b"{}", timeout=10)
        refused.value.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_it_ends_with_whoever_holds_its_standard_input() -> None:
    with simulator("--until-eof") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "nonsense"],
        ["--fault", "denied,policy=acl"],
        ["--fault", "reset,until=0"],
        ["--latency", "gauss:1"],
        ["--unsupported-regions", "sa-east-1", "--neutral-regions", "eu-west-1,sa-east-1"],
    ],
)
def test_what_no_simulator_can_be_is_wrong_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 2
    assert capsys.readouterr().err.startswith("poolcensus: ")


def test_no_host_is_not_every_interface(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--host="]) == 2
    assert capsys.readouterr().err.startswith("poolcensus: --host needs an address, such as 127.0.0.1\n")


def test_where_it_can_not_listen_is_one_sentence_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert main(["simulate", f"--port={port}"]) == 1
    assert capsys.readouterr().err == (
        f"poolcensus: Port {port} of 127.0.0.1 is in use. End the program that listens there, or choose"
        " another one with --port; 0 is any free one.\n"
    )
    # An address of nobody: https://datatracker.ietf.org/doc/html/rfc5737
    assert main(["simulate", "--host=192.0.2.1", f"--port={port}"]) == 1
    why = os.strerror(errno.EADDRNOTAVAIL)
    assert capsys.readouterr().err == (
        f"poolcensus: Can't listen on port {port} of 192.0.2.1: {why}. Check --host and --port.\n"
    )


def test_an_address_of_another_machine_is_called_that_where_the_loop_gives_no_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("could not bind on any address out of [('192.0.2.1', 4566)]")

    monkeypatch.setattr(simulate, "serve", refuse)
    assert main(["simulate", "--host=192.0.2.1", "--port=4566"]) == 1
    why = os.strerror(errno.EADDRNOTAVAIL)
    assert capsys.readouterr().err == (
        f"poolcensus: Can't listen on port 4566 of 192.0.2.1: {why}. Check --host and --port.\n"
    )


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--port", "-1 65536"),
        ("--latency", "-5 nan inf exponential:nan uniform:0-inf 1e30"),
        ("--slow-fraction", "-0.1 1.1 nan"),
        ("--slow-factor", "0 -2 nan inf 1e30"),
        ("--clock-offset", "nan inf -inf 1e30"),
        ("--session-seconds", "-1 nan inf 1e30"),
        ("--role-max-session", "3599 43201"),
        ("--signature-window", "-1 nan inf 1e30"),
        ("--rate", "0 -1 nan inf 1e30"),
        ("--region-rate", "0 nan"),
        ("--sts-rate", "0 nan"),
        ("--burst", "0.5 -1 nan inf 1e30"),
        ("--mean-pools", "-1 nan inf 1e30"),
        ("--pools-per-target", "-1 1048577"),
        ("--cache-bytes", f"-1 {10**30}"),
        ("--organizations-concurrency", "0 -1"),
        ("--accounts", f"0 {10**30}"),
        ("--seed", f"{10**64} -{10**21}"),
        ("--ous", "-1 2001"),
        ("--page-size", "0 26"),
        ("--suspended", "2 -0.5 nan"),
        ("--not-entitled", "2"),
        (
            "--fault",
            "drip,seconds=-1 drip,seconds=nan drip,seconds=inf huge,size=-1 huge,size=99999999999999",
        ),
        ("--fault", "throttle,page=1,page=2 throttle,service=nosuch throttle:1,probability=1"),
        ("--partition", "x aws-iso"),
        ("--regions", "foo us-east-1,eu-west us-east-1,us-east-1"),
        ("--role-name", "; a;b /é"),
        ("--external-id", f"x é {'x' * 1225}"),
        ("--unsupported-regions", "mars-1 us-east-1,us-est-1 us-gov-west-1"),
        ("--neutral-regions", "mars-1"),
        ("--sts-off", "mars-1"),
        ("--slow-account", "1 000000000101 000000000000"),
        ("--caller", "root"),
        ("--states", "state"),
        ("--hub-roles", "foo arn:aws:iam::000000000101:role/Hub arn:aws-cn:iam::000000000001:role/Hub"),
        ("--fault", "throttle:1,region=us-est-1 denied,account=3 hang,role-account=000000000101"),
        ("--fault", "throttle,retry_after=-1 reset,after=nan reset,until=nan reset,page=0 throttle:nan"),
    ],
)
def test_a_value_that_can_not_be_is_wrong_usage_and_names_its_option(
    option: str, values: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values.split():
        assert main(["simulate", f"{option}={value}"]) == 2
        first, hint, *more = capsys.readouterr().err.splitlines()
        assert first.startswith(f"poolcensus: {option}")
        assert hint == "poolcensus: see 'poolcensus simulate --help'"
        assert not more


@pytest.mark.parametrize("option", ["--caller-policy", "--member-policy", "--boundary", "--scp"])
def test_only_a_policy_of_an_identity_names_no_principal(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trust-policy.json"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert main(["simulate", f"--trust-policy={file}", f"{option}={file}"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        f'poolcensus: {option}: "{file}" is not a policy that can be used:'
        " an identity-based, session or service control policy must not name a principal"
    )


def test_who_never_had_pools_and_where_there_are_none_are_options() -> None:
    with simulator("--not-entitled=0.5", "--neutral-regions=sa-east-1, eu-west-1") as (_, said):
        with urllib.request.urlopen(f"{said['endpoint_url']}/_simulator/truth", timeout=10) as reply:
            truth = [json.loads(line) for line in reply]
    neutral = {"sa-east-1", "eu-west-1"}
    without = {each["region"] for each in truth if each["outcome"] == "region_unsupported"}
    assert without == neutral
    closed = [each for each in truth if each["outcome"] == "not_entitled"]
    assert len({each["account_id"] for each in closed}) == 2
    assert {each["region"] for each in closed} == {each["region"] for each in truth} - neutral


@pytest.mark.parametrize(("partition", "region"), [("aws", "us-east-1"), ("aws-us-gov", "us-gov-west-1")])
def test_its_text_is_for_a_shell(partition: str, region: str) -> None:
    command = [*(each for each in COMMAND if each != "--json"), "--accounts=1", f"--partition={partition}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            *lines, last = [process.stdout.readline() for _ in range(6)]
        finally:
            process.kill()
    assert [line.partition("=")[0] for line in lines] == [
        "export AWS_ENDPOINT_URL",
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_REGION",
        "export AWS_DEFAULT_REGION",
    ]
    assert {line.partition("=")[2] for line in lines[3:]} == {f"{region}\n"}
    assert last == "# 1 account; Ctrl-C ends it\n"


def test_the_demos_simulator_dies_with_a_demo_that_is_killed() -> None:
    script = (
        "import time; from poolcensus.cli.demo import simulator_process\n"
        "with simulator_process(): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        (child,) = psutil.Process(process.pid).children()
        process.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.05)
    pytest.fail("the simulator is still there")

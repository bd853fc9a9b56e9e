"""An unmodified AWS CLI, pointed at the simulator by AWS_ENDPOINT_URL, sees the simulator's truth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def aws(tmp_path: Path) -> Callable[..., Any]:
    """Runs the AWS CLI and returns what it says as JSON, or as text where it is not."""
    program = shutil.which("aws")
    if program is None:
        pytest.skip("there is no aws on PATH")
    environment = {
        **os.environ,
        "AWS_PAGER": "",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_DEFAULT_OUTPUT": "json",
    }

    def run(*arguments: str, **more: str) -> Any:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**environment, **more},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    if subprocess.run([program, "--version"], capture_output=True, check=False, cwd=tmp_path).returncode:
        pytest.skip("the aws on PATH does not run")
    return run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A simulator in a process of its own, which the environment points at."""
    options = ("--accounts=45", "--regions=us-east-1,eu-west-1", "--pools-per-target=30", "--until-eof")
    with subprocess.Popen(
        [sys.executable, "-m", "poolcensus", "simulate", "--json", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        said = json.loads(process.stdout.readline())
        monkeypatch.setenv("AWS_ENDPOINT_URL", said["endpoint_url"])
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", said["access_key_id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", said["secret_access_key"])
        yield said["endpoint_url"]
        process.stdin.close()


def test_the_cli_lists_assumes_and_reads_what_the_simulator_says(
    served: str, aws: Callable[..., Any], tmp_path: Path
) -> None:
    from urllib.request import ProxyHandler, build_opener

    with build_opener(ProxyHandler({})).open(f"{served}/_simulator/truth", timeout=10) as reply:
        truth = [json.loads(line) for line in reply]
    accounts = aws("organizations", "list-accounts")["Accounts"]
    assert {each["Id"]: each["Name"] for each in accounts} == {
        each["account_id"]: each["account_name"] for each in truth
    }
    assert len(accounts) == 45
    role = "arn:aws:iam::000000000002:role/PoolCensusReader"
    found = aws("sts", "assume-role", "--role-arn", role, "--role-session-name", "oracle")["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
    }
    pools: list[str] = []
    token: tuple[str, ...] = ()
    while True:
        page = aws("workspaces", "describe-workspaces-pools", "--region", "eu-west-1", *token, **keys)
        pools += [each["PoolId"] for each in page["WorkspacesPools"]]
        if "NextToken" not in page:
            break
        token = ("--next-token", page["NextToken"])
    (there,) = [
        each for each in truth if (each["account_id"], each["region"]) == ("000000000002", "eu-west-1")
    ]
    assert pools == [each["PoolId"] for each in there["pools"]]
    # The second page has five.
    assert len(pools) == 30


# Four starts of a second each. In the default run boto3 does the same, in tests/simulator.
@pytest.mark.long
def test_the_cli_stores_and_lists_objects(served: str, aws: Callable[..., Any], tmp_path: Path) -> None:
    # Two parts of the smallest size that S3 takes: the CLI's checksum takes the simulator seconds.
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(
        "[default]\ns3 =\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n"
    )
    content = os.urandom((5 << 20) + 1000)
    (tmp_path / "sent").write_bytes(content)
    aws("s3", "mb", "s3://oracle")
    aws("s3", "cp", "sent", "s3://oracle/a/b", "--no-progress")
    assert str(aws("s3", "ls", "s3://oracle/a/")).split()[-2:] == [f"{len(content)}", "b"]
    aws("s3", "cp", "s3://oracle/a/b", "back", "--no-progress")
    assert (tmp_path / "back").read_bytes() == content

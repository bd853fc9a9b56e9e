"""The program as a process, where the caller's credentials can't be had, sent or kept."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from census_lab import result_of
from faults.conftest import assert_one_sentence
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from faults.conftest import Bench, Run, Served, Start

REGIONS = "us-east-1,eu-west-1"
EXPIRED = '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2020-01-01T00:00:00Z"}'
NO_PASSWD = """
import pwd
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
"""


def configure(bench: Bench, text: str) -> None:
    Path(bench.environment["AWS_CONFIG_FILE"]).write_text(text)


def program(folder: Path, printed: str, later: str) -> Path:
    """A credential_process that prints one thing once, and another from then on."""
    (folder / "printed").write_text(printed)
    (folder / "later").write_text(later)
    script = folder / "program"
    script.write_text(f"#!/bin/sh\ncd {folder} && cat printed && cp later printed\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "credential_process 'false' exited with status 1."),
        ("", "credential_process is empty."),
        ("echo []", "credential_process 'echo' did not print a JSON object."),
        (
            f"echo '{EXPIRED}'",
            "credential_process 'echo' gave credentials that have expired.",
        ),
    ],
)
def test_a_credential_process_that_fails(
    simulator: Served, run: Run, bench: Bench, command: str, why: str
) -> None:
    configure(bench, f"[profile cp]\ncredential_process = {command}\n")
    ended = run("collect", "--profile", "cp", AWS_ENDPOINT_URL=simulator.endpoint_url)
    assert_one_sentence(ended, 1, f"Could not get credentials for profile cp: {why}")
    assert simulator.calls == {}


def test_an_mfa_code_without_a_terminal_is_no_interruption(simulator: Served, bench: Bench) -> None:
    configure(
        bench,
        "[profile m]\nrole_arn = arn:aws:iam::000000000001:role/a\nsource_profile = m\nmfa_serial = b\n"
        "aws_access_key_id = AKIA1\naws_secret_access_key = s\n",
    )
    ended = subprocess.run(
        [sys.executable, "-m", "poolcensus", "collect", "--profile", "m"],
        cwd=bench.folder,
        env={**bench.environment, "AWS_ENDPOINT_URL": simulator.endpoint_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        # Without the terminal of whoever runs the tests.
        start_new_session=True,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(
        "poolcensus: Could not get credentials for profile m: its role needs an MFA"
    )
    assert len(ended.stderr.splitlines()) == 1
    assert simulator.calls == {}


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("AWS_SESSION_TOKEN", "unfit\r\nx-evil: 1", 1),
        ("AWS_ACCESS_KEY_ID", "unfit\n", 1),
        ("AWS_SECRET_ACCESS_KEY", "unfit\n", 1),
        ("AWS_SESSION_TOKEN", "unfit\u00e9", 1),
        ("AWS_REGION", "unfit\n", 2),
        ("AWS_ENDPOINT_URL", "http://unfit/\r\nx-evil: 1", 2),
        ("HTTP_PROXY", "http://unfit\r\nx-evil: 1:p@127.0.0.1:9", 2),
        ("HTTP_PROXY", "http://unfit%0d%0ax-evil:p@127.0.0.1:9", 2),
    ],
)
def test_what_fits_in_no_header_is_refused_before_anything_is_sent(
    simulator: Served, run: Run, variable: str, value: str, code: int
) -> None:
    ended = run("collect", "--regions", REGIONS, **{**simulator.environment, variable: value})
    assert_one_sentence(ended, code)
    assert "unfit" not in ended.err
    assert simulator.calls == {}


@pytest.mark.parametrize(
    "arguments", [("collect", "--regions", REGIONS), ("plan",), ("snapshots", "--dest", "s3://bucket/prefix")]
)
def test_a_socks_proxy_is_refused_before_anything_is_sent(
    simulator: Served, run: Run, arguments: tuple[str, ...]
) -> None:
    socks = {"HTTP_PROXY": "socks5h://127.0.0.1:9"}
    ended = run(*arguments, **simulator.environment, **socks)
    assert_one_sentence(ended, 2, "HTTP_PROXY names a SOCKS proxy", "NO_PROXY")
    assert simulator.calls == {}


@pytest.mark.parametrize("arguments", [("collect",), ("snapshots", "--dest", "s3://bucket/prefix")])
def test_the_chain_sends_nothing_through_a_socks_proxy(
    simulator: Served, run: Run, bench: Bench, arguments: tuple[str, ...]
) -> None:
    configure(
        bench,
        "[profile r]\nrole_arn = arn:aws:iam::000000000001:role/a\nsource_profile = r\n"
        "aws_access_key_id = AKIA1\naws_secret_access_key = s\n",
    )
    environment = {"AWS_ENDPOINT_URL": simulator.endpoint_url, "HTTP_PROXY": "socks5://127.0.0.1:9"}
    ended = run(*arguments, "--profile", "r", **environment)
    assert_one_sentence(ended, 2, "HTTP_PROXY names a SOCKS proxy")
    assert simulator.calls == {}


def test_a_socks_proxy_that_no_call_goes_through_is_no_trouble(simulator: Served, run: Run) -> None:
    proxies = {"HTTP_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "HTTPS_PROXY": "socks5://x:9"}
    ended = run("collect", "--regions", REGIONS, **simulator.environment, **proxies)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_custom_model_is_told_before_anything_is_called(simulator: Served, run: Run, bench: Bench) -> None:
    folder = bench.folder / "models" / "workspaces" / "2099-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text("{}")
    ended = run("collect", **simulator.environment, AWS_DATA_PATH=str(bench.folder / "models"))
    assert_one_sentence(ended, 2, "service model", str(folder.parent))
    assert simulator.calls == {}


@pytest.mark.parametrize("section", ["s3 = none", "api_versions = 1", "region =\n  a = b", "retry_mode = 7"])
def test_sections_that_s3_can_do_nothing_with(
    run: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    # Nothing listens there: it is tried again in vain.
    monkeypatch.setattr("poolcensus.storage.s3.http._ATTEMPTS", 1)
    configure(bench, f"[default]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n{section}\n")
    ended = run("snapshots", "--dest", "s3://bucket/prefix", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    if section.startswith("retry_mode"):
        # The project's own replaces it.
        assert_one_sentence(ended, 1, "can't be reached")
    else:
        assert_one_sentence(ended, 2, "AWS config")


def test_a_user_without_a_home_and_a_name(simulator: Served, run_alone: Run, bench: Bench) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        bench.environment.pop(name)
    environment = {**simulator.environment, **bench.sabotage(NO_PASSWD)}
    ended = run_alone("collect", "--regions", REGIONS, **environment)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    ended = run_alone("collect", "--config", "~/some.toml", **environment)
    assert_one_sentence(ended, 2, "~/some.toml", "home folder")


def test_a_bundle_is_found_as_the_sdk_finds_it(simulator: Served, run: Run) -> None:
    environment = {**simulator.environment, "AWS_ENDPOINT_URL": "https://127.0.0.1:9"}
    ended = run("collect", **environment, REQUESTS_CA_BUNDLE="/no/such.pem")
    assert_one_sentence(ended, 2, "CA bundle /no/such.pem", "REQUESTS_CA_BUNDLE")


@pytest.mark.parametrize("after", ["[]", "", '{"Version": 2}', "expired"])
async def test_a_process_that_gives_no_more_in_mid_run_is_expired_for_what_it_hits(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setattr("poolcensus.aws.credentials.chain_credentials._WAITS_FOR_THE_CHAIN", ())
    here = await lab(
        accounts=2,
        pools_per_target=1,
        regions=("us-east-1",),
        faults=("expired,service=workspaces,account=000000000001",),
    )
    keys: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": here.simulator.access_key_id,
        "SecretAccessKey": here.simulator.secret_access_key,
    }
    ended = {**keys, "Expiration": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    later = json.dumps(ended) if after == "expired" else after
    config = tmp_path / "config"
    config.write_text(f"[profile cp]\ncredential_process = {program(tmp_path, json.dumps(keys), later)}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    snapshot = await here.collect(profile="cp")
    hit = result_of(snapshot, "000000000001", "us-east-1")
    assert hit.outcome is Outcome.EXPIRED
    assert "Could not get credentials for profile cp: credential_process" in (hit.error_message or "")
    # It depends on whether its role was assumed before.
    assert result_of(snapshot, "000000000002", "us-east-1").outcome in {Outcome.OK, Outcome.EXPIRED}

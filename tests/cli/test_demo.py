from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from poolcensus.cli import main
from poolcensus.cli.demo import _program, own_folder
from poolcensus.model import Outcome
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from pathlib import Path


def test_the_demo_needs_nothing_and_shows_everything(tmp_path: Path) -> None:
    elsewhere = {
        "POOLCENSUS_REGIONS": "nonsense",
        "AWS_PROFILE": "of-somebody",
        "AWS_ENDPOINT_URL_WORKSPACES": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    dest = tmp_path / "made"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "poolcensus", "demo", "--dest", str(dest)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | elsewhere,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 30
    for expected in ("Accounts", "wspool-", "Denied by a service control policy", "Try next"):
        assert expected in done.stdout
    _, _, following = done.stdout.partition("Try next:\n")
    for line in following.splitlines():
        assert subprocess.run(shlex.split(line), capture_output=True, check=False).returncode == 0, line
    snapshot = Snapshot.open("latest", dest=dest)
    assert verify(snapshot) == ()
    assert snapshot.manifest.totals.pools > 100
    assert snapshot.manifest.totals.throttles > 0
    closed = {
        each.account_id
        for each in snapshot.targets()
        if "no longer available to new customers" in (each.error_message or "")
    }
    assert len(closed) == 20
    assert snapshot.manifest.outcomes[Outcome.NOT_ENTITLED] == 20 * 17


@pytest.mark.parametrize("dest", ["-", "s3://bucket/prefix"])
def test_the_demo_has_to_keep_what_it_shows(dest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--dest", dest]) == 2
    assert "must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "taken", ["nothing", "own", "writable by others", "a link", "a file", "of somebody else"]
)
def test_the_demo_s_folder_is_its_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"poolcensus-demo-{os.getuid()}"
    match taken:
        case "own":
            usual.mkdir(mode=0o700)
        case "writable by others":
            usual.mkdir()
            usual.chmod(0o777)
        case "a link":
            (tmp_path / "elsewhere").mkdir()
            usual.symlink_to(tmp_path / "elsewhere")
        case "a file":
            usual.touch()
        case "of somebody else":
            usual.mkdir(mode=0o700)
            other = os.getuid() + 1
            monkeypatch.setattr(os, "getuid", lambda: other)
            usual.rename(tmp_path / f"poolcensus-demo-{os.getuid()}")
    folder = own_folder()
    assert (folder.name == usual.name) == (taken in {"nothing", "own"})
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert folder.stat().st_mode & 0o077 == 0
    assert folder.parent == tmp_path


def test_the_demo_names_the_program_as_a_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my bin"
    folder.mkdir()
    program = folder / "poolcensus"
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert shlex.split(_program()) == [str(program)]
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert _program() == "poolcensus"

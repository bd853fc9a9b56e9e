"""`poolcensus report`: the file that it writes, what it says, and what it ends with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analysis.days import manifest_of, used, write_days
from analysis.two_snapshots import key, write
from poolcensus.cli import main
from poolcensus.extras import installation
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("renderer")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Two days of snapshots."""
    write_days(tmp_path / "snapshots", {key(1): [used(1, 2)]}, {key(1): [used(1, 0)], key(2): Outcome.ERROR})
    return tmp_path / "snapshots"


def run(dest: Path, *arguments: str) -> int:
    return main(["report", "--dest", str(dest), *arguments])


def test_the_page_is_private_and_takes_the_place_of_what_was_there(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "page.html"
    page.parent.mkdir()
    page.write_text("before")
    page.chmod(0o644)
    assert run(dest, "--output", str(page)) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o600
    assert [*page.parent.iterdir()] == [page]
    # Nobody looks: cron sends what is printed as a mail.
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_it_says_where_the_page_is(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.cli.report.on_terminal", lambda stream: stream is sys.stdout)
    assert run(dest, "latest~1", "--output", str(tmp_path / "page.html")) == 0
    said = capsys.readouterr()
    assert said.out == f"Report on {manifest_of(0).snapshot_id} written to {tmp_path}/page.html\n"
    assert said.err == ""


def test_a_dash_is_standard_output(dest: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(dest, "--output", "-") == 0
    said = capsysbinary.readouterr()
    assert said.out.startswith(b"<!doctype html>")
    assert said.out.rstrip().endswith(b"</html>")
    assert said.err == b""


def test_a_page_that_can_not_be_written_is_a_sentence(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dest, "--output", str(tmp_path / "no" / "page.html")) == 2
    assert f"poolcensus: --output: There is no folder {tmp_path}/no.\n" in capsys.readouterr().err
    page = tmp_path / "page.html"
    page.mkdir()
    assert run(dest, "--output", str(page)) == 2
    assert f"poolcensus: --output: {page} is a folder, not a file\n" in capsys.readouterr().err
    assert run(dest, "--output", "s3://bucket/page.html") == 2
    assert "Write it to a file" in capsys.readouterr().err


def test_without_output_it_is_wrong_usage(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(dest) == 2
    assert "Missing option '--output'" in capsys.readouterr().err
    assert run(dest, "--output", "") == 2
    assert "--output needs the name of a file" in capsys.readouterr().err


def test_a_pipe_is_written_to_as_it_stands(dest: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert run(dest, "--output", str(tmp_path / "pipe")) == 0
        assert reader.communicate()[0].startswith(b"<!doctype html>")


def test_a_page_is_written_with_standard_input_closed(dest: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "poolcensus", "report", "--dest", str(dest), "--output", str(page)]
    ended = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert page.read_text().startswith("<!doctype html>")


def test_what_can_not_be_drawn_is_a_sentence(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.analysis.report.svg.dumps", lambda spec: b"{}")
    assert run(dest, "--output", str(tmp_path / "page.html")) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"poolcensus: Could not draw a chart: .* Invalid specification {}\..*\n", said)
    assert not (tmp_path / "page.html").exists()


def test_a_limit_on_the_address_space_is_a_sentence(dest: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "poolcensus", "report", "--dest", str(dest), "--output", str(page)]
    # In KiB. macOS has no such limit.
    limited = 'ulimit -v "$0" || exit 77; exec "$@"'
    ended = subprocess.run(
        ["/bin/sh", "-c", limited, f"{8 << 20}", *command], capture_output=True, text=True, check=False
    )
    if ended.returncode == 77:
        pytest.skip("the system has no limit on the address space")
    assert ended.returncode == 1
    assert re.fullmatch(
        r"poolcensus: Could not draw the charts: .* Run 'ulimit -v unlimited' .*\n", ended.stderr
    )
    assert not page.exists()


@pytest.mark.parametrize(("module", "name"), [("jinja2", "Jinja2"), ("vl_convert", "vl-convert-python")])
def test_a_library_that_is_not_installed_is_a_sentence_before_anything_is_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert run(tmp_path / "none", "--output", str(tmp_path / "page.html")) == 1
    assert capsys.readouterr().err == (f"poolcensus: {name} is not installed. {installation('report')}\n")


def test_what_can_not_be_read_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(empty, "--output", str(page)) == 1
    assert "No snapshots in" in capsys.readouterr().err
    (snapshot,) = write_days(tmp_path / "one", {key(1): [used(1, 2)]})
    assert snapshot.path is not None
    (snapshot.path / "pools.ndjson").write_bytes(b"[]\n")
    assert run(tmp_path / "one", "--output", str(page)) == 1
    said = capsys.readouterr().err
    assert "pools.ndjson, line 1: the line is not an object; the snapshot is damaged" in said
    newer = write(tmp_path / "two", {}, replace(manifest_of(0), schema_version=2)).path
    assert newer is not None
    manifest = newer / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 99'))
    assert run(tmp_path / "two", "--output", str(page)) == 1
    assert "was written by a newer poolcensus" in capsys.readouterr().err
    assert not page.exists()


@pytest.mark.parametrize("damage", ["empty", "another number"])
def test_earlier_snapshots_that_can_not_be_read_are_named_and_the_page_is_written(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    first = manifest_of(0).snapshot_id
    file = dest / first / "pools.ndjson"
    written = file.read_bytes()
    file.write_bytes(b"" if damage == "empty" else re.sub(rb'(UserSessions":)\d', rb"\g<1>9", written))
    assert file.read_bytes() != written
    assert run(dest, "--output", str(tmp_path / "page.html")) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"poolcensus: Can't read 1 snapshot: {first}. {file}")
    assert said.endswith("; the snapshot is damaged.\n")
    assert first in (tmp_path / "page.html").read_text()

"""What is temporary is gone at the end, wherever a signal comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from poolcensus import temporary
from poolcensus.analysis.staging import Staging
from poolcensus.cli.exits import StoppedError
from poolcensus.cli.running import signals_raised

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_OURS = f"{Path(temporary.__file__).parent}{os.sep}"
_CONTEXTLIB = f"{os.sep}contextlib.py"


def signalled_at(number: int, action: Callable[[], None]) -> bool:
    """Send SIGTERM at the given step of an action: True where it has that many. A step is an instruction."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        name = frame.f_code.co_filename
        if not name.startswith(_OURS) and not name.endswith(_CONTEXTLIB):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)
        return trace

    before = sys.gettrace()
    try:
        with signals_raised():
            sys.settrace(trace)
            try:
                action()
            finally:
                sys.settrace(before)
    except StoppedError:
        return True
    return left <= 0


def stage() -> None:
    with Staging() as staging:
        (staging.folder / "folder").mkdir()
        (staging.folder / "folder" / "file").touch()


def replace(path: Path) -> None:
    with temporary.name_beside(path) as made:
        made.write_bytes(b"all of it")
        made.replace(path)


def test_wherever_a_signal_comes_nothing_is_left_when_the_process_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = 0
    for number in count(1):
        if not signalled_at(number, stage):
            break
        left += any(tmp_path.iterdir())
        temporary.remove_all()
        assert not [*tmp_path.iterdir()], number
    # Some come where no block that is left can remove it.
    assert left > 3
    assert number > 100


def test_wherever_a_signal_comes_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    found = set()
    for number in count(1):
        path.write_bytes(b"as before")
        if not signalled_at(number, lambda: replace(path)):
            break
        temporary.remove_all()
        assert [*tmp_path.iterdir()] == [path], number
        found.add(path.read_bytes())
    assert found == {b"as before", b"all of it"}


def test_a_signal_in_the_midst_of_removing_leaves_the_rest_to_the_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(StoppedError), signals_raised():
            stage()
    (folder,) = tmp_path.iterdir()
    temporary.remove_all()
    assert not folder.exists()


def test_a_name_that_nothing_can_have_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary.name_beside(tmp_path / ("n" * 255)):
        folder = temporary.make_folder()
        temporary.remove_all()
        assert not folder.exists()


def test_a_signal_counts_though_its_exception_has_become_another() -> None:
    def swallowed() -> None:
        with suppress(BaseException):
            signal.raise_signal(signal.SIGINT)

    def changed() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise OSError("closed twice")

    for each in (swallowed, changed):
        with pytest.raises(StoppedError), signals_raised():
            each()


# A signal that comes when a folder has just been made, under each of the handlers.
_SIGNALLED = """
import os, signal
import poolcensus.cli
from poolcensus import temporary
from poolcensus.__main__ import main

def mkdir(path, *arguments, make=os.mkdir):
    make(path, *arguments)
    signal.raise_signal(signal.SIGTERM)

os.mkdir = mkdir
"""


@pytest.mark.parametrize("main", ["main()", "poolcensus.cli.main = temporary.make_folder; main()"])
def test_a_command_that_is_terminated_as_it_makes_a_folder_leaves_nothing(tmp_path: Path, main: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{_SIGNALLED}{main}", "query", "SELECT 1"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "poolcensus: terminated\n")
    assert not [*tmp_path.iterdir()]

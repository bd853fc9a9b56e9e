"""Temporary files are removed at the end, whenever a signal arrives."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from descriptors import descriptors
from lost_replies import lose_replies
from poolcensus import temporary
from poolcensus.analysis.database import Database
from poolcensus.analysis.staging import Staging
from poolcensus.cli.exits import StoppedError
from poolcensus.cli.running import signals_raised

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_OURS = f"{Path(temporary.__file__).parent}{os.sep}"
_CONTEXTLIB = f"{os.sep}contextlib.py"


def signalled_at(number: int, action: Callable[[], None]) -> bool:
    """Send SIGTERM at a step of an action, and return whether it has that many. A step is an instruction."""
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


def run(program: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    imports = "import os, threading\nfrom poolcensus import temporary\nfrom poolcensus.cli import exits\n"
    return subprocess.run(
        [sys.executable, "-c", imports + dedent(program)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stage() -> None:
    with closing(Staging()) as staging:
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
    # Some signals arrive when no block that is left can remove the folder.
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


def test_a_rename_whose_reply_is_lost_has_replaced_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("before")
    lost = lose_replies(monkeypatch, "rename", "file", errno.ENOENT)
    with temporary.file_replacing(tmp_path / "file") as file:
        file.write(b"after")
    assert lost == ["file"]
    assert [each.read_text() for each in tmp_path.iterdir()] == ["after"]


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


def test_a_process_that_ends_at_once_removes_the_file_that_it_is_writing(tmp_path: Path) -> None:
    with temporary.name_beside(tmp_path / "file") as made:
        made.touch()
        temporary.remove_all()
        assert not made.exists()


def test_a_process_that_ends_at_once_does_where_it_can_have_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(threading.Thread, "start", start)
    folder = temporary.make_folder()
    temporary.remove_all()
    assert not folder.exists()


def test_what_is_temporary_is_not_a_childs_to_remove(tmp_path: Path) -> None:
    child = """
        folder = temporary.make_folder()
        if not os.fork():
            temporary.remove_all()
            os._exit(0)
        os.wait()
        print(folder.exists())
    """
    assert run(child, tmp_path).stdout == "True\n"
    assert not [*tmp_path.iterdir()]


def test_a_thread_that_hangs_at_the_end_keeps_nothing(tmp_path: Path) -> None:
    hanging = """
        exits._LAST_THREADS = 0.0
        temporary.make_folder()
        threading.Thread(target=threading.Event().wait).start()
        exits.end(3)
    """
    assert run(hanging, tmp_path).returncode == 3
    assert not [*tmp_path.iterdir()]


def test_a_database_that_can_not_be_opened_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("duckdb.connect", connect)
    with pytest.raises(MemoryError):
        Database()
    assert not [*tmp_path.iterdir()]


LONG_AGO = time.time() - 3 * 86_400


def make_old(folder: Path, name: str, since: float = LONG_AGO) -> Path:
    made = folder / name
    made.mkdir(mode=0o700)
    (made / "file").touch()
    os.utime(made, (since, since))
    return made


def test_what_a_killed_process_has_left_is_removed_by_a_later_one(tmp_path: Path) -> None:
    killed = """
        folder = temporary.make_folder()
        (folder / "folder").mkdir()
        os.utime(folder, (0, 0))
        os.kill(os.getpid(), 9)
    """
    for _ in range(2):
        assert run(killed, tmp_path).returncode == -signal.SIGKILL
        assert len([*tmp_path.iterdir()]) == 1
    assert run("temporary.make_folder()", tmp_path).returncode == 0
    assert not [*tmp_path.iterdir()]


def test_what_a_process_still_has_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = temporary.make_folder()
    (folder / "file").touch()
    os.utime(folder, (0, 0))
    assert run("temporary.make_folder()", tmp_path).returncode == 0
    assert (folder / "file").exists()
    temporary.remove(folder)
    assert not [*tmp_path.iterdir()]


def test_nothing_else_is_taken_to_be_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = make_old(tmp_path, "elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    less_than_two_days_ago = time.time() - 1.9 * 86_400
    kept = [
        make_old(tmp_path, f"poolcensus-{'0' * 16}", less_than_two_days_ago),
        make_old(tmp_path, "poolcensus-demo-0"),
        make_old(tmp_path, f"poolcensus-{'1' * 17}"),
        make_old(tmp_path, f"x-poolcensus-{'2' * 16}"),
    ]
    (tmp_path / f"poolcensus-{'3' * 16}").symlink_to(elsewhere)
    os.mkfifo(tmp_path / f"poolcensus-{'4' * 16}")
    (tmp_path / f"poolcensus-{'5' * 16}").touch()
    gone = make_old(tmp_path, f"poolcensus-{'6' * 16}")
    before = {*tmp_path.iterdir()}
    folder = temporary.make_folder()
    assert {*tmp_path.iterdir()} == before - {gone} | {folder}
    assert all((each / "file").exists() for each in (elsewhere, *kept))
    temporary.remove(folder)


def test_what_is_another_users_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = make_old(tmp_path, f"poolcensus-{'0' * 16}")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        temporary.remove(temporary.make_folder())
        assert other.exists()
    temporary.remove(temporary.make_folder())
    assert not other.exists()


def test_a_folder_is_made_where_there_are_no_locks_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(folder: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", none)
    old = make_old(tmp_path, f"poolcensus-{'0' * 16}")
    before = descriptors()
    temporary.remove(temporary.make_folder())
    assert old.exists()
    assert descriptors() == before


def test_no_folder_is_left_where_it_can_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(folder: Path) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "_opened", none_left)
    with pytest.raises(OSError, match="open files"):
        temporary.make_folder()
    assert not [*tmp_path.iterdir()]


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


def test_a_signal_passes_through_what_catches_every_exception() -> None:
    went_on = False
    with pytest.raises(StoppedError), signals_raised():
        with suppress(Exception):
            signal.raise_signal(signal.SIGINT)
        went_on = True
    assert not went_on


# A signal that arrives right after a folder was made, with each of the handlers.
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


def test_a_handler_that_raises_as_signals_are_held_leaves_none_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    block = signal.pthread_sigmask

    def interrupted(how: int, mask: Any) -> Any:
        found = block(how, mask)
        if how == signal.SIG_BLOCK and mask:
            # The handler of a pending signal is called here, when the signals are blocked already.
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(signal, "pthread_sigmask", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary._signals_held():
        pass
    assert block(signal.SIG_BLOCK, ()) == before

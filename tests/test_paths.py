"""What exists at a path. A refusal of the system is never taken for an answer."""

from __future__ import annotations

import ast
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lost_replies import OF_RENAMES, lose_replies
from poolcensus.paths import exists, is_file, is_folder, is_link, make_folder, may_exist, rename

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parent.parent / "src" / "poolcensus"
LOOKS = (exists, is_folder, is_file, is_link)


def _seen(path: str | Path) -> set[str]:
    return {look.__name__ for look in LOOKS if look(path)}


def test_what_is_there_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("to-file", file), ("to-folder", tmp_path), ("to-nothing", tmp_path / "nothing")):
        (tmp_path / name).symlink_to(target)
    assert _seen(tmp_path) == {"exists", "is_folder"}
    assert _seen(file) == {"exists", "is_file"}
    assert _seen(tmp_path / "pipe") == {"exists"}
    assert _seen(tmp_path / "to-file") == {"exists", "is_file", "is_link"}
    assert _seen(tmp_path / "to-folder") == {"exists", "is_folder", "is_link"}
    assert _seen(tmp_path / "to-nothing") == {"is_link"}


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    file, circle = tmp_path / "file", tmp_path / "circle"
    file.touch()
    circle.symlink_to(circle)
    for missing in (tmp_path / "nothing", file / "below", circle / "below", "null\0byte"):
        assert _seen(missing) == set()


@pytest.mark.parametrize("look", LOOKS)
def test_what_the_system_refuses_to_look_at_is_an_error(look: Callable[[Path], bool], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        look(tmp_path / ("a" * 5000))


def test_what_the_system_refuses_to_look_at_may_be_there(tmp_path: Path) -> None:
    assert may_exist(tmp_path / ("a" * 5000))
    assert may_exist(tmp_path)
    assert not may_exist(tmp_path / "nothing")


@pytest.mark.parametrize("number", OF_RENAMES)
@pytest.mark.parametrize("replaces", [False, True])
def test_a_rename_that_was_made_counts_whatever_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, replaces: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("it")
    if replaces:
        new.touch()
    lost = lose_replies(monkeypatch, "rename", "new", number)
    rename(old, new)
    assert lost == ["new"]
    assert new.read_text() == "it"
    assert not exists(old)


def test_a_link_that_was_renamed_counts_as_such_whatever_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.symlink_to("nothing")
    new.symlink_to("nothing else")
    lost = lose_replies(monkeypatch, "rename", "new", errno.EIO)
    rename(old, new)
    assert lost == ["new"]
    assert new.readlink() == Path("nothing")


def test_another_link_to_the_same_is_not_the_one_that_was_to_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "as it was said")

    old, new = tmp_path / "old", tmp_path / "new"
    for each in (old, new):
        each.symlink_to(tmp_path)
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="as it was said"):
        rename(old, new)


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO])
def test_a_folder_that_was_made_counts_whatever_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lost = lose_replies(monkeypatch, "mkdir", "new", number)
    make_folder(tmp_path / "new", 0o700)
    assert lost == ["new"]
    assert _seen(tmp_path / "new") == {"exists", "is_folder"}


def test_a_folder_that_was_there_or_is_not_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    for there in (tmp_path, tmp_path / "link"):
        with pytest.raises(FileExistsError):
            make_folder(there, 0o700)
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "nothing" / "new", 0o700)


def test_a_link_that_appears_meanwhile_is_no_folder_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "link", 0o700)


def test_a_folder_has_its_mode_from_the_beginning(tmp_path: Path) -> None:
    make_folder(tmp_path / "new", 0o700)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("there", [False, True])
def test_a_rename_that_was_not_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "as it was said")

    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    if there:
        new.touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="as it was said"):
            rename(old, new)
    with pytest.raises(FileNotFoundError, match="nothing"):
        rename(tmp_path / "nothing", new)
    assert exists(old)
    assert exists(new) is there


def test_nothing_else_looks() -> None:
    of_pathlib = {"exists", "is_dir", "is_file", "is_symlink", "is_fifo", "is_socket", "is_mount"}
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in of_pathlib
    ]
    assert not found

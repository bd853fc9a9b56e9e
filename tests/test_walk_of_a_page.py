"""The files of the package through which a page goes, from the opening of its target to its ledger line."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import poolcensus
from poolcensus.engine.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

    import pytest

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

# As many as a reader can keep in mind. Lower this if the page no longer needs a file, and never raise it.
MOST_FILES = 10
# A retry makes the call that it was given. It is not part of the way of a page that succeeds.
MOST_CALLS_UP = 0

_PACKAGE = str(Path(poolcensus.__file__).parent) + os.sep
_SIMULATOR = f"{_PACKAGE}simulator{os.sep}"
# Files in which a reader looks something up, and comes back: how bytes are formed, and the data types.
_LOOKED_UP = ("format", "model", "errors", "partitions")
# Text that only the lines of the ledger have.
_IN_A_LEDGER_LINE = b'"outcome":'
_WRITER = "snapshot writer"
# The first target of each region makes what is shared in the region. The last target of an account ends it.
_FOLLOWED = 3
_ACCOUNTS, _REGIONS = 2, ("us-east-1", "eu-west-1")


class Walk:
    """The calls from one file of the package into another, from a target's opening to its ledger line.

    A file is on the way if it hands the page on, that is, if it calls into another file. Files that only
    return a result are looked up, and so are constructors and the files in `_LOOKED_UP`. The task that takes
    the census is excluded, since its work at the end of the run is not a step of the page. After the next
    target is opened, only the task that writes is followed, until the line of the target is written.
    """

    def __init__(self, census: asyncio.Task[object] | None) -> None:
        self.calls: dict[tuple[str, str], set[str]] = {}
        self._census = census
        self._opened = 0
        self.ended = False

    @property
    def begun(self) -> bool:
        return self._opened >= _FOLLOWED

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(caller for caller, _ in self.calls))

    def note(self, frame: FrameType, event: str, returned: object) -> None:
        """Record a function that begins. This is a profile function, see `sys.setprofile`."""
        code = frame.f_code
        if event == "return" and code is Schedule.pop.__code__ and returned is not None:
            self._opened += 1
        if event != "call" or not self.begun or self.ended or code.co_name in {"<module>", "__init__"}:
            return
        callee = _in_package(frame)
        if callee is None or _folder(callee) in _LOOKED_UP:
            return
        task = _task()
        if self._census is not None and task is self._census:
            return
        if self._opened > _FOLLOWED and task is not None and task.get_name() != _WRITER:
            return
        caller = _caller(frame)
        if caller is not None and caller != callee:
            self.calls.setdefault((caller, callee), set()).add(code.co_name)


def _in_package(frame: FrameType) -> str | None:
    name = frame.f_code.co_filename
    if not name.startswith(_PACKAGE) or name.startswith(_SIMULATOR):
        return None
    return name.removeprefix(_PACKAGE)


def _folder(file: str) -> str:
    """Return the folder of a file of the package, or its own name if it is in no folder."""
    return Path(file).parts[0].removesuffix(".py")


def _caller(frame: FrameType) -> str | None:
    """Return the file of the package that made the call, directly or through libraries."""
    back = frame.f_back
    while back is not None:
        if (name := _in_package(back)) is not None:
            return name
        back = back.f_back
    return None


def _task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        # A worker thread has no event loop.
        return None


@contextmanager
def walked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """Follow a target of a census of this task, in the thread of the event loop and in worker threads."""
    walk = Walk(asyncio.current_task())
    write = os.write

    def noted(fd: int, data: bytes) -> int:
        if walk.begun and _IN_A_LEDGER_LINE in bytes(data):
            walk.ended = True
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)
    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(walk.note)
    sys.setprofile(walk.note)
    try:
        yield walk
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])


def _floors() -> dict[str, int]:
    """Return the floor of each folder, the highest first, by the contract on imports."""
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == ["poolcensus"]]
    return {name.strip(): floor for floor, row in enumerate(layers) for name in row.split("|")}


def _way() -> list[str]:
    """Return the files of a page's way that the design page names."""
    text = Path(poolcensus.__file__).with_name("README.md").read_text(encoding="utf-8")
    block = text.partition("<!-- way -->\n```\n")[2].partition("```")[0]
    return [line.split()[0] for line in block.splitlines()]


async def test_a_page_is_followed_through_few_files(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=_ACCOUNTS, regions=_REGIONS, pools_per_target=3)
    with walked(monkeypatch) as walk:
        snapshot = await here.collect(concurrency=1)
    assert [(result.pages, result.pools) for result in snapshot.targets()] == [(1, 3)] * 4
    assert walk.ended, "no target was opened, or its ledger line was not seen"
    floors = _floors()

    def floor(file: str) -> int:
        return floors[_folder(file)]

    steps = "\n".join(
        f"{' -> '.join(call)}: {', '.join(sorted(names))}" for call, names in walk.calls.items()
    )
    ways = "\n".join(f"{number:3} {name}" for number, name in enumerate(walk.files, 1))
    print(f"{ways}\n\n{steps}")  # noqa: T201 - seen with `pytest -s`
    assert len(walk.files) <= MOST_FILES, f"{ways}\n\n{steps}"
    assert walk.files == _way()
    up = [call for call in walk.calls if floor(call[1]) < floor(call[0])]
    assert len(up) <= MOST_CALLS_UP, up

"""The files of the package that a reader has to open to follow one page from its target to the ledger."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
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

# Twelve are as many as a reader keeps in mind. Lower this with each file that the way needs no more; never
# lift it.
MOST_FILES = 34

_PACKAGE = str(Path(poolcensus.__file__).parent) + os.sep
_SIMULATOR = f"{_PACKAGE}simulator{os.sep}"
# What only the ledger's lines have.
_IN_A_LEDGER_LINE = b'"outcome":'


class Walk:
    """The files whose functions run, each where it runs first, from one target's opening to its ledger line.

    The task that takes the census is left out: what it does at the run's end is no step of a page's.
    """

    def __init__(self, census: asyncio.Task[object] | None) -> None:
        self.files: list[str] = []
        self._census = census
        self.begun = False
        self.ended = False

    def note(self, frame: FrameType, event: str, returned: object) -> None:
        """Take note of a function that begins. A profile function of Python's."""
        code = frame.f_code
        if not self.begun:
            self.begun = event == "return" and code is Schedule.pop.__code__ and returned is not None
        elif event == "call" and not self.ended and code.co_filename.startswith(_PACKAGE):
            file = code.co_filename
            name = file.removeprefix(_PACKAGE)
            if name in self.files or file.startswith(_SIMULATOR):
                return
            # A module that is imported here runs once in a process, and is no step of the page's either.
            if code.co_name != "<module>" and (self._census is None or _task() is not self._census):
                self.files.append(name)


def _task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        # A worker thread has no loop.
        return None


@contextmanager
def walked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """Follow the first target of a census of this task's, in the loop's thread and the worker threads."""
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


async def test_a_page_is_followed_through_few_files(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=1, regions=("us-east-1",), pools_per_target=3)
    with walked(monkeypatch) as walk:
        snapshot = await here.collect()
    (result,) = snapshot.targets()
    assert (result.pages, result.pools) == (1, 3)
    assert walk.ended, "no target was opened, or its ledger line was not seen"
    steps = "\n".join(f"{number:3} {name}" for number, name in enumerate(walk.files, 1))
    print(steps)  # noqa: T201 - seen with `pytest -s`
    assert len(walk.files) <= MOST_FILES, steps

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import anyio
import pytest

from documented import example
from poolcensus.cli import main
from poolcensus.storage.local.store import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = {"host": "else\x1bwhere", "pid": 7, "started_at": "2026-11-23T02:00:00Z"}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A destination whose lock is held."""
    dest = tmp_path / "two"
    store = FolderStore(dest)
    anyio.run(store.__aenter__)
    yield dest
    anyio.run(store.__aexit__, None, None, None)


def test_it_says_whose_lock_it_was(held: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (held / ".lock").write_text(json.dumps(LOCK))
    assert main(["unlock", "--dest", str(held)]) == 0
    whose = "started 2026-11-23T02:00:00Z, host else\\x1bwhere, PID 7"
    assert capfd.readouterr() == (f'Removed the lock of destination "{held}" ({whose}).\n', "")
    assert main(["unlock", "--dest", str(held)]) == 0
    assert capfd.readouterr() == (f'Destination "{held}" is not locked.\n', "")


def test_json_is_an_object(held: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (held / ".lock").write_text(json.dumps(LOCK))
    removed = {"dest": str(held), "removed": True, **LOCK}
    nobody = {"dest": str(held), "removed": False, "started_at": None, "host": None, "pid": None}
    for expected in (removed, nobody):
        assert main(["unlock", "--dest", str(held), "--json"]) == 0
        said = capfd.readouterr()
        assert (json.loads(said.out), said.err) == (expected, "")
        assert [*json.loads(said.out)] == [*example("A lock that stays")]


def test_a_process_that_runs_keeps_its_lock(held: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["unlock", "--dest", str(held)]) == 11
    said = capfd.readouterr()
    assert said.out == ""
    assert f'poolcensus: Destination "{held}" stays locked' in said.err
    assert f"'kill {os.getpid()}'" in said.err
    assert main(["prune", "--dest", str(held), "--keep-last", "1"]) == 11
    assert f"'poolcensus unlock --dest {held}'" in capfd.readouterr().err


@pytest.mark.parametrize(("dest", "code"), [("-", 2), ("none", 1)])
def test_what_has_no_lock_is_a_sentence(dest: str, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["unlock", "--dest", dest]) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1

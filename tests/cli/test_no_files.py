"""What is in the place of a snapshot's file, and is none, is a damage that every command tells at once."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from poolcensus.cli import main
from poolcensus.format.sealed import seal
from poolcensus.snapshot import Snapshot
from poolcensus.storage.local.store import FolderStore
from snapshot.making import ID, LATER_ID, folder_of, make
from snapshot.shard_lab import ONE, TWO, published
from snapshot.shard_lab import make as make_shard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST, TARGETS, POOLS = "manifest.json", "targets.ndjson", "pools.ndjson"


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        # The name of a socket has no room for a long path.
        patch.chdir(path.parent)
        server.bind(path.name)


KINDS = {
    "a named pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a socket or a device": listen,
    # By a link, which leads to a file as well as to anything else.
    "a device": partial(os.symlink, "/dev/zero"),
}
COMMANDS = [
    (("verify", "--dest", "all"), (MANIFEST, TARGETS, POOLS)),
    (("verify", f"all/{LATER_ID}"), (MANIFEST, TARGETS, POOLS)),
    (("show", LATER_ID, "--dest", "all"), (MANIFEST, TARGETS)),
    (("show", f"all/{LATER_ID}", "--pools"), (MANIFEST, POOLS)),
    (("show", "--failures", "--dest", "all"), (MANIFEST, TARGETS)),
    (("diff", "--dest", "all"), (MANIFEST, TARGETS, POOLS)),
    (("query", "FROM pools, targets", "--dest", "all"), (MANIFEST, TARGETS, POOLS)),
    (("export", "--dest", "all", "--output", "made"), (MANIFEST, TARGETS, POOLS)),
    (("report", "--dest", "all", "--output", "made.html"), (MANIFEST, TARGETS, POOLS)),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    asyncio.run(make(tmp_path / "all", ID))
    asyncio.run(make(tmp_path / "all", LATER_ID, {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "put"), KINDS.items(), ids=KINDS)
@pytest.mark.parametrize("name", [MANIFEST, TARGETS, POOLS])
def test_every_command_tells_it(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str, put: Callable[[Path], None]
) -> None:
    file = here / "all" / LATER_ID / name
    file.unlink()
    put(file)
    for command, reads in COMMANDS:
        assert main(command) == (1 if name in reads else 0), command
        said = capsys.readouterr().err
        assert (f"{name}: is {kind}, not a file" in said or f"{name} is {kind}, not a file" in said) == (
            name in reads
        ), (command, said)
        assert "Errno" not in said


@pytest.mark.parametrize(("kind", "put"), KINDS.items(), ids=KINDS)
@pytest.mark.parametrize("name", [MANIFEST, TARGETS, POOLS])
def test_merge_tells_it_and_publishes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    kind: str,
    put: Callable[[Path], None],
) -> None:
    one, two = (
        folder_of(asyncio.run(make_shard(tmp_path / str(index), content, index)))
        for index, content in enumerate((ONE, TWO), 1)
    )
    (two / name).unlink()
    put(two / name)
    for named in (two, two.parent):
        assert main(["merge", str(one), str(named), "--dest", str(tmp_path / "all")]) == 1
        said = capsys.readouterr().err
        assert said == f"poolcensus: {two / name} is {kind}, not a file; the snapshot is damaged\n"
    assert published(tmp_path / "all") == []


@pytest.mark.parametrize("put", KINDS.values(), ids=KINDS)
def test_a_list_names_the_snapshot_that_cannot_be_read(
    here: Path, capsys: pytest.CaptureFixture[str], put: Callable[[Path], None]
) -> None:
    file = here / "all" / LATER_ID / MANIFEST
    file.unlink()
    put(file)
    assert main(["snapshots", "--dest", "all"]) == 0
    told = capsys.readouterr()
    assert f"Can't read 1 snapshot: {LATER_ID}." in told.err
    assert ID in told.out
    assert main(["prune", "--keep-last", "1", "--dry-run", "--dest", "all"]) == 0
    assert f"{MANIFEST} is a" in capsys.readouterr().err


@pytest.mark.parametrize("put", KINDS.values(), ids=KINDS)
def test_what_names_the_latest_and_what_a_run_left_is_passed_over(
    here: Path, put: Callable[[Path], None]
) -> None:
    dest = here / "all"
    (dest / "latest").unlink()
    put(dest / "latest.json")
    draft = dest / ".draft-20261125T020000Z-000000"
    draft.mkdir()
    put(draft / "journal")
    assert Snapshot.open("latest", dest).id == LATER_ID
    assert asyncio.run(interrupted(dest)) == []


def test_what_comes_out_of_a_pipe_is_no_journal(here: Path) -> None:
    draft = here / "all" / ".draft-20261125T020000Z-000000"
    draft.mkdir()
    os.mkfifo(draft / "journal")
    # What somebody has written waits in the pipe as long as it is open.
    pipe = os.open(draft / "journal", os.O_RDWR)
    try:
        os.write(pipe, 2 * seal(b"{}\n"))
        assert asyncio.run(interrupted(here / "all")) == []
    finally:
        os.close(pipe)


async def interrupted(dest: Path) -> list[str]:
    async with FolderStore(dest) as store:
        return [each.snapshot_id for each in await store.interrupted()]

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

import poolcensus
from descriptors import path_of
from poolcensus.errors import DestinationError, DestinationLockedError, SnapshotError
from poolcensus.model import Outcome
from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.pruning import prune
from poolcensus.snapshot.retention import Keep
from poolcensus.snapshot.verification import verify
from poolcensus.storage.local.store import FolderStore
from snapshot.making import make, target

if TYPE_CHECKING:
    from collections.abc import Mapping

IDS = [f"202611{day}T020000Z-00000{day % 10}" for day in (20, 21, 22, 23)]
OLDEST, OLD, NEW, NEWEST = IDS
PARTIAL: Mapping[poolcensus.Target, Outcome] = {target(1): Outcome.THROTTLED}


async def fill(dest: Path) -> None:
    for snapshot_id in IDS:
        await make(dest, snapshot_id)


def names(dest: Path) -> list[str]:
    return sorted(entry.name for entry in dest.iterdir())


def tree(dest: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, with what changes when it is touched."""
    return {
        str(path.relative_to(dest)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in (dest, *dest.rglob("*"))
    }


async def test_what_no_rule_keeps_is_gone_and_the_rest_is_whole(tmp_path: Path) -> None:
    await fill(tmp_path)
    pruning = await poolcensus.prune(tmp_path, poolcensus.Keep(last=2))
    assert [(each.snapshot_id, each.keep) for each in pruning.decisions] == [
        (OLDEST, False),
        (OLD, False),
        (NEW, True),
        (NEWEST, True),
    ]
    assert not pruning.unreadable
    assert not pruning.failures
    assert names(tmp_path) == [".lock", NEW, NEWEST, "latest"]
    for snapshot_id in (NEW, NEWEST):
        assert verify(Snapshot.open(snapshot_id, tmp_path)) == ()


async def test_a_dry_run_decides_alike_and_touches_nothing(tmp_path: Path) -> None:
    await fill(tmp_path)
    before = tree(tmp_path)
    dry = await prune(tmp_path, Keep(last=1), dry_run=True)
    assert tree(tmp_path) == before
    assert await prune(tmp_path, Keep(last=1)) == dry
    assert names(tmp_path) == [".lock", NEWEST, "latest"]


async def test_a_dry_run_needs_no_lock_and_a_prune_does(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with FolderStore(tmp_path):
        assert (await prune(tmp_path, Keep(last=1), dry_run=True)).decisions
        with pytest.raises(DestinationLockedError, match=r"is locked by another run \(started "):
            await prune(tmp_path, Keep(last=1))
    assert len(list_snapshots(tmp_path)) == 4


async def test_the_newest_complete_snapshot_stays_behind_partial_ones(tmp_path: Path) -> None:
    await make(tmp_path, OLDEST)
    await make(tmp_path, OLD)
    await make(tmp_path, NEW, PARTIAL)
    await make(tmp_path, NEWEST, PARTIAL)
    await prune(tmp_path, Keep(last=1))
    assert names(tmp_path) == [".lock", OLD, NEWEST, "latest"]


async def test_what_latest_names_stays(tmp_path: Path) -> None:
    await fill(tmp_path)
    (tmp_path / "latest").unlink()
    (tmp_path / "current").symlink_to(OLDEST)
    (tmp_path / "latest").symlink_to("current")
    await prune(tmp_path, Keep(last=1))
    assert names(tmp_path) == [".lock", OLDEST, NEWEST, "current", "latest"]


@pytest.mark.parametrize("manifest", [b"", b"{}", b"\xff\x00", None])
async def test_a_folder_whose_manifest_cannot_be_read_is_named_and_left_alone(
    tmp_path: Path, manifest: bytes | None
) -> None:
    await fill(tmp_path)
    path = tmp_path / OLDEST / "manifest.json"
    if manifest is None:
        path.unlink()
    else:
        path.write_bytes(manifest)
    pruning = await prune(tmp_path, Keep(last=1))
    assert [*pruning.unreadable] == [OLDEST]
    assert str(tmp_path / OLDEST) in pruning.unreadable[OLDEST]
    assert names(tmp_path) == [".lock", OLDEST, NEWEST, "latest"]
    assert (tmp_path / OLDEST / "pools.ndjson").exists()


@pytest.mark.parametrize("name", ["pools.ndjson", "targets.ndjson"])
async def test_a_snapshot_without_its_data_takes_no_place_from_a_whole_one(tmp_path: Path, name: str) -> None:
    await fill(tmp_path)
    file = tmp_path / NEWEST / name
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    pruning = await prune(tmp_path, Keep(last=1), dry_run=True)
    says = f"{file} has {size - 1:,} bytes where the manifest says {size:,}; the snapshot is damaged"
    assert pruning.unreadable == {NEWEST: says}
    file.unlink()
    pruning = await prune(tmp_path, Keep(last=1))
    assert pruning.unreadable == {NEWEST: f"{file} is missing; the snapshot is damaged"}
    assert names(tmp_path) == [".lock", NEW, NEWEST, "latest"]


async def test_a_manifest_of_another_snapshot_makes_its_folder_unreadable(tmp_path: Path) -> None:
    await fill(tmp_path)
    shutil.copy(tmp_path / NEW / "manifest.json", tmp_path / OLDEST / "manifest.json")
    pruning = await prune(tmp_path, Keep(last=1))
    assert NEW in pruning.unreadable[OLDEST]
    assert names(tmp_path) == [".lock", OLDEST, NEWEST, "latest"]


async def test_links_are_not_followed_out_of_the_destination(tmp_path: Path) -> None:
    elsewhere, dest = tmp_path / "elsewhere", tmp_path / "dest"
    await make(elsewhere, OLDEST)
    await make(dest, OLD)
    await make(dest, NEWEST)
    (dest / OLDEST).symlink_to(elsewhere / OLDEST)
    (dest / OLD / "more").symlink_to(elsewhere)
    (dest / f".pruned-{NEW}").symlink_to(elsewhere)
    before = tree(elsewhere)
    pruning = await prune(dest, Keep(last=1))
    assert "symbolic link" in pruning.unreadable[OLDEST]
    assert names(dest) == [".lock", f".pruned-{NEW}", OLDEST, NEWEST, "latest"]
    async with FolderStore(dest) as store:
        with pytest.raises(DestinationError, match="symbolic link"):
            await store.remove(OLDEST)
    assert (dest / OLDEST).is_symlink()
    assert tree(elsewhere) == before


async def test_other_things_in_the_folder_are_not_its_business(tmp_path: Path) -> None:
    await fill(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / f"{OLDEST}.bak").mkdir()
    (tmp_path / ".pruned-mine").mkdir()
    await prune(tmp_path, Keep(last=4))
    assert names(tmp_path) == sorted([".lock", ".pruned-mine", *IDS, f"{OLDEST}.bak", "latest", "notes"])


async def test_one_that_cannot_be_removed_does_not_stop_the_others(tmp_path: Path) -> None:
    await fill(tmp_path)
    # In the way of the rename, and no folder, which is all that a sweep removes.
    (tmp_path / f".pruned-{OLDEST}").write_text("")
    pruning = await prune(tmp_path, Keep(last=1))
    assert [*pruning.failures] == [OLDEST]
    assert str(tmp_path / OLDEST) in pruning.failures[OLDEST]
    assert names(tmp_path) == [".lock", f".pruned-{OLDEST}", OLDEST, NEWEST, "latest"]
    assert verify(Snapshot.open(OLDEST, tmp_path)) == ()


async def test_a_removal_that_stops_half_way_is_told_and_swept_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    with monkeypatch.context() as patch:
        unlink = os.unlink

        def fails(path: str, *args: object, **kwargs: int) -> None:
            if path == "targets.ndjson":
                raise OSError(5, os.strerror(5), path)
            unlink(path, *args, **kwargs)

        patch.setattr(os, "unlink", fails)
        pruning = await prune(tmp_path, Keep(last=3))
    assert f".pruned-{OLDEST}" in pruning.failures[OLDEST]
    assert [each.id for each in list_snapshots(tmp_path)] == [OLD, NEW, NEWEST]
    assert f".pruned-{OLDEST}" in names(tmp_path)
    await make(tmp_path, "20261124T020000Z-000000")
    assert f".pruned-{OLDEST}" not in names(tmp_path)


async def test_readers_lose_it_before_the_first_of_its_files_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    made: list[tuple[str, str]] = []
    for call in ("rename", "fsync", "unlink", "rmdir"):
        real = getattr(os, call)

        def recorded(place: object, *args: object, _call: str = call, _real: object = real, **more: object):  # type: ignore[no-untyped-def] # noqa: ANN202
            where = path_of(place)
            made.append((_call, where.name))
            return _real(place, *args, **more)  # type: ignore[operator]

        monkeypatch.setattr(os, call, recorded)
    async with FolderStore(tmp_path) as store:
        made.clear()
        await store.remove(OLDEST)
    assert made[:2] == [("rename", OLDEST), ("fsync", tmp_path.name)]
    assert {each[1] for each in made[2:-1]} == {"pools.ndjson", "targets.ndjson", "manifest.json"}
    assert made[-1] == ("rmdir", f".pruned-{OLDEST}")


def test_wherever_a_prune_is_cut_off_readers_see_whole_snapshots_only(tmp_path: Path) -> None:
    # Each child leaves in one of the system calls of its removals, without any clearing up.
    script = f"""
        import asyncio, os, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from poolcensus.snapshot import list_snapshots, Snapshot
        from poolcensus.snapshot.pruning import prune
        from poolcensus.snapshot.retention import Keep
        from poolcensus.snapshot.verification import verify
        from poolcensus.storage.local.store import FolderStore
        from snapshot.making import make
        from snapshot.test_prune import fill, IDS

        def arm(countdown):
            def wrap(real):
                def call(*args, **kwargs):
                    nonlocal countdown
                    countdown -= 1
                    if countdown == 0:
                        os._exit(9)
                    return real(*args, **kwargs)
                return call
            for name in ("rename", "fsync", "unlink", "rmdir"):
                setattr(os, name, wrap(getattr(os, name)))

        seen = []
        for step in range(1, 100):
            dest = Path(sys.argv[1]) / str(step)
            child = os.fork()
            if child == 0:
                asyncio.run(fill(dest))
                arm(step)
                asyncio.run(prune(dest, Keep(last=1)))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            left = [each.id for each in list_snapshots(dest)]
            assert left == IDS[-len(left):], (step, left)
            for each in left:
                assert verify(Snapshot.open(each, dest)) == (), step
            assert asyncio.run(prune(dest, Keep(last=1))).failures == {{}}
            assert sorted(entry.name for entry in dest.iterdir()) == [".lock", IDS[-1], "latest"], step
            seen.append(len(left))
            if status == 0:
                break
        print(*seen)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [int(each) for each in done.stdout.split()]
    assert seen == sorted(seen, reverse=True)
    assert (seen[0], seen[-1]) == (4, 1)
    assert len(seen) > 3 * 6


async def test_no_destination_is_made(tmp_path: Path) -> None:
    for dry_run, error in ((True, SnapshotError), (False, DestinationError)):
        with pytest.raises(error, match=f"There is no folder {tmp_path / 'none'}"):
            await prune(tmp_path / "none", Keep(last=1), dry_run=dry_run)
    assert names(tmp_path) == []


async def test_a_file_is_no_destination(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(DestinationError, match=f"{file} is a file, not a folder"):
        await prune(file, Keep(last=1))


async def test_an_empty_destination_has_nothing_to_remove(tmp_path: Path) -> None:
    assert (await prune(tmp_path, Keep(last=1))).decisions == ()


async def test_a_cancelled_prune_ends_the_removal_under_way_and_begins_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    begun, leave = threading.Event(), threading.Event()
    rmtree = shutil.rmtree

    def slow(path: Path, *args: object, **more: object) -> None:
        begun.set()
        leave.wait(20)
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prune, tmp_path, Keep(last=1))
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        leave.set()
    assert names(tmp_path) == [".lock", OLD, NEW, NEWEST, "latest"]

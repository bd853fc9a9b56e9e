"""What a name stands for: a snapshot that is looked up, the folder of one, or a destination."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.errors import SnapshotError
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.latest import is_destination, looked_up
from poolcensus.snapshot.merging import merge
from poolcensus.snapshot.refused import refused_run
from poolcensus.snapshot.verification import verify
from snapshot.making import ID, make
from snapshot.shard_lab import ONE
from snapshot.shard_lab import make as make_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PLACE = "s3://bucket/prefix"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["latest", "latest~2", ID])
def test_what_a_destination_calls_a_snapshot_is_looked_up_there(here: Path, name: str) -> None:
    # Also where something else has that name.
    (here / name).mkdir()
    assert looked_up(name, "dest") == ("dest", name)
    assert looked_up(name) == (".", name)
    assert looked_up(f"{PLACE}/{name}", "dest") == looked_up(f"{PLACE}/{name}/", "dest") == (PLACE, name)
    for each in (name, f"{PLACE}/{name}", f"{PLACE}/{name}/"):
        assert not is_destination(each)


def test_the_beginning_of_an_id_is_looked_up_unless_it_is_a_folder(here: Path) -> None:
    assert looked_up("2026", "dest") == ("dest", "2026")
    (here / "2026").mkdir()
    assert looked_up("2026", "dest") is None
    assert is_destination("2026")


@pytest.mark.parametrize("name", ["latest", "latest~2", ID, "2026"])
def test_a_slash_behind_a_name_matters_only_where_there_is_a_folder(here: Path, name: str) -> None:
    assert looked_up(f"{name}/", "dest") == ("dest", name)
    (here / name).mkdir()
    assert looked_up(f"{name}/", "dest") is None


@pytest.mark.parametrize("name", ["2026", "2026/", ID, f"{ID}/"])
async def test_a_folder_that_is_no_snapshot_hides_none_that_begins_so(here: Path, name: str) -> None:
    await make(here / "dest")
    (here / name).mkdir()
    assert Snapshot.open(name, "dest").id == ID
    if not name.startswith(ID):
        await make(here / "dest", f"{ID[:-1]}b")
        with pytest.raises(SnapshotError, match="begins 2 snapshot IDs"):
            Snapshot.open(name, "dest")
    shutil.copytree(here / "dest" / ID, name, dirs_exist_ok=True)
    if name != ID:
        # An id itself is one of the destination.
        assert Snapshot.open(name, "dest").path == Path(name)


@pytest.mark.parametrize("dest", ["dest", "nothing"])
async def test_a_folder_that_begins_no_id_is_said_to_be_no_snapshot(here: Path, dest: str) -> None:
    await make(here / "dest")
    (here / "2025").mkdir()
    for name in ("2025", "2025/"):
        with pytest.raises(SnapshotError, match=r"^2025 is not a snapshot: it has no manifest\.json$"):
            Snapshot.open(name, dest)
        assert refused_run(name, dest) is None


def test_an_empty_name_is_that_of_no_snapshot(here: Path) -> None:
    anyio.run(make, here)
    (here / "manifest.json").write_bytes((here / ID / "manifest.json").read_bytes())
    for read in (Snapshot.open, verify):
        with pytest.raises(SnapshotError, match='^"" is not a snapshot ID or path. Use latest'):
            read("")
    assert refused_run("") is None


@pytest.mark.parametrize("place", ["s3://bucket", "s3://latest", PLACE, f"{PLACE}/", f"{PLACE}/latest~x"])
def test_another_place_in_a_bucket_is_a_destination(place: str) -> None:
    assert looked_up(place) is None
    assert is_destination(place)


async def test_a_folder_is_a_snapshot_or_a_destination(here: Path) -> None:
    await make(here / "dest")
    for given, expected in {
        "dest": True,
        f"dest/{ID}": False,
        "dest/latest": False,
        "nothing": False,
        "dest/latest/manifest.json": False,
    }.items():
        for each in (given, Path(given)):
            assert looked_up(each) is None
            assert is_destination(each) == expected, each


async def merged(name: str | Path) -> object:
    return await merge([name], "all")


async def verified(name: str | Path) -> object:
    return verify(name)


async def opened(name: str | Path) -> object:
    return Snapshot.open(name)


@pytest.mark.parametrize("read", [opened, verified, merged])
@pytest.mark.parametrize("name", [f"dest/{ID}", f"dest/{ID}/", "dest/latest"])
async def test_a_snapshot_that_has_lost_its_manifest_is_no_destination(
    here: Path, read: Callable[[str | Path], Coroutine[None, None, object]], name: str
) -> None:
    await make(here / "dest")
    (here / "dest" / ID / "manifest.json").unlink()
    for each in (name, Path(name)):
        with pytest.raises(SnapshotError, match=r"manifest\.json"):
            await read(each)


async def test_merge_looks_up_what_is_called_as_a_folder_beside_it(here: Path) -> None:
    await make_shard(here / "all", ONE, 1, 1)
    (here / "latest").mkdir()
    assert (await merge(["latest"], "all")).manifest.totals.pools == 3


def test_a_path_that_ends_like_an_id_is_not_looked_up(here: Path) -> None:
    kept = here / "dest" / f".refused-{ID}"
    kept.mkdir(parents=True)
    (kept / "refused.json").write_text("{}")
    with pytest.raises(SnapshotError, match="refused"):
        refused_run(ID, "dest")
    assert refused_run(Path(ID), "dest") is None

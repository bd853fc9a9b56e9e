from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import pytest

from descriptors import descriptors, path_of
from lost_replies import OF_RENAMES, lose_replies
from poolcensus.errors import DestinationError, DestinationLockedError, SettingsError
from poolcensus.snapshot import Snapshot, SnapshotWriter, list_snapshots
from poolcensus.snapshot.verification import verify
from poolcensus.storage.advice import destination_error
from poolcensus.storage.local import files, lock
from poolcensus.storage.local.reading import LocalSource
from poolcensus.storage.local.stale import StaleDrafts
from poolcensus.storage.local.store import FolderStore
from poolcensus.storage.naming import latest_object
from poolcensus.storage.output import output_file
from snapshot.making import ID, LATER_ID, POOLS, SOME, commit, fill, make, page, pool, publish, target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EARLIER_ID = "20261122T020000Z-ffffff"
LATEST_ID = "20261125T020000Z-000000"


def refuse_link(error: int) -> NoReturn:
    raise OSError(error, os.strerror(error))


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The system calls of a commit as (call, name of the file), in order."""
    made: list[tuple[str, str]] = []

    def record(call: str) -> None:
        real: Callable[..., Any] = getattr(os, call)

        def recorded(place: object, *args: object, **kwargs: object) -> object:
            what = args[0] if call in {"rename", "replace", "symlink"} else place
            made.append((call, path_of(what).name))
            return real(place, *args, **kwargs)

        monkeypatch.setattr(os, call, recorded)

    for call in ("write", "fsync", "rename", "replace", "symlink"):
        record(call)
    return made


async def test_the_commits_system_calls_come_in_an_order_that_survives_a_power_cut(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        for name in ("pools.ndjson", "targets.ndjson"):
            await (await draft.create(name)).append(b"x\n")
        calls.clear()
        await commit(draft, b"{}\n")
    on_files = [call for call in calls if call[1] != ".lock" and call[1] not in {"", "null"}]
    assert on_files == [
        ("fsync", "pools.ndjson"),
        ("fsync", "targets.ndjson"),
        ("write", "manifest.json"),
        ("fsync", "manifest.json"),
        ("fsync", f".draft-{ID}"),
        ("rename", ID),
        ("fsync", tmp_path.name),
        ("symlink", f".latest-{ID}"),
        ("rename", "latest"),
        ("fsync", tmp_path.name),
    ]


def failing(call: str, name: str, monkeypatch: pytest.MonkeyPatch, number: int = errno.EIO) -> None:
    """Lets `call` fail for the file called `name`."""
    real: Callable[..., Any] = getattr(os, call)

    def fail(place: object, *args: object, **kwargs: object) -> object:
        if path_of(place).name == name:
            if call == "close":
                # On Linux a failing close has closed.
                real(place)
            raise OSError(number, os.strerror(number))
        return real(place, *args, **kwargs)

    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize(
    ("call", "name", "number"),
    [
        ("mkdir", f".draft-{LATER_ID}", errno.EACCES),
        ("open", "targets.ndjson", errno.EROFS),
        ("write", "pools.ndjson", errno.ENOSPC),
        ("fsync", "pools.ndjson", errno.EIO),
        ("close", "pools.ndjson", errno.EDQUOT),
        ("fsync", "targets.ndjson", errno.EIO),
        ("open", "manifest.json", errno.EMFILE),
        ("write", "manifest.json", errno.ENOSPC),
        ("fsync", "manifest.json", errno.EIO),
        ("fsync", f".draft-{LATER_ID}", errno.EIO),
        ("rename", f".draft-{LATER_ID}", errno.EACCES),
    ],
)
async def test_a_failure_before_the_rename_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str, number: int
) -> None:
    dest = tmp_path / "dest"
    await make(dest)
    before = descriptors()
    with monkeypatch.context() as patch:
        failing(call, name, patch, number)
        with pytest.raises(DestinationError) as caught:
            await make(dest, LATER_ID)
    message = str(caught.value)
    assert str(dest) in message
    assert os.strerror(number) in message
    assert "\n" not in message
    assert descriptors() == before
    assert sorted(entry.name for entry in dest.iterdir()) == [".lock", ID, "latest"]
    assert os.readlink(dest / "latest") == ID  # noqa: PTH115 - as it is, not resolved
    assert verify(Snapshot.open("latest", dest)) == ()
    # The next run has nothing to do with it.
    await make(dest, LATER_ID)
    assert Snapshot.open("latest", dest).id == LATER_ID


async def test_a_commit_that_fails_removes_its_draft_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        await draft.create("pools.ndjson")
        failing("rename", f".draft-{ID}", monkeypatch)
        with pytest.raises(DestinationError):
            await commit(draft, b"{}")
        assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("number", OF_RENAMES)
async def test_a_rename_whose_reply_is_lost_has_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await make(tmp_path)
    lost = lose_replies(monkeypatch, "rename", "", number)
    snapshot = await make(tmp_path, LATER_ID)
    assert lost == [LATER_ID]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", ID, LATER_ID, "latest"]
    assert verify(snapshot) == ()
    assert Snapshot.open("latest", tmp_path).id == LATER_ID


async def test_a_draft_whose_making_lost_its_reply_is_published_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_replies(monkeypatch, "mkdir", ".draft-", errno.EEXIST)
    snapshot = await make(tmp_path)
    assert lost == [f".draft-{ID}"]
    assert verify(snapshot) == ()
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", ID, "latest"]


async def test_a_rename_whose_reply_is_lost_has_kept_the_ledger_and_removed_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tmp_path, LATER_ID)
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        await draft.create("targets.ndjson")
        with monkeypatch.context() as patch:
            of_refused = lose_replies(patch, "rename", ".refused-", errno.ENOENT)
            assert await draft.refuse(b"{}\n") == str(tmp_path / f".refused-{ID}")
        with monkeypatch.context() as patch:
            of_pruned = lose_replies(patch, "rename", ".pruned-", errno.ENOENT)
            await store.remove(LATER_ID)
    assert (of_refused, of_pruned) == ([f".refused-{ID}"], [f".pruned-{LATER_ID}"])
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", f".refused-{ID}", "latest"]
    assert (tmp_path / f".refused-{ID}" / "refused.json").exists()


def _removed(file: Path) -> None:
    file.unlink()


def _replaced(file: Path) -> None:
    copy = file.with_name("copy")
    copy.write_bytes(file.read_bytes())
    copy.replace(file)


def _linked(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


@pytest.mark.parametrize("name", ["pools.ndjson", "targets.ndjson"])
@pytest.mark.parametrize("vanish", [_removed, _replaced, _linked])
async def test_a_file_of_the_draft_that_is_gone_publishes_nothing(
    tmp_path: Path, name: str, vanish: Callable[[Path], None]
) -> None:
    await make(tmp_path)
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(LATER_ID)
        for each in ("pools.ndjson", "targets.ndjson"):
            await (await draft.create(each)).append(b"x\n")
        file = tmp_path / f".draft-{LATER_ID}" / name
        vanish(file)
        with pytest.raises(DestinationError, match=f"{re.escape(str(file))} is gone: .*; run again"):
            await commit(draft, b"{}\n")
        assert not draft.published
    assert not (tmp_path / LATER_ID).exists()
    assert not file.parent.exists()
    assert Snapshot.open("latest", tmp_path).id == ID


@pytest.mark.parametrize("name", ["journal", f".draft-{ID}"])
async def test_a_close_that_fails_of_what_is_not_published_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        for file in (await draft.create("pools.ndjson"), await draft.journal()):
            assert file is not None
            await file.append(b"x\n")
        failing("close", name, monkeypatch, errno.EDQUOT)
        await commit(draft, b"{}\n")
        assert draft.published
    assert sorted(each.name for each in (tmp_path / ID).iterdir()) == ["manifest.json", "pools.ndjson"]


async def test_a_close_that_fails_of_what_is_not_kept_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        for name in ("pools.ndjson", "targets.ndjson"):
            await draft.create(name)
        failing("close", "pools.ndjson", monkeypatch, errno.EDQUOT)
        kept = await draft.refuse(b"{}\n")
    assert kept is not None
    assert sorted(each.name for each in Path(kept).iterdir()) == ["refused.json", "targets.ndjson"]


async def test_a_ledger_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        await (await draft.create("targets.ndjson")).append(b"x\n")
        (tmp_path / f".draft-{ID}" / "targets.ndjson").unlink()
        with pytest.raises(DestinationError, match=r"targets\.ndjson is gone"):
            await draft.refuse(b"{}\n")
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("call", "name"), [("fsync", "dest"), ("symlink", LATER_ID), ("rename", f".latest-{LATER_ID}")]
)
async def test_a_failure_after_the_rename_is_a_warning_since_the_snapshot_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str, name: str
) -> None:
    dest = tmp_path / "dest"
    await make(dest)
    with monkeypatch.context() as patch:
        async with (
            FolderStore(dest) as store,
            SnapshotWriter(await store.draft(LATER_ID), partition="aws", operation=POOLS) as writer,
        ):
            await fill(writer, SOME)
            failing(call, name, patch)
            await publish(writer)
            assert writer.published
    assert f"{LATER_ID} is published" in caplog.text
    assert [info.id for info in list_snapshots(dest)] == [ID, LATER_ID]
    assert verify(Snapshot.open(LATER_ID, dest)) == ()
    assert os.readlink(dest / "latest") == ID  # noqa: PTH115 - as it is, not resolved
    assert [entry.name for entry in dest.iterdir() if entry.name.startswith(".latest")] == []


async def test_a_link_whose_reply_is_lost_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await make(tmp_path)
    lost = lose_replies(monkeypatch, "symlink", ".latest-", errno.EEXIST)
    await make(tmp_path, LATER_ID)
    assert lost == [f".latest-{LATER_ID}"]
    assert os.readlink(tmp_path / "latest") == LATER_ID  # noqa: PTH115 - as it is, not resolved
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", ID, LATER_ID, "latest"]
    assert caplog.text == ""


async def test_a_link_in_the_way_of_a_new_one_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await make(tmp_path)
    (tmp_path / f".latest-{LATER_ID}").symlink_to(ID)
    await make(tmp_path, LATER_ID)
    assert os.readlink(tmp_path / "latest") == LATER_ID  # noqa: PTH115 - as it is, not resolved
    # One that is only said to be there can't be removed.
    real = os.symlink

    def refuse_first(*given: Any) -> None:
        monkeypatch.setattr(os, "symlink", real)
        refuse_link(errno.EEXIST)

    monkeypatch.setattr(os, "symlink", refuse_first)
    await make(tmp_path, LATEST_ID)
    assert os.readlink(tmp_path / "latest") == LATEST_ID  # noqa: PTH115 - as it is, not resolved
    assert caplog.text == ""


@pytest.mark.parametrize("call", ["symlink", "open"])
async def test_a_name_that_is_said_to_be_taken_is_no_file_of_somebody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    await make(tmp_path)
    if call == "open":
        monkeypatch.setattr(Path, "symlink_to", lambda *_: refuse_link(errno.EPERM))
    real: Callable[..., Any] = getattr(os, call)

    def refuse(*given: Any, **options: Any) -> object:
        if any(str(each).endswith(f".latest-{LATER_ID}") for each in given[:2]):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), *given[:1])
        return real(*given, **options)

    monkeypatch.setattr(os, call, refuse)
    await make(tmp_path, LATER_ID)
    assert [info.id for info in list_snapshots(tmp_path)] == [ID, LATER_ID]
    assert "`latest` may still name the snapshot before it: File exists" in caplog.text
    assert "left alone" not in caplog.text


@pytest.mark.parametrize("number", OF_RENAMES)
@pytest.mark.parametrize("with_links", [True, False])
async def test_a_latest_whose_reply_is_lost_is_in_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    with_links: bool,
) -> None:
    name = "latest" if with_links else "latest.json"
    if not with_links:
        monkeypatch.setattr(Path, "symlink_to", lambda *_: refuse_link(errno.EPERM))
    await make(tmp_path)
    lost = lose_replies(monkeypatch, "rename", "latest", number)
    await make(tmp_path, LATER_ID)
    assert lost == [name]
    assert LocalSource(tmp_path).latest() == LATER_ID
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", ID, LATER_ID, name]
    assert caplog.text == ""


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
async def test_without_symbolic_links_a_file_names_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    monkeypatch.setattr(Path, "symlink_to", lambda *_: refuse_link(error))
    await make(tmp_path)
    assert json.loads((tmp_path / "latest.json").read_bytes()) == {"snapshot_id": ID}
    await make(tmp_path, LATER_ID)
    assert json.loads((tmp_path / "latest.json").read_bytes()) == {"snapshot_id": LATER_ID}
    assert (tmp_path / "latest.json").stat().st_mode & 0o777 == 0o600
    assert Snapshot.open("latest", tmp_path).id == LATER_ID
    assert LocalSource(tmp_path).latest() == LATER_ID
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", ID, LATER_ID, "latest.json"]
    assert caplog.text == ""


async def test_a_latest_json_beside_the_link_names_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await make(tmp_path)
    # As of a bucket that was copied.
    (tmp_path / "latest").unlink()
    (tmp_path / "latest.json").write_bytes(latest_object(ID))
    assert Snapshot.open("latest", tmp_path).id == ID
    for made, newest in ((LATER_ID, LATER_ID), (EARLIER_ID, LATER_ID)):
        await make(tmp_path, made)
        assert os.readlink(tmp_path / "latest") == newest  # noqa: PTH115 - as it is, not resolved
        assert (tmp_path / "latest.json").read_bytes() == latest_object(newest)
    assert caplog.text == ""
    assert {each.name for each in tmp_path.iterdir() if "latest" in each.name} == {"latest", "latest.json"}
    # What is no link is left alone with a warning, beside a file that is renewed.
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").write_text("hi")
    (tmp_path / "latest.json").write_bytes(latest_object(ID))
    await make(tmp_path, "20261122T020000Z-000000")
    assert (tmp_path / "latest").read_text() == "hi"
    assert (tmp_path / "latest.json").read_bytes() == latest_object(LATER_ID)
    assert "which was left alone" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b'{"snapshot_id":"mine"}', b"not JSON"])
async def test_a_latest_json_beside_the_link_that_names_no_snapshot_is_somebody_s(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "latest.json").write_bytes(content)
    await make(tmp_path)
    assert (tmp_path / "latest.json").read_bytes() == content
    assert Snapshot.open("latest", tmp_path).id == ID


@pytest.mark.parametrize(
    ("call", "name", "link", "file"),
    [
        ("symlink", LATER_ID, ID, LATER_ID),
        ("open", f".latest-{LATER_ID}", LATER_ID, ID),
        ("write", f".latest-{LATER_ID}", LATER_ID, ID),
    ],
)
async def test_what_names_the_newest_is_renewed_where_the_other_cannot_be(  # noqa: PLR0917 - pytest gives them by name
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    name: str,
    link: str,
    file: str,
) -> None:
    await make(tmp_path)
    (tmp_path / "latest.json").write_bytes(latest_object(ID))
    with monkeypatch.context() as patch:
        failing(call, name, patch)
        await make(tmp_path, LATER_ID)
    assert f"{LATER_ID} is published" in caplog.text
    assert os.readlink(tmp_path / "latest") == link  # noqa: PTH115 - as it is, not resolved
    assert (tmp_path / "latest.json").read_bytes() == latest_object(file)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".latest")] == []
    assert Snapshot.open("latest", tmp_path).id == LATER_ID


@pytest.mark.parametrize("name", [ID, "latest", f"{ID}/shards", "latest/a/b"])
async def test_nothing_is_published_in_a_snapshot(tmp_path: Path, name: str) -> None:
    await make(tmp_path)
    with pytest.raises(SettingsError, match=rf"is, or lies in, the snapshot .*{ID}\. Set `dest`"):
        await make(tmp_path / name, LATER_ID)
    assert verify(Snapshot.open(ID, tmp_path)) == ()
    # Others have files of that name as well.
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").touch()
    assert verify(await make(tmp_path / "web" / "snapshots", LATER_ID)) == ()


async def test_no_output_takes_the_place_of_a_snapshot_s_file(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        with output_file(path, 0o600) as file:
            file.write(b"a")

    snapshot = await make(tmp_path)
    for place in (tmp_path / ID, tmp_path / "latest"):
        with pytest.raises(DestinationError, match=f"/pools.ndjson: .* lies in the snapshot {ID}. Choose "):
            await asyncio.to_thread(write, place / "pools.ndjson")
    assert verify(snapshot) == ()


async def test_a_folder_called_latest_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine").touch()
    await make(tmp_path)
    assert f"snapshot {ID} is published" in caplog.text
    assert (tmp_path / "latest" / "mine").exists()
    assert Snapshot.open("latest", tmp_path).id == ID


@pytest.mark.parametrize("ahead", [False, True])
async def test_a_file_called_latest_is_left_alone_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ahead: bool
) -> None:
    (tmp_path / "latest").write_text("hi")
    if ahead:
        # Of snapshots from the future none is named, and what names one is taken away.
        monkeypatch.setattr("poolcensus.storage.local.latest.read_manifest", lambda _: None)
    await make(tmp_path)
    assert (tmp_path / "latest").read_text() == "hi"
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert f"no run has made {tmp_path / 'latest'}, which was left alone. Rename it" in caplog.text
    assert [each.name for each in tmp_path.iterdir() if "latest" in each.name] == ["latest"]
    monkeypatch.undo()
    assert Snapshot.open("latest", tmp_path).id == ID
    # Where there are no links, what names the newest is called otherwise.
    caplog.clear()
    monkeypatch.setattr(Path, "symlink_to", lambda *_: refuse_link(errno.EPERM))
    await make(tmp_path, LATER_ID)
    assert json.loads((tmp_path / "latest.json").read_bytes()) == {"snapshot_id": LATER_ID}
    assert ((tmp_path / "latest").read_text(), caplog.text) == ("hi", "")


async def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    monkeypatch.setattr(Path, "symlink_to", lambda *_: refuse_link(errno.EPERM))
    assert verify(await make(tmp_path)) == ()
    assert json.loads((tmp_path / "latest.json").read_bytes()) == {"snapshot_id": ID}


@pytest.mark.parametrize("umask", [0, 0o777])
async def test_modes_are_private_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    dest = tmp_path / "a" / "b" / "dest"
    before = os.umask(umask)
    try:
        await make(dest)
    finally:
        os.umask(before)
    assert modes(tmp_path) == {
        "a": 0o700,
        "a/b": 0o700,
        "a/b/dest": 0o700,
        "a/b/dest/.lock": 0o600,
        f"a/b/dest/{ID}": 0o700,
        f"a/b/dest/{ID}/manifest.json": 0o600,
        f"a/b/dest/{ID}/pools.ndjson": 0o600,
        f"a/b/dest/{ID}/targets.ndjson": 0o600,
    }


async def test_modes_can_be_chosen_and_those_of_what_is_there_are_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o751)
    async with FolderStore(tmp_path, file_mode=0o640, folder_mode=0o750) as store:
        draft = await store.draft(ID)
        await draft.create("pools.ndjson")
        await commit(draft, b"{}")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o751
    assert set(modes(tmp_path).values()) == {0o640, 0o750}


@pytest.mark.parametrize("must_exist", [True, False])
async def test_a_destination_that_can_not_be_looked_at_is_named(tmp_path: Path, *, must_exist: bool) -> None:
    store = FolderStore(tmp_path / ("a" * 300), must_exist=must_exist)
    for use in (store.__aenter__, store.rehearse):
        with pytest.raises(DestinationError, match="^can't (make|read) .*a: File name too long"):
            await use()


async def test_a_destination_that_is_a_circle_of_links_is_named(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(DestinationError, match="can't make .*circle: .*circle is not a folder"):
        await FolderStore(circle).__aenter__()
    with pytest.raises(DestinationError, match="There is no folder .*circle"):
        await FolderStore(circle, must_exist=True).__aenter__()


async def test_a_destination_that_is_a_file_is_named(tmp_path: Path) -> None:
    dest = tmp_path / "file"
    dest.write_text("")
    for place in (dest, dest / "below"):
        said = f"can't make {place}: {dest} is not a folder; choose a destination that is a folder"
        with pytest.raises(DestinationError, match=said):
            async with FolderStore(place):
                pytest.fail("entered")


async def test_a_snapshot_is_never_written_over(tmp_path: Path) -> None:
    snapshot = await make(tmp_path)
    with pytest.raises(DestinationError, match="snapshot of this id"):
        await make(tmp_path, content={})
    assert verify(snapshot) == ()


async def test_latest_does_not_go_back(tmp_path: Path) -> None:
    for snapshot_id in (ID, LATER_ID, EARLIER_ID):
        await make(tmp_path, snapshot_id)
    assert os.readlink(tmp_path / "latest") == LATER_ID  # noqa: PTH115 - as it is, not resolved
    assert Snapshot.open(tmp_path / "latest").id == LATER_ID


async def test_a_latest_that_can_not_be_read_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tmp_path, ID)
    with monkeypatch.context() as patch:
        failing("readlink", "latest", patch)
        assert Snapshot.open("latest", tmp_path).id == ID
        await make(tmp_path, LATER_ID)
    assert (tmp_path / "latest").readlink() == Path(LATER_ID)


async def test_latest_names_the_newest_though_the_run_that_published_it_was_killed(tmp_path: Path) -> None:
    await make(tmp_path, EARLIER_ID)
    await make(tmp_path, LATER_ID)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(EARLIER_ID)
    await make(tmp_path, ID)
    assert Snapshot.open("latest", tmp_path).id == LATER_ID


@pytest.mark.parametrize(("doing", "use"), [("read", "read"), ("read records in", "read"), ("lock", "write")])
def test_what_can_not_be_read_is_not_called_unwritable(doing: str, use: str) -> None:
    for number in (errno.EACCES, errno.EPERM):
        error = destination_error(doing, "two", OSError(number, os.strerror(number)))
        assert str(error).endswith(f"choose a destination that this user can {use}")


async def test_who_holds_the_lock_is_named(tmp_path: Path) -> None:
    async with FolderStore(tmp_path):
        holder = json.loads((tmp_path / ".lock").read_bytes())
        assert holder["pid"] == os.getpid()
        with pytest.raises(DestinationLockedError) as caught:
            async with FolderStore(tmp_path):
                pytest.fail("entered")
        for fact in (holder["started_at"], holder["host"], str(holder["pid"]), str(tmp_path)):
            assert fact in str(caught.value)


@pytest.mark.parametrize("doing", ["lock", "unlock"])
@pytest.mark.parametrize(("me", "name"), [(4711, "census"), (4712, "4712"), (None, None)])
async def test_whose_lock_can_not_be_opened_is_said_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, me: int | None, name: str | None, doing: str
) -> None:
    dest = tmp_path / "a b"
    await make(dest, EARLIER_ID)
    file = dest / ".lock"
    owner, opened = file.stat().st_uid, os.open

    def refuse(path: os.PathLike[str], flags: int, *arguments: int) -> int:
        if path == file and not flags & os.O_EXCL:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, flags, *arguments)

    def named(uid: int) -> object:
        if uid == 4712:
            raise KeyError(uid)
        return SimpleNamespace(pw_name={owner: "somebody", me: "census"}[uid])

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: me if me is not None else owner)
    monkeypatch.setattr("pwd.getpwuid", named)
    with pytest.raises(DestinationError) as caught:
        if doing == "unlock":
            await FolderStore(dest).unlock()
        else:
            await FolderStore(dest).__aenter__()
    if name is None:
        # Its mode alone is wrong.
        assert caught.value.problem == f"can't {doing} {file}: Permission denied"
        assert caught.value.advice == "choose a destination that this user can write"
    else:
        assert caught.value.problem == f"can't {doing} {file}, which belongs to somebody: Permission denied"
        command = f"sudo chown {name} {shlex.quote(str(file))}"
        assert caught.value.advice == (
            f"give it to this user with '{command}', or remove it while no run is under way"
        )
    assert isinstance(caught.value.__cause__, PermissionError)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_can_be_locked_to_make_room_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "write_all", full)
    async with FolderStore(tmp_path):
        with pytest.raises(DestinationLockedError, match='^Destination ".*" is locked by another run. Wait'):
            async with FolderStore(tmp_path):
                pytest.fail("entered")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}"])
async def test_an_unreadable_lock_file_still_locks(tmp_path: Path, content: bytes) -> None:
    async with FolderStore(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        with pytest.raises(DestinationLockedError, match='^Destination ".*" is locked by another run. Wait'):
            async with FolderStore(tmp_path):
                pytest.fail("entered")


@pytest.mark.parametrize(
    ("put", "kind"),
    [
        (Path.mkdir, "a folder"),
        (os.mkfifo, "no file"),
        (lambda file: file.symlink_to("nowhere"), "a symbolic link"),
    ],
)
async def test_what_is_no_lock_is_to_be_removed(
    tmp_path: Path, put: Callable[[Path], None], kind: str
) -> None:
    put(tmp_path / ".lock")
    says = f"{tmp_path}/.lock: it is {kind}; remove or rename it"
    with pytest.raises(DestinationError, match=f"^can't lock {says}$"):
        await make(tmp_path)
    with pytest.raises(DestinationError, match=f"^can't unlock {says}$"):
        await FolderStore(tmp_path).unlock()
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


async def test_the_lock_file_stays_the_same_file(tmp_path: Path) -> None:
    async with FolderStore(tmp_path):
        first = (tmp_path / ".lock").stat().st_ino
    async with FolderStore(tmp_path):
        assert (tmp_path / ".lock").stat().st_ino == first


async def test_a_held_lock_leaves_the_holders_draft_alone(tmp_path: Path) -> None:
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        file = await draft.create("pools.ndjson")
        with pytest.raises(DestinationLockedError):
            async with FolderStore(tmp_path):
                pytest.fail("entered")
        await file.append(b"x\n")
        await commit(draft, b"{}")


async def test_what_dead_runs_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    await make(tmp_path)
    dead = tmp_path / f".draft-{EARLIER_ID}"
    dead.mkdir()
    (dead / "pools.ndjson").write_text("half a li")
    (tmp_path / f".latest-{EARLIER_ID}").symlink_to(EARLIER_ID)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("")
    (tmp_path / f".draft-{LATER_ID}").symlink_to("elsewhere")
    (tmp_path / ".draft-mine").mkdir()
    (tmp_path / "notes.txt").write_text("")
    before = sorted(entry.name for entry in tmp_path.iterdir())
    async with FolderStore(tmp_path) as store:
        assert sorted(entry.name for entry in tmp_path.iterdir()) == before
        await store.sweep()
        left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == sorted(
        [".draft-mine", f".draft-{LATER_ID}", ".lock", ID, "elsewhere", "latest", "notes.txt"]
    )
    assert (tmp_path / "elsewhere" / "kept").exists()


async def test_what_can_not_be_swept_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: str, *, dir_fd: int | None = None) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    dead = tmp_path / f".draft-{EARLIER_ID}"
    dead.mkdir()
    (dead / "pools.ndjson").write_text("half a li")
    monkeypatch.setattr(os, "unlink", refused)
    async with FolderStore(tmp_path) as store:
        await store.sweep()
    assert caplog.messages == [f"{dead} is left over and can't be removed: {os.strerror(errno.EACCES)}"]
    assert caplog.records[0].__dict__["once"]


async def test_nothing_is_swept_where_it_can_not_be_told_what_is_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(stale: StaleDrafts) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    dead = tmp_path / f".draft-{EARLIER_ID}"
    dead.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(StaleDrafts, "interrupted", failing)
        async with FolderStore(tmp_path) as store:
            await store.draft(ID)
            assert dead.exists()
    async with FolderStore(tmp_path) as store:
        await store.draft(ID)
    assert not dead.exists()


def test_a_killed_run_leaves_neither_a_lock_nor_a_draft_for_the_next(tmp_path: Path) -> None:
    script = """
        import asyncio, os, signal, sys
        from poolcensus.storage.local.store import FolderStore

        async def main():
            async with FolderStore(sys.argv[1]) as store:
                draft = await store.draft("20261123T020000Z-3f9a1c")
                await (await draft.create("pools.ndjson")).append(b"x" * 1000)
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    done = run_script(script, tmp_path)
    assert done.returncode == -9
    assert (tmp_path / f".draft-{ID}" / "pools.ndjson").stat().st_size == 1000
    assert list_snapshots(tmp_path) == ()
    snapshot = anyio.run(make, tmp_path, LATER_ID)
    assert verify(snapshot) == ()
    assert not (tmp_path / f".draft-{ID}").exists()


@pytest.mark.parametrize("beside", ["", "latest.json"])
def test_wherever_a_commit_is_cut_off_readers_see_the_old_or_the_new_snapshot_whole(
    tmp_path: Path, beside: str
) -> None:
    # Each child leaves in one of the system calls of its commit, without any clearing up.
    script = f"""
        import asyncio, os, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from poolcensus.snapshot import Snapshot
        from poolcensus.snapshot.verification import verify
        from poolcensus.storage.naming import latest_object
        from snapshot.making import ID, LATER_ID, make

        CALLS = ("open", "write", "fsync", "close", "rename", "symlink", "replace")

        def arm(countdown):
            def wrap(real):
                def call(*args, **kwargs):
                    nonlocal countdown
                    if any(LATER_ID in str(arg) for arg in args):
                        armed[0] = True
                    if armed[0]:
                        countdown -= 1
                        if countdown == 0:
                            os._exit(9)
                    return real(*args, **kwargs)
                return call
            armed = [False]
            for name in CALLS:
                setattr(os, name, wrap(getattr(os, name)))

        seen = []
        for step in range(1, 100):
            dest = Path(sys.argv[1]) / str(step)
            child = os.fork()
            if child == 0:
                asyncio.run(make(dest, ID))
                if {beside!r}:
                    (dest / {beside!r}).write_bytes(latest_object(ID))
                arm(step)
                asyncio.run(make(dest, LATER_ID))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            for ref in ("latest", str(dest / "latest")):
                snapshot = Snapshot.open(ref, dest)
                assert verify(snapshot) == (), step
                assert [record.pool["PoolId"] for record in snapshot.pools()], step
            if {beside!r}:
                assert (dest / {beside!r}).read_bytes() in map(latest_object, (ID, LATER_ID)), step
            seen.append(Snapshot.open("latest", dest).id == LATER_ID)
            if status == 0:
                break
        print(len(seen), seen.index(True), seen == sorted(seen))
    """
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    steps, first_new, monotonous = done.stdout.split()
    assert monotonous == "True"
    assert 15 < int(first_new) < int(steps) - 3


def test_a_file_that_may_not_grow_ends_the_run_and_leaves_the_former_snapshot(tmp_path: Path) -> None:
    script = f"""
        import asyncio, resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from poolcensus.errors import DestinationError
        from poolcensus.snapshot import SnapshotWriter
        from poolcensus.storage.local.store import FolderStore
        from snapshot.making import ID, LATER_ID, make, page, pool, publish, result, target, POOLS

        async def main(dest):
            await make(dest, ID)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            async with FolderStore(dest) as store:
                draft = await store.draft(LATER_ID)
                writing = SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=100_000)
                async with writing as writer:
                    for number in range(100):
                        of = target(number)
                        writer.page(page(of, pool(f"wspool-{{number:09}}", 10_000)))
                        writer.done(result(of, pools=1), of)
                    await publish(writer)

        try:
            asyncio.run(main(Path(sys.argv[1])))
        except DestinationError as error:
            print(error)
    """
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", ID, "latest"]
    assert verify(Snapshot.open("latest", tmp_path)) == ()


def run_script(script: str, dest: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(dest)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def held_write(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Lets writes to pools.ndjson report that they began, and wait for leave."""
    begun, leave = threading.Event(), threading.Event()
    write = os.write

    def slow(fd: int, data: bytes) -> int:
        if path_of(fd).name == "pools.ndjson":
            begun.set()
            leave.wait(20)
        return write(fd, data)

    monkeypatch.setattr(os, "write", slow)
    yield begun, leave
    leave.set()


async def test_a_slow_disk_does_not_hold_up_the_event_loop(
    tmp_path: Path, held_write: tuple[threading.Event, threading.Event]
) -> None:
    begun, leave = held_write
    turns = 0
    async with FolderStore(tmp_path) as store, anyio.create_task_group() as tasks:
        draft = await store.draft(ID)
        file = await draft.create("pools.ndjson")
        tasks.start_soon(file.append, b"x\n")
        while not begun.is_set() or turns < 100:
            turns += 1
            await anyio.lowlevel.checkpoint()
        leave.set()


async def test_an_abort_waits_for_the_write_that_a_cancelled_caller_left_running(
    tmp_path: Path, held_write: tuple[threading.Event, threading.Event]
) -> None:
    begun, leave = held_write
    before = descriptors()
    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        file = await draft.create("pools.ndjson")
        # Cancelled by asyncio itself, which no shield of anyio's withstands.
        caller = asyncio.create_task(file.append(b"x\n"))
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(draft.abort)
            await anyio.wait_all_tasks_blocked()
            assert (tmp_path / f".draft-{ID}").exists()
            leave.set()
        assert not (tmp_path / f".draft-{ID}").exists()
    assert descriptors() == before


async def test_a_commit_given_up_before_its_rename_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, leave = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd: int) -> None:
        # The last step before the rename.
        if path_of(fd).name == f".draft-{ID}":
            begun.set()
            leave.wait(20)
        fsync(fd)

    async with FolderStore(tmp_path) as store:
        draft = await store.draft(ID)
        await draft.create("pools.ndjson")
        monkeypatch.setattr(os, "fsync", slow)
        caller = asyncio.create_task(commit(draft, b"{}"))
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(draft.abort)
            await anyio.wait_all_tasks_blocked()
            leave.set()
        assert not draft.published
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("said", [None, errno.EINVAL, errno.ENOTSUP, errno.ENOTTY])
async def test_where_a_flush_stops_at_the_drive_s_cache_each_file_goes_past_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: int | None
) -> None:
    steps: list[tuple[str, int]] = []
    fsync, full_sync = os.fsync, 51

    def flush(fd: int) -> None:
        steps.append(("fsync", fd))
        fsync(fd)

    def flush_cache(fd: int, command: int) -> int:
        assert command == full_sync
        steps.append(("the cache", fd))
        if said is not None:
            raise OSError(said, os.strerror(said))
        return 0

    monkeypatch.setattr(files, "_FULL_SYNC", full_sync)
    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(fcntl, "fcntl", flush_cache)
    await make(tmp_path, ID)
    assert [what for what, _ in steps] == ["fsync", "the cache"] * (len(steps) // 2)
    assert [fd for _, fd in steps[::2]] == [fd for _, fd in steps[1::2]]
    # Two data files, the manifest, the draft's folder, and the destination before and after `latest`.
    assert len(steps) // 2 >= 6
    assert verify(Snapshot.open(ID, tmp_path)) == ()


async def test_a_drive_that_fails_in_it_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, command: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "_FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", fail)
    with pytest.raises(DestinationError, match="can't flush"):
        await make(tmp_path, ID)
    assert list_snapshots(tmp_path) == ()


@pytest.mark.parametrize("name", ["/dev/fd/1", "/dev/stdout"])
def test_nothing_is_put_beside_a_descriptor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As macOS has it: /dev/stdout leads to fd/1, which leads nowhere, and is a file where a file is open.
    monkeypatch.setattr(files, "is_link", lambda path: path == Path("/dev/stdout"))
    monkeypatch.setattr(Path, "readlink", lambda _: Path("fd/1"))
    monkeypatch.setattr(os.path, "realpath", os.fspath)
    monkeypatch.setattr(files, "is_file", lambda _: True)
    assert files.replaceable(Path(name)) is None


async def test_a_cancelled_writer_leaves_no_draft_and_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    with anyio.CancelScope() as scope:
        async with (
            FolderStore(tmp_path) as store,
            SnapshotWriter(
                await store.draft(ID),
                partition="aws",
                operation=POOLS,
                memory_per_target=1024,
                queue_bytes=4096,
            ) as writer,
        ):
            for number in range(50):
                await writer.room()
                writer.page(page(target(), pool(f"wspool-{number:09}", 1000), number=number))
                if number == 40:
                    scope.cancel()
    assert scope.cancelled_caught
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]
    assert descriptors() == before
    async with FolderStore(tmp_path):
        pass

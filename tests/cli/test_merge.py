"""`poolcensus merge`: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from poolcensus.cli import main, running
from poolcensus.errors import DestinationError
from poolcensus.model import Compression, Outcome
from poolcensus.signals import ENDING
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify
from poolcensus.snapshot.writer import RunDescription, SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import folder_of, target
from snapshot.shard_lab import ONE, TWO, edit, make, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from poolcensus.model import Manifest
    from snapshot.shard_lab import Content

COVERED: Content = {target(2): ["wspool-000000001"]}
CLOSED: Content = {target(2): Outcome.NOT_ENTITLED}
DISABLED: Content = {target(2): Outcome.REGION_DISABLED}


def shards(folder: Path, *contents: Content) -> list[str]:
    """Make a shard of each, and return where they are."""
    places = [str(folder / str(index)) for index in range(1, len(contents) + 1)]
    for index, content in enumerate(contents, 1):
        asyncio.run(make(folder / str(index), content, index, len(contents)))
    return places


def test_it_says_nothing_where_all_is_covered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dest = tmp_path / "all"
    assert main(["merge", *shards(tmp_path, ONE, COVERED), "--dest", str(dest), "--compress", "zstd"]) == 0
    assert capsys.readouterr() == ("", "")
    merged = Snapshot.open("latest", dest)
    assert verify(merged) == ()
    assert merged.pools_file[1] is Compression.ZSTD


@pytest.mark.parametrize("step", ["hidden_items", "show_summary"])
def test_a_defect_after_the_commit_costs_no_other_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*_: object) -> None:
        raise LookupError(step)

    monkeypatch.setattr(f"poolcensus.cli.merge.{step}", fails)
    dest = tmp_path / "all"
    assert main(["merge", *shards(tmp_path, ONE, COVERED), "--dest", str(dest), "--json"]) == 0
    told = capsys.readouterr()
    assert "was published before this: unexpected LookupError" in told.err
    assert json.loads(told.out)["snapshot_id"] == Snapshot.open("latest", dest).manifest.snapshot_id


def test_what_is_not_covered_is_said_with_the_command_that_tells_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "all"
    assert main(["merge", *shards(tmp_path, ONE, TWO), "--dest", str(dest), "--json"]) == 3
    told = capsys.readouterr()
    merged = Snapshot.open("latest", dest)
    assert json.loads(told.out) == json.loads((folder_of(merged) / "manifest.json").read_bytes())
    assert told.err == (
        f"poolcensus: Published partial snapshot {merged.id} at {merged.location}: 3 of 4 targets covered."
        f" Run 'poolcensus show --failures {merged.id} --dest {dest}' to list the others.\n"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            CLOSED,
            (
                "WorkSpaces Pools is closed now to 1 account in which an earlier snapshot saw 1 pool: {}. A"
                " closed service lists no pools; whether these are gone is unknown.\n"
            ),
        ),
        (
            DISABLED,
            (
                "Regions are disabled now in 1 account where an earlier snapshot saw 1 pool: {}. A disabled"
                " region keeps its resources, and AWS goes on to charge for them. Enable the region to list"
                " them.\n"
            ),
        ),
    ],
)
def test_what_hides_pools_now_is_told_as_collect_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Content, says: str
) -> None:
    dest = tmp_path / "all"
    (tmp_path / "today").mkdir()
    assert main(["merge", *shards(tmp_path, ONE, COVERED), "--dest", str(dest)]) == 0
    assert main(["merge", *shards(tmp_path / "today", ONE, content), "--dest", str(dest)]) == 0
    assert capsys.readouterr().err == f"poolcensus: {says.format('000000000002 acct-2 (us-east-1)')}"


def test_another_scope_than_before_is_told_as_collect_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "all"
    asyncio.run(make(dest, ONE, 0, request={"regions": ["us-east-1", "eu-west-1"]}))
    assert main(["merge", *shards(tmp_path, ONE, COVERED), "--dest", str(dest)]) == 0
    assert capsys.readouterr().err == (
        "poolcensus: This run covers the whole organization; the snapshot before covers all accounts, 2"
        " regions.\n"
    )


def test_what_cannot_be_joined_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, _ = shards(tmp_path, ONE, TWO)
    assert main(["merge", one, "--dest", str(tmp_path / "all")]) == 1
    assert capsys.readouterr() == ("", "poolcensus: shard 2 of 2 is missing\n")


def test_a_part_that_can_be_no_bucket_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Before the others are looked at.
    assert main(["merge", str(tmp_path / "none"), "s3://Bucket/x", "--dest", str(tmp_path / "all")]) == 2
    assert capsys.readouterr().err.startswith('poolcensus: PART: "s3://Bucket/x" must be s3://BUCKET/PREFIX')


@pytest.mark.parametrize(
    "lie",
    [
        lambda each: each["files"][0].update(records=99),
        lambda each: each["files"][1].update(records=0),
        lambda each: each["files"][1].update(bytes=0),
        lambda each: each["files"][0].update(sha256="0" * 64),
        lambda each: each["files"].reverse() or each["files"][0].update(name="pools.ndjson"),
        lambda each: each["files"].clear(),
        lambda each: each["shard"].update(index=-1),
        lambda each: each["shard"].update(index="1"),
        lambda each: each["operation"].update(items="pool"),
        lambda each: each["operation"].update(item="pools"),
        lambda each: each.update(snapshot_id="20261123T020000Z-ffffff"),
        lambda each: each.update(schema_version=3),
        lambda each: each.update(schema_version=1),
    ],
)
def test_a_manifest_that_lies_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lie: Callable[[dict[str, Any]], object]
) -> None:
    one, two = shards(tmp_path, ONE, COVERED)
    edit(Snapshot.open("latest", one), lie)
    # Named by its folder: a destination leaves out what can't be read.
    named = str(folder_of(Snapshot.open("latest", two)).parent / "latest").replace("/2/", "/1/")
    assert main(["merge", named, two, "--dest", str(tmp_path / "all")]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n"), told.err.startswith("poolcensus: ")) == ("", 1, True)
    assert str(tmp_path / "1") in told.err
    assert published(tmp_path / "all") == []


def test_a_destination_that_a_run_holds_is_11(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(tmp_path, ONE, COVERED)

    async def hold(held: threading.Event, ended: threading.Event) -> None:
        async with FolderStore(tmp_path / "all"):
            held.set()
            await asyncio.to_thread(ended.wait)

    held, ended = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(lambda: asyncio.run(hold(held, ended)))
        held.wait()
        try:
            assert main(["merge", *parts, "--dest", str(tmp_path / "all")]) == 11
        finally:
            ended.set()
        holding.result()
    assert "is locked by another run" in capsys.readouterr().err


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program that was signalled ignores further signals, and leaves its process: tests are not to."""
    monkeypatch.setattr(running, "_CLEANUP_WITHIN", 3600.0)
    before = {each: signal.getsignal(each) for each in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_in_the_middle_publishes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    done = SnapshotWriter.done

    def interrupted(self: SnapshotWriter, *given: Any) -> None:
        done(self, *given)
        os.kill(os.getpid(), number)

    parts = shards(tmp_path, ONE, COVERED)
    monkeypatch.setattr(SnapshotWriter, "done", interrupted)
    assert main(["merge", *parts, "--dest", str(tmp_path / "all")]) == 128 + number
    monkeypatch.undo()
    assert capsys.readouterr().err == f"poolcensus: {ENDING[number]}\n"
    assert [each.name for each in (tmp_path / "all").iterdir()] == [".lock"]
    # The next one finds nothing in its way.
    assert main(["merge", *parts, "--dest", str(tmp_path / "all")]) == 0


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("event", "says"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "was published when the signal came"),
        (DestinationError("the lock is gone"), "was published before this: the lock is gone"),
    ],
)
def test_what_is_published_stands_whatever_comes_then(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    event: DestinationError | Callable[[], None],
    says: str,
) -> None:
    publish = SnapshotWriter.publish

    async def and_then(self: SnapshotWriter, about: RunDescription) -> Manifest:
        manifest = await publish(self, about)
        if isinstance(event, DestinationError):
            raise event
        event()
        await asyncio.sleep(0)
        return manifest

    parts = shards(tmp_path, ONE, TWO)
    monkeypatch.setattr(SnapshotWriter, "publish", and_then)
    assert main(["merge", *parts, "--dest", str(tmp_path / "all")]) == 3
    merged = Snapshot.open("latest", tmp_path / "all")
    assert f"snapshot {merged.id} {says}\n" in capsys.readouterr().err
    assert verify(merged) == ()

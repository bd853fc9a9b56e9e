"""Runs that --strict or --max-failed does not publish: of them the ledger is kept, which is no snapshot."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from descriptors import path_of
from poolcensus.census import Census
from poolcensus.errors import NotPublishedError, SnapshotError
from poolcensus.snapshot import list_snapshots
from poolcensus.snapshot.inventory import inventory_of
from poolcensus.snapshot.pruning import prune
from poolcensus.snapshot.refused import RefusedRun, refused_run
from poolcensus.snapshot.retention import Keep
from poolcensus.snapshot.verification import verify
from poolcensus.storage.local.reading import LocalFiles, survey
from storage.buckets import PLACE, PREFIX, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

FAILS = ("html,account=000000000003",)


async def refuse(here: Lab, **changes: object) -> NotPublishedError:
    options = {"strict": True, "max_attempts": 1, **changes}
    async with Census(here.settings(**options)) as census:
        with pytest.raises(NotPublishedError) as caught:
            await census.collect()
        assert census.published is None
    return caught.value


def refused_in(dest: Path) -> list[str]:
    return sorted(each.name for each in dest.glob(".refused-*"))


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
async def test_the_ledger_of_a_run_that_is_not_published_is_kept(lab: Start, compress: str) -> None:
    here = await lab(accounts=5, mean_pools=3, faults=FAILS)
    error = await refuse(here, compress=compress)
    assert error.ledger is not None
    kept = Path(error.ledger)
    suffix = {"none": "", "gzip": ".gz", "zstd": ".zst"}[compress]
    assert sorted(each.name for each in kept.iterdir()) == ["refused.json", f"targets.ndjson{suffix}"]
    assert sorted(each.name for each in here.dest.iterdir()) == [".lock", kept.name]
    run = RefusedRun.read(LocalFiles(kept))
    assert (run.reason, kept.name) == ("strict", f".refused-{run.id}")
    assert [each.request_id for each in run.uncovered()] == [each.request_id for each in error.uncovered]
    assert error.count == len(error.uncovered) == 3
    assert len([*run.targets()]) == 15
    assert run.manifest.totals.pools > 0
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in kept.iterdir()} == {0o600}
    assert list_snapshots(here.dest) == ()
    inventory = inventory_of(survey(here.dest), str(here.dest))
    assert (inventory.snapshots, inventory.unreadable, inventory.latest) == ((), {}, None)
    await prune(here.dest, Keep(last=1))
    assert refused_in(here.dest) == [kept.name]


async def test_only_the_newest_one_is_kept_and_none_after_a_snapshot(lab: Start) -> None:
    here = await lab(accounts=5, faults=FAILS)
    first = await here.collect(max_attempts=1)
    await refuse(here)
    error = await refuse(here, strict=False, max_failed=1)
    assert [str(here.dest / each) for each in refused_in(here.dest)] == [error.ledger]
    found = refused_run(None, here.dest)
    assert found is not None
    assert found.reason == "max_failed 1"
    assert found.id != first.id
    second = await here.collect(max_attempts=1)
    assert refused_run(None, here.dest) is None
    assert sorted(each.name for each in here.dest.iterdir()) == sorted(
        [".lock", first.id, second.id, "latest"]
    )
    assert not verify(second)


async def test_a_bucket_is_not_looked_for_on_the_disk(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=5, faults=FAILS)
    error = await refuse(here)
    monkeypatch.chdir(tmp_path)
    Path("prod").symlink_to(str(error.ledger))
    assert refused_run("s3://bucket/prod") is None
    found = refused_run("prod")
    assert found is not None
    assert found.reason == "strict"


async def test_a_ledger_that_is_older_than_a_snapshot_is_passed_over(lab: Start) -> None:
    here = await lab(accounts=5, faults=FAILS)
    error = await refuse(here)
    assert error.ledger is not None
    kept = Path(error.ledger)
    # Left by a run that could not remove it.
    kept.rename(here.dest.with_name("aside"))
    await here.collect(max_attempts=1)
    here.dest.with_name("aside").rename(kept)
    assert refused_run(None, here.dest) is None
    assert refused_run(kept.name.removeprefix(".refused-"), here.dest) is not None


async def test_one_that_can_not_be_read_is_told_only_where_it_may_be_the_newest(lab: Start) -> None:
    here = await lab(accounts=1)
    snapshot = await here.collect()
    before, after = (here.dest / f".refused-{year}0101T000000Z-000000" for year in (2020, 2098))
    before.mkdir()
    (before / "refused.json").write_text("junk")
    assert refused_run(None, here.dest) is None
    after.mkdir()
    (after / "refused.json").write_text("junk")
    with pytest.raises(SnapshotError, match=f"{after.name}/refused.json can't be read"):
        refused_run(None, here.dest)
    assert snapshot.id > before.name.removeprefix(".refused-")


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
async def test_a_ledger_that_can_not_be_kept_is_a_warning(
    lab: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    here = await lab(accounts=5, faults=FAILS)
    real: Callable[..., Any] = getattr(os, call)

    def fail(place: object, *args: object, **kwargs: object) -> object:
        name = path_of(place)
        if name.name == "refused.json" or (call == "rename" and name.name.startswith(".draft-")):
            raise OSError(28, os.strerror(28))
        return real(place, *args, **kwargs)

    monkeypatch.setattr(os, call, fail)
    error = await refuse(here)
    assert (error.ledger, error.dest) == (None, None)
    assert "The ledger of this run could not be kept" in caplog.text
    assert [each.name for each in here.dest.iterdir()] == [".lock"]


async def test_a_stream_keeps_no_ledger(lab: Start, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    here = await lab(accounts=5, faults=FAILS)
    error = await refuse(here, dest="-")
    assert (error.ledger, error.dest) == (None, None)


async def test_a_bucket_keeps_the_ledger_of_the_newest_such_run(lab: Start) -> None:
    here = await lab(accounts=5, mean_pools=3, faults=FAILS)
    objects = stored(here.simulator).objects
    await refuse(here, dest=PLACE, max_attempts=1)
    error = await refuse(here, dest=PLACE, compress="zstd")
    assert error.ledger is not None
    run_id = error.ledger.rpartition("/")[2]
    assert sorted(objects) == [f"{PREFIX}{run_id}/{name}" for name in ("refused.json", "targets.ndjson.zst")]
    assert await to_thread.run_sync(list_snapshots, PLACE) == ()
    for ref in (None, run_id, f"{PLACE}/{run_id}", f"{PLACE}/{run_id}/"):
        run = await to_thread.run_sync(refused_run, ref, PLACE)
        assert run is not None
        assert (run.id, run.reason) == (run_id, "strict")
        found = await to_thread.run_sync(list, run.uncovered())
        assert [each.request_id for each in found] == [each.request_id for each in error.uncovered]
    async with Census(here.settings(dest=PLACE, max_attempts=1)) as census:
        snapshot = await census.collect()
    assert {each.removeprefix(PREFIX).partition("/")[0] for each in objects} == {
        snapshot.manifest.snapshot_id,
        "latest.json",
    }
    for ref in (None, run_id, snapshot.id, "latest"):
        assert await to_thread.run_sync(refused_run, ref, PLACE) is None


async def poolcensus(*arguments: str) -> tuple[int | None, str, str]:
    done = await anyio.run_process([sys.executable, "-m", "poolcensus", *arguments], check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def refused_by_command(here: Lab, tmp_path: Path, dest: str) -> str:
    """A snapshot, and a run by the command that is not published. Returns the command that it names."""
    async with Census(here.settings(dest=dest, max_attempts=1)) as census:
        await census.collect()
    config = tmp_path / "c.toml"
    config.write_text("max_attempts = 1\n")
    regions = ",".join(here.simulator.world.config.regions)
    code, out, said = await poolcensus(
        "collect", "--config", str(config), "--dest", dest, "--regions", regions, "--strict"
    )
    assert (code, out) == (4, "")
    command = f"poolcensus show --failures --dest {shlex.quote(dest)}"
    assert said.splitlines()[-1] == f"poolcensus: Run '{command}' to list them."
    return command


@pytest.mark.parametrize("remote", [False, True], ids=["folder", "bucket"])
async def test_the_command_that_a_run_ends_with_shows_what_failed(
    lab: Start, tmp_path: Path, remote: bool
) -> None:
    here = await lab(accounts=5, mean_pools=3, faults=FAILS)
    stored(here.simulator)
    command = await refused_by_command(here, tmp_path, PLACE if remote else str(here.dest))
    code, out, said = await poolcensus(*shlex.split(command)[1:], "--json")
    run_id = said.split()[2]
    assert (code, said) == (
        0,
        f"poolcensus: Run {run_id} was not published (--strict); these are its failures.\n",
    )
    shown = [json.loads(line) for line in out.splitlines()]
    assert [each["account_id"] for each in shown] == ["000000000003"] * 3
    assert not any(each["outcome"] == "ok" for each in shown)

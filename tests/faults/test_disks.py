"""Disks that fill, that may only be read, and devices that take nothing: a sentence, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from descriptors import needs_dev_full
from faults.conftest import Ended, assert_one_sentence

if TYPE_CHECKING:
    from faults.conftest import Bench, Served

# A snapshot into a destination with less and less room. What is left after each is what was there before.
FILLING = f"""
    import asyncio, os, resource, signal, sys
    sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    from pathlib import Path
    from poolcensus.errors import DestinationError
    from poolcensus.snapshot import Snapshot, SnapshotWriter
    from poolcensus.snapshot.verification import verify
    from poolcensus.storage.local.store import FolderStore
    from snapshot.making import ID, LATER_ID, make, page, pool, publish, result, target, POOLS

    async def write(dest):
        async with FolderStore(dest) as store:
            draft = await store.draft(LATER_ID)
            async with SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=20_000) as writer:
                for number in range(40):
                    of = target(number)
                    # The large ones wait in the spill file, which has to find room as well.
                    writer.page(page(of, pool(f"wspool-{{number:09}}", 50_000 if number % 4 else 500)))
                    writer.done(result(of, pools=1), of)
                await publish(writer, accounts=40)

    def attempt(dest):
        before = sorted((each.name, os.lstat(each).st_ino) for each in dest.iterdir())
        try:
            asyncio.run(write(dest))
        except DestinationError as error:
            assert sorted((each.name, os.lstat(each).st_ino) for each in dest.iterdir()) == before
            assert Snapshot.open("latest", dest).id == ID
            assert verify(Snapshot.open("latest", dest)) == ()
            return str(error)
        assert verify(Snapshot.open(LATER_ID, dest)) == ()
        return None
"""
FULL = """
    import subprocess

    dest = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", dest], check=True)
    asyncio.run(make(dest, ID))
    said = []
    for left in range(0, 360, 18):
        ballast = dest / "ballast"
        room = os.statvfs(dest)
        ballast.write_bytes(bytes((room.f_bavail - left) * room.f_frsize))
        said.append(attempt(dest))
        ballast.unlink()
    assert attempt(dest) is None
    print(*said, sep="\\n")
"""
LIMITED = """
    dest = Path(sys.argv[1])
    asyncio.run(make(dest, ID))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = []
    for size in range(500, 1_500_000, 75_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        said.append(attempt(dest))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert attempt(dest) is None
    print(*said, sep="\\n")
"""
# Runs the program into a file system of its own: one with room, then a full one, then one to be read only.
MOUNTED = """
    import json, os, subprocess, sys
    from pathlib import Path

    dest, arguments = Path(sys.argv[1]), sys.argv[2:]
    program = [sys.executable, "-m", "poolcensus"]

    def seen():
        return sorted((each.name, os.lstat(each).st_ino) for each in dest.iterdir())

    def attempt():
        before = seen()
        ended = subprocess.run([*program, *arguments], capture_output=True, text=True)
        assert seen() == before
        print(json.dumps([ended.returncode, ended.stdout, ended.stderr]))

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", dest], check=True)
    subprocess.run([*program, *arguments], check=True)
    with (dest / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            pass
    attempt()
    (dest / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,ro", dest], check=True)
    attempt()
    subprocess.run([*program, "verify", "--dest", dest], check=True)
"""


@pytest.fixture
def unshare() -> tuple[str, ...]:
    """What a command has to begin with that mounts file systems for itself alone."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare, which Linux has, is not installed")
    command = ("unshare", "--mount", "--")
    trial = subprocess.run(
        [*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False
    )
    if trial.returncode:
        pytest.skip(f"this user can't mount anything: {trial.stderr.strip()}")
    return command


def _script(*parts: str) -> str:
    return "".join(textwrap.dedent(part) for part in parts)


def _run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _assert_said(lines: list[str], reason: str) -> None:
    assert len(lines) == 20
    assert all(reason in line and "choose another destination" in line for line in lines), lines


def test_a_disk_that_fills_at_twenty_places(tmp_path: Path, unshare: tuple[str, ...]) -> None:
    said = _run(*unshare, sys.executable, "-W", "ignore", "-c", _script(FILLING, FULL), tmp_path)
    _assert_said(said.splitlines(), "No space left on device")


def test_a_limit_on_the_size_of_files_at_twenty_places(tmp_path: Path) -> None:
    said = _run(sys.executable, "-W", "ignore", "-c", _script(FILLING, LIMITED), tmp_path)
    _assert_said(said.splitlines(), "File too large")


def test_a_run_into_a_disk_that_takes_nothing_is_one_sentence(
    simulator: Served, bench: Bench, unshare: tuple[str, ...]
) -> None:
    dest = bench.folder / "snapshots"
    dest.mkdir()
    arguments = ("collect", "--dest", dest, "--regions", "us-east-1")
    environment = {**bench.environment, **simulator.environment}
    said = _run(*unshare, sys.executable, "-c", _script(MOUNTED), dest, *arguments, env=environment)
    full, read_only = (Ended(*json.loads(line)) for line in said.splitlines())
    assert_one_sentence(full, 1, "No space left on device", str(dest))
    assert_one_sentence(read_only, 1, "Read-only file system", str(dest))


@needs_dev_full
def test_standard_output_that_takes_nothing_is_one_sentence(simulator: Served, bench: Bench) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "poolcensus", "collect", "--dest", "-", "--regions", "us-east-1"],
            cwd=bench.folder,
            env={**bench.environment, **simulator.environment},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert_one_sentence(Ended(done.returncode, "", done.stderr), 1, "standard output", "No space left")

from __future__ import annotations

import errno
import os
import select
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ended_census import MANIFEST, PROGRESS, TOTALS, metric_names
from poolcensus.cli.metrics import write_metrics
from poolcensus.model import Outcome, Progress, SnapshotStatus, Totals

if TYPE_CHECKING:
    from poolcensus.model import Manifest

# Each is in every file, so that no alert is silent for want of one.
NAMES = metric_names()
FAILED = replace(PROGRESS, totals=Totals(targets=2, pools=1, requests=5, throttles=3))
PARTIAL = replace(
    MANIFEST,
    status=SnapshotStatus.PARTIAL,
    totals=replace(TOTALS, covered=3),
    outcomes={Outcome.OK: 3, Outcome.THROTTLED: 1},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "poolcensus.prom"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may change."""
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def write(file: Path, code: int, manifest: Manifest | None, progress: Progress = PROGRESS) -> None:
    write_metrics(file, exit_code=code, progress=progress, manifest=manifest)


def read(file: Path) -> dict[str, float]:
    """What the file says, by name without `poolcensus_`, and of outcomes by their own names."""
    families = text_string_to_metric_families(file.read_text())
    samples = [sample for family in families for sample in family.samples]
    found = {
        sample.labels.get("outcome") or sample.name.removeprefix("poolcensus_"): sample.value
        for sample in samples
    }
    assert len(found) == len(samples)
    assert {sample.name for sample in samples} == NAMES
    assert {label for sample in samples for label in sample.labels} == {"outcome"}
    return found


def test_a_good_run_tells_of_itself_and_of_its_snapshot(file: Path) -> None:
    write(file, 0, MANIFEST)
    assert read(file) == {
        **dict.fromkeys(map(str, Outcome), 0),
        "ok": 3,
        "empty": 1,
        "run_success": 1,
        "run_complete": 1,
        "run_exit_code": 0,
        "run_finished_timestamp_seconds": 1000,
        "run_duration_seconds": 12.3,
        "requests": 9,
        "retries": 1,
        "throttles": 1,
        "assume_role_calls": 2,
        "last_success_timestamp_seconds": 1000,
        "last_complete_timestamp_seconds": 1000,
        "targets": 4,
        "covered": 4,
        "targets_uncovered": 0,
        "targets_known_gaps": 0,
        "pools": 7,
        "pages": 3,
        "accounts": 2,
        "accounts_skipped": 1,
    }


def test_runs_that_fail_keep_what_is_known_of_the_newest_snapshot(file: Path, clock: list[float]) -> None:
    write(file, 0, MANIFEST)
    clock[0] = 2000
    write(file, 3, PARTIAL)
    published = read(file)
    for later in (3000, 4000):
        clock[0] = later
        write(file, 1, None, FAILED)
    assert read(file) == {
        **published,
        "run_success": 0,
        "run_complete": 0,
        "run_exit_code": 1,
        "run_finished_timestamp_seconds": 4000,
        "requests": 5,
        "retries": 0,
        "throttles": 3,
        "assume_role_calls": 0,
    }
    assert published["last_success_timestamp_seconds"] == 2000
    assert published["last_complete_timestamp_seconds"] == 1000
    assert (published["covered"], published["targets_uncovered"], published["throttled"]) == (3, 1, 1)


def test_a_run_that_fails_before_any_was_good_has_every_series_at_zero(file: Path) -> None:
    write(file, 1, None, FAILED)
    found = read(file)
    of_the_run = {name for name in found if name.startswith("run_")} | {"requests", "throttles"}
    assert {name: value for name, value in found.items() if name not in of_the_run and value} == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not metrics at all",
        "poolcensus_pools\n",
        "poolcensus_pools 1",
        'poolcensus_outcomes{outcome="ok" 3\n',
        "poolcensus_last_success_timestamp_seconds NaN\npoolcensus_pools 5\n",
        "poolcensus_last_success_timestamp_seconds 7\npoolcensus_pools -5\n",
        'poolcensus_last_success_timestamp_seconds 7\npoolcensus_pools{account="1"} 5\n',
        'poolcensus_last_success_timestamp_seconds 7\npoolcensus_outcomes{outcome="bogus"} 5\n',
        "# what a version before wrote\npoolcensus_run_success 1\npoolcensus_pools 5\n",
    ],
)
def test_a_file_that_is_no_use_is_replaced(file: Path, text: str) -> None:
    file.write_text(text)
    write(file, 1, None, FAILED)
    found = read(file)
    assert found["pools"] == 0
    assert found["run_success"] == 0


@settings(max_examples=100, deadline=None)
@given(where=st.integers(0, 5000), what=st.binary(max_size=20), cut=st.integers(0, 6000))
def test_no_damage_to_the_file_is_a_reason_to_fail(
    tmp_path_factory: pytest.TempPathFactory, where: int, what: bytes, cut: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.prom"
    file.unlink(missing_ok=True)
    write(file, 0, MANIFEST)
    good = file.read_bytes()
    file.write_bytes((good[:where] + what + good[where + len(what) :])[:cut])
    write(file, 1, None, FAILED)
    assert read(file)["run_exit_code"] == 1


def test_a_pipe_in_place_of_the_file_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(OSError, match="poolcensus.prom") as raised:
        write(file, 1, None, FAILED)
    assert raised.value.errno == errno.ENXIO
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(file, 1, None, FAILED)
        assert b"\npoolcensus_run_exit_code 1.0\n" in os.read(reader, 10_000)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(file.stat().st_mode)


def test_a_device_is_written_to_and_stays_what_it_is(file: Path) -> None:
    primary, device = os.openpty()
    said = b""
    try:
        file.symlink_to(os.ttyname(device))
        # A terminal may take less at a time than there is, until somebody reads it.
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write, file, 0, MANIFEST)
            while not writing.done():
                if select.select([primary], (), (), 0.05)[0]:
                    said += os.read(primary, 1 << 16)
            writing.result()
        said = said or os.read(primary, 1 << 16)
        assert said.startswith(b"# HELP poolcensus_")
        assert stat.S_ISCHR(file.stat().st_mode)
    finally:
        os.close(primary)
        os.close(device)


def test_a_pipe_that_has_no_name_is_written_to() -> None:
    reader, writer = os.pipe()
    try:
        write(Path(f"/dev/fd/{writer}"), 0, MANIFEST)
        assert os.read(reader, 100).startswith(b"# HELP poolcensus_")
    finally:
        os.close(reader)
        os.close(writer)


def test_what_a_link_names_is_replaced_and_the_link_stays(file: Path, tmp_path: Path) -> None:
    there = tmp_path / "folder" / "there.prom"
    there.parent.mkdir()
    file.symlink_to(there)
    write(file, 0, MANIFEST)
    write(file, 1, None, FAILED)
    assert file.is_symlink()
    assert read(there)["pools"] == 7
    assert [*there.parent.iterdir()] == [there]


def test_a_link_that_leads_nowhere_is_replaced(file: Path) -> None:
    file.symlink_to(file)
    write(file, 0, MANIFEST)
    assert read(file)["pools"] == 7


def test_a_folder_in_place_of_the_file_is_an_error_of_the_system(file: Path) -> None:
    file.mkdir()
    with pytest.raises(IsADirectoryError):
        write(file, 0, MANIFEST)

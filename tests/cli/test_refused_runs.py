"""`show` where the last run was not published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from poolcensus.cli import main
from poolcensus.model import Outcome, PublishingRule
from poolcensus.snapshot import SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import ID, LATER_ID, POOLS, SOME, fill, make, publish, target

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_only_what_asks_for_failures_sees_a_run_that_was_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    def show(*arguments: str) -> tuple[int, str, str]:
        code = main(["show", *arguments])
        return code, *capsys.readouterr()

    anyio.run(make, tmp_path, ID)
    anyio.run(refuse_small, tmp_path, LATER_ID)
    dest = ("--dest", str(tmp_path))
    names = (
        LATER_ID,
        LATER_ID[:8],
        f"{LATER_ID}/",
        f"{LATER_ID[:8]}/",
        str(tmp_path / f".refused-{LATER_ID}"),
    )
    for ref in ((), *((each,) for each in names)):
        code, out, said = show(*ref, "--failures", *dest)
        assert code == 0
        assert said == f"poolcensus: Run {LATER_ID} was not published (--strict); these are its failures.\n"
        assert "throttled" in out
        for options in ((), ("--pools",), ("--json",), ("--pools", "--failures")) if ref else ():
            code, out, said = show(*ref, *options, *dest)
            assert (code, out) == (1, "")
            assert f"Run {LATER_ID} was not published (--strict): only its ledger is kept." in said
            assert f"'poolcensus show {''.join(ref)} --failures" in said
    for line in ("latest --failures", "--pools --failures", "--json", "latest~0 --failures", ""):
        code, out, said = show(*line.split(), *dest)
        assert (code, said) == (0, "")
        assert LATER_ID not in out
    assert "latest~1" in show("latest~1", *dest)[2]


async def refuse_small(dest: Path, run_id: str) -> None:
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(await store.draft(run_id), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, {**SOME, target(3): Outcome.THROTTLED})
        finished_at = datetime(2026, 11, 24, 2, 0, 4, tzinfo=UTC)
        await publish(writer, finished_at=finished_at, refused_by=PublishingRule("strict"))

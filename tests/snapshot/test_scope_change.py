"""When a snapshot of another scope than the one before it is worth a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import poolcensus
from analysis.reading_lab import day_id, written
from snapshot.making import target

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.model import JsonObject

EUROPE: JsonObject = {"regions": ["eu-west-1"]}


def change(dest: Path) -> str | None:
    *_, before, last = poolcensus.list_snapshots(dest)
    return poolcensus.scope_change(poolcensus.Snapshot.open(last.id, dest), before, dest)


def test_scopes_that_take_turns_are_no_news(tmp_path: Path) -> None:
    first = written(tmp_path, day_id(1), {target(): []})
    assert poolcensus.scope_change(first, None, tmp_path) is None
    written(tmp_path, day_id(2), {target(): []})
    assert change(tmp_path) is None
    written(tmp_path, day_id(3), {target(): []}, request=EUROPE)
    says = "This run covers all accounts, 1 region; the snapshot before covers the whole organization."
    assert change(tmp_path) == says
    written(tmp_path, day_id(4), {target(): []})
    assert change(tmp_path) is None


def test_of_the_snapshots_before_the_last_eight_are_looked_at(tmp_path: Path) -> None:
    written(tmp_path, day_id(1), {target(): []}, request=EUROPE)
    for day in range(2, 9):
        written(tmp_path, day_id(day), {target(): []})
    written(tmp_path, day_id(9), {target(): []}, request=EUROPE)
    assert change(tmp_path) is None
    for day in range(10, 18):
        written(tmp_path, day_id(day), {target(): []})
    written(tmp_path, day_id(18), {target(): []}, request=EUROPE)
    assert change(tmp_path) is not None


def test_what_can_not_be_listed_is_no_reason_to_say_nothing(tmp_path: Path) -> None:
    before = written(tmp_path / "a", day_id(1), {target(): []})
    last = written(tmp_path / "a", day_id(2), {target(): []}, request=EUROPE)
    assert poolcensus.scope_change(last, before.info, tmp_path / "none") is not None

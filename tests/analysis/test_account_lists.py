"""Runs that each have a list of accounts of their own are compared as those that list the accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import poolcensus
from analysis.days import facts_of
from analysis.reading_lab import day_id, written
from snapshot.making import target

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.model import JsonObject

DAYS = (21, 22, 23)
FIRST, SECOND, THIRD = map(day_id, DAYS)
ONE, TWO, THREE = "000000000001", "000000000002", "000000000003"


def pool(pool_id: str) -> JsonObject:
    return {"PoolId": pool_id, "State": "RUNNING"}


# A list a night at a path of its own, as that of each execution of Step Functions; and a listing a night.
@pytest.fixture(params=["/census/{}/accounts.json", None], ids=["list", "listing"])
def dest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three nights: account 2 is gone after the first, account 3 is there in the third."""
    nights = (
        {target(1): [pool("a")], target(2): [pool("b")]},
        {target(1): [pool("a"), pool("c")]},
        {target(1): [pool("c")], target(3): [pool("d")]},
    )
    for day, content in zip(DAYS, nights, strict=True):
        path = None if request.param is None else request.param.format(day)
        written(tmp_path, day_id(day), content, request={"accounts_snapshot": path})
    return tmp_path


def test_what_is_new_in_a_night_is_a_change(dest: Path) -> None:
    sql = "SELECT snapshot_id, change, account_id, pool_id FROM changes ORDER BY ALL"
    with poolcensus.query(sql, dest, ref=None) as rows:
        assert [*rows] == [
            (SECOND, "added", ONE, "c"),
            (SECOND, "unknown", TWO, None),
            (THIRD, "removed", ONE, "a"),
            (THIRD, "unknown", THREE, None),
        ]


def test_a_diff_has_nothing_to_warn_of(dest: Path) -> None:
    found = poolcensus.diff(*(poolcensus.Snapshot.open(each, dest) for each in (FIRST, THIRD)))
    assert [(each.account_id, str(each.kind), each.pool_id) for each in found] == [
        (ONE, "removed", "a"),
        (ONE, "added", "c"),
        (TWO, "unknown", None),
        (THREE, "unknown", None),
    ]
    assert found.warnings == ()


def test_a_report_compares_them(dest: Path) -> None:
    facts = facts_of(dest)
    assert [each.info.id for each in facts.history.points] == [FIRST, SECOND, THIRD]
    assert facts.history.other_scopes == 0
    assert facts.comparison is not None
    assert facts.comparison.before == SECOND


def test_a_run_with_the_list_of_its_night_covers_nothing_else(dest: Path) -> None:
    *_, before, _ = poolcensus.list_snapshots(dest)
    assert poolcensus.scope_change(poolcensus.Snapshot.open(THIRD, dest), before, dest) is None


def test_a_prune_removes_what_no_rule_keeps(dest: Path) -> None:
    async def pruned() -> list[bool]:
        pruning = await poolcensus.prune(dest, poolcensus.Keep(last=1))
        return [each.keep for each in pruning.decisions]

    assert anyio.run(pruned) == [False, False, True]
    assert [each.id for each in poolcensus.list_snapshots(dest)] == [THIRD]

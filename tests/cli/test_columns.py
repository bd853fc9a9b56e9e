"""How rows fit a terminal: what is copied stays whole, and columns go before cells are broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from poolcensus.analysis.account_failures import failures_by_account
from poolcensus.cli.columns import ELLIPSIS, LONGEST_WORD, Column, Grid
from poolcensus.cli.tables import failure_table, record_table, snapshot_table
from poolcensus.model import Outcome, PoolRecord
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot.info import SnapshotInfo, info_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.model import Manifest, TargetResult

NAMES = ("acct-0", "東京本社のとても長いアカウント名", "café-e\u0301 👩 team", "\x1b[31mred\n", "n" * 100_000)
MESSAGE = (
    "User: arn:aws:sts::000000000024:assumed-role/PoolCensusReader/poolcensus-census is not authorized to"
    " perform: workspaces:DescribeWorkspacesPools on resource: arn:aws:workspaces:af-south-1:000000000024:"
    "workspacespool/* with an explicit deny in a service control policy"
)


def printed(grid: Grid, width: int) -> list[str]:
    return [line.plain.rstrip() for line in grid.styled(width)]


def records(names: tuple[str, ...] = NAMES) -> list[PoolRecord]:
    return [
        PoolRecord(
            collected_at=datetime(2026, 11, 23, 2, 0, 3, tzinfo=UTC),
            partition="aws",
            account_id=f"{number:012}",
            account_name=name,
            region="ap-southeast-1",
            pool={
                "PoolId": f"wspool-{number:09}",
                "PoolName": name,
                "State": "RUNNING",
                "CapacityStatus": {"ActiveUserSessions": 3, "ActualUserSessions": 9},
                "CreatedAt": "2025-03-04T05:06:07.123Z",
            },
        )
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (50, "Account Region Pool"),
        (80, "Account Name Region Pool Pool name State"),
        (120, "Account Name Region Pool Pool name State Sessions Created"),
        (200, "Account Name Region Pool Pool name State Sessions Created"),
    ],
)
def test_pools_fit_and_their_ids_are_whole(width: int, titles: str) -> None:
    first, *rows = printed(record_table(records(), WORKSPACES_POOLS.columns), width)
    assert first.split() == titles.split()
    assert len(rows) == len(NAMES)
    for number, row in enumerate(rows):
        assert cell_len(row) <= width
        assert {f"{number:012}", "ap-southeast-1", f"wspool-{number:09}"} <= set(row.split())
        assert row.isprintable()
        before, _, _ = row.partition("wspool-")
        assert cell_len(before) == cell_len(first.partition("Pool")[0])


def test_a_pipe_gets_whole_names_each_row_on_one_line() -> None:
    _, *rows = record_table(records(), WORKSPACES_POOLS.columns).texts()
    assert len(rows) == len(NAMES)
    assert NAMES[1] in rows[1]
    assert NAMES[-1] in rows[-1]
    # One name of a hundred thousand characters does not widen the other rows.
    assert all(cell_len(row) < 200 for row in rows[:-1])


def info(manifest: Manifest) -> SnapshotInfo:
    return replace(info_of(manifest), pools=1234, targets=17_000, covered=16_000, bytes=123_456, failed=1_000)


def test_a_column_that_rows_are_sorted_by_is_shown_in_any_width() -> None:
    first, *_ = printed(record_table(records(), WORKSPACES_POOLS.columns, ["created", "account"]), 60)
    assert first.split() == ["Account", "Region", "Pool", "Created"]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (50, "Account Region Pool"),
        (80, "Account Organization Region Pool State"),
        (100, "Account Name Organization Region Pool Pool name State"),
        (200, "Account Name Organization Region Pool Pool name State Sessions Created"),
    ],
)
def test_pools_of_several_organizations_say_of_which(width: int, titles: str) -> None:
    ours = [replace(each, organization="commercial") for each in records()]
    table = record_table(ours, WORKSPACES_POOLS.columns, with_organization=True)
    first, *rows = printed(table, width)
    assert first.split() == titles.split()
    assert all(("commercial" in row.split()) == ("Organization" in titles) for row in rows)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (20, "Snapshot Pools"),
        (50, "Snapshot Status Failed Pools"),
        (80, "Snapshot Status Targets Failed Pools Scope"),
        (120, "Snapshot Status Targets Failed Pools Took Size Scope"),
    ],
)
def test_snapshots_keep_their_ids_and_lose_columns(manifest: Manifest, width: int, titles: str) -> None:
    first, row = printed(snapshot_table([info(manifest)]), width)
    assert first.split() == titles.split()
    assert row.split()[0] == manifest.snapshot_id
    assert "1,234" in row.split()
    assert cell_len(row) <= max(width, len(f"{manifest.snapshot_id}  1,234"))


def failed(result: Callable[..., TargetResult], message: str = MESSAGE) -> Grid:
    refused = [
        replace(
            result(24, region, Outcome.SCP_DENIED, "AccessDeniedException"),
            account_name=NAMES[1],
            error_message=message,
        )
        for region in ("eu-west-1", "af-south-1", "us-east-1")
    ]
    return failure_table(failures_by_account(refused, WORKSPACES_POOLS), all_regions=False)


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_an_error_comes_last_and_breaks_between_words(
    result: Callable[..., TargetResult], width: int
) -> None:
    first, *lines = printed(failed(result), width)
    assert first.split()[:1] == ["Account"]
    assert lines[0].split()[0] == "000000000024"
    assert "3 regions" in lines[0]
    words = set(" ".join(lines).split())
    assert "arn:aws:sts::000000000024:assumed-role/PoolCensusReader/poolcensus-census" in words
    if width >= 80:
        assert " ".join(" ".join(lines).split()).endswith("explicit deny in a service control policy")
        assert all(cell_len(line) <= width for line in lines if "arn:" not in line)


def test_an_endless_error_is_cut_at_a_terminal_and_whole_in_a_pipe(
    result: Callable[..., TargetResult],
) -> None:
    for message in ("z" * 100_000, "東" * 100_000):
        assert max(cell_len(line) for line in printed(failed(result, message), 80)) <= LONGEST_WORD + 4
    endless = "no " * 30_000
    lines = printed(failed(result, endless), 80)
    assert len(lines) == 8
    assert lines[-1].endswith(ELLIPSIS)
    assert all(cell_len(line) <= 80 for line in lines)
    _, row = failed(result, endless).texts()
    assert endless.rstrip() in row


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
COLUMNS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([None, 4, 8]), st.booleans()), min_size=1, max_size=6
)


@given(COLUMNS, st.integers(1, 100), st.data())
def test_whatever_the_rows_what_is_not_to_be_cut_is_whole(
    kinds: list[tuple[int, int | None, bool]], width: int, data: st.DataObject
) -> None:
    columns = [
        Column(f"t{at}", rank, least, is_number=number) for at, (rank, least, number) in enumerate(kinds)
    ]
    rows = data.draw(st.lists(st.tuples(*(CELLS for _ in columns)), min_size=1, max_size=4))
    first, *lines = printed(Grid(columns, rows), width)
    shown = first.split()
    kept = [column for column in columns if column.title in shown]
    assert [column.title for column in kept] == shown
    assert {column.title for column in columns if not column.rank} <= set(shown)
    assert len(lines) == len(rows)
    for line in (first, *lines):
        assert cell_len(line) <= width or not any(column.rank for column in kept)
    whole = list(Grid(columns, rows).texts())[1:]
    for row, line, plain in zip(rows, lines, whole, strict=True):
        for column, cell in zip(columns, row, strict=True):
            if cell.isascii() and cell.isprintable() and cell.strip():
                assert cell.strip() in plain
                assert column not in kept or column.least is not None or cell.strip() in line


def test_an_id_that_is_longer_than_those_before_runs_over_and_a_name_is_cut() -> None:
    columns = (Column("Id"), Column("Name", least=4), Column("N", is_number=True))
    rows = [("short", "name", "1")] * 1000 + [("much-longer-than-the-others", "another-name", "1,234,567")]
    *_, last = printed(Grid(columns, rows), 20)
    assert last.split() == ["much-longer-than-the-others", f"ano{ELLIPSIS}", "1,234,567"]
    *_, whole = Grid(columns, rows).texts()
    assert whole.split() == list(rows[-1])

"""Rows that are chosen and sorted, whatever order the snapshot has them in."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.analysis.account_failures import AccountFailure, failures_by_account
from poolcensus.analysis.listing import (
    FAILURE_KEYS,
    Choice,
    SortKey,
    failed_results,
    record_lines,
    records_in_order,
    sorted_rows,
)
from poolcensus.analysis.ordering import in_order
from poolcensus.errors import DestinationError, SettingsError, SnapshotError
from poolcensus.format.codec import loads
from poolcensus.model import Compression, KnownGap, Outcome
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Snapshot, SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import ID, POOLS, make, page, pool, publish, result, target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from poolcensus.model import JsonObject, TargetResult

# Text as JSON may have it, with halves of surrogate pairs.
VALUES = st.one_of(st.none(), st.text(st.characters()), st.floats(allow_nan=False), st.integers())


def expected_key(value: object) -> tuple[bool, bool, object]:
    """The place of a value in an ascending order, as the docstring of `in_order` has it."""
    if isinstance(value, int) and abs(value) >= 2**63:
        value = float(value)
    return value is None, isinstance(value, str), value


@given(st.lists(st.tuples(VALUES, st.integers(0, 3))))
def test_lines_come_in_the_order_of_their_keys(keys: list[tuple[object, int]]) -> None:
    lines = [(key, b"%d" % number) for number, key in enumerate(keys)]
    found = [keys[int(line)] for line in in_order(lines, [False, True])]
    wanted = sorted(keys, key=lambda key: (expected_key(key[0]), -key[1]))
    assert [(expected_key(first), second) for first, second in found] == [
        (expected_key(first), second) for first, second in wanted
    ]


def test_what_has_no_order_comes_last_either_way() -> None:
    values: Sequence[object] = [{"a": 1}, 3, None, "x", [1], 10**400]
    for down, wanted in ((False, [1, 3]), (True, [3, 1])):
        lines = [([value], b"%d" % number) for number, value in enumerate(values)]
        found = [int(line) for line in in_order(lines, [down])]
        assert found[:2] == wanted
        assert set(found[2:]) == {0, 2, 4, 5}


def test_half_of_a_surrogate_pair_is_text_in_its_place() -> None:
    values = ["\U0001f600", "\ud800x", "z", "\ue000"]
    found = [
        line.decode() for line in in_order([([each], b"%d" % at) for at, each in enumerate(values)], [False])
    ]
    assert found == ["2", "1", "3", "0"]


def test_no_room_for_sorting_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Iterator[tuple[Sequence[object], bytes]]:
        yield (1,), b"x"
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(DestinationError, match="disk is full; set TMPDIR to a folder"):
        list(in_order(full(), [False]))


def test_what_the_lines_raise_is_raised() -> None:
    def damaged() -> Iterator[tuple[Sequence[object], bytes]]:
        yield (1,), b"x"
        raise SnapshotError("damaged")

    with pytest.raises(SnapshotError, match="damaged"):
        list(in_order(damaged(), [False]))


POOL_FIELDS: dict[str, JsonObject] = {
    "wspool-000000001": {"State": "RUNNING", "CapacityStatus": {"ActiveUserSessions": 9}},
    "wspool-000000002": {
        "State": "STOPPED",
        "CapacityStatus": {"ActiveUserSessions": 10},
        "Errors": [{"ErrorCode": "X"}],
    },
    "wspool-000000003": {"State": "running", "CapacityStatus": None},
}


async def _mixed(dest: Path, compression: Compression) -> Snapshot:
    """Three accounts in two regions, whose targets ended in no order."""
    targets = [target(account, region) for account in (1, 2, 3) for region in ("eu-west-1", "us-east-1")]
    random.Random(5).shuffle(targets)
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(
            await store.draft(ID), partition="aws", operation=POOLS, compression=compression
        ) as writer,
    ):
        for each in targets:
            ids = sorted(POOL_FIELDS, reverse=True)
            writer.page(page(each, *({**pool(one), **POOL_FIELDS[one]} for one in ids)))
            writer.done(result(each, pools=len(ids)), each)
        await publish(writer)
    return Snapshot.open(dest / ID)


@pytest.fixture(params=list(Compression))
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshot:
    return anyio.run(_mixed, tmp_path, request.param)


def rows(snapshot: Snapshot, *sort: str, **choice: Any) -> list[tuple[str, str, str]]:
    keys = [SortKey(each.removeprefix("-"), descending=each.startswith("-")) for each in sort]
    return [
        (each.account_id[-1], each.region[:2], str(each.pool["PoolId"])[-1])
        for each in records_in_order(snapshot, Choice(**choice), keys)
    ]


def test_records_are_in_the_order_of_account_region_and_pool(snapshot: Snapshot) -> None:
    everything = [(account, region, one) for account in "123" for region in ("eu", "us") for one in "123"]
    assert rows(snapshot) == everything
    assert everything != [
        (each.account_id[-1], each.region[:2], str(each.pool["PoolId"])[-1]) for each in snapshot.pools()
    ]
    assert [loads(line) for line in record_lines(snapshot)] == [
        snapshot.schema.record_object(snapshot.id, each) for each in records_in_order(snapshot)
    ]


def test_records_are_sorted_and_chosen_by_their_columns(snapshot: Snapshot) -> None:
    assert [one for _, _, one in rows(snapshot, "-sessions", accounts=("000000000002",))] == list("221133")
    assert [one for _, _, one in rows(snapshot, "sessions", accounts=("ACCT-2",))] == list("112233")
    assert rows(snapshot, "-account", "region", "-pool", accounts=("acct-[12]",), regions=("eu-*",)) == [
        (account, "eu", one) for account in "21" for one in "321"
    ]
    assert {one for _, _, one in rows(snapshot, states=("RUNNING",))} == {"1", "3"}
    assert rows(snapshot, states=("RUNNING",), regions=("sa-*",)) == []
    assert {one for _, _, one in rows(snapshot, with_errors=True)} == {"2"}


def test_a_column_that_there_is_not_is_named_before_anything_is_read(snapshot: Snapshot) -> None:
    columns = "account, name, organization, region, pool, pool-name, "
    with pytest.raises(SettingsError, match=rf'sort by "size"\. Use {columns}'):
        records_in_order(snapshot, sort=[SortKey("size")])


def failed(
    account: int, region: str, outcome: Outcome = Outcome.ACCESS_DENIED, message: str = "no"
) -> TargetResult:
    made = result(target(account, region), outcome)
    return replace(made, error_code="AccessDenied", error_message=message, attempts=account)


def test_failures_of_an_account_are_one_for_each_cause() -> None:
    explicit = (
        "User: x is not authorized to perform: y on resource: z"
        " with an explicit deny in a permissions boundary"
    )
    results = [
        failed(2, "us-east-1"),
        failed(1, "us-east-1"),
        failed(1, "eu-west-1", message="another"),
        failed(1, "eu-west-2", message=explicit),
        failed(1, "sa-east-1", Outcome.THROTTLED),
        result(target(3)),
    ]
    found = failures_by_account(results, WORKSPACES_POOLS)
    denied = AccountFailure("000000000001", "acct-1", Outcome.ACCESS_DENIED, "AccessDenied", "", ())
    assert found == (
        replace(denied, message="another", regions=("eu-west-1", "us-east-1")),
        replace(denied, message=explicit, regions=("eu-west-2",)),
        replace(denied, message="no", outcome=Outcome.THROTTLED, regions=("sa-east-1",)),
        replace(
            denied, account_id="000000000002", account_name="acct-2", message="no", regions=("us-east-1",)
        ),
    )
    by_regions = sorted_rows(found, FAILURE_KEYS, [SortKey("regions", descending=True)])
    assert [len(each.regions) for each in by_regions] == [2, 1, 1, 1]
    assert by_regions[1:] == [*found[1:]]


def test_failures_that_are_known_stand_apart() -> None:
    results = [failed(1, "us-east-1"), failed(1, "eu-west-1"), failed(2, "eu-west-1")]
    gap = KnownGap(("000000000001",), ("eu-*",), (Outcome.ACCESS_DENIED,))
    found = failures_by_account(results, WORKSPACES_POOLS, [gap])
    assert [(each.account_id[-1], each.regions, each.is_known) for each in found] == [
        ("1", ("eu-west-1",), True),
        ("1", ("us-east-1",), False),
        ("2", ("eu-west-1",), False),
    ]


def test_failed_targets_are_sorted_and_chosen() -> None:
    results = [failed(2, "us-east-1"), failed(1, "us-east-1"), failed(1, "eu-west-1", Outcome.THROTTLED)]
    assert failed_results(results) == [results[2], results[1], results[0]]
    assert failed_results(results, sort=[SortKey("attempts", descending=True)]) == [
        results[0], results[2], results[1],
    ]  # fmt: skip
    assert failed_results(results, Choice(outcomes=("Throttled",))) == [results[2]]
    nameless = [replace(results[0], account_name=None), results[1]]
    for down in (False, True):
        assert failed_results(nameless, sort=[SortKey("name", descending=down)])[-1] == nameless[0]


@pytest.mark.parametrize("name", ["team [dev]", "a*b?", "[!x]", "Caf\u00c9 [1]"])
def test_an_account_is_chosen_by_its_whole_name_whatever_is_in_it(name: str) -> None:
    named = replace(failed(1, "us-east-1"), account_name=name)
    other = replace(failed(2, "us-east-1"), account_name="another")
    assert failed_results([named, other], Choice(accounts=(name.upper(),))) == [named]


def test_a_snapshot_without_pools_has_no_rows(tmp_path: Path) -> None:
    made = anyio.run(lambda: make(tmp_path, content={target(1): Outcome.EMPTY}))
    assert list(records_in_order(made)) == []

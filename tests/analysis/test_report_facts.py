"""What a report knows of a history: when each pool was seen, when it was used, and what is unknown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.days import FIRST, facts_of, manifest_of, seen, used, write_days
from analysis.two_snapshots import SCHEMA, key, record_lines, write
from poolcensus.analysis.report.activity import ActivityReader
from poolcensus.analysis.report.facts import Group, Use
from poolcensus.errors import DamagedSnapshotError
from poolcensus.model import HIDING, Compression, OperationInfo, Outcome, SkippedAccount
from poolcensus.operations import WORKSPACES_POOLS, facets_of

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.two_snapshots import Content
    from poolcensus.model import JsonObject

ONE, TWO = "wspool-000000001", "wspool-000000002"
A, B, EAST = "000000000001", "000000000002", "us-east-1"


def test_each_pool_has_its_last_use_and_the_snapshots_that_saw_it(tmp_path: Path) -> None:
    write_days(
        tmp_path,
        {key(1): [used(1, 3)], key(2): [used(2, 0)]},
        {key(1): [used(1, 2)], key(2): [used(2, 0)]},
        {key(1): [used(1, 0), used(3, 4)], key(2): [used(2, 0)]},
    )
    listed = facts_of(tmp_path).worklist
    assert [seen(each) for each in listed.rows] == [
        (A, EAST, ONE, 3, 0, 2, 1, None),
        (A, EAST, "wspool-000000003", 1, 2, 2, 2, None),
        (B, EAST, TWO, 3, 0, 2, None, None),
    ]
    assert (listed.total, listed.in_use, listed.used_before, listed.never_used) == (3, 1, 1, 1)
    assert (listed.rows[0].name, listed.rows[0].state, listed.rows[0].in_use) == ("desk-1", "RUNNING", 0)


def test_a_pool_that_never_says_whether_it_is_used_is_not_called_unused(tmp_path: Path) -> None:
    silent: JsonObject = {"PoolId": TWO, "State": "RUNNING"}
    write_days(tmp_path, {key(1): [used(1, 0), silent]}, {key(1): [used(1, 0), silent, used(3, 0)]})
    listed = facts_of(tmp_path).worklist
    assert [(each.id, each.told) for each in listed.rows] == [(ONE, 2), (TWO, 0), ("wspool-000000003", 1)]
    assert (listed.total, listed.never_used, listed.use_unknown) == (3, 2, 1)


@pytest.mark.parametrize(
    "now", [Outcome.ACCESS_DENIED, Outcome.NOT_ENTITLED, Outcome.REGION_DISABLED, Outcome.TIMED_OUT]
)
def test_a_pool_whose_target_is_not_known_now_is_still_listed(tmp_path: Path, now: Outcome) -> None:
    write_days(
        tmp_path,
        {key(1): [used(1, 3)], key(2): []},
        {key(1): [used(1, 0)], key(2): []},
        {key(1): now, key(2): []},
    )
    listed = facts_of(tmp_path).worklist
    assert [seen(each) for each in listed.rows] == [(A, EAST, ONE, 2, 0, 1, 0, now.value)]
    assert (listed.total, listed.missing, listed.in_use, listed.used_before) == (1, 1, 0, 1)
    assert listed.hidden == (now in HIDING)


def test_a_pool_of_an_account_that_is_gone_is_still_listed_with_why(tmp_path: Path) -> None:
    write(tmp_path, {key(1): [used(1, 3)], key(2): []}, manifest_of(0))
    skipped = (SkippedAccount(A, "acct-1", "SUSPENDED"),)
    write(tmp_path, {key(2): []}, manifest_of(1, accounts_skipped=skipped))
    listed = facts_of(tmp_path).worklist
    (item,) = listed.rows
    assert item.missing == "not in this snapshot's ledger (account skipped: SUSPENDED)"
    assert (listed.missing, listed.hidden) == (1, 0)


def test_a_pool_that_a_covered_target_lists_no_more_is_gone(tmp_path: Path) -> None:
    write_days(tmp_path, {key(1): [used(1, 3)]}, {key(1): []})
    assert facts_of(tmp_path).worklist.total == 0


def test_a_pool_that_was_gone_before_its_target_failed_is_gone(tmp_path: Path) -> None:
    write_days(
        tmp_path,
        {key(1): [used(1, 3), used(2, 0)]},
        {key(1): Outcome.THROTTLED},
        {key(1): [used(2, 0)]},
        {key(1): Outcome.ACCESS_DENIED},
    )
    assert [seen(each) for each in facts_of(tmp_path).worklist.rows] == [
        (A, EAST, TWO, 2, 0, 2, None, "access_denied")
    ]


def test_only_earlier_snapshots_of_the_same_scope_are_its_history(tmp_path: Path) -> None:
    write_days(tmp_path, {key(1): [used(1, 1)]}, {key(1): [used(1, 0)]}, {key(1): [used(1, 5)]})
    write(
        tmp_path,
        {key(1): [used(1, 9)]},
        manifest_of(0, snapshot_id="20261101T020000Z-ffffff", request={"regions": ["a"]}),
    )
    facts = facts_of(tmp_path, "latest~1")
    assert [each.info.id for each in facts.history.points] == [manifest_of(day).snapshot_id for day in (0, 1)]
    assert facts.history.other_scopes == 1
    assert [seen(each) for each in facts.worklist.rows] == [(A, EAST, ONE, 2, 0, 1, 0, None)]
    assert facts.comparison is not None
    assert facts.comparison.before == manifest_of(0).snapshot_id


@pytest.mark.parametrize("harm", ["cut", "nonsense", "gone", "manifest"])
def test_an_earlier_snapshot_that_can_not_be_read_counts_for_nothing_and_is_named(
    tmp_path: Path, harm: str
) -> None:
    days = write_days(
        tmp_path, {key(1): [used(1, 1)]}, {key(1): [used(1, 7), used(2, 7)]}, {key(1): [used(1, 0)]}
    )
    assert days[1].path is not None
    file = days[1].path / "pools.ndjson"
    whole = file.read_bytes()
    if harm == "manifest":
        (days[1].path / "manifest.json").write_text("{}")
    elif harm == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[: whole.index(b"\n") + 1] if harm == "cut" else whole.replace(b"{", b"[", 1))
    facts = facts_of(tmp_path)
    assert [each.id for each in facts.history.unread] == [days[1].id]
    assert [each.info.id for each in facts.history.points] == [days[0].id, days[2].id]
    assert [seen(each) for each in facts.worklist.rows] == [(A, EAST, ONE, 2, 0, 2, 0, None)]


def test_what_was_published_later_and_can_not_be_read_is_not_named(tmp_path: Path) -> None:
    days = write_days(tmp_path, *[{key(1): []}] * 4)
    for damaged in (days[0], days[3]):
        assert damaged.path is not None
        (damaged.path / "manifest.json").write_text("{}")
    assert [each.id for each in facts_of(tmp_path, days[1].id).history.unread] == [days[0].id]
    assert [each.id for each in facts_of(tmp_path, days[2].id).history.unread] == [days[0].id]


def test_a_snapshot_that_can_not_be_read_itself_is_an_error(tmp_path: Path) -> None:
    (snapshot,) = write_days(tmp_path, {key(1): [used(1, 1)]})
    assert snapshot.path is not None
    (snapshot.path / "pools.ndjson").write_bytes(b"")
    with pytest.raises(DamagedSnapshotError, match=r"has 0 lines where the manifest says 1"):
        facts_of(tmp_path)


def test_the_contents_are_summed_by_region_account_state_and_error(tmp_path: Path) -> None:
    broken = used(
        3, None, State="ERROR", Errors=[{"ErrorCode": "X"}, {"ErrorCode": "X"}, {"ErrorCode": "Y"}, 7]
    )
    write_days(tmp_path, {key(1): [used(1, 4), broken], key(2, "eu-west-1"): [used(2, 1, State=None)]})
    found = facts_of(tmp_path).contents
    assert found.use == Use(3, 5, 20, (5, 20))
    assert found.regions == (
        Group(EAST, None, Use(2, 4, 10, (4, 10))),
        Group("eu-west-1", None, Use(1, 1, 10, (1, 10))),
    )
    assert found.accounts == (
        Group(A, "acct-1", Use(2, 4, 10, (4, 10))),
        Group(B, "acct-2", Use(1, 1, 10, (1, 10))),
    )
    assert found.units == ()
    assert [(each.id, each.use.items) for each in found.states] == [
        ("(not in the record)", 1), ("ERROR", 1), ("RUNNING", 1),
    ]  # fmt: skip
    assert [(each.id, each.use.items) for each in found.errors] == [("(no code)", 1), ("X", 1), ("Y", 1)]


def test_the_days_left_are_counted_from_today(tmp_path: Path) -> None:
    write_days(tmp_path, {key(1): []})
    facts = facts_of(tmp_path)
    assert facts.end_of_support is not None
    # 31 December 2027: https://docs.aws.amazon.com/workspaces/latest/adminguide/wsp-pools-end-of-support.html
    assert (facts.made_at + timedelta(days=facts.days_left or 0)).date().isoformat() == "2027-12-31"


def test_an_unknown_operation_has_its_ids_and_nothing_that_is_only_of_pools(tmp_path: Path) -> None:
    operation = OperationInfo("workspaces:DescribeWorkspacesPools", "pool", "pools", "PoolId")
    unknown = OperationInfo("other:ListThings", "pool", "pools", "PoolId")
    assert facets_of(operation) is WORKSPACES_POOLS.facets
    write(tmp_path, {key(1): [used(1, 4)]}, manifest_of(0, operation=unknown))
    facts = facts_of(tmp_path)
    assert (facts.days_left, facts.contents.use, facts.contents.states) == (None, Use(1), ())
    (item,) = facts.worklist.rows
    assert (item.id, item.name, item.state, item.details, item.last_used) == (ONE, "", "", (), None)


COUNTS = st.one_of(
    st.integers(0, 5),
    st.just(-1),
    st.none(),
    st.booleans(),
    st.text(max_size=2),
    st.just(1.5),
    st.just(2**70),
)
ITEMS = st.fixed_dictionaries(
    {"PoolId": st.text(min_size=1, max_size=5)},
    optional={
        "CapacityStatus": st.one_of(
            st.fixed_dictionaries({}, optional={"ActiveUserSessions": COUNTS, "ActualUserSessions": COUNTS}),
            st.none(),
            st.lists(st.integers()),
        ),
        "Padding": st.text(max_size=3),
    },
)


@given(st.lists(ITEMS, max_size=6, unique_by=lambda each: each["PoolId"]), st.sampled_from([*Compression]))
@settings(max_examples=50, deadline=None)
def test_quick_reading_finds_what_reading_line_by_line_finds(
    tmp_path_factory: pytest.TempPathFactory, items: list[JsonObject], compression: Compression
) -> None:
    content: Content = {key(1): items}
    snapshot = write(tmp_path_factory.mktemp("d"), content, compression=compression)
    reader = ActivityReader(SCHEMA, WORKSPACES_POOLS.facets)
    lines = record_lines(content, snapshot.manifest, str)
    assert reader.read(snapshot) == [reader._activity_of(line) for line in lines]


OUTCOMES = st.sampled_from([Outcome.ACCESS_DENIED, Outcome.NOT_ENTITLED, Outcome.TIMED_OUT])
TARGETS = st.one_of(OUTCOMES, st.dictionaries(st.integers(1, 3), st.integers(0, 1), max_size=3))
DAYS = st.lists(st.dictionaries(st.integers(1, 2), TARGETS, max_size=2), min_size=1, max_size=5)


@given(DAYS)
@settings(max_examples=60, deadline=None)
def test_the_worklist_is_that_of_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory, days: list[dict[int, Outcome | dict[int, int]]]
) -> None:
    dest = tmp_path_factory.mktemp("d")
    write_days(
        dest,
        *(
            {
                key(account): has if isinstance(has, Outcome) else [used(n, use) for n, use in has.items()]
                for account, has in day.items()
            }
            for day in days
        ),
    )
    expected = []
    for account in (1, 2):
        # The newest day on which the account was known decides what there is.
        known = [at for at, day in enumerate(days) if _is_known(day.get(account))]
        if not known:
            continue
        newest = days[known[-1]][account]
        assert isinstance(newest, dict)
        for number in sorted(newest):
            on = {
                at: has[number]
                for at in known
                if isinstance(has := days[at][account], dict) and number in has
            }
            used_on = [at for at, use in on.items() if use]
            last = used_on[-1] if used_on else None
            expected.append((f"{account:012}", f"wspool-{number:09}", len(on), min(on), max(on), last))
    found = [seen(each) for each in facts_of(dest).worklist.rows]
    assert [(a, i, n, first, last, use) for a, _, i, n, first, last, use, _ in found] == expected
    for each in facts_of(dest).worklist.rows:
        assert (each.missing is None) == (each.last_seen == FIRST + timedelta(days=len(days) - 1))


def _is_known(has: Outcome | dict[int, int] | None) -> bool:
    return has is not None and not (isinstance(has, Outcome) and (not has.covered or has in HIDING))

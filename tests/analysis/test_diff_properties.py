"""Applying the differences to A gives B where both are covered, whatever the snapshots hold."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from analysis.two_snapshots import LATER, MANIFEST, Content, Key, key, pool, write
from poolcensus.analysis.changes import ChangeKind
from poolcensus.analysis.diff import diff
from poolcensus.format.codec import dumps
from poolcensus.model import Compression, JsonObject, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.analysis.changes import Change
    from poolcensus.model import Manifest
    from poolcensus.snapshot import Snapshot

State = dict[str, JsonObject]

NAMES = st.sampled_from(["State", "PoolName", "CapacityStatus", 'quote"', "a.b", "\n"])
# 1 and 1.0 are the same number, and not the same text: there is only one of them.
SCALARS = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        2**53 + 1,
        2**70,
        0.5,
        1e-300,
        "",
        "a",
        '"}',
        "\x00",
        "\u2028",
        "\U0001f986",
    ]
)
VALUES = (
    SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS | st.lists(SCALARS), max_size=2)
)
POOLS = st.builds(
    lambda fields, number, last: {**fields, **pool(number)} if last else {**pool(number), **fields},
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.integers(1, 4),
    st.booleans(),
)
LISTS = st.lists(POOLS, max_size=4, unique_by=lambda each: each["PoolId"])
TARGETS = [key(account, region) for account in (1, 2) for region in ("eu-west-1", "us-east-1")]
OUTCOMES = st.sampled_from([each for each in Outcome if each is not Outcome.OK])
CONTENTS = st.dictionaries(st.sampled_from(TARGETS), LISTS | LISTS | OUTCOMES, max_size=4)
# Much stays as it is from one day to the next.
PAIRS = st.builds(
    lambda a, b, kept: (a, {**b, **{each: a[each] for each in kept if each in a}}),
    CONTENTS,
    CONTENTS,
    st.sets(st.sampled_from(TARGETS)),
)
FORMS = st.tuples(st.sampled_from(Compression), st.integers(0, 9))


def written(folder: str, content: Content, manifest: Manifest, form: tuple[Compression, int]) -> Snapshot:
    compression, seed = form
    return write(
        Path(folder),
        content,
        manifest,
        compression=compression,
        arranged=lambda lines: Random(seed).sample(lines, len(lines)),
    )


def pools_of(content: Content, target: Key) -> State | None:
    """The pools of a target by id; None where the snapshot can't know them."""
    has = content.get(target)
    if has is None or (isinstance(has, Outcome) and not has.covered):
        return None
    listed: Sequence[JsonObject] = [] if isinstance(has, Outcome) else has
    return {str(each["PoolId"]): dict(each) for each in listed}


def seen(pools: State, ignored: frozenset[str]) -> dict[str, bytes]:
    """What is compared of pools, as a text that is equal for equal JSON."""
    return {
        pool_id: dumps(
            {
                name: _sorted(value)
                for name, value in sorted(one.items())
                if value is not None and name not in ignored
            }
        )
        for pool_id, one in pools.items()
    }


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def apply(pools: State, change: Change) -> None:
    """Make one change to the pools of its target."""
    assert change.pool_id is not None
    if change.kind is ChangeKind.ADDED:
        assert change.pool_id not in pools
        assert change.pool is not None
        pools[change.pool_id] = dict(change.pool)
    elif change.kind is ChangeKind.REMOVED:
        assert pools.pop(change.pool_id) == change.pool
    else:
        assert change.fields
        for name, (before, after) in change.fields.items():
            assert pools[change.pool_id].get(name) == before
            pools[change.pool_id][name] = after


@given(PAIRS, FORMS, FORMS, st.frozensets(NAMES, max_size=2))
def test_applying_the_differences_to_a_gives_b_where_both_are_covered(
    pair: tuple[Content, Content],
    form_a: tuple[Compression, int],
    form_b: tuple[Compression, int],
    ignored: frozenset[str],
) -> None:
    a, b = pair
    with tempfile.TemporaryDirectory() as folder:
        found = diff(written(folder, a, MANIFEST, form_a), written(folder, b, LATER, form_b), ignore=ignored)
        changes = [*found]
    unchanged = 0
    for target in TARGETS:
        own = [each for each in changes if (each.account_id, each.region) == target]
        if own and own[0].kind is ChangeKind.UNKNOWN:
            assert len(own) == 1
            continue
        before, after = pools_of(a, target), pools_of(b, target)
        if before is None or after is None:
            # Nothing is said of a target where one ledger lacks it and the other has no pools.
            assert not own
            assert target not in a or target not in b
            assert not before
            assert not after
            continue
        unchanged += len(before.keys() & after.keys()) - sum(each.kind is ChangeKind.CHANGED for each in own)
        for change in own:
            apply(before, change)
        assert seen(before, ignored) == seen(after, ignored)
    order = [(each.account_id, each.region, each.pool_id or "") for each in changes]
    assert order == sorted(set(order))
    said = found.statistics
    assert [said.added, said.removed, said.changed, said.unknown] == [
        sum(each.kind is kind for each in changes) for kind in ChangeKind
    ]
    assert said.unchanged == unchanged

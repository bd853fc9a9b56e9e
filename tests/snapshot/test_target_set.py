"""A set of targets, against the set of Python."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poolcensus.snapshot.target_set import TargetSet

TARGETS = st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(["a", "b", "c", "d"]))


@given(st.lists(TARGETS), st.lists(TARGETS))
def test_it_has_what_was_put_in_and_nothing_else(
    added: list[tuple[str, str]], asked: list[tuple[str, str]]
) -> None:
    found, model = TargetSet(), set[tuple[str, str]]()
    for target in added:
        found.add(*target)
        model.add(target)
        assert len(found) == len(model)
        for each in asked:
            assert found.has(*each) == (each in model)

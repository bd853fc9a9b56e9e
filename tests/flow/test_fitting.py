"""The fitted limit of calls in flight, with event loops and services of different speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.flow.fitting import FittedConcurrency

# Seconds that a call takes in the event loop, and seconds between two measurements.
COST, EVERY = 0.0001, 0.01
FEW = 32


def look_at(fitted: FittedConcurrency, round_trip: float, *, more: bool = True, hog: float = 0.0) -> bool:
    """Measure a loop with replies after `round_trip` seconds, and other work that blocks it for `hog`."""
    in_flight = fitted.size
    # A round of all calls takes the loop's time for them, or the round trip if that is longer.
    seconds = max(in_flight * COST + hog, round_trip)
    is_bound_by_loop = in_flight * COST + hog > round_trip
    late = (in_flight * COST + hog - round_trip) / 2 if is_bound_by_loop else hog / 2
    calls = int(in_flight * (EVERY + late) / seconds)
    return fitted.look(late=late, seconds=EVERY + late, calls=calls, in_flight=in_flight, more=more)


@pytest.mark.parametrize("most", [1, 8, 32, 33, 256, 1024])
def test_it_begins_with_few_and_never_has_more_than_there_may_be(most: int) -> None:
    fitted = FittedConcurrency(most)
    assert fitted.size == min(most, FEW)
    for _ in range(40):
        look_at(fitted, 0.15)
        assert min(most, FEW) <= fitted.size <= most
    assert fitted.size == most


def test_where_replies_come_at_once_it_stays_with_few() -> None:
    fitted = FittedConcurrency(1024)
    assert not any(look_at(fitted, 0.0) for _ in range(1000))
    assert fitted.size == FEW


@pytest.mark.parametrize(("round_trip", "enough"), [(0.01, 100), (0.03, 300), (0.05, 500)])
def test_it_comes_to_as_many_as_keep_the_loop_busy(round_trip: float, enough: int) -> None:
    """Rising and falling limits end there, and stay there."""
    rising, falling = FittedConcurrency(1024), FittedConcurrency(1024)
    falling.size = 1024
    for _ in range(100):
        look_at(rising, round_trip)
        look_at(falling, round_trip)
    for fitted in (rising, falling):
        assert enough / 2 < fitted.size <= enough * 3
        assert not any(look_at(fitted, round_trip) for _ in range(20))


def test_one_look_is_no_evidence() -> None:
    fitted = FittedConcurrency(256)
    for _ in range(20):
        assert not look_at(fitted, 0.15)
        assert not look_at(fitted, 0.0)
    assert not look_at(fitted, 0.15)
    assert look_at(fitted, 0.15)
    assert fitted.size == 2 * FEW


def test_it_does_not_grow_without_anything_to_call_for() -> None:
    fitted = FittedConcurrency(256)
    assert not any(look_at(fitted, 0.15, more=False) for _ in range(20))


def test_where_the_loop_is_held_by_others_far_calls_go_on() -> None:
    """If a program blocks the loop for 20 ms at a time, more than 32 calls with 150 ms each still fit in."""
    fitted = FittedConcurrency(256)
    for _ in range(40):
        look_at(fitted, 0.15, hog=0.02)
    assert fitted.size == 256


@given(
    most=st.integers(1, 2000),
    looks=st.lists(
        st.tuples(st.floats(0, 100), st.floats(0.001, 100), st.integers(0, 10**6), st.integers(0, 2000)),
        max_size=60,
    ),
)
def test_whatever_it_sees_it_stays_within_its_bounds(
    most: int, looks: list[tuple[float, float, int, int]]
) -> None:
    fitted = FittedConcurrency(most)
    for late, seconds, calls, in_flight in looks:
        before = fitted.size
        changed = fitted.look(late=late, seconds=seconds, calls=calls, in_flight=in_flight, more=True)
        assert changed == (fitted.size != before)
        assert min(most, FEW) <= fitted.size <= most
        if not in_flight:
            assert fitted.size <= before

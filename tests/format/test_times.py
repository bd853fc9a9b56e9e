"""Times in RFC 3339, compared with the standard library's arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolcensus.format.times import rfc3339, rfc3339_of_epoch, utc_now

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
_ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=_ZONES))  # noqa: DTZ001 - hypothesis' way
def test_a_moment_is_the_same_moment_in_utc_to_the_millisecond(moment: datetime) -> None:
    text = rfc3339(moment)
    assert len(text) == 24
    assert text.endswith("Z")
    assert timedelta(0) <= moment - datetime.fromisoformat(text) < timedelta(milliseconds=1)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - so
def test_the_time_is_that_of_the_clock_in_whole_milliseconds(now: datetime) -> None:
    nanoseconds = (now - EPOCH) // timedelta(microseconds=1) * 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time_ns", lambda: nanoseconds)
        found = utc_now()
    assert found == now.replace(microsecond=now.microsecond // 1000 * 1000)
    assert found.tzinfo is UTC


@given(
    st.integers(int((FIRST - EPOCH).total_seconds()) * 1000, int((LAST - EPOCH) / timedelta(milliseconds=1)))
)
def test_milliseconds_since_the_epoch_are_exact(milliseconds: int) -> None:
    # A float of this size holds milliseconds exactly enough to round to the right one.
    read = datetime.fromisoformat(rfc3339_of_epoch(milliseconds / 1000))
    assert read == EPOCH + timedelta(milliseconds=milliseconds)


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers())
@example(1e30)
@example(1.7e308)
@example(-1e308)
@example(10**400)
@example(253402300799.9996)
@example(-62135596800.0004)
@example(float("nan"))
@example(float("inf"))
def test_any_number_is_a_time_or_a_value_error(seconds: float) -> None:
    try:
        text = rfc3339_of_epoch(seconds)
    except ValueError:
        # Refused only if the year is not from 1 to 9999, within half a millisecond for rounding.
        low, high = (FIRST - EPOCH).total_seconds(), Fraction("253402300799.9995")
        assert not low <= seconds < high
        return
    assert len(text) == 24
    read = datetime.fromisoformat(text)
    exact = Fraction(seconds) * 1000
    assert abs((read - EPOCH) // timedelta(milliseconds=1) - exact) <= Fraction(1, 2) + abs(exact) / 2**52


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1741064767.123, "2025-03-04T05:06:07.123Z"),
        (-0.001, "1969-12-31T23:59:59.999Z"),
        (-62135596800, "0001-01-01T00:00:00.000Z"),
        (253402300799.999, "9999-12-31T23:59:59.999Z"),
        (1.9996, "1970-01-01T00:00:02.000Z"),
    ],
)
def test_known_times(seconds: float, text: str) -> None:
    assert rfc3339_of_epoch(seconds) == text


@pytest.mark.parametrize("seconds", [253402300799.9996, 253402300800, -62135596801, 1e30, float("nan")])
def test_times_outside_the_calendar_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        rfc3339_of_epoch(seconds)

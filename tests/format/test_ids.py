from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from poolcensus.format.ids import is_snapshot_id, new_snapshot_id, parse_snapshot_id

START = datetime(2026, 11, 23, 2, 0, 0, tzinfo=UTC)


def test_an_id_is_the_utc_start_and_six_hex_digits() -> None:
    made = new_snapshot_id(START.astimezone(timezone(timedelta(hours=-7))))
    assert made.startswith("20261123T020000Z-")
    assert len(made) == 23
    assert parse_snapshot_id(made) == START


def test_ids_of_one_second_differ() -> None:
    assert len({new_snapshot_id(START) for _ in range(200)}) > 190


def test_ids_sort_by_time() -> None:
    ids = [new_snapshot_id(START + timedelta(days=37 * n, seconds=n)) for n in range(50)]
    assert ids == sorted(ids)


def test_a_start_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        new_snapshot_id(START.replace(tzinfo=None))


NO_IDS = [
    "",
    ".",
    "..",
    "latest",
    "20261123T020000Z-3f9a1c/",
    "../20261123T020000Z-3f9a1c",
    "20261123T020000Z-3f9a1c\n",
    " 20261123T020000Z-3f9a1c",
    "20261123T020000Z-3F9A1C",
    "20261123T020000Z-3f9a1",
    "20261123T020000Z-3f9a1cd",
    "20261123T020000-3f9a1c",
    "20261323T020000Z-3f9a1c",
    "20261123T250000Z-3f9a1c",
    "20261123T020060Z-3f9a1c",
    "00000000T000000Z-000000",
    "\N{FULLWIDTH DIGIT TWO}0261123T020000Z-3f9a1c",
    "20261123T020000Z-3f9a1c\0",
]


def test_nothing_else_is_an_id() -> None:
    for text in NO_IDS:
        assert not is_snapshot_id(text), text
        with pytest.raises(ValueError, match="not a snapshot id"):
            parse_snapshot_id(text)

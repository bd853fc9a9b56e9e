"""How names are put into a sentence."""

from __future__ import annotations

import pytest

from poolcensus.format.text import MOST_NAMED, listed

NAMES = [f"{number:012}" for number in range(1200)]


@pytest.mark.parametrize(
    ("names", "most", "total", "line"),
    [
        ([], 3, None, ""),
        (["a"], 3, None, "a"),
        (["a", "b", "c"], 3, None, "a, b, c"),
        (["a", "b", "c", "d"], 3, None, "a, b, c, and 1 more"),
        (NAMES, 1, None, f"{NAMES[0]}, and 1,199 more"),
        (["a", "b"], 3, 1002, "a, b, and 1,000 more"),
        (["a", "b"], 3, 2, "a, b"),
    ],
)
def test_those_that_have_no_room_are_counted(
    names: list[str], most: int, total: int | None, line: str
) -> None:
    assert listed(names, most, total=total) == line


def test_five_are_named_where_nothing_else_is_said() -> None:
    assert listed(NAMES) == f"{', '.join(NAMES[:MOST_NAMED])}, and {len(NAMES) - MOST_NAMED:,} more"

"""Names and counts in sentences, suggestions, and escapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.format.codec import dumps, loads
from poolcensus.format.text import MOST_NAMED, listed, printable_json

if TYPE_CHECKING:
    from poolcensus.model import JsonValue

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


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
)
def test_json_for_a_terminal_is_printable_and_says_the_same(value: JsonValue) -> None:
    line = dumps(value).decode()
    shown = printable_json(line)
    assert all(each.isprintable() or each.isspace() for each in shown)
    assert not {"\x7f", "\x85", "\x9b", "\u202e", "\u2028"} & {*shown}
    assert loads(shown.encode()) == value


def test_json_of_another_writer_is_json_for_a_terminal_too() -> None:
    assert printable_json('{"a":\t1,\r"\x7f": 2}') == r'{"a": 1, "\u007f": 2}'


def test_five_are_named_where_nothing_else_is_said() -> None:
    assert listed(NAMES) == f"{', '.join(NAMES[:MOST_NAMED])}, and {len(NAMES) - MOST_NAMED:,} more"

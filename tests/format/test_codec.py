"""JSON is read and written without loss, and any other text raises ValueError."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolcensus.format import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import JsonValue

# Lone surrogates are among the characters: JSON may carry them as escapes.
_TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
_NUMBERS = (
    st.integers()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, 10**19, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXTS, inner, max_size=5),
    max_leaves=20,
)


def same(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two values are equal, where 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return one == other


@settings(max_examples=150)
@given(VALUES)
def test_any_value_survives_a_round_trip(value: JsonValue) -> None:
    line = codec.dumps(value)
    assert b"\n" not in line
    assert same(codec.loads(line), value)
    # Another reader reads the same value.
    assert same(json.loads(line), value)


@settings(max_examples=120)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_what_another_writer_writes_is_read_alike(
    value: JsonValue, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(value, indent=indent).encode()
    assert same(codec.loads(data), value)


@pytest.mark.parametrize(
    "number", [2**63, 2**64 - 1, 2**64, 2**64 + 1, -(2**63) - 1, 10**18 - 1, 10**19 + 1, 10**300]
)
def test_integers_past_64_bits_stay_integers(number: int) -> None:
    read = codec.loads(b'{"n": %d}' % number)
    assert isinstance(read, dict)
    assert isinstance(read["n"], int)
    assert read["n"] == number


_DECIMALS = st.integers(-(10**40), 10**40).flatmap(
    lambda number: st.integers(0, 40).map(lambda scale: Decimal(f"{number}e-{scale}"))
)


@settings(max_examples=100)
@given(
    st.recursive(
        VALUES | _DECIMALS,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXTS, inner, max_size=5),
        max_leaves=20,
    )
)
def test_a_decimal_is_written_with_its_digits_whatever_stands_beside_it(value: object) -> None:
    def agree(read: object, value: object) -> bool:
        match value:
            case list():
                return isinstance(read, list) and len(read) == len(value) and all(map(agree, read, value))
            case dict():
                return (
                    isinstance(read, dict)
                    and read.keys() == value.keys()
                    and all(agree(read[name], each) for name, each in value.items())
                )
            case Decimal():
                return read == f"{value:f}"
            case float():
                # A codec may choose how many digits are before an exponent.
                return isinstance(read, str) and float(read) == value
            case bool() | None | str():
                return read == value
            case _:
                return read == str(value)

    assert agree(json.loads(codec.dumps(value), parse_float=str, parse_int=str), value)


def test_what_is_no_number_is_null_whatever_stands_beside_it() -> None:
    assert codec.dumps({"a": float("nan")}) == b'{"a":null}'
    assert codec.dumps({"a": float("nan"), "b": 2**70}) == f'{{"a":null,"b":{2**70}}}'.encode()


def test_what_is_no_value_of_json_is_no_line_of_it() -> None:
    for value in (
        object(),
        [object(), 2**70],
        Decimal("nan"),
        {"a": [Decimal("inf"), 2**70]},
        {1: Decimal("1.5")},
    ):
        with pytest.raises(TypeError):
            codec.dumps(value)


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\udc00x"', b'{"\\ud83d": "\\ud83d\\ude00"}'])
def test_lone_surrogates_are_read_and_written(text: bytes) -> None:
    value = codec.loads(text)
    assert codec.loads(codec.dumps(value)) == value == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"NaN",
        b"[Infinity]",
        b'{"a": -Infinity}',
        b"1e400",
        # Both reasons for not using orjson: a long integer and an escape.
        b"[NaN, 12345678901234567890123]",
        b"[1e400, 12345678901234567890123]",
        b'[Infinity, "\\ud800"]',
        b'[-1e999, "\\ud800"]',
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b"nul",
        b"01",
        b"1 2",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "tab\there"}',
        b'["tab\there", "\\ud800"]',
        b"<html>",
        b"1" * 5000,
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        codec.loads(text)


@pytest.mark.parametrize("text", [b'[\n {"id": 1,\n]', b'{"a":[[[[[[\n\n,]]]]]]}', b'{"a":"\\ud800",\n\n1}'])
def test_where_a_text_is_wrong_is_said(text: bytes) -> None:
    with pytest.raises(ValueError, match="line 3 column 1"):
        codec.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": "b\n', "invalid control character at column 9"),
        (b'{"a": "b', "unterminated string starting at column 7"),
        (b"{'a': 1}\n", "expecting property name enclosed in double quotes at column 2"),
    ],
)
def test_a_line_of_a_file_has_columns_alone(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^not JSON: {said}$"):
        codec.loads(text)


@pytest.fixture
def no_finalizers() -> Iterator[None]:
    """What other tests have left is not collected at a depth at which its finalizers can't run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize("inside", [b"1", b'"\\ud800"', b"12345678901234567890123"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("depth", [201, 300, 1000, 1024, 3000, 200_000])
def test_what_is_nested_deeply_is_refused(inside: bytes, opening: bytes, closing: bytes, depth: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        codec.loads(opening * depth + inside + closing * depth)
    with pytest.raises(ValueError, match=r"."):
        codec.loads(opening * depth)


@pytest.mark.parametrize("inside", [b"1", b'"\\ud800"', b"12345678901234567890123"])
@pytest.mark.parametrize("depth", [1, 100, 200])
def test_what_is_nested_no_deeper_than_that_can_be_written_too(inside: bytes, depth: int) -> None:
    text = b"[" * depth + inside + b"]" * depth
    assert codec.dumps(codec.loads(text)) == text


_WRITES_DEEP_VALUES_BESIDE_MANY = """
from poolcensus.format import codec

deep = codec.loads(b"[" * 199 + b"]" * 199)
for count in range(300):
    beside = {f"k{number}": None for number in range(count)}
    codec.dumps({**beside, "deep": deep})
    # What lies next to a buffer that was too small is damaged, which shows where it is used.
    blocks = [bytearray(size * 31) for size in range(60)]
"""


def test_what_is_nested_deeply_is_written_within_the_memory_taken_for_it() -> None:
    subprocess.run([sys.executable, "-c", _WRITES_DEEP_VALUES_BESIDE_MANY], check=True)


def test_many_values_that_are_not_deep_are_no_trouble() -> None:
    value: JsonValue = [{"a": [n]} for n in range(5000)]
    assert codec.loads(codec.dumps(value)) == value


@settings(max_examples=150)
@given(st.binary(max_size=200))
@example(b'"\\u')
@example(b"-")
@example(b"\x00")
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        value = codec.loads(data)
    except ValueError:
        return
    assert same(codec.loads(codec.dumps(value)), value)


@settings(max_examples=150)
@given(VALUES, st.data())
def test_json_with_a_byte_changed_is_a_value_or_a_value_error(value: JsonValue, data: st.DataObject) -> None:
    text = bytearray(codec.dumps(value))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = codec.loads(bytes(text))
    except ValueError:
        return
    assert same(codec.loads(codec.dumps(read)), read)

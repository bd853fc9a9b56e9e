"""The bar charts and line charts of the page, as specifications of Vega-Lite.

They can be read without colours. Colours stand for variables of the page's style sheet, so that a chart works
in light and dark: see `svg`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.report.svg import INK, MUTED, RULE, SECOND, USE, WARN, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from poolcensus.model import JsonObject, JsonValue

MOST_BARS: Final = 15
"""More bars can't be read at a glance. The table beside the chart has them all."""
MOST_POINTS: Final = 400
"""A line is about this many pixels wide."""

# Pixels, without the labels and numbers. A phone shows the chart at three quarters of its size, which is
# legible.
_WIDTH: Final = 230
_STEP: Final = 26
_HEIGHT: Final = 150
# In widths of a letter. A Chinese, Japanese or Korean character takes two.
_LONGEST_LABEL: Final = 22
_WIDE: Final = frozenset({"W", "F"})
# The areas of marks in square pixels, and how many of the larger marks fit side by side in a chart.
_FEW_MARKS: Final = 60
_MANY_MARKS: Final = 25
_MARKS_APART: Final = 20
_CONFIG: Final[JsonObject] = {
    "aria": False,
    "background": None,
    "font": "Arial",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 0,
        "titleColor": MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": RULE,
        "domainColor": MUTED,
        "tickColor": MUTED,
    },
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a bar chart. `value` is a part of `capacity`, if there is one.

    `warning` is a word or two to show beside the number.
    """

    label: str
    value: int
    capacity: int | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a line chart."""

    label: str
    values: Sequence[int | None]


def bar_chart(bars: Sequence[Bar]) -> str:
    """Return the SVG of the first `MOST_BARS` bars, each with its numbers at its end.

    A capacity is drawn as an outline around the bar.
    """
    shown = bars[:MOST_BARS]
    rows: list[JsonValue] = [
        {
            "label": label,
            "value": bar.value,
            "capacity": bar.capacity,
            "end": max(bar.value, bar.capacity or 0),
            "numbers": _numbers(bar),
            "warning": bool(bar.warning),
        }
        for label, bar in zip(_labels(each.label for each in shown), shown, strict=True)
    ]
    has_capacity = any(each.capacity is not None for each in shown)
    layers: list[JsonValue] = []
    x: JsonObject = {"type": "quantitative", "axis": None, "scale": {"zero": True, "nice": False}}
    if has_capacity:
        outline: JsonObject = {
            "type": "bar",
            "size": 16,
            "fillOpacity": 0,
            "stroke": SECOND,
            "strokeWidth": 1.5,
        }
        layers.append({"mark": outline, "encoding": {"x": {**x, "field": "capacity"}}})
    layers.append(
        {
            "mark": {"type": "bar", "size": 9 if has_capacity else 16},
            "encoding": {
                "x": {**x, "field": "value"},
                "color": {"condition": {"test": "datum.warning", "value": WARN}, "value": USE},
            },
        }
    )
    text: JsonObject = {"type": "text", "align": "left", "dx": 5, "fontSize": 12, "color": INK}
    layers.append({"mark": text, "encoding": {"x": {**x, "field": "end"}, "text": {"field": "numbers"}}})
    label: JsonObject = {"ticks": False, "domain": False, "title": None, "labelPadding": 6}
    return render(
        {
            "data": {"values": rows},
            "width": _WIDTH,
            "height": {"step": _STEP},
            "padding": 2,
            "encoding": {"y": {"field": "label", "type": "nominal", "sort": None, "axis": label}},
            "layer": layers,
            "config": _CONFIG,
        }
    )


def line_chart(moments: Sequence[datetime], lines: Sequence[Line], partial: Sequence[bool]) -> str:
    """Return the SVG of one or two lines over time. The second is dashed. Partial snapshots have a diamond.

    If there are more than `MOST_POINTS` moments, that many are drawn, evenly spaced, with the first and the
    last.
    """
    chosen = spread(len(moments), MOST_POINTS)
    rows: list[JsonValue] = [
        {
            "line": number,
            "moment": moments[at].isoformat(),
            "value": line.values[at],
            "partial": partial[at] and number == 0,
        }
        for number, line in enumerate(lines)
        for at in chosen
    ]
    x: JsonObject = {
        "field": "moment",
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": {"title": None, "grid": False, "tickCount": 5, "labelOverlap": True, "labelFlush": True},
    }
    y: JsonObject = {
        "field": "value",
        "type": "quantitative",
        "scale": {"zero": True},
        "axis": {"title": None, "tickCount": 4, "tickMinStep": 1, "format": ",d", "domain": False},
    }
    layers: list[JsonValue] = []
    for number in reversed(range(len(lines))):
        stroke: JsonObject = {"type": "line", "strokeWidth": 2, "strokeJoin": "round"}
        stroke["color"] = USE if number == 0 else SECOND
        if number:
            stroke["strokeDash"] = [4, 3]
        layers.append({"transform": [{"filter": f"datum.line === {number}"}], "mark": stroke})
    size = _FEW_MARKS if sum(partial[at] for at in chosen) <= _MARKS_APART else _MANY_MARKS
    diamond: JsonObject = {"type": "point", "shape": "diamond", "filled": True, "opacity": 1, "color": WARN}
    layers.append({"transform": [{"filter": "datum.partial"}], "mark": {**diamond, "size": size}})
    return render(
        {
            "data": {"values": rows},
            "width": _WIDTH,
            "height": _HEIGHT,
            "padding": {"left": 2, "right": 8, "top": 6, "bottom": 2},
            "encoding": {"x": x, "y": y},
            "layer": layers,
            "config": _CONFIG,
        }
    )


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` indices out of `count`, evenly spaced, with the first and the last."""
    if count <= most:
        return [*range(count)]
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def _numbers(bar: Bar) -> str:
    if bar.capacity is not None:
        return f"{bar.value:,} of {bar.capacity:,}"
    return f"{bar.value:,} {bar.warning}".rstrip()


def _labels(texts: Iterable[str]) -> list[str]:
    """Return labels that fit and are unique. Rows with equal labels would share a bar."""
    made: dict[str, None] = {}
    for text in texts:
        short = _cut(text)
        label, number = short, 1
        while label in made:
            number += 1
            label = f"{short} ({number})"
        made[label] = None
    return [*made]


def _cut(text: str) -> str:
    """Return the text. If it is too wide for a label, cut it and add an ellipsis."""
    if sum(map(_width, text)) <= _LONGEST_LABEL:
        return text
    widths = accumulate(map(_width, text))
    fitting = sum(1 for each in widths if each < _LONGEST_LABEL)
    return f"{text[:fitting]}…"


def _width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1

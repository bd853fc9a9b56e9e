"""Renders Vega-Lite as SVG for the page, in the colours of its style sheet and without active content."""

from __future__ import annotations

import mmap
import re
import resource
import xml.etree.ElementTree as ET
from functools import cache
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.report.extra import loading_vl_convert
from poolcensus.errors import FatalError
from poolcensus.format.codec import dumps

if TYPE_CHECKING:
    from poolcensus.model import JsonObject

# Vega computes with colours, and does not accept CSS variables. Each of these colours is replaced by a
# variable in the finished SVG.
USE: Final = "#a10001"
SECOND: Final = "#a10002"
WARN: Final = "#a10003"
RULE: Final = "#a10004"
INK: Final = "#a10005"
MUTED: Final = "#a10006"
_VARIABLES: Final = {
    USE: "var(--use)",
    SECOND: "var(--second)",
    WARN: "var(--warn)",
    RULE: "var(--rule)",
    INK: "var(--ink)",
    MUTED: "var(--muted)",
}
_NAMESPACE: Final = "http://www.w3.org/2000/svg"
# The attributes that a chart needs. Styles are left out because the page's policy forbids them, and so are
# links, events and roles.
_ATTRIBUTES: Final = frozenset(
    {
        "d", "fill", "fill-opacity", "font-size", "height", "opacity", "stroke", "stroke-dasharray",
        "stroke-linejoin", "stroke-miterlimit", "stroke-width", "text-anchor", "transform", "viewBox",
        "width", "x1", "x2", "y1", "y2", "x", "y",
    }
)  # fmt: skip
_ELEMENTS: Final = frozenset({"svg", "g", "path", "line", "text", "rect"})
_NOTHING: Final = frozenset({"", "M0,0h0v0h0Z"})
_FRACTION: Final = re.compile(r"(\.\d)\d+")
_GEOMETRY: Final = frozenset({"d", "transform", "x2", "y2"})
# A version of Vega-Lite. The library includes several. This is the oldest that all its allowed releases
# include.
_VERSION: Final = "5.20"
# Bytes of address space, measured with vl-convert 1.9. Its V8 keeps half of this, which must be aligned to
# its own size.
_ADDRESS_SPACE: Final = 64 << 30


def render(spec: JsonObject) -> str:
    """Return the SVG of a chart, for an HTML page. The first call takes a second.

    Raises `MissingExtraError` if the extra `report` is not installed, and `FatalError` if the chart can't be
    drawn.
    """
    with loading_vl_convert():
        import vl_convert  # noqa: PLC0415 - an extra
    _check_address_space()
    try:
        drawn = vl_convert.vegalite_to_svg(dumps(spec).decode(), vl_version=_VERSION, show_warnings=False)
    except ValueError as error:
        # The further lines are a stack trace of JavaScript.
        said = " ".join(str(error).splitlines()[:2])
        raise FatalError(f"Could not draw a chart: {said}") from error
    root = ET.fromstring(drawn)  # noqa: S314 - the library wrote it, and escapes what it is given
    _keep_the_picture(root)
    # Screen readers skip the chart. The caption and the table beside it say the same.
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return ET.tostring(root, encoding="unicode")


# Checked only once, because V8 keeps what it has reserved.
@cache
def _check_address_space() -> None:
    """Raise `FatalError` if a limit is below what V8 reserves. V8 would end the process instead."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    try:
        mmap.mmap(-1, _ADDRESS_SPACE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except OSError as error:
        raise FatalError(
            "Could not draw the charts: the limit on the address space of this process leaves less than the"
            f" {_ADDRESS_SPACE >> 30} GiB that the renderer reserves, which it does not fill.",
            advice="Run 'ulimit -v unlimited' first.",
        ) from error


def _keep_the_picture(element: ET.Element) -> None:
    element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
    for name, value in [*element.attrib.items()]:
        if name not in _ATTRIBUTES:
            del element.attrib[name]
        elif name in _GEOMETRY:
            element.set(name, _FRACTION.sub(r"\1", value))
        else:
            element.set(name, _VARIABLES.get(value, value))
    for child in [*element]:
        if child.tag.removeprefix(f"{{{_NAMESPACE}}}") in _ELEMENTS and child.get("d") not in _NOTHING:
            _keep_the_picture(child)
        else:
            element.remove(child)

"""The XML of S3: requests and replies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias
from xml.etree import ElementTree as ET

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.simulator.http import Headers

Content: TypeAlias = "str | int | bool | Iterable[Node]"
Node: TypeAlias = "tuple[str, Content]"

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_SPECIAL = re.compile('[\x00-\x08\x0b-\x1f&<>"]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def reply(root: str, content: Content, headers: Headers = ()) -> Response:
    """Return a reply with an XML document."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">{_render(content)}</{root}>'
    return Response(200, text.encode(), (("Content-Type", "application/xml"), *headers))


def read(body: bytes, root: str) -> list[tuple[str, dict[str, str]]]:
    """Parse the XML of a request. Return the name of each child of the root, and its texts by name.

    The texts are those of the child's own children. The text of the child itself has an empty name.

    Raises S3Error if the body is not XML, has a document type, or has another root than `root`.
    """
    try:
        # A document type can define entities that expand a small document to a large one.
        found = None if b"<!" in body else ET.fromstring(body)  # noqa: S314 - it has no document type
    except (ET.ParseError, LookupError, ValueError):
        # LookupError and ValueError are raised for encodings that expat does not support.
        found = None
    if found is None or _local_name(found) != root:
        raise S3Error("MalformedXML")
    return [
        (
            _local_name(child),
            # Only the own text is stripped: the texts of its children may be keys.
            {"": (child.text or "").strip(), **{_local_name(each): each.text or "" for each in child}},
        )
        for child in found
    ]


def _local_name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _render(content: Content) -> str:
    if isinstance(content, str):
        return _SPECIAL.sub(_escape, content)
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int):
        return str(content)
    return "".join(f"<{name}>{_render(inner)}</{name}>" for name, inner in content)


def _escape(found: re.Match[str]) -> str:
    # XML 1.0 can't represent most control characters. S3 writes references to them all the same.
    return _NAMED.get(found[0]) or f"&#x{ord(found[0]):x};"

"""The XML of S3: replies are written, request bodies are read with a bound on what they may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from xml.parsers import expat

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.simulator.http import Headers

Content: TypeAlias = "str | int | bool | Iterable[Node]"
Node: TypeAlias = "tuple[str, Content]"

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
TYPE: Headers = (("Content-Type", "application/xml"),)
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SPECIAL = re.compile('[\x00-\x08\x0b-\x1f&<>"]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_MAX_BODY = 2 * 1024 * 1024
_MAX_DEPTH = 16


@dataclass(slots=True)
class Element:
    """An element of a request body. Names come without their namespace."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """Return the children of this name."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str | None:
        """Return the text of the only child of this name, if there is one.

        Raises:
            S3Error: there are several.
        """
        found = self.all(name)
        if len(found) > 1:
            raise S3Error("MalformedXML")
        return found[0].text.strip() if found else None

    def only(self, names: frozenset[str]) -> None:
        """Make sure that no child has another name.

        Raises:
            S3Error: one asks for something that is not simulated.
        """
        for child in self.children:
            if child.name not in names:
                raise S3Error("NotImplemented", f"The element {child.name} is not implemented")


def write(root: str, content: Content, *, namespace: str | None = NAMESPACE) -> bytes:
    """Return a document."""
    start = root if namespace is None else f'{root} xmlns="{namespace}"'
    return f"{_DECLARATION}<{start}>{_render(content)}</{root}>".encode()


def read(body: bytes, root: str) -> Element:
    """Parse a request body.

    Raises:
        S3Error: it is too large, not XML, has a document type, or is another document than `root`.
    """
    if len(body) > _MAX_BODY:
        raise S3Error("MaxMessageLengthExceeded")
    element = _Reader().read(body)
    if element.name != root:
        raise S3Error("MalformedXML")
    return element


def _render(content: Content) -> str:
    if isinstance(content, str):
        return _SPECIAL.sub(_escape, content)
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int):
        return str(content)
    return "".join(f"<{name}>{_render(inner)}</{name}>" for name, inner in content)


def _escape(found: re.Match[str]) -> str:
    # XML 1.0 has no way to carry most control characters; S3 writes them as references all the same.
    return _NAMED.get(found[0]) or f"&#x{ord(found[0]):x};"


class _Reader:
    def __init__(self) -> None:
        self._top = Element("")
        self._open = [self._top]

    def read(self, body: bytes) -> Element:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(body, True)
        except expat.ExpatError:
            raise S3Error("MalformedXML") from None
        return self._top.children[0]

    def _doctype(self, *_: object) -> None:
        raise S3Error("MalformedXML")

    def _start(self, name: str, _: dict[str, str]) -> None:
        if len(self._open) > _MAX_DEPTH:
            raise S3Error("MalformedXML")
        element = Element(name.rpartition(" ")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].text += text

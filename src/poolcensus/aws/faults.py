"""Turns error replies of AWS's protocols into exceptions.

The error code is the body's `__type` (JSON) or `Code` (XML), or else the HTTP status. The table of refusals
says what code, status and message mean.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn
from xml.etree import ElementTree as ET

from poolcensus.aws.refusals.redaction import LONGEST_CODE, readable
from poolcensus.aws.refusals.table import error_class_of, in_region
from poolcensus.aws.transport.protocol import request_id
from poolcensus.format import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.errors import CallError
    from poolcensus.operations import Operation

ERROR_HEADER = "x-amzn-errortype"
"""The header with an error's code, which services send with the body or in place of it.

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""


def error_of(reply: Reply, region: str = "", operation: Operation | None = None) -> CallError:
    """Return the exception for an error reply, whatever its body holds.

    The meaning of some refusals depends on the `region` and the `operation` that were called.
    """
    status, headers = reply.status, reply.headers
    body_code, message = _json_error(reply.body) or _xml_error(reply.body) or ("", "")
    code = _plain_code(body_code or headers.get(ERROR_HEADER, ""))
    kind = error_class_of(code, status, message, operation)
    kind, message = in_region(kind, message, region, operation)
    if 300 <= status < 400:
        message = "a redirect, which is never followed"
    elif code and status < 300:
        message = f"the reply names an error, though its status is {status}"
    return kind(
        readable(message) or f"HTTP status {status} without an error message",
        code=code or str(status),
        status=status,
        request_id=request_id(headers),
        retry_after=_retry_after(headers),
        server_time=server_time(headers),
    )


def server_time(headers: Mapping[str, str]) -> float | None:
    """Return the `Date` header in epoch seconds, or None if it is not a date."""
    return _epoch_of(headers.get("Date", ""))


# All replies of a second have the same `Date`.
@lru_cache(maxsize=16)
def _epoch_of(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _plain_code(code: str) -> str:
    # A code may arrive as `com.amazon.coral.service#AccessDeniedException` or `AccessDeniedException:http://…`.
    return code.partition(":")[0].rpartition("#")[2].strip()[:LONGEST_CODE]


def _json_error(body: bytes) -> tuple[str, str] | None:
    try:
        value = codec.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    code = value.get("__type") or value.get("code") or value.get("Code")
    message = value.get("message") or value.get("Message") or value.get("errorMessage")
    return (code if isinstance(code, str) else "", message if isinstance(message, str) else "")


def _xml_error(body: bytes) -> tuple[str, str] | None:
    root = parse_xml(body)
    if root is None:
        return None
    code = root.findtext(".//{*}Code") or root.findtext(".//Code")
    message = root.findtext(".//{*}Message") or root.findtext(".//Message")
    return (code or "", message or "")


def parse_xml(body: bytes) -> ET.Element | None:
    """Return the root of an XML body, or None if it is not XML or has a DTD, which no service sends."""
    if body.lstrip()[:1] != b"<":
        return None
    parser = ET.XMLParser(target=_WithoutDtd())  # noqa: S314 - without a DTD there are no entities to expand
    try:
        parser.feed(body)
        root: ET.Element = parser.close()
    except (ET.ParseError, LookupError, ValueError):
        # LookupError and ValueError are raised for unknown or wrong encodings.
        return None
    return root


class _WithoutDtd(ET.TreeBuilder):
    def doctype(self, *_: object) -> NoReturn:
        raise ET.ParseError("a DTD")

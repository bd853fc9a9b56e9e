"""Refusals: error replies in the protocol of each service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from poolcensus.simulator.http import S3_HOST_ID, Response
from poolcensus.simulator.xml_text import xml_text

if TYPE_CHECKING:
    from collections.abc import Mapping


JSON_TYPE = "application/x-amz-json-1.1"
OTHERS = "the services that a table does not name"
_JSON_HEADERS = (("Content-Type", JSON_TYPE),)
_XML_HEADERS = (("Content-Type", "text/xml"),)
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


class RefusalError(Exception):
    """A service refuses a call, with an HTTP status, an error code, a message and perhaps further fields."""

    def __init__(self, status: int, code: str, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields or {}


def by_service(table: Mapping[str, tuple[int, str, str]], service: str) -> RefusalError:
    """Return the refusal of the service in the table, or that of `OTHERS`."""
    return RefusalError(*table.get(service, table[OTHERS]))


def render(refusal: RefusalError, service: str, request_id: str) -> Response:
    """Return the refusal as a reply in the protocol of the service."""
    code, message = refusal.code, refusal.message
    match service:
        case "sts":
            side = "Receiver" if refusal.status >= 500 else "Sender"
            text = (
                '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n'
                f"  <Error>\n    <Type>{side}</Type>\n    <Code>{xml_text(code)}</Code>\n"
                f"    <Message>{xml_text(message)}</Message>\n  </Error>\n"
                f"  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n"
            )
            return Response(refusal.status, text.encode(), _XML_HEADERS, code)
        case "ec2":
            text = (
                f"{_XML}<Response><Errors><Error><Code>{xml_text(code)}</Code>"
                f"<Message>{xml_text(message)}</Message></Error></Errors>"
                f"<RequestID>{request_id}</RequestID></Response>"
            )
            return Response(refusal.status, text.encode(), _XML_HEADERS, code)
        case "s3":
            details = "".join(f"<{name}>{xml_text(value)}</{name}>" for name, value in refusal.fields.items())
            text = (
                f"{_XML}<Error><Code>{xml_text(code)}</Code><Message>{xml_text(message)}</Message>{details}"
                f"<RequestId>{request_id}</RequestId><HostId>{S3_HOST_ID}</HostId></Error>"
            )
            return Response(refusal.status, text.encode(), (("Content-Type", "application/xml"),), code)
        case "account":
            body = {"message": message, **refusal.fields}
            headers = (("Content-Type", "application/json"), ("x-amzn-ErrorType", code))
            return Response(refusal.status, orjson.dumps(body), headers, code)
        case "organizations":
            body = {"__type": code, "Message": message, **refusal.fields}
            return Response(refusal.status, orjson.dumps(body), _JSON_HEADERS, code)
    # Errors of the Coral framework have its namespace, and `Message` besides `message`.
    body = {"__type": f"com.amazon.coral.service#{code}", "message": message, "Message": message}
    return Response(refusal.status, orjson.dumps({**body, **refusal.fields}), _JSON_HEADERS, code)

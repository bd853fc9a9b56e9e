"""The effect of a fault: another answer in place of that of the service, or the service's answer, spoilt."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from poolcensus.simulator import unauthenticated, unauthorized
from poolcensus.simulator.call import role_account, role_arn_of
from poolcensus.simulator.faults import Fault, FaultKind
from poolcensus.simulator.http import Abort, Answer, Cut, Drip, Hang, Request, Response, Stream
from poolcensus.simulator.limits import throttled
from poolcensus.simulator.refusal import JSON_TYPE, RefusalError, render
from poolcensus.simulator.services.workspaces import read_query, scope_of
from poolcensus.simulator.tokens import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poolcensus.model import JsonObject, JsonValue
    from poolcensus.simulator.tokens import TokenMint

_HTML = b"<!DOCTYPE html>\n<html><head><title>%b</title></head><body><h1>%b</h1></body></html>\n"
_HTML_HEADERS = (("Content-Type", "text/html"),)
_JSON_HEADERS = (("Content-Type", JSON_TYPE),)
_PIECE = 1 << 16
_EVIL = (
    "two\nlines",
    "carriage\rreturn",
    "separator\u2028here",
    "nul\0byte",
    "\x1b[2J\x1b[31mred\x07",
    "lone\ud800surrogate",
    "=cmd|'/C calc'!A0",
    "<script>alert(1)</script>",
)
_LONG = 1 << 20
_CREATED: dict[FaultKind, JsonValue] = {
    FaultKind.TIMESTAMP_HUGE: 1e30,
    FaultKind.TIMESTAMP_TEXT: "yesterday",
}


def page_of(request: Request, mint: TokenMint) -> int:
    """Return the number of the page that a call asks for, counted from 1."""
    if b"NextToken" not in request.body or request.service != "workspaces":
        return 1
    token = read_query(request.body).get("NextToken")
    return mint.page(token) if isinstance(token, str) else 1


def replacement(fault: Fault, request: Request) -> Answer | None:
    """Return the answer that replaces that of the service, or None if the fault spoils the service's answer.

    Raises RefusalError if the fault is an error of the service.
    """
    refusal = _REFUSALS.get(fault.kind)
    if refusal is not None:
        raise refusal(fault, request)
    plain = _PLAIN.get(fault.kind)
    if plain is not None:
        return plain
    match fault.kind:
        case FaultKind.THROTTLE | FaultKind.THROTTLE_429 | FaultKind.THROTTLE_503:
            return _throttle(fault, request)
        case FaultKind.REDIRECT:
            return Response(307, b"", (("Location", fault.location),))
        case FaultKind.HUGE:
            return Stream(200, _huge(fault.size), _JSON_HEADERS, max(fault.size, _SMALLEST_HUGE))
    return None


def changed_request(fault: Fault, request: Request, mint: TokenMint) -> Request:
    """Return the request that the service gets."""
    if fault.kind is not FaultKind.SHIFTING or request.service != "workspaces":
        return request
    query, scope, position = _asked_page(request, mint)
    if position is None:
        return request
    # The page begins one pool earlier, as if a pool had been removed before it.
    earlier = replace(position, offset=max(0, position.offset - 1))
    return replace(request, body=orjson.dumps({**query, "NextToken": mint.make(earlier, scope)}))


def spoilt(fault: Fault, request: Request, response: Response, mint: TokenMint) -> Answer:
    """Return the service's answer as the fault changes it."""
    return _spoil_transfer(fault, response) or _spoil_content(fault, request, response, mint)


def _spoil_transfer(fault: Fault, response: Response) -> Answer | None:
    """Spoil the transfer of the answer. Return None if the fault is of another kind."""
    body = response.body
    match fault.kind:
        case FaultKind.TRUNCATE:
            return Cut(replace(response, body=body[: len(body) // 2]), len(body))
        case FaultKind.WRONG_LENGTH:
            return Cut(response, max(0, len(body) - 7))
        case FaultKind.DRIP:
            return Drip(response, fault.seconds)
        case FaultKind.GZIP_CUT:
            packed = gzip.compress(body, mtime=0)
            headers = (*response.headers, ("Content-Encoding", "gzip"))
            return replace(response, body=packed[: len(packed) * 2 // 3], headers=headers)
    return None


def _spoil_content(fault: Fault, request: Request, response: Response, mint: TokenMint) -> Response:
    """Spoil the content of the answer."""
    if response.status != 200 or request.service != "workspaces":
        return response
    page: JsonObject = json.loads(response.body)
    pools = page.get("WorkspacesPools")
    if not isinstance(pools, list):
        return response
    # The encoder of the standard library can write a lone surrogate, as an escape.
    _change_pools(fault, page, pools)
    _change_token(fault, request, page, mint)
    return replace(response, body=json.dumps(page, separators=(",", ":")).encode("ascii"))


def _change_pools(fault: Fault, page: JsonObject, pools: list[JsonValue]) -> None:
    """Change the pools of a page."""
    if fault.kind is FaultKind.EVIL_NAMES:
        for number, pool in enumerate(pools):
            if isinstance(pool, dict):
                evil = "x" * _LONG if number == len(_EVIL) else _EVIL[number % len(_EVIL)]
                pool["PoolName"] = f"{evil}-{pool['PoolName']}"
                pool["Description"] = evil
        return
    if fault.kind is FaultKind.POOL_WITHOUT_ID:
        page["WorkspacesPools"] = [{"PoolName": "nameless"}, *pools[1:]]
        return
    created = _CREATED.get(fault.kind)
    if created is None:
        return
    first = (
        pools[0]
        if pools and isinstance(pools[0], dict)
        else {"PoolId": "wspool-000000000", "PoolName": "odd"}
    )
    page["WorkspacesPools"] = [{**first, "CreatedAt": created}, *pools[1:]]


def _change_token(fault: Fault, request: Request, page: JsonObject, mint: TokenMint) -> None:
    """Change the token of the next page."""
    query, scope, position = _asked_page(request, mint)
    given = query.get("NextToken")
    match fault.kind:
        case FaultKind.SAME_TOKEN:
            page["NextToken"] = given or mint.make(Position(0, 2), scope)
        case FaultKind.CYCLE_TOKENS:
            first, second = mint.make(Position(0, 2, 1), scope), mint.make(Position(0, 3, 2), scope)
            page["NextToken"] = second if given == first else first
        case FaultKind.EMPTY_TOKEN:
            page.setdefault("NextToken", "")
        case FaultKind.NULL_TOKEN:
            page.setdefault("NextToken", None)
        case FaultKind.EMPTY_PAGE:
            here = position or Position()
            if here.turn == 0:
                page["WorkspacesPools"] = []
                page["NextToken"] = mint.make(Position(here.offset, here.page + 1, 1), scope)


def _asked_page(request: Request, mint: TokenMint) -> tuple[JsonObject, str, Position | None]:
    """Return the query of a call, the scope of its tokens, and the position of its token if valid."""
    query = read_query(request.body)
    scope = scope_of(request.identity.account_id, request.region, query)
    token = query.get("NextToken")
    return query, scope, mint.read(token, scope) if isinstance(token, str) else None


def _server_error(service: str) -> RefusalError:
    codes = {"workspaces": "InternalServerException", "s3": "InternalError", "ec2": "InternalError"}
    code = codes.get(service, "InternalFailure")
    return RefusalError(500, code, "The request processing has failed because of an unknown error.")


def _region_disabled(request: Request) -> RefusalError:
    account = role_account(role_arn_of(request.service, request.body)) or request.identity.account_id
    return unauthorized.region_disabled(request.service, account)


def _throttle(fault: Fault, request: Request) -> Response:
    if fault.kind is FaultKind.THROTTLE_429:
        response = Response(429)
    else:
        refusal = throttled(request.service)
        if fault.kind is FaultKind.THROTTLE_503:
            refusal = RefusalError(503, "ServiceUnavailable", "Service is unavailable")
        response = render(refusal, request.service, request.request_id)
    if fault.retry_after is None:
        return response
    return replace(response, headers=(*response.headers, ("Retry-After", f"{fault.retry_after}")))


_HUGE_HEAD = b'{"WorkspacesPools":[],"Padding":"'
_HUGE_TAIL = b'"}'
_SMALLEST_HUGE = len(_HUGE_HEAD) + len(_HUGE_TAIL)


def _huge(size: int) -> Iterator[bytes]:
    yield _HUGE_HEAD
    left = max(0, size - _SMALLEST_HUGE)
    piece = b"x" * _PIECE
    while left:
        yield piece[:left]
        left -= min(left, _PIECE)
    yield _HUGE_TAIL


_REFUSALS: dict[FaultKind, Callable[[Fault, Request], RefusalError]] = {
    FaultKind.SERVER_ERROR: lambda _, request: _server_error(request.service),
    FaultKind.EXPIRED: lambda _, request: unauthenticated.expired(request.service),
    FaultKind.DENIED: lambda fault, request: unauthorized.denied(
        request, fault.policy, explicit=fault.explicit
    ),
    FaultKind.NOT_ENTITLED: lambda _, __: unauthorized.not_entitled(),
    FaultKind.NEUTRAL: lambda _, __: unauthorized.neutral(),
    FaultKind.UNSUPPORTED: lambda _, __: unauthorized.unsupported(),
    FaultKind.UNRECOGNIZED: lambda _, request: unauthenticated.unknown_key(request.service),
    FaultKind.REGION_DISABLED: lambda _, request: _region_disabled(request),
}
_PLAIN: dict[FaultKind, Answer] = {
    FaultKind.RESET: Abort(),
    FaultKind.HANG: Hang(),
    FaultKind.BAD_GATEWAY: Response(502, _HTML % (b"502 Bad Gateway", b"502 Bad Gateway"), _HTML_HEADERS),
    FaultKind.EMPTY_BODY: Response(200, b"", _JSON_HEADERS),
    FaultKind.HTML: Response(200, _HTML % (b"Sign in", b"Sign in to the network"), _HTML_HEADERS),
    FaultKind.NULL: Response(200, b"null", _JSON_HEADERS),
    FaultKind.LIST: Response(200, b"[]", _JSON_HEADERS),
    FaultKind.STRING: Response(200, b'"WorkspacesPools"', _JSON_HEADERS),
    FaultKind.BAD_UTF8: Response(200, b'{"WorkspacesPools":[{"PoolName":"\xff\xfe\xc3"}]}', _JSON_HEADERS),
    FaultKind.MISSING_LIST: Response(200, b'{"ResponseMetadata":{}}', _JSON_HEADERS),
}

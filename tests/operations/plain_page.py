"""Turns the body of a reply into pools in the simplest way, to compare the package's results with.

One step after the other, by the standard library.
"""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from poolcensus.model import JsonObject, JsonValue

DEEPEST = 200
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, without its name in the text


def plain_page(body: bytes) -> tuple[list[JsonObject], str | None]:
    """Return the pools of a page, as in records, and the token. Raises ValueError if it is not a page."""
    page = json_of(body)
    if not isinstance(page, dict) or "__type" in page:
        raise ValueError("not a result")
    pairs: list[list[str]] = []
    json.loads(body, object_pairs_hook=lambda found: pairs.append([name for name, _ in found]))
    if any(pairs[-1].count(name) > 1 for name in ("WorkspacesPools", "NextToken")):
        raise ValueError("a field twice")
    pools = page.get("WorkspacesPools")
    if not isinstance(pools, list):
        raise ValueError("no list of pools")  # noqa: TRY004 - the value is the service's
    found: list[JsonObject] = []
    for pool in pools:
        if not isinstance(pool, dict):
            raise ValueError("a pool is no object")  # noqa: TRY004 - so is this
        pool_id = pool.get("PoolId")
        if not isinstance(pool_id, str) or pool_id == "":
            raise ValueError("a pool has no id")
        found.append({key: _time(value) if key == "CreatedAt" else value for key, value in pool.items()})
    token = page.get("NextToken")
    if token is not None and not isinstance(token, str):
        raise ValueError("the token is no string")
    return found, token or None


def json_of(text: bytes) -> JsonValue:
    """Return the value of a JSON text. Raises ValueError if it is not UTF-8, not finite, or too deep."""
    try:
        value: JsonValue = json.loads(text.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
        deep = _depth(value) > DEEPEST
    except RecursionError:
        deep = True
    if deep:
        raise ValueError("too deep")
    return value


def _time(value: JsonValue) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no number")  # noqa: TRY004 - and this
    try:
        moment = _EPOCH + timedelta(milliseconds=round(value * 1000))
    except OverflowError:
        raise ValueError("no time") from None
    return moment.isoformat("T", "milliseconds") + "Z"


def _depth(value: JsonValue) -> int:
    """Return how many objects and lists surround the deepest value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inside)) if inside else 0


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)

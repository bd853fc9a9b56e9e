"""What a page costs in bytes to objects and back, with no call around it.

The check of a reply (JSON, the shape, every pool, its times) beside bare `orjson.loads` of the same bytes;
the lines of a page in pools.ndjson beside bare `orjson.dumps` of the same records; the line of the ledger.
Each is the median of --rounds, of the time of --pages pages in a row.

    python benches/codec.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from harness import show
from poolcensus.aws.json_api import json_object
from poolcensus.aws.transport.protocol import Reply
from poolcensus.format.schema import Schema
from poolcensus.format.times import rfc3339
from poolcensus.model import Account, Outcome, Page, Target, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.simulator.world import World, WorldConfig

SNAPSHOT = "20261123T020000Z-3f9a1c"
AT = datetime(2026, 11, 23, 2, 0, 3, 123_000, tzinfo=UTC)
REGION = "us-east-1"
Job = Callable[[], object]


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for pools in (25, 1, 0):
        for name, job, bare in jobs(pools):
            ours, beside = times(job, bare, options.pages, options.rounds)
            rows.append(
                {
                    "name": name,
                    "pools": pools,
                    "us_per_page": round(ours * 1e6, 3),
                    "us_per_pool": round(ours / pools * 1e6, 3) if pools else None,
                    "bare_us_per_page": round(beside * 1e6, 3),
                    "of_bare": round(ours / beside, 3),
                }
            )
    columns = ("what", "pools on a page", "us/page", "us/pool", "orjson us/page", "of orjson")
    keys = ("name", "pools", "us_per_page", "us_per_pool", "bare_us_per_page", "of_bare")
    show("codec", options, columns, [[row[key] for key in keys] for row in rows], rows)


def jobs(pools: int) -> list[tuple[str, Job, Job]]:
    """Return what is measured with so many pools on a page, and orjson alone on the same."""
    world = World(WorldConfig(accounts=1, pools_per_target=pools))
    token = b',"NextToken":"%b"' % (b"t" * 60) if pools == 25 else b""
    printed = world.press.slice(0, REGION, 0, pools) if pools else b""
    body = b'{"WorkspacesPools":[%b]%b}' % (printed, token)
    reply = Reply(200, {"content-type": "application/x-amz-json-1.1"}, body)
    page = Page(Target(Account("000000000001", "acct-0"), REGION), 1, AT, tuple(check(reply)[0]))
    envelope = {"snapshot_id": SNAPSHOT, "collected_at": rfc3339(AT), "partition": "aws"}
    envelope |= {"account_id": "000000000001", "account_name": "acct-0", "region": REGION}
    records = [{**envelope, "pool": pool} for pool in page.pools]
    schema = Schema(WORKSPACES_POOLS.info)
    encoder = schema.encoder(SNAPSHOT, "aws")
    if encoder.encode(page) != lines(records):
        raise AssertionError("the encoder and orjson write different lines")
    result = TargetResult("000000000001", "acct-0", REGION, Outcome.OK, pools=pools, pages=1, attempts=1)
    ledger = orjson.loads(schema.encode_result(result))
    return [
        ("check of a reply", lambda: check(reply), lambda: orjson.loads(body)),
        ("lines of pools.ndjson", lambda: encoder.encode(page), lambda: lines(records)),
        ("line of the ledger", lambda: schema.encode_result(result), lambda: orjson.dumps(ledger) + b"\n"),
    ]


def check(reply: Reply) -> tuple[list[Any], str | None]:
    """Return what a census makes of a reply."""
    return WORKSPACES_POOLS.parse(json_object(reply))


def lines(records: list[dict[str, Any]]) -> bytes:
    """Return the lines as orjson writes them, record by record."""
    return b"".join([orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in records])


def times(job: Job, bare: Job, pages: int, rounds: int) -> tuple[float, float]:
    """Return the median seconds of one, for both, measured in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for each, seconds in zip((job, bare), found, strict=True):
            started = time.perf_counter()
            for _ in range(pages):
                each()
            seconds.append((time.perf_counter() - started) / pages)
    return statistics.median(found[0]), statistics.median(found[1])


if __name__ == "__main__":
    main()

"""The cost of decoding and encoding a page, without the call.

Measured are: the check of a reply (JSON, the structure, every pool, its times) beside bare `orjson.loads` of
the same bytes; the lines of a page in pools.ndjson beside bare `orjson.dumps` of the same records; both steps
together beside both; and the line of the ledger.

`own texts` is another way from a reply to its lines: the texts of the pools are copied into the records, with
their times changed in place, and no dictionary is made. It checks IDs and syntax only. `own texts, checked`
decodes the page, too, to check that no number is out of range, nothing is nested deeply, and no key occurs
twice.

Each result is the median of --rounds, of the time of --pages pages in a row. The pages are of a hundred
accounts, since with a single page a core would learn all of its branches.

    python benches/codec.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import msgspec
import orjson

from harness import show
from poolcensus.aws.json_api import as_in_json, json_object
from poolcensus.aws.transport.protocol import Reply
from poolcensus.format import codec
from poolcensus.format.schema import Schema
from poolcensus.format.times import rfc3339, rfc3339_of_epoch
from poolcensus.model import Account, Outcome, Page, Target, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.simulator.world import World, WorldConfig

SNAPSHOT = "20261123T020000Z-3f9a1c"
AT = datetime(2026, 11, 23, 2, 0, 3, 123_000, tzinfo=UTC)
REGION = "us-east-1"
Job = Callable[["Sample"], object]
_ACCOUNTS = 100
_ONCE = as_in_json(WORKSPACES_POOLS.collection, *WORKSPACES_POOLS.token_fields)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for pools in (25, 1, 0):
        world = World(WorldConfig(accounts=_ACCOUNTS, pools_per_target=pools))
        samples = [Sample(world, account, pools) for account in range(_ACCOUNTS)]
        for name, job, bare in jobs(samples):
            ours, beside = times(job, bare, samples, options.pages, options.rounds)
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


class Sample:
    """A reply with `pools` pools, and the page, records and result that are made from it."""

    def __init__(self, world: World, account: int, pools: int) -> None:
        token = b',"NextToken":"%b"' % (b"t" * 60) if pools == 25 else b""
        printed = world.press.slice(account, REGION, 0, pools) if pools else b""
        self.body = b'{"WorkspacesPools":[%b]%b}' % (printed, token)
        self.reply = Reply(200, {"content-type": "application/x-amz-json-1.1"}, self.body)
        self.target = Target(Account(f"{account + 1:012}", f"acct-{account}"), REGION)
        self.page = Page(self.target, 1, AT, tuple(check(self.reply)[0]))
        envelope = {"snapshot_id": SNAPSHOT, "collected_at": rfc3339(AT), "partition": "aws"}
        account_of = {"account_id": self.target.account.id, "account_name": self.target.account.name}
        self.envelope = {**envelope, **account_of, "region": REGION}
        self.records = [{**self.envelope, "pool": pool} for pool in self.page.pools]
        self.result = TargetResult(
            self.target.account.id, f"acct-{account}", REGION, Outcome.OK, pools=pools, pages=1, attempts=1
        )


def jobs(samples: list[Sample]) -> list[tuple[str, Job, Job]]:
    """Return the measured jobs: a name, the job, and what orjson alone does with the same data."""
    schema = Schema(WORKSPACES_POOLS.info)
    encoder = schema.encoder(SNAPSHOT, "aws")

    def whole(sample: Sample) -> bytes:
        return encoder.encode(Page(sample.target, 1, AT, tuple(check(sample.reply)[0])))

    def both(sample: Sample) -> bytes:
        pools = orjson.loads(sample.body)["WorkspacesPools"]
        return lines([{**sample.envelope, "pool": pool} for pool in pools])

    def head(sample: Sample) -> bytes:
        return encoder.encode(Page(sample.target, 1, AT, ({},))).removesuffix(b"{}}\n")

    texts = OwnTexts(head)
    for sample in samples:
        if encoder.encode(sample.page) != lines(sample.records):
            raise AssertionError("the encoder and orjson write different lines")
        if not whole(sample) == texts.encode(sample) == texts.encode_checked(sample):
            raise AssertionError("the ways from a reply to its lines lead to different ones")
    ledger = {id(sample): orjson.loads(schema.encode_result(sample.result)) for sample in samples}
    return [
        ("check of a reply", lambda sample: check(sample.reply), lambda sample: orjson.loads(sample.body)),
        (
            "lines of pools.ndjson",
            lambda sample: encoder.encode(sample.page),
            lambda sample: lines(sample.records),
        ),
        ("from a reply to its lines", whole, both),
        ("own texts", texts.encode, both),
        ("own texts, checked", texts.encode_checked, both),
        (
            "line of the ledger",
            lambda sample: schema.encode_result(sample.result),
            lambda sample: orjson.dumps(ledger[id(sample)]) + b"\n",
        ),
    ]


def check(reply: Reply) -> tuple[list[Any], str | None]:
    """Return the items and the token that a census reads from a reply."""
    return WORKSPACES_POOLS.parse(json_object(reply, _ONCE))


class _Pool(msgspec.Struct):
    PoolId: str
    CreatedAt: float


class _Items(msgspec.Struct):
    WorkspacesPools: list[_Pool]


class _Texts(msgspec.Struct):
    WorkspacesPools: list[msgspec.Raw]


class OwnTexts:
    """Makes records from the texts of pools, which must all have a time.

    `head` returns the beginning of a record, up to its pool.
    """

    def __init__(self, head: Callable[[Sample], bytes]) -> None:
        self._head = head
        self._items = msgspec.json.Decoder(_Items)
        self._texts = msgspec.json.Decoder(_Texts)

    def encode(self, sample: Sample) -> bytes:
        """Return the lines of a page that is on one line. Only IDs and syntax are checked."""
        body = sample.body
        if not body.isascii():
            body.decode()
        if b"\n" in body or b"\r" in body:
            raise ValueError("the page is on several lines")
        pools = self._items.decode(body).WorkspacesPools
        if not pools:
            return b""
        head = self._head(sample)
        texts = (b"}\n" + head).join(self._texts.decode(body).WorkspacesPools)
        first, *rest = texts.split(b'"CreatedAt":')
        parts = [head, first]
        for pool, text in zip(pools, rest, strict=True):
            if not pool.PoolId:
                raise ValueError("a pool has no PoolId")
            parts += (f'"CreatedAt":"{rfc3339_of_epoch(pool.CreatedAt)}"'.encode(), text[text.index(b",") :])
        return b"".join((*parts, b"}\n"))

    def encode_checked(self, sample: Sample) -> bytes:
        """Return the lines of a page after checking that it has no key twice, and no unknown one."""
        value: Any = codec.loads(sample.body)
        pools: list[dict[str, Any]] = value["WorkspacesPools"]
        keys = len(value) + sum(map(len, pools))
        for pool in pools:
            for name in ("CapacityStatus", "TimeoutSettings", "ApplicationSettings"):
                keys += len(pool.get(name, ()))
            keys += sum(map(len, pool.get("Errors", ())))
        if keys != sample.body.count(b'":'):
            raise ValueError("a key is there twice, or is not known")
        return self.encode(sample)


def lines(records: list[dict[str, Any]]) -> bytes:
    """Return the lines of records as orjson writes them."""
    return b"".join([orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in records])


def times(job: Job, bare: Job, samples: list[Sample], pages: int, rounds: int) -> tuple[float, float]:
    """Return the median seconds for one page, of both jobs, measured in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for each, seconds in zip((job, bare), found, strict=True):
            started = time.perf_counter()
            for sample in islice(cycle(samples), pages):
                each(sample)
            seconds.append((time.perf_counter() - started) / pages)
    return statistics.median(found[0]), statistics.median(found[1])


if __name__ == "__main__":
    main()

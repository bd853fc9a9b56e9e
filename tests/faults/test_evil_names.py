"""Names that other people chose: one record stays one line, and every name comes back as it was sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import orjson
import pytest
from anyio import to_thread

from poolcensus import report
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify
from snapshot.making import folder_of

if TYPE_CHECKING:
    from faults.conftest import Bench, Run, Serve, Start

REGIONS = ("us-east-1",)
HARD = {"\n", "\r", "\u2028", "\0", "\x1b", "\ud800", "=cmd", "<script>"}


def _sent(records: list[dict[str, dict[str, str]]], originals: dict[str, str]) -> set[str]:
    """Checks every name against the simulator's own, and returns what was put before them."""
    evil = set()
    for record in records:
        pool = record["pool"]
        evil.add(pool["Description"])
        assert pool["PoolName"] == f"{pool['Description']}-{originals.pop(pool['PoolId'])}"
    assert not originals
    return evil


@pytest.mark.usefixtures("renderer")
async def test_evil_names_make_one_line_each_and_come_back_as_sent(lab: Start) -> None:
    here = await lab(accounts=2, pools_per_target=11, regions=REGIONS, faults=("evil-names",))
    snapshot = await here.collect()
    originals = {
        str(pool["PoolId"]): str(pool["PoolName"])
        for truth in here.simulator.world.truth()
        for pool in truth.pools
    }
    content = snapshot.pools_path.read_bytes()
    lines = content.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(originals) == 22
    assert not [byte for byte in content if byte < 0x20 and byte != 0x0A]
    evil = _sent([json.loads(line.decode("utf-8", "strict")) for line in lines], dict(originals))
    assert all(any(hard in each for each in evil) for hard in HARD)
    assert max(map(len, evil)) == 1 << 20
    read = {str(each.pool["PoolId"]): str(each.pool["PoolName"]) for each in snapshot.pools()}
    assert all(name.endswith(f"-{originals[pool_id]}") for pool_id, name in read.items())
    assert read.keys() == originals.keys()
    assert not verify(snapshot)
    page = await to_thread.run_sync(lambda: report("latest", here.dest))
    assert page.html.encode().count(b"wspool-") >= 22
    assert page.html.count("<script") == 1


def test_evil_names_on_standard_output_and_in_a_table(serve: Serve, run: Run, run_alone: Run) -> None:
    served = serve("--accounts=1", "--regions=us-east-1", "--pools-per-target=8", "--fault=evil-names")
    ended = run_alone("collect", "--regions", "us-east-1", "--dest", "-", **served.environment)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.encode().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 8
    originals = {pool["PoolId"]: pool["PoolName"] for truth in served.truth for pool in truth["pools"]}
    assert len(_sent([json.loads(line) for line in lines], originals)) == 8
    ended = run("collect", "--regions", "us-east-1", "--dest", "kept", **served.environment)
    assert ended.code == 0
    ended = run("show", "--pools", "--dest", "kept")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "\0" not in ended.out
    assert orjson.loads(lines[0])["account_id"] == "000000000001"


def test_evil_account_names_are_no_line_no_order_and_no_path(serve: Serve, bench: Bench, run: Run) -> None:
    served = serve("--accounts=5", "--regions=us-east-1", "--no-role=1", "--pools-per-target=1")
    evil = (
        "../../two\nlines",
        "a\rb\0c",
        "sep\u2028ar\u2029ate",
        "\x1b]0;title\x07\x1b[2J",
        "/etc/" + "x" * 5000,
    )
    accounts = [{"id": f"{number:012d}", "name": name} for number, name in enumerate(evil, 1)]
    (bench.folder / "accounts.json").write_text(json.dumps(accounts))
    given = ("--accounts-from", "accounts.json", "--regions", "us-east-1")
    ended = run("collect", *given, **served.environment)
    assert (ended.code, ended.out) == (3, "")
    first, last = ended.err.split("\n")[:-1]
    assert not [character for character in first + last if not character.isprintable()]
    assert "1 of 5 targets covered" in last
    dest = bench.folder / "snapshots"
    snapshot = Snapshot.open("latest", dest=dest)
    assert verify(snapshot) == ()
    assert {each.account_id: each.account_name for each in snapshot.targets()} == {
        each["id"]: each["name"] for each in accounts
    }
    assert len((folder_of(snapshot) / "targets.ndjson").read_bytes().splitlines()) == len(evil)
    assert {each.name for each in dest.iterdir()} == {".lock", "latest", snapshot.id}
    assert {each.name for each in bench.folder.iterdir()} == {"accounts.json", "snapshots"}

"""An end-to-end census with a second operation: another service, with another kind of paging."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import anyio
import pytest

from poolcensus import operations
from poolcensus.aws.pages import PageReader
from poolcensus.aws.transport.protocol import Reply
from poolcensus.census import Census
from poolcensus.cli import main
from poolcensus.config import load_settings
from poolcensus.errors import BadResponseError
from poolcensus.operations import Facets, ItemColumn, Listing, Operation, Query
from poolcensus.simulator import Simulator, SimulatorConfig, WorldConfig
from poolcensus.simulator.http import Response
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.config import Settings
    from poolcensus.model import JsonObject
    from poolcensus.partitions import Partition
    from poolcensus.simulator.http import Request

REGIONS = ("us-east-1", "eu-west-1")
KEYS_A_TARGET = 5
KEYS_A_PAGE = 2


def listings(query: Query) -> tuple[Listing, ...]:
    return (Listing({"Limit": min(query.page_size, KEYS_A_PAGE)}),)


def regions(partition: Partition) -> tuple[str, ...]:
    return tuple(each for each in partition.regions if each in REGIONS)


def next_marker(body: JsonObject) -> str | None:
    if body.get("Truncated") is not True:
        return None
    marker = body.get("NextMarker")
    if not isinstance(marker, str):
        raise ValueError("a truncated page has no NextMarker")  # noqa: TRY004 - the value is the service's
    return marker


# https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeys.html
KEYS = Operation(
    service="kms",
    api_name="ListKeys",
    method="list_keys",
    item="key",
    items="keys",
    collection="Keys",
    identity="KeyId",
    listings=listings,
    regions=regions,
    token_parameter="Marker",
    next_token=next_marker,
    token_fields=("Truncated", "NextMarker"),
    columns=(ItemColumn("Key", lambda key: key.get("KeyId")),),
    facets=Facets(
        title="KMS keys",
        name=("Alias",),
        state=("Status", "KeyState"),
        errors=("Faults",),
        volatile=("Used",),
    ),
)


class Kms:
    """Lists the keys of an account in a region. The first of each is `state`, and all are used each time."""

    def __init__(self) -> None:
        self.state = "Enabled"
        self.faults: list[str] = []
        self._calls = 0

    def _key(self, place: str, number: int) -> dict[str, object]:
        key: dict[str, object] = {
            "KeyId": f"{place}-{number}",
            "Alias": f"alias-{number}",
            "Used": self._calls,
        }
        first = {"Status": {"KeyState": self.state}, "Faults": self.faults}
        return key | (first if number == 0 else {"Status": {"KeyState": "Enabled"}})

    def handle(self, request: Request) -> Response:
        assert request.headers["x-amz-target"] == "TrentService.ListKeys"
        asked = json.loads(request.body)
        start = int(asked.get("Marker", 0))
        end = min(start + asked["Limit"], KEYS_A_TARGET)
        place = f"{request.identity.account_id}-{request.region}"
        self._calls += 1
        body = {"Keys": [self._key(place, number) for number in range(start, end)], "Truncated": False}
        if end < KEYS_A_TARGET:
            body |= {"Truncated": True, "NextMarker": str(end)}
        return Response(200, json.dumps(body).encode(), (("Content-Type", "application/x-amz-json-1.1"),))


@pytest.fixture
def kms() -> Kms:
    return Kms()


@pytest.fixture
async def simulator(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    world = WorldConfig(accounts=6, regions=REGIONS, suspended=0.2, no_role=0.2)
    async with Simulator(SimulatorConfig(world=world), services={"kms": kms}) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.secret_access_key)
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, {"dest": str(tmp_path / "snapshots")})


async def test_a_plan_counts_its_calls(simulator: Simulator, settings: Settings) -> None:
    async with Census(settings, KEYS) as census:
        plan = await census.plan()
    assert plan.regions == tuple(sorted(REGIONS))
    assert plan.calls["kms:ListKeys"] == plan.targets == 10
    assert "workspaces:DescribeWorkspacesPools" not in plan.calls


async def test_it_is_collected_shown_and_verified(
    simulator: Simulator, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Census(settings, KEYS) as census:
        collected = await census.collect()
    assert collected.manifest.totals.pools == 8 * KEYS_A_TARGET
    assert collected.manifest.totals.pages == 8 * 3
    snapshot = Snapshot.open("latest", settings.dest)
    assert verify(snapshot) == ()
    assert {each.operation for each in snapshot.targets()} == {"kms:ListKeys"}
    assert len({str(each.pool["KeyId"]) for each in snapshot.pools()}) == 8 * KEYS_A_TARGET
    assert snapshot.path is not None
    lines = [json.loads(line) for line in (snapshot.path / "keys.ndjson").read_bytes().splitlines()]
    assert {*lines[0]} >= {"key", "account_id", "region"}
    ledger = [json.loads(line) for line in (snapshot.path / "targets.ndjson").read_bytes().splitlines()]
    assert sorted(each["keys"] for each in ledger) == [0, 0, *[KEYS_A_TARGET] * 8]

    def show(*options: str) -> str:
        assert main(["show", "--dest", settings.dest, *options]) == 0
        return capsys.readouterr().out

    assert "40 on 24 pages" in await anyio.to_thread.run_sync(show)
    assert "000000000001-us-east-1-0" in await anyio.to_thread.run_sync(show, "--pools")
    first = (await anyio.to_thread.run_sync(show, "--pools", "--json")).splitlines()[0]
    assert json.loads(first)["key"]["KeyId"]


async def test_what_is_said_of_it_is_in_its_own_words(
    kms: Kms,
    simulator: Simulator,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(operations._KNOWN, KEYS.iam_action, KEYS)

    expecting = load_settings(None, {"dest": settings.dest, "known_gaps": ("*:*-*-*:assume_role_failed",)})

    async def collect() -> None:
        async with Census(expecting, KEYS) as census:
            await census.collect()

    async def said(*words: str) -> str:
        assert await anyio.to_thread.run_sync(main, [*words, "--dest", settings.dest]) == 0
        return capsys.readouterr().out

    await collect()
    await collect()
    assert "No differences: 40 keys unchanged" in await said("diff")
    # Volatile fields are only compared on request.
    assert "0 added, 0 removed, 40 changed, 0 unchanged" in await said("diff", "--ignore", "")
    kms.state, kms.faults = "Disabled", ["NoMaterial"]
    await collect()
    found = await said("diff")
    assert "changed  000000000001-us-east-1-0  alias-0\n" in found
    assert "Status.KeyState: Enabled -> Disabled" in found
    assert len((await said("show", "--pools", "--json", "--state", "disabled")).splitlines()) == 8
    assert len((await said("show", "--pools", "--json", "--errors")).splitlines()) == 8
    assert "Their states are Disabled (8), Enabled (32)." in await said("show", "--pools", "--state", "gone")


@pytest.mark.parametrize("twice", ['"Truncated":true,"Truncated":false', '"NextMarker":"2","NextMarker":"4"'])
def test_what_says_twice_how_it_goes_on_is_no_page(twice: str) -> None:
    reader = PageReader(cast("Sdk", None), cast("Client", None), KEYS, Query())
    body = f'{{"Keys":[],"Truncated":true,"NextMarker":"2",{twice}}}'
    with pytest.raises(BadResponseError, match="twice"):
        reader.parse(Reply(200, {}, body.encode()))


async def test_an_interrupted_run_is_gone_on_with(simulator: Simulator, settings: Settings) -> None:
    one_by_one = load_settings(None, {"dest": settings.dest, "concurrency": 1, "resume": True})
    async with Census(one_by_one, KEYS) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        while census.progress().done < 5:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert census.resumable
    async with Census(one_by_one, KEYS) as census:
        await census.collect()
    snapshot = Snapshot.open("latest", settings.dest)
    assert verify(snapshot) == ()
    assert snapshot.manifest.totals.pools == 8 * KEYS_A_TARGET
    # Only the target that was open is called again.
    assert simulator.stats.calls["kms.ListKeys"] <= 8 * 3 + 3

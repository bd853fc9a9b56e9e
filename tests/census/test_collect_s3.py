"""A census into a bucket, from the listing of accounts to the last request."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import anyio
import pytest
from anyio import to_thread

from poolcensus.census import Census
from poolcensus.errors import (
    DestinationError,
    DestinationLockedError,
    NotPublishedError,
    SettingsError,
    SnapshotError,
)
from poolcensus.model import Outcome
from poolcensus.simulator.http import Response
from poolcensus.snapshot import Scope, Snapshot, list_snapshots
from poolcensus.snapshot.verification import verify
from snapshot.making import ID, LATER_ID
from storage.buckets import PLACE, PREFIX, bucket_store, opened, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from census_lab import Lab
    from poolcensus.simulator.http import Request
    from poolcensus.simulator.s3.store import Bucket as StoredBucket

    Start = Callable[..., Coroutine[None, None, Lab]]


def requests(here: Lab) -> list[str]:
    """The requests that S3 gets from now on, as method, what of the object, and the key after the prefix."""
    seen: list[str] = []
    s3: Any = here.simulator._application._services["s3"]
    answer = s3.handle

    def handle(request: Request) -> Response:
        query = parse_qs(request.query, keep_blank_values=True)
        what = next((f"?{name}" for name in ("uploads", "uploadId", "list-type") if name in query), "")
        key = request.path.removeprefix("/census").removeprefix("/").replace("%20", " ").removeprefix(PREFIX)
        seen.append(" ".join(part for part in (f"{request.method}{what}", key) if part))
        response: Response = answer(request)
        return response

    s3.handle = handle
    return seen


async def collect(here: Lab, **changes: object) -> Snapshot:
    async with Census(here.settings(**{"dest": PLACE, **changes})) as census:
        return await census.collect()


async def read(ref: str, dest: str = PLACE) -> Snapshot:
    return await to_thread.run_sync(Snapshot.open, ref, dest)


async def listed(dest: str = PLACE) -> list[str]:
    return [each.id for each in await to_thread.run_sync(list_snapshots, dest)]


@pytest.mark.parametrize("compress", ["none", pytest.param("zstd", marks=pytest.mark.long)])
async def test_a_census_into_a_bucket_is_exact(lab: Start, compress: str) -> None:
    here = await lab(accounts=20, mean_pools=4.0, no_role=0.1, opt_in_disabled=0.2)
    stored(here.simulator)
    snapshot = await collect(here, compress=compress)
    assert (snapshot.location, snapshot.path) == (f"{PLACE}/{snapshot.id}", None)
    for again in (snapshot, await read("latest"), await read(f"{PLACE}/{snapshot.id}/")):
        assert (again.manifest, again.location) == (snapshot.manifest, snapshot.location)
        # One client for all that is read of it.
        with again:
            await to_thread.run_sync(here.assert_exact, again)
            assert await to_thread.run_sync(verify, again) == ()
    assert await listed() == [snapshot.id]


async def test_the_requests_of_a_commit_come_in_the_order_that_makes_it_one(lab: Start) -> None:
    here = await lab(accounts=3)
    bucket = stored(here.simulator)
    seen = requests(here)
    snapshot = await collect(here)
    folder = snapshot.id
    assert seen == [
        "GET .lock",
        "PUT .lock",
        "PUT .lock",
        "GET?uploads",
        "GET?list-type",
        "GET?list-type",
        f"POST?uploads {folder}/.trial",
        f"PUT?uploadId {folder}/.trial",
        "GET?uploads",
        "GET?uploads",
        f"POST?uploadId {folder}/.trial",
        "GET?list-type",
        "GET?list-type",
        f"DELETE {folder}/.trial",
        f"PUT {folder}/pools.ndjson",
        f"PUT {folder}/targets.ndjson",
        f"POST?uploads {folder}/manifest.json",
        f"PUT?uploadId {folder}/manifest.json",
        "PUT .lock",
        f"POST?uploadId {folder}/manifest.json",
        "GET latest.json",
        "GET?list-type",
        "GET?list-type",
        "PUT latest.json",
        "GET .lock",
        "DELETE .lock",
    ]
    assert {key.removeprefix(PREFIX) for key in bucket.objects} == {
        f"{folder}/pools.ndjson",
        f"{folder}/targets.ndjson",
        f"{folder}/manifest.json",
        "latest.json",
    }
    assert bucket.objects[f"{PREFIX}latest.json"].body == b'{"snapshot_id":"%s"}\n' % folder.encode()


async def test_a_large_file_goes_in_parts(lab: Start) -> None:
    here = await lab(accounts=1, regions=("us-east-1",), pools_per_target=30_000)
    bucket = stored(here.simulator)
    seen = requests(here)
    snapshot = await collect(here)
    pools = f"{snapshot.id}/pools.ndjson"
    size = snapshot.manifest.files[0].bytes
    assert size > 16 << 20
    assert seen.count(f"PUT?uploadId {pools}") == -(-size // (8 << 20))
    assert bucket.objects[PREFIX + pools].etag.endswith(f"-{-(-size // (8 << 20))}")
    del seen[:]
    assert await to_thread.run_sync(verify, snapshot) == ()
    assert seen.count(f"GET {pools}") == -(-size // (8 << 20))


def begins_no_upload(request: Request) -> bool:
    return request.method == "POST" and request.query.startswith("uploads")


def takes_no_checksum(request: Request) -> bool:
    return "partNumber" in request.query and "x-amz-checksum-crc32" in request.headers


def completes_on_no_condition(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query and "if-none-match" in request.headers


def deletes_nothing(request: Request) -> bool:
    return request.method == "DELETE" and "uploadId" not in request.query


@pytest.mark.parametrize(
    ("refuses", "answer", "said"),
    [
        (begins_no_upload, 501, "the service lacks"),
        (begins_no_upload, 403, "the caller needs s3:PutObject"),
        (takes_no_checksum, 501, "the service lacks"),
        (takes_no_checksum, 400, "answered 400"),
        (completes_on_no_condition, 501, "the service lacks"),
        (completes_on_no_condition, 400, "answered 400"),
        (completes_on_no_condition, 404, "answered 404"),
        (deletes_nothing, 403, "the caller needs s3:DeleteObject"),
    ],
)
async def test_what_a_commit_needs_is_tried_before_an_account_is_asked(
    lab: Start, refuses: Callable[[Request], bool], answer: int, said: str
) -> None:
    here = await lab(accounts=3)
    bucket = stored(here.simulator)
    s3: Any = here.simulator._application._services["s3"]
    handle = s3.handle
    s3.handle = lambda request: Response(answer) if refuses(request) else handle(request)
    with pytest.raises(
        DestinationError,
        match=f"can't publish in {PLACE}: a trial with .* failed.*{said}",
    ):
        await collect(here)
    assert here.calls("workspaces.DescribeWorkspacesPools") == here.calls("sts.AssumeRole") == 0
    assert bucket.uploads == {}
    if refuses is not deletes_nothing:
        assert bucket.objects == {}


@pytest.mark.parametrize("dest", [PLACE, "-"])
async def test_a_temporary_folder_is_tried_before_an_account_is_asked(
    lab: Start, monkeypatch: pytest.MonkeyPatch, dest: str
) -> None:
    here = await lab(accounts=3)
    bucket = stored(here.simulator)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    with pytest.raises(DestinationError, match=r"No usable temporary directory.*; set TMPDIR to a folder"):
        async with Census(here.settings(dest=dest)) as census:
            await census.collect()
    assert here.calls("workspaces.DescribeWorkspacesPools") == here.calls("sts.AssumeRole") == 0
    assert bucket.objects == {}


async def test_a_run_is_published_though_the_snapshot_before_cannot_be_read(lab: Start) -> None:
    here = await lab(accounts=3, regions=("us-east-1",), pools_per_target=1, faults=("not-entitled,every=2",))
    bucket = stored(here.simulator)
    first = await collect(here)
    ledger = f"{PREFIX}{first.id}/targets.ndjson"
    bucket.objects[ledger] = replace(bucket.objects[ledger], body=b"junk")
    async with Census(here.settings(dest=PLACE)) as census:
        assert (await census.collect()).manifest.outcomes == {Outcome.NOT_ENTITLED: 3}
        assert census.hidden == {}


async def test_what_is_out_of_sight_is_looked_for_over_the_connection_of_the_run(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=3, regions=("us-east-1",), pools_per_target=1, faults=("not-entitled,every=2",))
    stored(here.simulator)
    await collect(here)
    # Another one would ask the caller for credentials anew: a program, or a person for a code.
    monkeypatch.setattr("poolcensus.storage.s3.access.open_caller", None)
    async with Census(here.settings(dest=PLACE)) as census:
        assert (await census.collect()).manifest.outcomes == {Outcome.NOT_ENTITLED: 3}
        assert sum(each.pools for each in census.hidden[Outcome.NOT_ENTITLED]) == 3


async def test_a_census_that_must_not_be_published_leaves_its_ledger(lab: Start) -> None:
    here = await lab(accounts=10, no_role=0.5)
    bucket = stored(here.simulator)
    with pytest.raises(NotPublishedError) as caught:
        await collect(here, strict=True)
    kept = str(caught.value.ledger).removeprefix(f"s3://{bucket.name}/")
    assert set(bucket.objects) == {f"{kept}/refused.json", f"{kept}/targets.ndjson"}
    assert bucket.uploads == {}


async def test_a_census_that_is_cancelled_leaves_nothing(lab: Start) -> None:
    here = await lab(accounts=5, faults=("hang",))
    bucket = stored(here.simulator)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(collect, here, attempt_timeout=60))
        while not here.calls("workspaces.DescribeWorkspacesPools"):
            await anyio.sleep(0.001)
        assert list(bucket.objects) == [f"{PREFIX}.lock"]
        group.cancel_scope.cancel()
    assert bucket.objects == {}


async def test_a_second_run_is_told_who_holds_the_lock_and_asks_no_account(lab: Start) -> None:
    here = await lab(accounts=3)
    stored(here.simulator)
    async with bucket_store():
        with pytest.raises(
            DestinationLockedError,
            match=r'Destination "s3://census/.*" is locked by another run \(started .*, host .*, PID ',
        ):
            await collect(here)
    assert here.calls("workspaces.DescribeWorkspacesPools") == 0
    assert here.calls("sts.AssumeRole") == 0


async def test_whether_a_lock_has_lapsed_is_a_matter_of_the_services_clock(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=1, signature_window=1e9)
    bucket = stored(here.simulator)
    dead = '{"host":"h","pid":1,"started_at":"2026-01-01T00:00:00Z","lease_seconds":120.0,"run":"x"}'
    async with bucket_store() as store:
        await store.bucket.put("other", dead.encode())
        key = f"{PREFIX}.lock"
    bucket.objects[key] = replace(bucket.objects["other"], key=key)
    bucket.keys[:] = sorted(bucket.objects)
    with pytest.raises(DestinationLockedError, match=r"\(started 2026-01-01T00:00:00Z, host h, PID 1\)"):
        await collect(here)
    here.simulator.config = replace(here.simulator.config, clock_offset=200.0)
    with caplog.at_level(logging.WARNING, "poolcensus"):
        await collect(here)
    assert "taking the lock of s3://census/a b/snapshots from a run that has died" in caplog.text


async def test_another_destination_on_s3_may_be_named_for_one_run(lab: Start) -> None:
    here = await lab(accounts=1)
    bucket = stored(here.simulator)
    async with Census(here.settings()) as census:
        snapshot = await census.collect("s3://census/x/")
        assert f"x/{snapshot.id}/manifest.json" in bucket.objects
        with pytest.raises(SettingsError, match="s3://BUCKET/PREFIX"):
            await census.collect("s3://Census/x")
    assert not here.dest.exists()


def put_copies(bucket: StoredBucket, key: str, keys: Iterable[str]) -> None:
    """Objects like the one at `key`, as if many calls had put them."""
    bucket.objects.update({each: replace(bucket.objects[key], key=each) for each in keys})
    bucket.keys[:] = sorted(bucket.objects)


EARLY_ID = "20261123T020000Z-000000"
FOREIGN = (
    *(f"logs/{number}" for number in range(1500)),
    *(f"2026/{number}" for number in range(1500)),
    *(f"20261123T02/{number}" for number in range(500)),
    *(f"AWSLogs-{number:03}" for number in range(500)),
    *(f"{LATER_ID}x/{number}" for number in range(1000)),
)


@pytest.mark.parametrize("prefix", ["", "shared/"])
async def test_what_else_a_bucket_holds_is_not_listed(lab: Start, prefix: str) -> None:
    here = await lab(accounts=1, regions=("us-east-1",))
    bucket = stored(here.simulator)
    dest = f"s3://census/{prefix}".rstrip("/")
    first = await collect(here, dest=dest)
    async with opened() as writer:
        await writer.put(f"{prefix}{ID}/pools.ndjson", b"x")
        for key in ("2026/upload", f"{ID}/manifest.json", "logs/upload"):
            await writer.begin(f"{prefix}{key}")
    foreign = {f"{prefix}{key}" for key in FOREIGN}
    put_copies(bucket, f"{prefix}{ID}/pools.ndjson", [*foreign, f"{prefix}{EARLY_ID}/pools.ndjson"])
    seen = requests(here)
    second = await collect(here, dest=dest)
    assert foreign <= bucket.objects.keys()
    assert bucket.objects.keys() - foreign == {
        f"{prefix}{name}"
        for name in (
            "latest.json",
            *(
                f"{each.id}/{file}"
                for each in (first, second)
                for file in ("pools.ndjson", "targets.ndjson", "manifest.json")
            ),
        )
    }
    assert {each.key for each in bucket.uploads.values()} == {f"{prefix}2026/upload", f"{prefix}logs/upload"}
    # The folders, and then what is in those of snapshots: on entering, for the trial and for `latest.json`.
    assert len([each for each in seen if each.startswith("GET?list-type")]) <= 8
    # The same on entering and for the trial, and one for each of the two folders that are removed.
    assert len([each for each in seen if each.startswith("GET?uploads")]) == 6
    asked = requests(here)
    assert await listed(dest) == [first.id, second.id]
    assert len([each for each in asked if each.startswith("GET?list-type")]) == 2


async def test_a_reader_passes_over_what_is_no_snapshot(lab: Start) -> None:
    here = await lab(accounts=2)
    stored(here.simulator)
    with pytest.raises(SnapshotError, match="No snapshots in s3://census/a b/snapshots yet"):
        await read("latest")
    snapshot = await collect(here)
    async with bucket_store() as store:
        # A run that goes on, and one that wrote nonsense.
        await store.bucket.put(f"{PREFIX}{LATER_ID}/pools.ndjson", b"x")
        await store.bucket.put(f"{PREFIX}{ID}/manifest.json", b"{")
        await store.bucket.put(f"{PREFIX}{snapshot.id}/../x", b"x")
        await store.bucket.put(f"{PREFIX}{snapshot.id}/..", b"x")
        assert await listed() == [snapshot.id]
        of_itself = f"{PLACE}/{snapshot.id}"
        with pytest.raises(SnapshotError, match=f"Run 'poolcensus show .*{of_itself}.*' to read it"):
            await read("latest", of_itself)
        assert (await read(of_itself)).id == snapshot.id
        with pytest.raises(SnapshotError, match=f"No snapshot {LATER_ID}"):
            await read(LATER_ID)
        problems = await to_thread.run_sync(verify, snapshot)
        assert [(each.file, each.message) for each in problems] == [
            ("..", "does not belong to the snapshot"),
            ("../x", "does not belong to the snapshot"),
        ]


async def test_a_run_into_a_bucket_knows_what_the_snapshot_before_covers(lab: Start) -> None:
    here = await lab(accounts=3)
    stored(here.simulator)
    first = await collect(here)
    seen = requests(here)
    async with Census(here.settings(dest=PLACE, accounts=("000000000001",))) as census:
        await census.collect()
        assert census.before is not None
        assert (census.before.id, census.before.scope) == (first.id, Scope.of(first.manifest))
    # One manifest is read for that, and for `latest.json` too.
    assert [each for each in seen if each.startswith("GET") and each.endswith("manifest.json")] == [
        f"GET {first.id}/manifest.json"
    ]

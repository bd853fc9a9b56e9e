from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

import poolcensus
from poolcensus.doctor import Cause, Check, CheckStatus, Finding
from poolcensus.errors import DestinationError
from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.service import S3
from poolcensus.storage.local.store import FolderStore
from storage.buckets import NAME, PLACE, PREFIX, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.simulator.http import Request, Response

    Start = Callable[..., Coroutine[None, None, Lab]]

BUCKET = f"arn:aws:s3:::{NAME}"
OBJECTS = f"{BUCKET}/{PREFIX.rstrip('/')}/*"


async def destination(here: Lab, **changes: object) -> Finding:
    async with poolcensus.diagnose(here.settings(accounts_from="self", **changes)) as findings:
        return [each async for each in findings if each.check is Check.DESTINATION][-1]


def tree(folder: Path) -> list[tuple[str, bytes | None]]:
    return sorted(
        (str(each.relative_to(folder)), each.read_bytes() if each.is_file() else None)
        for each in folder.rglob("*")
    )


async def test_nothing_is_left_where_there_was_nothing(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=1)
    found = await destination(here, dest=str(tmp_path / "a" / "b"))
    assert (found.status, found.cause) == (CheckStatus.OK, None)
    assert tree(tmp_path) == []


async def test_what_can_not_be_looked_at_is_a_finding(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=1)
    found = await destination(here, dest=str(tmp_path / ("a" * 300)))
    assert found.status is CheckStatus.FAILED
    assert "File name too long" in str(found)


async def test_what_is_there_stays_as_it_is(lab: Start) -> None:
    here = await lab(accounts=1)
    await here.collect()
    # What a dead run has left, and the ledger of one that was refused: the next run removes them.
    for name in (".draft-20200101T000000Z-000000", ".refused-20200101T000000Z-000000"):
        (here.dest / name).mkdir()
        (here.dest / name / "targets.ndjson").write_text("{}\n")
    before = tree(here.dest)
    assert (await destination(here)).status is CheckStatus.OK
    assert tree(here.dest) == before


async def test_the_lock_of_a_run_that_is_alive(lab: Start) -> None:
    here = await lab(accounts=1)
    async with FolderStore(here.dest):
        before = tree(here.dest)
        found = await destination(here)
        assert (found.status, found.cause) == (CheckStatus.FAILED, Cause.DESTINATION_LOCK)
        assert str(found.message).startswith(f'Destination "{here.dest}" is locked by another run (started ')
        assert str(found.message).endswith(").")
        assert found.remedy == (
            "Wait for it to finish or use another `dest`. If that run is known to be dead, run"
            f" 'poolcensus unlock --dest {here.dest}'."
        )
        assert tree(here.dest) == before


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EACCES, Cause.DESTINATION_PERMISSION),
        pytest.param(errno.EROFS, Cause.DESTINATION_PERMISSION, marks=pytest.mark.long),
        (errno.ENOSPC, Cause.DISK),
        pytest.param(errno.EIO, Cause.DISK, marks=pytest.mark.long),
        (errno.ENOTSUP, Cause.DESTINATION),
    ],
)
async def test_a_disk_that_fails_when_it_is_written_to(
    lab: Start, monkeypatch: pytest.MonkeyPatch, number: int, cause: Cause
) -> None:
    here = await lab(accounts=1)

    def fsync(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("poolcensus.storage.local.files.os.fsync", fsync)
    found = await destination(here)
    assert (found.status, found.cause) == (CheckStatus.FAILED, cause)
    assert found.remedy
    assert found.remedy.rstrip(".").lower() not in str(found.message).lower()
    assert os.strerror(number) in str(found.message)
    assert not here.dest.exists()


async def test_a_semicolon_in_a_path_is_no_end_of_what_went_wrong(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=1)
    place = tmp_path / "a; b"
    place.write_text("in the way")
    found = await destination(here, dest=str(place / "c; d"))
    assert found.message == f"can't make {place / 'c; d'}: {place} is not a folder."
    assert found.remedy == "Choose a destination that is a folder."


@pytest.mark.parametrize("advice", [None, "make room; or not"])
async def test_what_went_wrong_and_what_to_do_are_told_apart_by_the_error(
    lab: Start, monkeypatch: pytest.MonkeyPatch, advice: str | None
) -> None:
    here = await lab(accounts=1)

    async def rehearse(store: FolderStore) -> None:
        raise DestinationError("can't write to a; b", advice=advice)

    monkeypatch.setattr(FolderStore, "rehearse", rehearse)
    found = await destination(here)
    if advice is None:
        assert (found.message, found.remedy) == ("can't write to a; b", "Can't write to a; b.")
    else:
        assert (found.message, found.remedy) == ("can't write to a; b.", "Make room; or not.")


async def test_standard_output_takes_everything(lab: Start) -> None:
    here = await lab(accounts=1)
    assert (await destination(here, dest="-")).status is CheckStatus.OK


async def test_nothing_is_left_in_a_bucket(lab: Start) -> None:
    here = await lab(accounts=1)
    bucket = stored(here.simulator)
    assert (await destination(here, dest=PLACE)).status is CheckStatus.OK
    assert (dict(bucket.objects), dict(bucket.uploads)) == ({}, {})


@pytest.mark.parametrize(
    ("fault", "action", "expected"),
    [
        pytest.param(
            "GET", "s3:GetObject", (CheckStatus.FAILED, Cause.IDENTITY_POLICY), marks=pytest.mark.long
        ),
        ("PUT", "s3:PutObject", (CheckStatus.FAILED, Cause.IDENTITY_POLICY)),
        pytest.param(
            "DELETE", "s3:DeleteObject", (CheckStatus.FAILED, Cause.IDENTITY_POLICY), marks=pytest.mark.long
        ),
        ("PUT,policy=scp", "s3:PutObject", (CheckStatus.NOT_MENDABLE, Cause.SCP)),
        (
            "PUT,policy=resource,denial=explicit",
            "s3:PutObject",
            (CheckStatus.NOT_MENDABLE, Cause.RESOURCE_POLICY),
        ),
    ],
)
async def test_each_permission_on_the_bucket(
    lab: Start, fault: str, action: str, expected: tuple[CheckStatus, Cause]
) -> None:
    here = await lab(accounts=1, faults=(f"denied,service=s3,operation={fault}",))
    stored(here.simulator)
    found = await destination(here, dest=PLACE)
    assert (found.status, found.cause) == expected
    assert (found.action, found.code) == (action, "AccessDenied")
    statement = {"Effect": "Allow", "Action": action, "Resource": OBJECTS}
    assert found.policy == (statement if found.status is CheckStatus.FAILED else None)


@pytest.mark.parametrize(
    ("refused", "statement", "remedy"),
    [
        (
            ("GET", "Access Denied"),
            (["s3:GetObject", "s3:ListBucket"], [OBJECTS, BUCKET]),
            "lacks an action of this statement; if it has them all, look at the policy of the bucket.",
        ),
        (
            ("PUT", "Access Denied"),
            ("s3:PutObject", OBJECTS),
            "lacks this statement; if it has it, look at the policy of the bucket.",
        ),
        (
            ("PUT", "The key does not allow kms:*"),
            (["kms:GenerateDataKey", "kms:Decrypt"], "*"),
            "lacks an action of this statement; if it has them all, look at the policy of the key.",
        ),
    ],
)
async def test_all_that_may_be_lacking_is_named_where_s3_does_not_say(
    lab: Start,
    monkeypatch: pytest.MonkeyPatch,
    refused: tuple[str, str],
    statement: tuple[str | list[str], object],
    remedy: str,
) -> None:
    method, message = refused
    handle = S3.handle

    def refuse(service: S3, request: Request) -> Response:
        # Neither a listing nor what is asked of the bucket itself.
        if request.method == method and request.path != f"/{NAME}":
            raise S3Error("AccessDenied", message)
        return handle(service, request)

    monkeypatch.setattr(S3, "handle", refuse)
    here = await lab(accounts=1)
    stored(here.simulator)
    found = await destination(here, dest=PLACE)
    assert (found.status, found.cause) == (CheckStatus.FAILED, Cause.DESTINATION_PERMISSION)
    actions, resources = statement
    assert found.policy == {"Effect": "Allow", "Action": actions, "Resource": resources}
    named = [actions] if isinstance(actions, str) else actions
    assert found.action == named[0]
    assert f"needs {' and '.join(named)}" in str(found.message)
    assert str(found.remedy).endswith(f" {remedy}")


async def test_a_bucket_that_is_not_there(lab: Start) -> None:
    here = await lab(accounts=1)
    found = await destination(here, dest=PLACE)
    assert (found.status, found.cause) == (CheckStatus.FAILED, Cause.DESTINATION)
    assert found.remedy == "Create it or choose another destination."

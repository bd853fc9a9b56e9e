"""A reply with status 200 that is not the operation's result is asked for again, never taken for empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from census_lab import result_of
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.snapshot.verification import verify
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab
    from faults.conftest import ExactBut

    Start = Callable[..., Coroutine[None, None, Lab]]

pytestmark = pytest.mark.usefixtures("transport")

REGIONS = ("us-east-1", "eu-west-1")
KINDS = (
    "truncate",
    "wrong-length",
    "empty-body",
    "html",
    "null",
    "list",
    "string",
    "bad-utf8",
    "missing-list",
    "pool-without-id",
    "timestamp-huge",
    "timestamp-text",
    "huge,size=17000000",
    "gzip-cut",
)
# Each kind has an account of its own, so that one census tells them all apart.
PLACES = {kind: f"{number:012d}" for number, kind in enumerate(KINDS, 2)}


@both_transports
async def test_a_bad_body_that_comes_once_is_asked_for_again(lab: Start) -> None:
    here = await lab(
        accounts=1 + len(KINDS),
        pools_per_target=30,
        regions=REGIONS,
        faults=[f"{kind},account={account},first=1" for kind, account in PLACES.items()],
    )
    snapshot = await here.collect(regions=REGIONS)
    assert here.assert_exact(snapshot) == {Outcome.OK: len(REGIONS) * (1 + len(KINDS))}
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    attempts = {
        kind: result_of(snapshot, account, region).attempts
        for kind, account in PLACES.items()
        for region in REGIONS
    }
    assert attempts == dict.fromkeys(KINDS, 3)
    assert snapshot.manifest.totals.retries == len(REGIONS) * len(KINDS)
    assert not verify(snapshot)


@pytest.mark.parametrize("page", [1, 2])
async def test_a_bad_body_that_stays_is_never_an_empty_target(
    lab: Start, exact_but: ExactBut, page: int
) -> None:
    here = await lab(
        accounts=1 + len(KINDS),
        pools_per_target=30,
        regions=REGIONS,
        faults=[f"{kind},account={account},region=eu-west-1,page={page}" for kind, account in PLACES.items()],
    )
    snapshot = await here.collect(max_attempts=3)
    found = {kind: result_of(snapshot, account, "eu-west-1") for kind, account in PLACES.items()}
    assert {kind: each.outcome for kind, each in found.items()} == dict.fromkeys(KINDS, Outcome.BAD_RESPONSE)
    assert {kind: each.attempts for kind, each in found.items()} == dict.fromkeys(KINDS, 3 + page - 1)
    assert {kind: (each.pages, each.pools) for kind, each in found.items()} == dict.fromkeys(
        KINDS, (page - 1, 0)
    )
    assert all(each.error_code and each.error_message for each in found.values())
    bad = {(account, "eu-west-1") for account in PLACES.values()}
    exact_but(here, snapshot, bad)
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    assert snapshot.manifest.outcomes[Outcome.BAD_RESPONSE] == len(KINDS)
    assert not verify(snapshot)


async def test_a_bad_body_of_a_target_without_pools_is_not_taken_for_its_emptiness(lab: Start) -> None:
    here = await lab(
        accounts=1 + len(KINDS),
        pools_per_target=0,
        regions=("us-east-1",),
        faults=[f"{kind},account={account}" for kind, account in PLACES.items()],
    )
    snapshot = await here.collect(max_attempts=2)
    outcomes = {kind: result_of(snapshot, account, "us-east-1").outcome for kind, account in PLACES.items()}
    assert outcomes == dict.fromkeys(KINDS, Outcome.BAD_RESPONSE)
    assert result_of(snapshot, "000000000001", "us-east-1").outcome is Outcome.EMPTY

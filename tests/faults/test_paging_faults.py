"""Page tokens that lead nowhere or round in circles, and pages that move while they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from census_lab import result_of
from poolcensus.model import Outcome, SnapshotStatus
from transport_lab import both_transports

if TYPE_CHECKING:
    from faults.conftest import ExactBut, Start

pytestmark = pytest.mark.usefixtures("transport")

REGIONS = ("us-east-1", "eu-west-1")


@both_transports
async def test_a_paging_loop_ends_after_one_call_too_many_and_is_no_result(
    lab: Start, exact_but: ExactBut
) -> None:
    here = await lab(
        accounts=4,
        pools_per_target=30,
        regions=REGIONS,
        page_size=10,
        faults=("same-token,account=000000000002", "cycle-tokens,account=000000000003,region=eu-west-1"),
    )
    snapshot = await here.collect()
    same = [result_of(snapshot, "000000000002", region) for region in REGIONS]
    cycle = result_of(snapshot, "000000000003", "eu-west-1")
    assert {each.outcome for each in (*same, cycle)} == {Outcome.BAD_RESPONSE}
    assert {each.error_code for each in (*same, cycle)} == {"PagingLoop"}
    # One token is known again on the second call, two in turn on the third.
    assert [each.attempts for each in same] == [2, 2]
    assert cycle.attempts == 3
    exact_but(
        here, snapshot, [(each.account_id, each.region) for each in same] + [("000000000003", "eu-west-1")]
    )


async def test_a_paging_loop_of_a_target_without_pools_is_no_emptiness(lab: Start) -> None:
    here = await lab(
        accounts=2,
        pools_per_target=0,
        regions=REGIONS,
        faults=("same-token,region=us-east-1", "cycle-tokens,region=eu-west-1"),
    )
    snapshot = await here.collect()
    assert snapshot.manifest.outcomes == {Outcome.BAD_RESPONSE: 4}


async def test_tokens_that_mean_the_end_and_pages_that_move_lose_and_double_nothing(lab: Start) -> None:
    kinds = ("empty-token", "null-token", "empty-page", "shifting")
    places = {kind: f"{number:012d}" for number, kind in enumerate(kinds, 2)}
    here = await lab(
        accounts=5,
        pools_per_target=30,
        regions=REGIONS,
        page_size=10,
        faults=[f"{kind},account={account}" for kind, account in places.items()],
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 10}
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    calls = {kind: result_of(snapshot, account, "eu-west-1").attempts for kind, account in places.items()}
    # An empty page comes before every page; pages that move back by one pool make one more page.
    assert calls == {"empty-token": 3, "null-token": 3, "empty-page": 6, "shifting": 4}


async def test_tokens_that_mean_the_end_of_nothing(lab: Start) -> None:
    here = await lab(
        accounts=2,
        pools_per_target=0,
        regions=REGIONS,
        faults=("empty-token,region=us-east-1", "null-token,region=eu-west-1"),
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.EMPTY: 4}
    assert {each.attempts for each in snapshot.targets()} == {1}


async def test_an_organization_whose_every_other_page_is_empty(lab: Start) -> None:
    here = await lab(accounts=41, regions=("us-east-1",), mean_pools=0, empty_list_pages=True)
    snapshot = await here.collect()
    here.assert_exact(snapshot)
    assert snapshot.manifest.accounts_planned == 41
    assert here.calls("organizations.ListAccounts") == 6

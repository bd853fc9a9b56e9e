"""An Organization as it is: nested units, invited accounts without the role, hub roles, short sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from passing_time import PassingTime
from poolcensus.census import Census
from poolcensus.model import Outcome
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.world import World, account_id
from poolcensus.simulator.world_config import WorldConfig
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

REGIONS = ("us-east-1", "eu-west-1")
# The shortest session that STS gives: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
SESSION = 900


class Size(NamedTuple):
    """How large an Organization is, and after how many pages five minutes have passed."""

    accounts: int
    units: int
    pages: int


SIZES = [
    pytest.param(Size(30, 12, 16), id="small"),
    pytest.param(Size(400, 60, 100), id="full", marks=pytest.mark.long),
]


def world_of(size: Size, **changes: object) -> dict[str, object]:
    """The options of a world behind two hub roles, in which every third member lacks the role."""
    given = {
        "accounts": size.accounts,
        "ous": size.units,
        "invited_without_role": 1 / 3,
        "pools_per_target": 9,
        "page_size": 2,
    }
    lacking = World(WorldConfig(**given)).invited_without_role  # type: ignore[arg-type] # test's own words
    # One hub in an account whose own role is missing, and one in another: both are accounts like others.
    first, second = min(lacking), min({*range(1, size.accounts)} - lacking)
    hubs = tuple(f"arn:aws:iam::{account_id(each)}:role/CensusHub" for each in (first, second))
    return {**given, "hub_roles": hubs, "regions": REGIONS, **changes}


@both_transports
@pytest.mark.parametrize("size", SIZES)
async def test_a_run_behind_hubs_outlasts_its_sessions_and_is_exact(
    lab: Start, monkeypatch: pytest.MonkeyPatch, transport: str, size: Size
) -> None:
    here = await lab(**world_of(size), latency=Latency.parse("3"))
    world, stats = here.simulator.world, here.simulator.stats
    time = PassingTime(monkeypatch, here.simulator, pages=size.pages)
    snapshot = await here.collect(
        role_chain=list(world.config.hub_roles),
        session_duration=SESSION,
        concurrency=16,
        include_ou_path=True,
        include_account_tags=True,
    )
    assert time.passed > 3 * SESSION
    lacking = len(world.invited_without_role)
    assert here.assert_exact(snapshot) == {
        Outcome.OK: 2 * (size.accounts - lacking),
        Outcome.ASSUME_ROLE_FAILED: 2 * lacking,
    }
    assert lacking == round((size.accounts - 1) / 3)
    # Each link is renewed while it is needed, and never twice at a time.
    for hub in world.config.hub_roles:
        assert 3 <= stats.role_calls[hub] <= time.passed / (SESSION - 60) + 2
    assert set(stats.role_peaks.values()) == {1}
    for each in snapshot.targets():
        assert each.ou_path == f"{world.directory.unit_path(each.account_id)}{each.account_id}/"
        assert dict(each.account_tags or ()) == world.directory.tags_of(each.account_id)
    for record in snapshot.pools():
        assert record.ou_path == f"{world.directory.unit_path(record.account_id)}{record.account_id}/"
        assert dict(record.account_tags or ()) == world.directory.tags_of(record.account_id)


@pytest.mark.parametrize("size", SIZES)
async def test_units_choose_the_same_accounts_by_paths_and_by_a_walk_and_an_exclusion_wins(
    lab: Start, size: Size
) -> None:
    found = []
    for paths in (True, False):
        here = await lab(**world_of(size, paths=paths))
        directory = here.simulator.world.directory
        everybody = [account_id(index) for index in range(size.accounts)]
        places = {each: directory.unit_path(each).split("/") for each in everybody}
        # A unit that is chosen, one in it that is left out, and one in that.
        top, below, inner = next(
            (top, below, inner)
            for top in directory.units_of(directory.root_id)
            for below in directory.units_of(top)
            for inner in directory.units_of(below)
        )
        expected = {each for each, place in places.items() if top in place and below not in place}
        asked = {"role_chain": list(here.simulator.world.config.hub_roles), "ous": top, "exclude_ous": below}
        snapshot = await here.collect(**asked, page_size=25)
        assert {each.account_id for each in snapshot.targets()} == expected
        here.assert_exact(snapshot, accounts=expected)
        # What lies in a unit that is left out is so, also where it is named itself.
        async with Census(here.settings(**{**asked, "ous": (top, inner)})) as census:
            assert {each.account.id async for each in census.targets()} == expected
        left_out = {each for each, place in places.items() if top in place and below in place}
        assert left_out
        assert {each.id for each in snapshot.manifest.accounts_skipped} == left_out
        assert bool(here.calls("organizations.ListOrganizationalUnitsForParent")) is not paths
        found.append(expected)
    assert found[0] == found[1] != set()

"""What is said of accounts that are skipped: where none is left, and of one that was named."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import poolcensus
from poolcensus.config import Settings
from poolcensus.errors import FatalError
from poolcensus.model import SkippedAccount
from poolcensus.scope.unmatched import excluded_in_vain, none_matches, skipped_by_name
from poolcensus.simulator.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

IDS = [f"{number:012}" for number in range(1, 9)]


def skipped(*reasons: str) -> list[SkippedAccount]:
    return [SkippedAccount(each, None, reason) for each, reason in zip(IDS, reasons, strict=False)]


@pytest.mark.parametrize(
    ("reasons", "given", "said"),
    [
        ((), {}, "none was listed."),
        (
            (),
            {"account_names": "a", "account_tags": "a=b", "ous": "r-ab12"},
            "none was listed. Check `ous`, `account_tags` and `account_names`.",
        ),
        (
            ("SUSPENDED",),
            {"accounts": IDS[0]},
            f"account {IDS[0]} was filtered out (SUSPENDED). Check `accounts`.",
        ),
        (
            ("without a name that matches",),
            {},
            f"account {IDS[0]} was filtered out (without a name that matches).",
        ),
        (("excluded by name",) * 8, {}, "all 8 were filtered out (excluded by name)."),
        (("SUSPENDED",) * 2, {}, "all 2 were filtered out (SUSPENDED)."),
        (
            ("excluded", "SUSPENDED", "excluded"),
            {"exclude_accounts": IDS[:3], "account_tags": "a=b"},
            "all 3 were filtered out (2 excluded, 1 SUSPENDED). Check `exclude_accounts` and `account_tags`.",
        ),
    ],
)
def test_where_none_is_left_it_is_said_why_and_by_which_settings(
    reasons: tuple[str, ...], given: dict[str, object], said: str
) -> None:
    assert str(none_matches(skipped(*reasons), Settings.load(None, **given))) == f"No accounts match: {said}"


def test_accounts_that_were_named_are_told_one_by_one_up_to_a_few() -> None:
    many = skipped("SUSPENDED", "excluded by name", *["SUSPENDED"] * 6)
    assert skipped_by_name(many, frozenset()) is None
    one = skipped_by_name(many, frozenset(IDS[1:2]))
    assert one == f"account {IDS[1]} is skipped: it is excluded by name"
    two = skipped_by_name(many, frozenset(IDS[:2]))
    assert two == (
        f"2 accounts that were named are skipped: {IDS[0]} (SUSPENDED), {IDS[1]} (excluded by name)"
    )
    assert str(skipped_by_name(many, frozenset(IDS))).endswith(f"{IDS[4]} (SUSPENDED), and 3 more")


async def test_a_suspended_account_that_was_named_is_never_passed_over_in_silence(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=20, regions=("us-east-1",), suspended=0.3)
    states = {each.account_status: each.account_id for each in here.simulator.world.truth()}
    gone, good = states["SUSPENDED"], states["ACTIVE"]
    async with poolcensus.Census(here.settings(accounts=gone)) as census:
        with pytest.raises(
            FatalError, match=rf"^No accounts match: account {gone} was filtered out \(SUSPENDED\). Check"
        ):
            await census.plan()
    assert not caplog.messages
    snapshot = await here.collect(accounts=(gone, good))
    assert {each.account_id for each in snapshot.targets()} == {good}
    assert caplog.messages == [f"account {gone} is skipped: it is SUSPENDED"]


async def test_an_account_that_was_named_and_is_in_no_unit_that_was_named_is_told_of(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=8, regions=("us-east-1",), ous=3)
    directory = Directory(here.simulator.world)
    unit = next(each for each in directory.units_of(directory.root_id) if directory.accounts_of(each))
    inside, *_ = (f"{number + 1:012}" for number in directory.accounts_of(unit))
    outside = next(each for each in IDS if directory.parent_of(each) == directory.root_id)
    why = "outside the organizational units that are named"
    async with poolcensus.Census(here.settings(accounts=outside, ous=unit)) as census:
        with pytest.raises(
            FatalError, match=rf"^No accounts match: account {outside} was filtered out \({why}\). Check"
        ):
            await census.plan()
    snapshot = await here.collect(accounts=(inside, outside), ous=unit)
    assert {each.account_id for each in snapshot.targets()} == {inside}
    assert caplog.messages == [f"account {outside} is skipped: it is {why}"]


def test_accounts_that_are_excluded_and_are_not_there_are_told_in_one_sentence() -> None:
    assert excluded_in_vain(frozenset(IDS[:2]), IDS) is None
    one = excluded_in_vain(frozenset(IDS[:2]), IDS[1:])
    assert one == f"account {IDS[0]} is excluded, and is not among the accounts of the Organization"
    assert excluded_in_vain(frozenset(IDS), ()) == (
        "8 accounts are excluded, and are not among those of the Organization:"
        f" {', '.join(IDS[:5])}, and 3 more"
    )


async def test_an_excluded_account_that_is_not_in_the_organization_is_told_of_in_the_log(
    lab: Start, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    here = await lab(accounts=4, regions=("us-east-1",), suspended=0.3, ous=2)
    missing, there = "123412341234", IDS[1]

    async def warned(**given: object) -> list[str]:
        caplog.clear()
        caplog.set_level(logging.INFO, "poolcensus")
        async with poolcensus.Census(here.settings(exclude_accounts=(missing, there), **given)) as census:
            await census.plan()
        return [each for each in caplog.messages if missing in each]

    directory = Directory(here.simulator.world)
    said = [f"account {missing} is excluded, and is not among the accounts of the Organization"]
    # What is chosen among the accounts that were listed hides none of them.
    for given in ({}, {"accounts": IDS[0]}, {"ous": directory.root_id}, {"shard": "1/2"}):
        assert await warned(**given) == said
    # Others list some accounts alone, and one of several Organizations may have it.
    file = tmp_path / "some.txt"
    file.write_text(f"{IDS[0]}\n")
    assert await warned(accounts_from="self") == await warned(accounts_from=str(file)) == []
    assert await warned(organization=[{"name": "one"}]) == []

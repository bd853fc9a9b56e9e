"""What a ledger says of the accounts and regions of a choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from poolcensus.analysis.coverage import Coverage
from poolcensus.analysis.listing import Choice
from poolcensus.model import Outcome
from snapshot.making import make, target

if TYPE_CHECKING:
    from pathlib import Path

REGIONS = ("us-east-1", "eu-west-1", "eu-west-2")


def test_the_targets_of_a_choice_are_counted(tmp_path: Path) -> None:
    content = {
        target(1): Outcome.EMPTY,
        target(1, "eu-west-1"): Outcome.ACCESS_DENIED,
        target(2): Outcome.REGION_DISABLED,
        target(2, "eu-west-1"): Outcome.THROTTLED,
    }
    made = anyio.run(lambda: make(tmp_path, content=content))

    everything = Coverage.read(made, Choice(states=("RUNNING",)))
    assert everything.outcomes == dict.fromkeys(
        (Outcome.EMPTY, Outcome.ACCESS_DENIED, Outcome.REGION_DISABLED, Outcome.THROTTLED), 1
    )
    assert everything.is_asked

    # What else is chosen of failures or pools changes nothing.
    choice = Choice(
        ("ACCT-*", "nobody"), ("eu-*", "us-west-*"), ("RUNNING",), ("throttled",), with_errors=True
    )
    some = Coverage.read(made, choice)
    assert some.targets == 2
    assert some.uncovered == {Outcome.ACCESS_DENIED: 1, Outcome.THROTTLED: 1}
    assert (some.unmatched_accounts, some.unmatched_regions) == (["nobody"], ["us-west-*"])

    # An account that was asked elsewhere was not asked in the region that is chosen.
    none = Coverage.read(made, Choice(("acct-1", "000000000009"), ("us-west-2",)))
    assert (none.targets, none.is_asked) == (0, False)
    assert none.unmatched_accounts == ["000000000009"]
    assert none.unmatched_regions == ["us-west-2"]
    assert {entry: [each.reason for each in found] for entry, found in none.skipped().items()} == {
        "000000000009": ["SUSPENDED"]
    }


def test_failures_of_a_choice_are_yielded_while_all_are_counted(tmp_path: Path) -> None:
    content = {target(1): Outcome.EMPTY, target(2): Outcome.ERROR, target(3): Outcome.ERROR}
    made = anyio.run(lambda: make(tmp_path, content=content))
    coverage = Coverage(Choice(("acct-1", "acct-2")), made.manifest)
    assert [each.account_id for each in coverage.failed(made.targets())] == ["000000000002"]
    assert (coverage.targets, coverage.unmatched_accounts) == (2, [])


def test_many_accounts_are_chosen_at_the_price_of_one_look_at_each(tmp_path: Path) -> None:
    content = {target(account, region): Outcome.EMPTY for account in range(1, 40) for region in REGIONS}
    made = anyio.run(lambda: make(tmp_path, content=content))
    looked: list[str] = []

    class Name(str):
        __slots__ = ()

        def casefold(self) -> str:
            looked.append(self)
            return super().casefold()

    entries = tuple(Name(f"nobody-{number}") for number in range(500))
    coverage = Coverage.read(made, Choice((*entries, "acct-*")))
    assert coverage.targets == len(content)
    assert coverage.unmatched_accounts == [*entries]
    # To parse them, and once each at the end.
    assert len(looked) <= 3 * len(entries)

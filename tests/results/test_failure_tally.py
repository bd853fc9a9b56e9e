"""Which accounts stand for all that failed in one way."""

from __future__ import annotations

from ended_census import result
from poolcensus.model import Outcome
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally


def test_the_accounts_with_most_regions_come_first() -> None:
    regions = {3: ["a", "b"], 1: ["a"], 2: ["a", "b"], 4: ["a", "b", "c"]}
    tally = FailureTally(
        WORKSPACES_POOLS,
        (
            result(account, each, outcome=Outcome.SCP_DENIED)
            for account in regions
            for each in regions[account]
        ),
    )
    (group,) = tally.groups(examples=3)
    assert (group.accounts, group.targets) == (4, 8)
    assert [(int(each.id), each.regions) for each in group.examples] == [(4, 3), (2, 2), (3, 2)]

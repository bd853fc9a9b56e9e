"""What the parts of a run come to together."""

from __future__ import annotations

from dataclasses import replace

from ended_census import PROGRESS
from poolcensus.census.run import _joined
from poolcensus.model import Totals


def test_the_progress_of_several_organizations_is_their_sum() -> None:
    one = replace(PROGRESS, in_flight=3, done=5, elapsed=2.0, listing=False, totals=Totals(6, pools=7))
    other = replace(one, in_flight=4, done=1, elapsed=3.0, listing=True, totals=Totals(2, pools=1))
    found = _joined([one, other])
    assert (found.in_flight, found.done, found.elapsed, found.listing) == (7, 6, 3.0, True)
    assert (found.totals.targets, found.totals.pools) == (8, 8)

"""Which regions of a partition are asked, and what is said of one without Pools."""

from __future__ import annotations

import pytest

from poolcensus.errors import FatalError, SettingsError
from poolcensus.operations.workspaces_pools import WORKSPACES_POOLS
from poolcensus.scope.regions import choose_regions


@pytest.mark.parametrize("partition", ["aws-cn", "aws-iso-e", "aws-iso-f", "aws-eusc"])
def test_a_partition_without_pools_is_said_to_be_one(partition: str) -> None:
    with pytest.raises(FatalError, match=f"not offered in partition {partition}") as caught:
        choose_regions(WORKSPACES_POOLS, partition, (), (), ())
    # Calls were made to know it, which exit code 2 denies.
    assert not isinstance(caught.value, SettingsError)


def test_the_regions_of_a_partition_that_is_newer_have_to_be_named() -> None:
    for include in ((), ("us-*",)):
        with pytest.raises(FatalError, match="partition aws-new, whose regions .* with `extra_regions`"):
            choose_regions(WORKSPACES_POOLS, "aws-new", include, (), ())
    found = choose_regions(WORKSPACES_POOLS, "aws-new", (), (), ("xx-new-1",))
    assert found.regions == found.opt_in == ("xx-new-1",)


@pytest.mark.parametrize(
    ("partition", "count"), [("aws", 17), ("aws-us-gov", 2), ("aws-iso", 2), ("aws-iso-b", 1)]
)
def test_where_pools_may_be_every_region_with_workspaces_is_asked(partition: str, count: int) -> None:
    assert len(choose_regions(WORKSPACES_POOLS, partition, (), (), ()).regions) == count


def test_a_region_that_is_named_is_asked_all_the_same() -> None:
    named = choose_regions(WORKSPACES_POOLS, "aws-cn", ("cn-northwest-1",), (), ())
    assert named.regions == ("cn-northwest-1",)
    newer = choose_regions(WORKSPACES_POOLS, "aws-eusc", (), (), ("eusc-de-east-2",))
    assert newer.regions == ("eusc-de-east-2",)

"""What can be wrong with a line of the ledger that its schema allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.format.text import counted
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from poolcensus.model import OperationInfo, TargetResult


def wrong_with(result: TargetResult, operation: OperationInfo, *, is_second: bool) -> str | None:
    """Return what is wrong with a line of the ledger of `operation`, None where nothing is.

    `is_second` says that its target has a line already.
    """
    if is_second:
        return f"a second line for {named(result.account_id, result.region)}"
    if result.pools and result.outcome is not Outcome.OK:
        pools = counted(result.pools, operation.item, operation.items)
        return f"{named(result.account_id, result.region)} has the outcome {result.outcome} and {pools}"
    if result.operation != operation.name:
        return f"{named(result.account_id, result.region)} is of the operation {result.operation!r}"
    return None


def named(account_id: str, region: str) -> str:
    """Return what messages call a target."""
    return f"account {account_id} in {region}"

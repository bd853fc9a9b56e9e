"""Checks ledger lines beyond what their schema requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.format.text import counted
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from poolcensus.model import OperationInfo, TargetResult


def wrong_with(result: TargetResult, operation: OperationInfo, *, is_second: bool) -> str | None:
    """Return what is wrong with a line of the ledger, or None.

    `operation` is that of the snapshot. `is_second` says that the target already has a line.
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
    """Return the name of a target for messages."""
    return f"account {account_id} in {region}"

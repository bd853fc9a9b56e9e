"""Sentences about items that can no longer be listed, although they may still exist."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from poolcensus.format.text import account_named, counted, listed
from poolcensus.model import HIDING, FailedAccount, Outcome, TargetResult
from poolcensus.operations import facets_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from poolcensus.analysis.changes import Change
    from poolcensus.analysis.ledger import Entry
    from poolcensus.model import OperationInfo

# For each outcome that hides items: what happened, and what it means for the items.
_SENTENCES: Final = {
    Outcome.REGION_DISABLED: (
        "regions are disabled{now} in {accounts} where {before} saw {count}: {names}. A disabled region keeps"
        " its resources, and AWS goes on to charge for them. Enable the region to list them."
    ),
    Outcome.REGION_UNSUPPORTED: (
        "regions no longer offer {service} to {accounts} in which {before} saw {count}: {names}. Whether the"
        " {items} are gone is unknown."
    ),
    Outcome.NOT_ENTITLED: (
        "{service} is closed{now} to {accounts} in which {before} saw {count}: {names}. A closed service"
        " lists no {items}; whether these are gone is unknown."
    ),
}


def now_hidden(hidden: Mapping[Outcome, Sequence[TargetResult]], operation: OperationInfo) -> Iterator[str]:
    """Yield a sentence for each outcome that hides items now.

    `hidden` has the targets by their outcome now, each as an earlier ledger that counts its items has it.
    `operation` is the operation that lists the items.
    """
    for each in _sentences(hidden, operation, now=" now", before="an earlier snapshot"):
        yield f"{each[0].upper()}{each[1:]}"


def hidden_in_b(hidden: Mapping[Outcome, Sequence[TargetResult]], operation: OperationInfo) -> Iterator[str]:
    """Yield the same sentences about snapshot B, which is compared with A. `hidden` are targets of A."""
    return (f"In B, {each}" for each in _sentences(hidden, operation, now="", before="A"))


def _sentences(
    hidden: Mapping[Outcome, Sequence[TargetResult]], operation: OperationInfo, *, now: str, before: str
) -> Iterator[str]:
    for outcome, sentence in _SENTENCES.items():
        targets = hidden.get(outcome)
        if targets:
            accounts = accounts_with(targets)
            names = [account_named(each.id, each.name, each.region, each.regions) for each in accounts]
            yield sentence.format(
                service=facets_of(operation).title,
                now=now,
                before=before,
                accounts=counted(len(accounts), "account"),
                count=counted(sum(each.pools for each in targets), operation.item, operation.items),
                items=operation.items,
                names=listed(names),
            )


def accounts_with(targets: Iterable[TargetResult]) -> list[FailedAccount]:
    """Return the accounts of targets, sorted by ID, each with its first region and its number of regions."""
    found: dict[str, FailedAccount] = {}
    for each in targets:
        known = found.get(each.account_id)
        found[each.account_id] = (
            FailedAccount(each.account_id, each.account_name, each.region, 1)
            if known is None
            else replace(known, regions=known.regions + 1)
        )
    return [found[account_id] for account_id in sorted(found)]


def hidden_target(change: Change, new: Entry | None) -> TargetResult | None:
    """Return the target of a change if B covers it, but can't list the pools that A has.

    Otherwise, return None. `new` is the target's entry in B. The result has the number of pools in A.
    """
    pools, _ = change.pools
    if new is None or new.outcome not in HIDING or not pools:
        return None
    return TargetResult(change.account_id, change.account_name, change.region, new.outcome, pools=pools)

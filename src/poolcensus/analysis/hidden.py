"""Warnings of pools that B can't list, although nothing says that they are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.format.text import counted, listed
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.analysis.changes import Change
    from poolcensus.analysis.ledger import Entry

# What happened, and why it does not mean that the pools are gone.
_SENTENCES: Final = {
    Outcome.NOT_ENTITLED: (
        "In B, AWS has closed the service to {accounts} in which A saw {pools}: {names}. A closed service"
        " lists no pools; they are unknown, not removed."
    ),
    Outcome.REGION_DISABLED: (
        "In B, regions are disabled for {accounts} in which A saw {pools}: {names}. A disabled region keeps"
        " its resources, and AWS goes on to charge for them; they are unknown, not removed. Enable the region"
        " to see them."
    ),
    Outcome.REGION_UNSUPPORTED: (
        "In B, regions do not offer the operation to {accounts} in which A saw {pools}: {names}. Their pools"
        " are unknown, not removed."
    ),
}


class HiddenTally:
    """Counts targets whose pools A saw, and which B covers without being able to list any."""

    def __init__(self) -> None:
        self._pools = dict.fromkeys(_SENTENCES, 0)
        self._accounts: dict[Outcome, dict[str, tuple[str | None, int]]] = {each: {} for each in _SENTENCES}

    def add(self, change: Change, new: Entry | None) -> None:
        """Count an unknown target, if it is such a one. `new` is its line in B."""
        pools, _ = change.pools
        if new is None or new.outcome not in _SENTENCES or not pools:
            return
        self._pools[new.outcome] += pools
        accounts = self._accounts[new.outcome]
        _, regions = accounts.get(change.account_id, (None, 0))
        accounts[change.account_id] = change.account_name, regions + 1

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each outcome that hides pools."""
        for outcome, sentence in _SENTENCES.items():
            accounts = self._accounts[outcome]
            if accounts:
                yield sentence.format(
                    accounts=counted(len(accounts), "account"),
                    pools=counted(self._pools[outcome], "pool"),
                    names=listed([_named(account_id, *each) for account_id, each in accounts.items()]),
                )


def _named(account_id: str, name: str | None, regions: int) -> str:
    return f"{account_id} {name or ''}".rstrip() + f" ({counted(regions, 'region')})"

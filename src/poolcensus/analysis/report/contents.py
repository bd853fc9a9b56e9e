"""Sums up the items of one snapshot by region, account, OU, state and error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.analysis.report.facts import Contents, Group
from poolcensus.analysis.report.values import Sum, as_text, count_or_none, error_codes
from poolcensus.operations import value_at

if TYPE_CHECKING:
    from poolcensus.model import PoolRecord
    from poolcensus.operations import Facets
    from poolcensus.snapshot import Snapshot

_NOT_SAID: Final = "(not in the record)"


class _Groups:
    """Sums by an ID. The name of a group is the one in its last record."""

    def __init__(self) -> None:
        self._sums: dict[str, Sum] = {}
        self._names: dict[str, str | None] = {}

    def sum_of(self, group_id: str, name: str | None = None) -> Sum:
        self._names[group_id] = name
        found = self._sums.get(group_id)
        if found is None:
            found = self._sums[group_id] = Sum()
        return found

    def groups(self) -> tuple[Group, ...]:
        made = (Group(each, self._names[each], total.use()) for each, total in self._sums.items())
        return tuple(sorted(made, key=lambda each: (-each.use.items, each.id)))


def read_contents(snapshot: Snapshot, facets: Facets) -> Contents:
    """Return the contents of a snapshot. Blocks, and raises what `Snapshot.pools` raises.

    Memory grows with the number of groups.
    """
    total = Sum()
    regions, accounts, units, states, errors = (_Groups() for _ in range(5))
    has_units = False
    for record in snapshot.pools():
        item = record.pool
        in_use, capacity = (count_or_none(value_at(item, keys)) for keys in (facets.in_use, facets.capacity))
        sums = [
            total,
            regions.sum_of(record.region),
            accounts.sum_of(record.account_id, record.account_name),
            units.sum_of(_unit_of(record)),
            *(errors.sum_of(code) for code in error_codes(item, facets)),
        ]
        if facets.state:
            sums.append(states.sum_of(as_text(value_at(item, facets.state)) or _NOT_SAID))
        for each in sums:
            each.add(in_use, capacity)
        has_units = has_units or record.ou_path is not None
    return Contents(
        use=total.use(),
        regions=regions.groups(),
        accounts=accounts.groups(),
        units=units.groups() if has_units else (),
        states=states.groups(),
        errors=errors.groups(),
    )


def _unit_of(record: PoolRecord) -> str:
    """Return the path of the OU of a record's account, such as `r-ab12/ou-ab12-34cd`.

    In a record, the path also has the organization and the account:
    `o-EXAMPLE/r-ab12/ou-ab12-34cd/123456789012/`.
    """
    parts = [part for part in (record.ou_path or "").split("/") if part]
    if parts and parts[-1] == record.account_id:
        parts.pop()
    if parts and parts[0].startswith("o-"):
        del parts[0]
    return "/".join(parts) or _NOT_SAID

"""Chooses the regions to query, for most accounts and for those with regions of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from poolcensus import partitions
from poolcensus.errors import FatalError, ScopeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poolcensus.config import Settings
    from poolcensus.model import Account
    from poolcensus.operations import Operation


class RegionChoice(msgspec.Struct, frozen=True):
    """The regions to query. `opt_in` has those that an account has to enable."""

    always_on: tuple[str, ...]
    opt_in: tuple[str, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """All regions, sorted."""
        return tuple(sorted((*self.always_on, *self.opt_in)))

    def of(self, account: Account) -> tuple[str, ...]:
        """Return the regions to query in an account: its own if it has some, else all."""
        return account.regions or self.regions


def choose_regions(
    operation: Operation,
    partition: str,
    include: Iterable[str],
    exclude: Iterable[str],
    extra: Iterable[str],
) -> RegionChoice:
    """Return the regions of a partition that the names and patterns choose.

    Without `include`, these are the regions of the operation. A region given by name is chosen even if it is
    not one of them, while a pattern matches only among them. Raises ScopeError if no region is left. Raises
    FatalError if the partition is unknown or does not offer the operation, and no region is named.
    """
    include, exclude, extra = tuple(include), tuple(exclude), tuple(extra)
    known = partitions.partitions().get(partition)
    if known is None and not extra:
        raise FatalError(
            f"The caller's credentials belong to partition {partition}, whose regions this version of"
            " poolcensus does not know.",
            advice="Name them with `extra_regions`.",
        )
    if known is not None and not (include or extra) and not any(map(operation.offered_in, known.workspaces)):
        # Not a SettingsError, since calls were made to learn the partition.
        raise FatalError(
            f"{operation.iam_action} is not offered in partition {partition}, which the caller's credentials"
            " belong to.",
            advice="Use credentials of another partition, or name a region with `regions` or"
            " `extra_regions` to call it all the same.",
        )
    usual = {*(operation.regions(known) if known else ()), *extra}
    everywhere = {*(known.regions if known else ()), *extra}
    chosen = set(usual) if not include else set()
    for pattern in include:
        candidates = usual if partitions.is_pattern(pattern) else everywhere
        chosen |= {region for region in candidates if partitions.matches(region, (pattern,))}
    if not chosen:
        raise ScopeError(
            f"{', '.join(include)}: no region with {operation.iam_action} in partition {partition}, which the"
            f" caller's credentials belong to. Those are {', '.join(sorted(usual)) or 'none'}."
        )
    left = {region for region in chosen if not partitions.matches(region, exclude)}
    if not left:
        raise ScopeError(f"`exclude_regions` leaves out all of {', '.join(sorted(chosen))}.")
    # Every region that AWS has opened since March 2019 is opt-in, so unknown newer regions are, too.
    opt_in = {*(known.opt_in if known else ()), *(set(extra) - set(known.regions if known else ()))}
    return RegionChoice(
        always_on=tuple(sorted(left - opt_in)),
        opt_in=tuple(sorted(left & opt_in)),
    )


class RegionPlan(msgspec.Struct, frozen=True):
    """The regions of a run. `all` is those queried in any account.

    `own` has the regions of accounts that have their own, by account ID. `usual` is the regions of the other
    accounts, or None if they have all. `lack` is the error that says why the other accounts have none.
    """

    all: RegionChoice
    own: Mapping[str, tuple[str, ...]]
    usual: tuple[str, ...] | None
    lack: ScopeError | None = None


def plan_regions(
    operation: Operation,
    partition: str,
    settings: Settings,
    own: Mapping[str, tuple[str, ...]],
    *,
    may_lack: bool = False,
) -> RegionPlan:
    """Return the regions of a run. `own` has the patterns of accounts that have their own, by account ID.

    These replace the setting `regions`; `exclude_regions` applies to them, too. Raises ScopeError if no
    region is left. With `may_lack`, the settings also apply to other Organizations, and the error is kept in
    `lack`.
    """
    exclude, extra = settings.exclude_regions, settings.extra_regions
    lack: ScopeError | None = None
    try:
        usual = choose_regions(operation, partition, settings.regions, exclude, extra)
    except ScopeError as error:
        if not may_lack:
            raise
        usual, lack = RegionChoice((), ()), error
    # A file with thousands of accounts has few different choices of regions.
    kinds: dict[tuple[str, ...], RegionChoice] = {}
    for account_id, patterns in own.items():
        if patterns not in kinds:
            try:
                kinds[patterns] = choose_regions(operation, partition, patterns, exclude, extra)
            except ScopeError as error:
                raise ScopeError(f"account {account_id}, regions {' '.join(patterns)}: {error}") from None
    if not kinds:
        return RegionPlan(usual, {}, None if lack is None else (), lack)
    every = RegionChoice(
        always_on=tuple(
            sorted({*usual.always_on, *(region for each in kinds.values() for region in each.always_on)})
        ),
        opt_in=tuple(sorted({*usual.opt_in, *(region for each in kinds.values() for region in each.opt_in)})),
    )
    # Accounts with the same patterns share one tuple.
    regions = {patterns: each.regions for patterns, each in kinds.items()}
    return RegionPlan(
        every,
        {account_id: regions[patterns] for account_id, patterns in own.items()},
        usual.regions if usual.regions != every.regions else None,
        lack,
    )

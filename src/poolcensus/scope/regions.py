"""Which regions are asked, in every account and in those that have regions of their own."""

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
    """The regions that are asked. `opt_in` are those that an account has to enable."""

    always_on: tuple[str, ...]
    opt_in: tuple[str, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted((*self.always_on, *self.opt_in)))

    def of(self, account: Account) -> tuple[str, ...]:
        """Return the regions in which an account is asked: its own, or all where it has none of its own."""
        return account.regions or self.regions


def choose_regions(
    operation: Operation,
    partition: str,
    include: Iterable[str],
    exclude: Iterable[str],
    extra: Iterable[str],
) -> RegionChoice:
    """Return the regions of a partition that the patterns leave.

    Without patterns, these are the operation's regions. A region that is named outright is asked even where
    it is none of them; a pattern only chooses among them. Raises ScopeError where nothing is left, and
    FatalError where no region is named of a partition that is not known or does not have the operation.
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
        # Not the settings' error: calls were made to know the partition.
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
    # Every region that AWS has opened since March 2019 is opt-in, and so are those newer than the catalogue.
    opt_in = {*(known.opt_in if known else ()), *(set(extra) - set(known.regions if known else ()))}
    return RegionChoice(
        always_on=tuple(sorted(left - opt_in)),
        opt_in=tuple(sorted(left & opt_in)),
    )


class RegionPlan(msgspec.Struct, frozen=True):
    """The regions of a run: `all` that are asked in any account, and those of each account.

    `own` has them for accounts with regions of their own, by id; `usual` are those of the others, or None
    where these are all. `lack` says why the others have none.
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
    """Return the regions of a run. `own` has the patterns of accounts that have their own, by id.

    These take the place of the setting `regions`, and `exclude_regions` holds for them too. Raises
    ScopeError where none is left; `may_lack` says that the settings are about other Organizations as well.
    """
    exclude, extra = settings.exclude_regions, settings.extra_regions
    lack: ScopeError | None = None
    try:
        usual = choose_regions(operation, partition, settings.regions, exclude, extra)
    except ScopeError as error:
        if not may_lack:
            raise
        usual, lack = RegionChoice((), ()), error
    # A file of thousands of accounts has few kinds of them.
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
    # One tuple for all accounts of a kind.
    regions = {patterns: each.regions for patterns, each in kinds.items()}
    return RegionPlan(
        every,
        {account_id: regions[patterns] for account_id, patterns in own.items()},
        usual.regions if usual.regions != every.regions else None,
        lack,
    )

"""The order of the targets, against a model that opens and closes them at will."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.discovery import RegionChoice
from poolcensus.model import Account, Target
from poolcensus.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping


def accounts(count: int, start: int = 0) -> list[Account]:
    return [Account(f"{number:012d}") for number in range(start, start + count)]


def choice(always_on: int, opt_in: int) -> RegionChoice:
    return RegionChoice(
        tuple(f"on-{number}" for number in range(always_on)),
        tuple(f"opt-{number}" for number in range(opt_in)),
    )


class Model:
    """A schedule whose targets are opened and closed, and what must hold of them."""

    def __init__(
        self,
        batches: list[int],
        regions: RegionChoice,
        *,
        window: int,
        per_account: int,
        per_region: int,
        long: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.regions = regions
        self.schedule = Schedule(
            regions, window=window, per_account=per_account, per_region=per_region, long=long or {}
        )
        self.to_add = list(batches)
        self.known = 0
        self.open: list[Target] = []
        self.popped: list[Target] = []
        self.last_of: list[str] = []
        self._closed: Counter[str] = Counter()
        self._bounds = (per_account, per_region)

    def add(self) -> None:
        if self.to_add:
            size = self.to_add.pop(0)
            self.schedule.add(accounts(size, self.known))
            self.known += size

    def pop(self) -> bool:
        target = self.schedule.pop()
        if target is None:
            return False
        self.open.append(target)
        self.popped.append(target)
        per_account, per_region = self._bounds
        assert max(Counter(each.account.id for each in self.open).values()) <= per_account
        assert max(Counter(each.region for each in self.open).values()) <= per_region
        return True

    def close(self, which: int) -> None:
        if not self.open:
            return
        target = self.open.pop(which % len(self.open))
        self._closed[target.account.id] += 1
        is_last = self.schedule.close(target)
        assert is_last == (self._closed[target.account.id] == len(self.regions.regions))
        if is_last:
            self.last_of.append(target.account.id)

    def move(self, name: str, which: int) -> None:
        if name == "pop":
            self.pop()
        elif name == "close":
            self.close(which)
        else:
            self.add()

    def run_to_the_end(self) -> None:
        while self.to_add:
            self.add()
        while self.pop() or self.open:
            if not self.pop():
                self.close(0)


@settings(deadline=None, max_examples=200)
@given(
    batches=st.lists(st.integers(0, 5), max_size=4),
    regions=st.tuples(st.integers(0, 4), st.integers(0, 3)).filter(any),
    limits=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    moves=st.lists(
        st.tuples(st.sampled_from(["pop", "pop", "close", "add"]), st.integers(0, 99)), max_size=80
    ),
    long=st.dictionaries(st.tuples(st.integers(0, 19), st.integers(0, 6)), st.integers(1, 9), max_size=6),
    to_the_end=st.booleans(),
)
def test_every_target_is_opened_once_or_left_over_once(
    batches: list[int],
    regions: tuple[int, int],
    limits: tuple[int, int, int],
    moves: list[tuple[str, int]],
    long: dict[tuple[int, int], int],
    *,
    to_the_end: bool,
) -> None:
    chosen = choice(*regions)
    window, per_account, per_region = limits
    names = {
        (f"{account:012d}", chosen.regions[region % len(chosen.regions)]): pages
        for (account, region), pages in long.items()
    }
    model = Model(batches, chosen, window=window, per_account=per_account, per_region=per_region, long=names)
    assert model.schedule.targets_per_account == len(chosen.regions)
    for name, which in moves:
        model.move(name, which)
    while model.to_add:
        model.add()
    if to_the_end:
        model.run_to_the_end()
        # Each account has said once that it has no target left.
        assert sorted(model.last_of) == [each.id for each in accounts(model.known)]
    left = list(model.schedule.rest())
    assert not (to_the_end and left)
    assert model.schedule.pop() is None
    assert not list(model.schedule.rest())
    everything = {Target(account, region) for account in accounts(model.known) for region in chosen.regions}
    assert len(model.popped) + len(left) == len(everything)
    assert {*model.popped, *left} == everything


def test_regions_and_accounts_are_used_evenly_from_the_start() -> None:
    schedule = Schedule(choice(5, 2), window=14, per_account=7, per_region=99)
    schedule.add(accounts(14))
    opened = [target for _ in range(28) if (target := schedule.pop()) is not None]
    for at in range(0, 28, 7):
        assert len({target.region for target in opened[at : at + 7]}) == 7
        # Nor is an account asked in all its regions at once.
        assert len({target.account for target in opened[at : at + 7]}) == 7


def test_accounts_of_the_window_take_turns() -> None:
    schedule = Schedule(choice(4, 0), window=3, per_account=4, per_region=99)
    schedule.add(accounts(5))
    opened = [target.account.id for _ in range(12) if (target := schedule.pop()) is not None]
    assert {Counter(opened[at : at + 3]).total() for at in range(0, 12, 3)} == {3}
    assert all(len(set(opened[at : at + 3])) == 3 for at in range(0, 12, 3))
    assert set(opened) == {each.id for each in accounts(3)}


def test_an_account_at_its_bound_leaves_the_others_their_turn() -> None:
    schedule = Schedule(choice(3, 0), window=2, per_account=1, per_region=99)
    schedule.add(accounts(2))
    first, second = schedule.pop(), schedule.pop()
    assert first is not None
    assert second is not None
    assert schedule.pop() is None
    assert not schedule.close(second)
    third = schedule.pop()
    assert third is not None
    assert third.account == second.account


def test_long_targets_come_first_and_the_longest_before_the_others() -> None:
    long = {("000000000008", "on-1"): 9, ("000000000003", "on-2"): 40, ("000000000003", "on-0"): 3}
    schedule = Schedule(choice(3, 0), window=3, per_account=9, per_region=9, long=long)
    schedule.add(accounts(5))
    first = [schedule.pop(), schedule.pop()]
    schedule.add(accounts(5, start=5))
    first.append(schedule.pop())
    assert [(each.account.id, each.region) for each in first if each is not None] == [
        ("000000000003", "on-2"),
        ("000000000003", "on-0"),
        ("000000000008", "on-1"),
    ]


def test_a_long_target_waits_for_the_bounds_of_its_account_and_region_like_any_other() -> None:
    long = {("000000000000", "on-0"): 9, ("000000000001", "on-0"): 8, ("000000000000", "on-1"): 7}
    schedule = Schedule(choice(2, 0), window=9, per_account=1, per_region=1, long=long)
    schedule.add(accounts(2))
    first = schedule.pop()
    assert first == Target(Account("000000000000"), "on-0")
    second = schedule.pop()
    assert second == Target(Account("000000000001"), "on-1")
    assert schedule.pop() is None
    schedule.close(first)
    assert schedule.pop() is None
    schedule.close(second)
    assert schedule.pop() == Target(Account("000000000001"), "on-0")
    assert schedule.pop() == Target(Account("000000000000"), "on-1")


def test_a_region_at_its_bound_is_passed_over() -> None:
    schedule = Schedule(choice(2, 0), window=1, per_account=9, per_region=1)
    schedule.add(accounts(2))
    first, second = schedule.pop(), schedule.pop()
    assert first is not None
    assert second is not None
    assert {first.region, second.region} == {"on-0", "on-1"}
    assert schedule.pop() is None
    schedule.close(first)
    third = schedule.pop()
    assert third is not None
    assert (third.region, third.account) == (first.region, accounts(2)[1])

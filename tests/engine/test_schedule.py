"""The order of targets, checked against a model that opens and closes them in any order."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.engine.schedule import Schedule
from poolcensus.flow.windows import Window
from poolcensus.model import Account, Target
from poolcensus.scope.regions import RegionChoice

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def accounts(count: int, start: int = 0) -> list[Account]:
    return [Account(f"{number:012d}") for number in range(start, start + count)]


def choice(always_on: int, opt_in: int) -> RegionChoice:
    return RegionChoice(
        tuple(f"on-{number}" for number in range(always_on)),
        tuple(f"opt-{number}" for number in range(opt_in)),
    )


def make(
    regions: RegionChoice,
    *,
    ahead: int,
    per_account: int,
    per_region: int,
    long: Mapping[tuple[str, str], int] = MappingProxyType({}),
    resting: Collection[str] = (),
    most_resting: int = 0,
) -> Schedule:
    windows = {region: Window(per_region, per_region, asyncio.Event()) for region in regions.regions}
    return Schedule(
        regions,
        ahead=ahead,
        per_account=per_account,
        windows=windows,
        resting=resting,
        most_resting=most_resting,
        long=long,
    )


def prepare_all(schedule: Schedule) -> int:
    """Prepare what is given out, at once, and say how many accounts that were."""
    count = 0
    while (account := schedule.next_account()) is not None:
        schedule.ready(account)
        count += 1
    return count


class Model:
    """A schedule whose targets are opened and closed, and what must hold of them."""

    def __init__(
        self,
        batches: list[int],
        regions: RegionChoice,
        *,
        ahead: int,
        per_account: int,
        per_region: int,
        long: Mapping[tuple[str, str], int],
        own: Mapping[int, tuple[str, ...]],
    ) -> None:
        self.regions = regions
        self._own = own
        self.schedule = make(regions, ahead=ahead, per_account=per_account, per_region=per_region, long=long)
        self.preparing: list[Account] = []
        self._not_yet: dict[str, frozenset[str]] = {}
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
            added = self.accounts(size, self.known)
            self.schedule.add(added)
            self.known += size

    def accounts(self, count: int, start: int = 0) -> list[Account]:
        return [replace(each, regions=self._own.get(int(each.id))) for each in accounts(count, start)]

    def regions_of(self, account: Account) -> tuple[str, ...]:
        return account.regions or self.regions.regions

    def prepare(self) -> bool:
        account = self.schedule.next_account()
        if account is None:
            return False
        self.preparing.append(account)
        return True

    def ready(self, which: int) -> None:
        if self.preparing:
            account = self.preparing.pop(which % len(self.preparing))
            self._not_yet.pop(account.id, None)
            self.schedule.ready(account)

    def ready_but_for_opt_in(self, which: int) -> None:
        opt_in = frozenset(self.regions.opt_in)
        begun = [each for each in self.preparing if each.id not in self._not_yet]
        if begun:
            account = begun[which % len(begun)]
            self.schedule.ready(account, later=opt_in)
            if opt_in.isdisjoint(self.regions_of(account)):
                self.preparing.remove(account)
            else:
                self._not_yet[account.id] = opt_in

    def pop(self) -> bool:
        target = self.schedule.pop()
        if target is None:
            return False
        assert target.region not in self._not_yet.get(target.account.id, ())
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
        assert is_last == (self._closed[target.account.id] == len(self.regions_of(target.account)))
        if is_last:
            self.last_of.append(target.account.id)

    def move(self, name: str, which: int) -> None:
        if name == "pop":
            self.pop()
        elif name == "close":
            self.close(which)
        elif name == "prepare":
            self.prepare()
        elif name == "ready":
            self.ready(which)
        elif name == "ready but for opt-in":
            self.ready_but_for_opt_in(which)
        else:
            self.add()
        self.check_idle()

    def check_idle(self) -> None:
        """The regions that are known to have nothing waiting are those whose queue is empty."""
        queues = self.schedule._queues
        assert self.schedule._idle == {region for region, queue in queues.items() if not queue}

    def run_to_the_end(self) -> None:
        while self.to_add:
            self.add()
        while self.prepare() or self.preparing or self.pop() or self.open:
            self.ready_but_for_opt_in(0)
            self.ready(len(self.preparing) - 1)
            if not self.pop():
                self.close(0)
            self.check_idle()


@settings(max_examples=200)
@given(
    batches=st.lists(st.integers(0, 5), max_size=4),
    regions=st.tuples(st.integers(0, 4), st.integers(0, 3)).filter(any),
    limits=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    moves=st.lists(
        st.tuples(
            st.sampled_from(["pop", "pop", "close", "add", "prepare", "ready", "ready but for opt-in"]),
            st.integers(0, 99),
        ),
        max_size=120,
    ),
    long=st.dictionaries(st.tuples(st.integers(0, 19), st.integers(0, 6)), st.integers(1, 9), max_size=6),
    own=st.dictionaries(st.integers(0, 19), st.sets(st.integers(0, 6), min_size=1), max_size=6),
    to_the_end=st.booleans(),
)
def test_every_target_is_opened_once_or_left_over_once(
    batches: list[int],
    regions: tuple[int, int],
    limits: tuple[int, int, int],
    moves: list[tuple[str, int]],
    long: dict[tuple[int, int], int],
    *,
    own: dict[int, set[int]],
    to_the_end: bool,
) -> None:
    chosen = choice(*regions)
    ahead, per_account, per_region = limits
    names = {
        (f"{account:012d}", chosen.regions[region % len(chosen.regions)]): pages
        for (account, region), pages in long.items()
    }
    every = chosen.regions
    model = Model(
        batches,
        chosen,
        ahead=ahead,
        per_account=per_account,
        per_region=per_region,
        long=names,
        own={
            number: tuple(sorted({every[each % len(every)] for each in some})) for number, some in own.items()
        },
    )
    for name, which in moves:
        model.move(name, which)
    while model.to_add:
        model.add()
    if to_the_end:
        model.run_to_the_end()
        # For each account, closing its last target was reported once.
        assert sorted(model.last_of) == [each.id for each in accounts(model.known)]
    left = list(model.schedule.rest())
    assert not (to_the_end and left)
    assert model.schedule.pop() is None
    assert not list(model.schedule.rest())
    model.check_idle()
    everything = {
        Target(account, region)
        for account in model.accounts(model.known)
        for region in model.regions_of(account)
    }
    assert len(model.popped) + len(left) == len(everything)
    assert {*model.popped, *left} == everything


def test_regions_and_accounts_are_used_evenly_from_the_start() -> None:
    schedule = make(choice(5, 2), ahead=14, per_account=7, per_region=99)
    schedule.add(accounts(14))
    assert prepare_all(schedule) == 14
    opened = [target for _ in range(28) if (target := schedule.pop()) is not None]
    for at in range(0, 28, 7):
        assert len({target.region for target in opened[at : at + 7]}) == 7
        # And no account is called in all its regions at once.
        assert len({target.account for target in opened[at : at + 7]}) == 7


def test_so_many_accounts_are_prepared_ahead_and_no_more() -> None:
    schedule = make(choice(2, 0), ahead=3, per_account=4, per_region=99)
    schedule.add(accounts(9))
    assert prepare_all(schedule) == 3
    assert schedule.pop() is not None
    assert schedule.pop() is not None
    # Each region has one account less waiting, so one more is prepared.
    assert prepare_all(schedule) == 1


def test_a_region_that_is_full_holds_up_no_account() -> None:
    schedule = make(choice(2, 0), ahead=2, per_account=4, per_region=1)
    schedule.add(accounts(40))
    opened: list[Target] = []
    while True:
        prepare_all(schedule)
        target = schedule.pop()
        if target is None:
            break
        opened.append(target)
        if target.region == "on-1":
            # The target of the other region never ends.
            schedule.close(target)
    assert Counter(each.region for each in opened) == {"on-0": 1, "on-1": 40}


def test_an_account_that_is_ready_goes_to_the_one_region_that_is_idle() -> None:
    schedule = make(choice(3, 0), ahead=2, per_account=4, per_region=1)
    schedule.add(accounts(1))
    prepare_all(schedule)
    opened = [target for _ in range(3) if (target := schedule.pop()) is not None]
    assert len(opened) == 3
    schedule.close(opened[1])
    schedule.add(accounts(1, start=1))
    assert prepare_all(schedule) == 1
    # The other regions have no room. Without an idle region, ready accounts would only be dealt out together.
    assert schedule.pop() == Target(Account("000000000001"), opened[1].region)


def test_a_region_of_few_accounts_has_no_others_prepared_for_it() -> None:
    schedule = make(choice(3, 0), ahead=4, per_account=9, per_region=99)
    few = replace(accounts(1)[0], regions=("on-0", "on-2"))
    schedule.add([few, *(replace(each, regions=("on-0", "on-1")) for each in accounts(20, start=1))])
    # The first three accounts are dealt out, and two of them wait in on-1.
    assert prepare_all(schedule) == 5
    opened = [target for _ in range(4) if (target := schedule.pop()) is not None]
    assert Target(few, "on-2") in opened
    # No other account has a target in on-2, so its empty queue causes no more accounts to be prepared.
    assert prepare_all(schedule) <= 2


def test_an_account_at_its_bound_leaves_the_others_their_turn() -> None:
    schedule = make(choice(3, 0), ahead=2, per_account=1, per_region=99)
    schedule.add(accounts(2))
    prepare_all(schedule)
    first, second = schedule.pop(), schedule.pop()
    assert first is not None
    assert second is not None
    assert schedule.pop() is None
    assert not schedule.close(second)
    third = schedule.pop()
    assert third is not None
    assert third.account == second.account


def test_accounts_are_dealt_out_while_only_those_at_their_bound_wait() -> None:
    schedule = make(choice(9, 0), ahead=4, per_account=1, per_region=99)
    opened: list[Target | None] = []
    for start in (0, 2):
        schedule.add(accounts(2, start=start))
        assert prepare_all(schedule) == 2
        opened += [schedule.pop(), schedule.pop()]
    assert {target.account for target in opened if target is not None} == set(accounts(4))
    assert schedule.pop() is None


def test_long_targets_come_first_and_the_longest_before_the_others() -> None:
    long = {("000000000008", "on-1"): 9, ("000000000003", "on-2"): 40, ("000000000003", "on-0"): 3}
    schedule = make(choice(3, 0), ahead=3, per_account=9, per_region=9, long=long)
    schedule.add(accounts(10))
    prepare_all(schedule)
    first = [schedule.pop() for _ in range(3)]
    assert [(each.account.id, each.region) for each in first if each is not None] == [
        ("000000000003", "on-2"),
        ("000000000008", "on-1"),
        ("000000000003", "on-0"),
    ]


def test_a_long_target_waits_for_the_bounds_of_its_account_and_region_like_any_other() -> None:
    long = {("000000000000", "on-0"): 9, ("000000000001", "on-0"): 8, ("000000000000", "on-1"): 7}
    schedule = make(choice(2, 0), ahead=9, per_account=1, per_region=1, long=long)
    schedule.add(accounts(2))
    prepare_all(schedule)
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


def test_long_targets_of_a_region_without_room_hold_up_no_other_region() -> None:
    names = [each.id for each in accounts(200)]
    # The longest targets are in the first region, which has no room. They are more than the look-ahead.
    long = {**{(each, "on-0"): 9 for each in names}, **{(each, "on-1"): 5 for each in names}}
    schedule = make(choice(2, 0), ahead=300, per_account=9, per_region=3, long=long)
    schedule.add(accounts(200))
    prepare_all(schedule)
    opened = [schedule.pop() for _ in range(6)]
    assert [each.region for each in opened if each is not None] == ["on-0"] * 3 + ["on-1"] * 3
    assert schedule.pop() is None


def test_accounts_that_lack_only_their_opt_in_regions_do_not_hold_up_others() -> None:
    schedule = make(choice(2, 1), ahead=3, per_account=9, per_region=2)
    schedule.add(accounts(30))
    given: list[Account] = []
    opened: list[Target] = []
    while (account := schedule.next_account()) is not None or (target := schedule.pop()) is not None:
        if account is not None:
            given.append(account)
            schedule.ready(account, later=frozenset({"opt-0"}))
        elif target is not None:
            opened.append(target)
            schedule.close(target)
    assert len(given) == 30
    assert len(opened) == 60
    for account in given:
        schedule.ready(account)
    assert prepare_all(schedule) == 0
    assert len([*schedule.rest()]) == 30


@pytest.mark.parametrize(("most", "in_all"), [(0, 3), (2, 5), (99, 30)])
def test_accounts_whose_role_is_asked_for_again_hold_up_no_others(most: int, in_all: int) -> None:
    resting: set[str] = set()
    schedule = make(choice(2, 0), ahead=3, per_account=9, per_region=2, resting=resting, most_resting=most)
    schedule.add(accounts(30))
    count = 0
    while (account := schedule.next_account()) is not None:
        count += 1
        resting.add(account.id)
    assert count == in_all
    # When they don't rest any more, they count as in preparation again.
    resting.clear()
    assert schedule.next_account() is None


def test_an_account_that_rests_and_one_that_lacks_a_region_count_once() -> None:
    resting: set[str] = set()
    schedule = make(choice(1, 1), ahead=2, per_account=9, per_region=9, resting=resting, most_resting=99)
    schedule.add(accounts(9))
    for account in (schedule.next_account(), schedule.next_account()):
        assert account is not None
        schedule.ready(account, later=frozenset({"opt-0"}))
        resting.add(account.id)
    # An account whose role is renewed after it was prepared does not count.
    resting.add("000000000099")
    assert schedule.next_account() is None


def test_an_account_that_is_ready_in_parts_counts_once() -> None:
    schedule = make(choice(1, 1), ahead=2, per_account=9, per_region=9)
    schedule.add(accounts(12))
    opened = 0
    while (account := schedule.next_account()) is not None:
        for later in (frozenset({"opt-0"}), frozenset({"opt-0"}), frozenset[str]()):
            schedule.ready(account, later=later)
        while (target := schedule.pop()) is not None:
            opened += 1
            schedule.close(target)
    assert opened == 24
    assert not schedule.has_more


def test_only_so_many_accounts_are_ahead_where_none_has_told_of_its_opt_in_regions() -> None:
    schedule = make(choice(2, 1), ahead=3, per_account=9, per_region=2)
    schedule.add(accounts(30))
    given = 0
    while (account := schedule.next_account()) is not None:
        given += 1
        schedule.ready(account, later=frozenset({"opt-0"}))
    assert given == 3


def test_a_region_at_its_bound_is_passed_over() -> None:
    schedule = make(choice(2, 0), ahead=2, per_account=9, per_region=1)
    schedule.add(accounts(2))
    prepare_all(schedule)
    first, second = schedule.pop(), schedule.pop()
    assert first is not None
    assert second is not None
    assert {first.region, second.region} == {"on-0", "on-1"}
    assert schedule.pop() is None
    schedule.close(first)
    third = schedule.pop()
    assert third is not None
    assert third.region == first.region
    assert third.account != first.account


def test_a_region_gets_room_while_it_replies_and_loses_it_while_it_is_silent() -> None:
    window = Window(8, 64, asyncio.Event())
    assert window.size == 8
    for _ in range(100):
        window.replied()
    assert window.size == 64
    sizes = []
    for _ in range(5):
        window.silent()
        sizes.append(window.size)
    assert sizes == [32, 16, 8, 8, 8]
    assert Window(8, 3, asyncio.Event()).size == 3


def test_accounts_are_dealt_out_together_while_none_is_ready_where_a_region_is_idle() -> None:
    regions = choice(2, 2)
    schedule = make(regions, ahead=9, per_account=4, per_region=99)
    schedule.add(accounts(6))
    for _ in range(5):
        account = schedule.next_account()
        assert account is not None
        schedule.ready(account, later=frozenset(regions.opt_in))
    assert schedule.pop() is not None
    # Four accounts are in the queues of the regions that are always on. The fifth waits to be dealt out.
    assert len(schedule._ready) == 1
    assert {len(schedule._queues[region]) for region in regions.always_on} == {3, 4}

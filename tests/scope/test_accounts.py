"""Which regions and accounts are asked, with a scripted organization."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus import partitions
from poolcensus.aws.organizations import ListedAccount, Organization
from poolcensus.errors import FatalError, OrganizationError, ScopeError, SettingsError
from poolcensus.model import Account, Caller, Shard, SkippedAccount
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.account_choice import AccountChoice, shard_of
from poolcensus.scope.account_entry import AccountEntry
from poolcensus.scope.accounts import AccountListing
from poolcensus.scope.joined_files import FileAccounts
from poolcensus.scope.regions import choose_regions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

COMMERCIAL = partitions.partitions()["aws"]
regions_of = partial(choose_regions, WORKSPACES_POOLS)
CALLER = Caller("000000000001", "arn:aws:iam::000000000001:user/x", "aws")


def test_without_patterns_every_region_with_workspaces_is_asked() -> None:
    chosen = regions_of("aws", (), (), ())
    assert chosen.regions == tuple(sorted(COMMERCIAL.workspaces))
    assert set(chosen.opt_in) == COMMERCIAL.opt_in & set(COMMERCIAL.workspaces)
    assert not set(chosen.opt_in) & set(chosen.always_on)


def test_patterns_choose_among_the_regions_with_workspaces() -> None:
    chosen = regions_of("aws", ("eu-*",), (), ())
    assert chosen.regions == ("eu-central-1", "eu-west-1", "eu-west-2", "eu-west-3")
    assert "eu-north-1" in COMMERCIAL.regions


def test_a_region_that_is_named_is_asked_even_without_workspaces() -> None:
    chosen = regions_of("aws", ("eu-north-1", "us-e*"), (), ())
    assert chosen.regions == ("eu-north-1", "us-east-1", "us-east-2")
    assert regions_of("aws", ("me-south-1",), (), ()).opt_in == ("me-south-1",)


def test_exclusion_has_the_last_word() -> None:
    assert regions_of("aws", ("us-*",), ("us-west-2",), ()).regions == (
        "us-east-1",
        "us-east-2",
    )
    assert regions_of("aws", (), ("[!e]*",), ()).regions == regions_of("aws", ("e*",), (), ()).regions


def test_other_partitions_have_their_own_regions() -> None:
    assert regions_of("aws-us-gov", (), (), ()).regions == (
        "us-gov-east-1",
        "us-gov-west-1",
    )
    assert not regions_of("aws-us-gov", (), (), ()).opt_in
    with pytest.raises(SettingsError, match="us-gov-west-1"):
        regions_of("aws-us-gov", ("us-east-1",), (), ())


def test_a_region_newer_than_the_catalogue_is_asked_and_is_opt_in() -> None:
    chosen = regions_of("aws", (), (), ("xx-new-1",))
    assert "xx-new-1" in chosen.opt_in
    assert regions_of("aws", ("xx-*",), (), ("xx-new-1",)).regions == ("xx-new-1",)


def test_an_extra_region_of_the_catalogue_keeps_its_kind() -> None:
    chosen = regions_of("aws", (), (), ("eu-north-1", "me-south-1"))
    assert "eu-north-1" in chosen.always_on
    assert "me-south-1" in chosen.opt_in


def test_a_partition_that_is_not_in_the_catalogue_has_only_extra_regions() -> None:
    assert regions_of("aws-new", (), (), ("nn-1",)).opt_in == ("nn-1",)
    with pytest.raises(FatalError, match="does not know"):
        regions_of("aws-new", (), (), ())


@pytest.mark.parametrize("patterns", [("mars-1",), ("mars-*",)])
def test_where_nothing_is_left_that_is_said(patterns: tuple[str, ...]) -> None:
    with pytest.raises(ScopeError, match=rf"^{re.escape(patterns[0])}: no region .* Those are af-south-1, "):
        regions_of("aws", patterns, (), ())
    with pytest.raises(
        ScopeError, match=r"^`exclude_regions` leaves out all of us-east-1, us-east-2, us-west-2\.$"
    ):
        regions_of("aws", ("us-*",), ("us-*", *patterns), ())


class Scripted:
    """An organization of pages, units and tags that are given."""

    def __init__(
        self,
        pages: Sequence[Sequence[ListedAccount]] = (),
        units: Mapping[str, Sequence[ListedAccount]] | None = None,
        tags: Mapping[str, frozenset[tuple[str, str]]] | None = None,
    ) -> None:
        self._pages = pages
        self._units = units or {}
        self._tags = tags or {}
        self.asked: list[str] = []
        self.refused: frozenset[str] = frozenset()
        self.missing: frozenset[str] = frozenset()
        self.tree: dict[str, str] = {}
        self.pages_sent = 0
        self.waiting = 0
        self.at_once = 1
        self.enough = anyio.Event()

    async def accounts(self) -> AsyncIterator[tuple[ListedAccount, ...]]:
        self.asked.append("accounts")
        for page in self._pages:
            self.pages_sent += 1
            yield tuple(page)

    async def check_units(self, units: Sequence[str]) -> None:
        self.asked += [f"check {unit}" for unit in units]
        for unit in units:
            if unit in self.missing:
                raise SettingsError(f"no {unit}")

    async def paths(self) -> dict[str, str]:
        self.asked.append("tree")
        return self.tree

    async def accounts_under(self, unit: str) -> AsyncIterator[tuple[ListedAccount, ...]]:
        self.asked.append(unit)
        yield tuple(self._units[unit])

    async def tags(self, account_id: str) -> frozenset[tuple[str, str]]:
        self.asked.append(f"tags {account_id}")
        self.waiting += 1
        if self.waiting >= self.at_once:
            self.enough.set()
        await self.enough.wait()
        self.waiting -= 1
        if account_id in self.refused:
            raise OrganizationError(f"tags of {account_id} refused")
        return self._tags.get(account_id, frozenset())


def listed(
    number: int, state: str = "ACTIVE", organization: str | None = "o-1", under: str | None = None
) -> ListedAccount:
    path = f"o-1/r-1/{under}/{number:012d}/" if under is not None else None
    return ListedAccount(f"{number:012d}", f"acct-{number}", state, organization, path)


def ids(*numbers: int) -> list[str]:
    return [f"{number:012d}" for number in numbers]


def of_file(path: str, *entries: AccountEntry, **narrowed: Any) -> AccountChoice:
    return AccountChoice((path,), FileAccounts({each.id: each for each in entries}), **narrowed)


async def walk(listing: AccountListing) -> list[str]:
    return [account.id async for batch in listing.accounts() for account in batch]


def listing_of(choice: AccountChoice, organization: Scripted | None) -> AccountListing:
    """Return a listing, with None one whose Organization would fail if it was asked."""
    return AccountListing(choice, CALLER, cast("Organization", organization))


async def test_active_accounts_are_asked_and_the_others_mentioned() -> None:
    organization = Scripted(
        [[listed(1), listed(2, "SUSPENDED")], [], [listed(3), listed(4, "PENDING_CLOSURE")]]
    )
    listing = listing_of(AccountChoice(), organization)
    assert await walk(listing) == ids(1, 3)
    assert listing.skipped == [
        SkippedAccount(ids(2)[0], "acct-2", "SUSPENDED"),
        SkippedAccount(ids(4)[0], "acct-4", "PENDING_CLOSURE"),
    ]
    assert listing.organization_id == "o-1"
    assert organization.asked == ["accounts"]


async def test_accounts_come_in_the_batches_in_which_they_are_listed() -> None:
    listing = listing_of(AccountChoice(), Scripted([[listed(1)], [], [listed(2), listed(3)]]))
    assert [len(batch) async for batch in listing.accounts()] == [1, 0, 2]


async def test_an_account_on_two_pages_is_asked_once() -> None:
    listing = listing_of(AccountChoice(), Scripted([[listed(1), listed(2)], [listed(2), listed(1)]]))
    assert await walk(listing) == ids(1, 2)


@pytest.mark.parametrize("first", [True, False])
async def test_an_account_that_becomes_active_while_they_are_listed_is_asked(first: bool) -> None:
    states = ("SUSPENDED", "ACTIVE") if first else ("ACTIVE", "SUSPENDED")
    pages = [(listed(1), listed(2, states[0])), (listed(2, states[1]), listed(3, "SUSPENDED"))]
    listing = listing_of(AccountChoice(), Scripted(pages))
    assert await walk(listing) == ids(1, 2)
    assert [each.id for each in listing.skipped] == ids(3)


async def test_include_and_exclude() -> None:
    organization = Scripted([[listed(number) for number in range(1, 6)]])
    choice = AccountChoice(include=frozenset(ids(2, 3, 4)), exclude=frozenset(ids(3, 5)))
    listing = listing_of(choice, organization)
    assert await walk(listing) == ids(2, 4)
    # What was not asked for is not worth a mention; what was excluded is.
    assert [(each.id, each.reason) for each in listing.skipped] == [(ids(3)[0], "excluded")]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (AccountChoice(include=frozenset(ids(2, 8, 9))), "the Organization"),
        (AccountChoice(("self",), include=frozenset(ids(1, 8, 9))), "the caller"),
        (
            of_file("accounts.txt", AccountEntry(ids(1)[0]), include=frozenset(ids(1, 8, 9))),
            "the file accounts.txt",
        ),
    ],
)
async def test_an_account_that_was_asked_for_and_is_not_there_is_an_error(
    choice: AccountChoice, name: str
) -> None:
    listing = listing_of(choice, Scripted([[listed(1), listed(2)]]))
    with pytest.raises(OrganizationError, match=f"000000000008, 000000000009: .*{name}"):
        await walk(listing)


async def test_an_account_that_was_asked_for_and_is_suspended_is_mentioned() -> None:
    listing = listing_of(AccountChoice(include=frozenset(ids(1))), Scripted([[listed(1, "SUSPENDED")]]))
    assert await walk(listing) == []
    assert [each.reason for each in listing.skipped] == ["SUSPENDED"]


OUTER, INNER = "ou-a", "ou-a/ou-b"


@pytest.mark.parametrize(
    ("units", "exclude", "asked", "excluded"),
    [
        (("ou-a",), (), (1, 2, 3), ()),
        (("ou-b",), (), (2, 3), ()),
        (("ou-a",), ("ou-b",), (1,), (2, 3)),
        (("ou-b", "ou-c"), (), (2, 3, 4), ()),
        ((), ("ou-a",), (4, 5), (1, 2, 3)),
        (("r-1",), (), (1, 2, 3, 4, 5), ()),
        (("ou-b",), ("ou-a",), (), (2, 3)),
        (("ou-e",), (), (), ()),
    ],
)
@pytest.mark.parametrize("lacking", [(), (1, 2, 3, 4, 5), (2, 4)])
async def test_units_hold_for_everything_below_and_an_exclusion_wins(
    units: tuple[str, ...],
    exclude: tuple[str, ...],
    asked: tuple[int, ...],
    excluded: tuple[int, ...],
    lacking: tuple[int, ...],
) -> None:
    """Whether all, some or none of the replies say where the accounts are."""
    places = {1: OUTER, 2: INNER, 3: INNER, 4: "ou-c", 5: "ou-ab"}
    page = [listed(each, under=None if each in lacking else place) for each, place in places.items()]
    below = {
        unit: [listed(each) for each, place in places.items() if unit in f"r-1/{place}".split("/")]
        for unit in ("r-1", "ou-a", "ou-b", "ou-c", "ou-e")
    }
    organization = Scripted([page[:2], [], page[2:]], below)
    listing = listing_of(AccountChoice(units=units, exclude_units=exclude), organization)
    assert await walk(listing) == ids(*asked)
    reasons = {each.id: each.reason for each in listing.skipped}
    assert reasons == dict.fromkeys(ids(*excluded), "excluded by its organizational unit")
    walks = [each for each in organization.asked if each in below]
    assert len(set(walks)) == len(walks)
    assert bool(walks) == bool(lacking)


async def test_a_unit_that_does_not_exist_ends_the_listing_before_any_account() -> None:
    organization = Scripted([[listed(1, under="ou-a")]])
    organization.missing = frozenset({"ou-typo"})
    for choice in (AccountChoice(units=("ou-typo",)), AccountChoice(exclude_units=("ou-a", "ou-typo"))):
        with pytest.raises(SettingsError, match="ou-typo"):
            await walk(listing_of(choice, organization))
    assert "accounts" not in organization.asked


@pytest.mark.parametrize("lacking", [False, True])
async def test_paths_are_those_of_the_listing_or_of_one_walk_of_the_tree(lacking: bool) -> None:
    page = [listed(1, under="ou-a"), listed(2, under=None if lacking else "ou-c"), listed(3, under="ou-c")]
    organization = Scripted([page])
    organization.tree = {ids(2)[0]: f"o-1/r-1/ou-c/{ids(2)[0]}/"}
    listing = listing_of(AccountChoice(with_paths=True, exclude_units=("ou-a",)), organization)
    found = {each.id: each.ou_path async for batch in listing.accounts() for each in batch}
    assert found == {each: f"o-1/r-1/ou-c/{each}/" for each in ids(2, 3)}
    assert organization.asked.count("tree") == lacking


async def test_names_are_matched_as_they_are() -> None:
    names = {1: "prod-a", 2: "Prod-b", 3: "prod-x", 4: None, 5: "prod-c"}
    page = [ListedAccount(ids(each)[0], name, "ACTIVE", "o-1") for each, name in names.items()]
    choice = AccountChoice(names=("prod-*",), exclude_names=("*-x",), exclude=frozenset(ids(5)))
    listing = listing_of(choice, Scripted([page]))
    assert await walk(listing) == ids(1)
    assert {each.id: each.reason for each in listing.skipped} == {
        ids(2)[0]: "without a name that matches",
        ids(3)[0]: "excluded by name",
        ids(4)[0]: "without a name that matches",
        ids(5)[0]: "excluded",
    }


async def test_sources_are_joined_and_repeated_accounts_named_once(caplog: pytest.LogCaptureFixture) -> None:
    entries = (
        AccountEntry(ids(2)[0], "of the file"),
        AccountEntry(ids(3)[0], role="Other"),
        AccountEntry(ids(9)[0], "nine"),
    )
    choice = AccountChoice(
        ("f.csv", "self", "organization"), FileAccounts({each.id: each for each in entries}, (ids(9)[0],))
    )
    listing = listing_of(choice, Scripted([[listed(2, "SUSPENDED"), listed(3)], [listed(2, "SUSPENDED")]]))
    assert await walk(listing) == ids(3, 1, 9)
    assert [(each.name, each.reason) for each in listing.skipped] == [("acct-2", "SUSPENDED")]
    assert caplog.messages == [
        f"2 accounts are named by more than one source, {ids(9)[0]} among them: each is asked once"
    ]


async def test_accounts_with_regions_of_their_own_carry_them() -> None:
    own = {ids(2)[0]: ("eu-west-1",)}
    organization = cast("Organization", Scripted([[listed(1), listed(2)]]))
    for usual in (None, ("us-east-1",)):
        listing = AccountListing(AccountChoice(), CALLER, organization, regions=own, usual=usual)
        found = [each.regions async for batch in listing.accounts() for each in batch]
        assert found == [usual, ("eu-west-1",)]


async def test_without_a_region_an_account_is_skipped_unless_it_has_its_own() -> None:
    own = {ids(2)[0]: ("eu-west-1",)}
    organization = cast("Organization", Scripted([[listed(1), listed(2), listed(3, "SUSPENDED")]]))
    listing = AccountListing(AccountChoice(), CALLER, organization, regions=own, usual=())
    assert await walk(listing) == ids(2)
    assert {each.id: each.reason for each in listing.skipped} == {
        ids(1)[0]: "in none of the regions that are asked",
        ids(3)[0]: "SUSPENDED",
    }


async def test_tags_are_in_the_accounts_where_they_are_wanted() -> None:
    tags = {ids(1)[0]: frozenset({("b", "2"), ("a", "1")}), ids(2)[0]: frozenset[tuple[str, str]]()}
    page = [listed(1), listed(2)]
    both = listing_of(AccountChoice(with_tags=True), Scripted([page], tags=tags))
    found = [each.tags async for batch in both.accounts() for each in batch]
    assert found == [(("a", "1"), ("b", "2")), ()]
    one = listing_of(AccountChoice(tags=frozenset({("a", "1")})), Scripted([page], tags=tags))
    assert [each async for batch in one.accounts() for each in batch] == [Account(ids(1)[0], "acct-1")]


async def test_tags_must_all_be_there() -> None:
    organization = Scripted(
        [[listed(1), listed(2), listed(3, "SUSPENDED"), listed(4)]],
        tags={
            ids(1)[0]: frozenset({("env", "prod"), ("team", "a"), ("x", "y")}),
            ids(2)[0]: frozenset({("env", "prod"), ("team", "b")}),
        },
    )
    listing = listing_of(AccountChoice(tags=frozenset({("env", "prod"), ("team", "a")})), organization)
    assert await walk(listing) == ids(1)
    assert {each.id: each.reason for each in listing.skipped} == {
        ids(2)[0]: "without the tags",
        ids(3)[0]: "SUSPENDED",
        ids(4)[0]: "without the tags",
    }
    # One who will not be asked anyway costs no call.
    assert f"tags {ids(3)[0]}" not in organization.asked


async def test_tags_are_asked_for_side_by_side_and_accounts_keep_their_order() -> None:
    page = [listed(number) for number in range(1, 21)]
    organization = Scripted([page], tags={each.id: frozenset({("k", "v")}) for each in page[::2]})
    organization.at_once = 8
    with anyio.fail_after(5):
        found = await walk(listing_of(AccountChoice(tags=frozenset({("k", "v")})), organization))
    assert found == [each.id for each in page[::2]]


async def test_tags_that_are_refused_end_the_listing_with_one_reason() -> None:
    organization = Scripted([[listed(number) for number in range(1, 21)]])
    organization.refused = frozenset(ids(2, 3, 4))
    with pytest.raises(OrganizationError, match="refused"):
        await walk(listing_of(AccountChoice(tags=frozenset({("k", "v")})), organization))


async def test_self_and_a_file_need_no_organization() -> None:
    assert await walk(listing_of(AccountChoice(("self",)), None)) == ids(1)
    from_file = (
        AccountEntry(ids(5)[0], "five"),
        AccountEntry(ids(6)[0]),
        AccountEntry(ids(7)[0], None, "CLOSED"),
    )
    listing = listing_of(of_file("f.csv", *from_file, exclude=frozenset(ids(6))), None)
    assert [batch async for batch in listing.accounts()] == [(Account(ids(5)[0], "five"),)]
    assert [(each.id, each.reason) for each in listing.skipped] == [
        (ids(6)[0], "excluded"),
        (ids(7)[0], "CLOSED"),
    ]
    assert not listing.asks_organization


async def test_a_file_is_narrowed_by_units_and_tags() -> None:
    from_file = tuple(AccountEntry(each) for each in ids(1, 2, 3))
    choice = of_file("f.csv", *from_file, units=("ou-a",), tags=frozenset({("k", "v")}))
    organization = Scripted(
        [], {"ou-a": [listed(1), listed(2)]}, {each: frozenset({("k", "v")}) for each in ids(1, 3)}
    )
    listing = listing_of(choice, organization)
    assert listing.asks_organization
    assert await walk(listing) == ids(1)


async def test_a_file_is_placed_by_a_listing_and_by_no_walk_where_that_has_paths() -> None:
    pages = [
        [listed(7, under="ou-b")],
        [listed(1, under="ou-a"), listed(2, under="ou-b")],
        [listed(8, under="ou-b")],
    ]
    organization = Scripted(pages)
    choice = of_file("f.csv", *(AccountEntry(each) for each in ids(1, 2)), units=("ou-a",))
    assert await walk(listing_of(choice, organization)) == ids(1)
    assert organization.asked == ["check ou-a", "accounts"]
    # Not the last: both were on the second.
    assert organization.pages_sent == 2


@settings(max_examples=50)
@given(numbers=st.sets(st.integers(0, 10**12 - 1), max_size=60), count=st.integers(1, 9))
async def test_every_account_is_in_exactly_one_shard(numbers: set[int], count: int) -> None:
    found = []
    for index in range(1, count + 1):
        choice = AccountChoice(shard=Shard(index, count))
        found += await walk(listing_of(choice, Scripted([[listed(number) for number in numbers]])))
    assert sorted(found) == sorted(ids(*numbers))


async def test_a_suspended_account_is_mentioned_in_its_shard_only() -> None:
    mentioned = []
    for index in (1, 2, 3):
        listing = listing_of(AccountChoice(shard=Shard(index, 3)), Scripted([[listed(7, "SUSPENDED")]]))
        await walk(listing)
        mentioned += listing.skipped
    assert len(mentioned) == 1


async def test_an_account_that_was_asked_for_may_be_in_another_shard() -> None:
    other = 1 if shard_of(ids(7)[0], 2) == 2 else 2
    choice = AccountChoice(include=frozenset(ids(7)), shard=Shard(other, 2))
    assert await walk(listing_of(choice, Scripted([[listed(7)]]))) == []


def test_shards_are_the_same_on_every_machine() -> None:
    # Fixed: a merge joins the parts of several machines and versions.
    assert [shard_of(each, 5) for each in ids(1, 2, 3, 4, 123456789012)] == [2, 1, 2, 2, 3]


@given(st.integers(0, 10**12 - 1), st.integers(1, 60))
def test_a_further_shard_takes_accounts_and_moves_no_other(number: int, count: int) -> None:
    (account_id,) = ids(number)
    assert shard_of(account_id, count + 1) in {shard_of(account_id, count), count + 1}


async def test_shards_know_the_same_list_whatever_each_of_them_is_of() -> None:
    digests = set()
    for index in (1, 2, 3):
        listing = listing_of(
            AccountChoice(shard=Shard(index, 3)), Scripted([[listed(1), listed(2, "SUSPENDED")]])
        )
        await walk(listing)
        digests.add(listing.digest)
    other = listing_of(AccountChoice(shard=Shard(1, 3)), Scripted([[listed(1)]]))
    await walk(other)
    assert len(digests) == 1
    assert other.digest not in digests


def test_shards_are_of_about_the_same_size() -> None:
    sizes = [0] * 8
    for number in range(8000):
        sizes[shard_of(f"{number * 7919:012d}", 8) - 1] += 1
    assert min(sizes) > 800
    assert max(sizes) < 1200

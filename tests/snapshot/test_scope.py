from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.config import Settings
from poolcensus.model import Manifest, OrganizationInfo, Shard, SnapshotStatus, Totals
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Scope
from snapshot.making import CALLER, ID

if TYPE_CHECKING:
    from poolcensus.model import Caller, JsonObject


def manifest_of(
    request: JsonObject,
    shard: Shard | None = None,
    organization_id: str | None = "o-exampleorgid",
    caller: Caller = CALLER,
) -> Manifest:
    return Manifest(
        schema_version=2,
        snapshot_id=ID,
        status=SnapshotStatus.COMPLETE,
        started_at=datetime(2026, 11, 23, 2, tzinfo=UTC),
        finished_at=datetime(2026, 11, 23, 2, 0, 4, tzinfo=UTC),
        tool="poolcensus test",
        caller=caller,
        organization_id=organization_id,
        operation=WORKSPACES_POOLS.info,
        request=request,
        accounts_planned=1,
        accounts_skipped=(),
        totals=Totals(),
        outcomes={},
        files=(),
        shard=shard,
    )


def scope(
    request: JsonObject,
    shard: Shard | None = None,
    organization_id: str | None = "o-exampleorgid",
    caller: Caller = CALLER,
) -> Scope:
    return Scope.of(manifest_of(request, shard, organization_id, caller))


def asked(**changes: object) -> Scope:
    """The scope of a run with these settings."""
    settings = Settings(**changes)  # type: ignore[arg-type]
    return scope(settings.request(), settings.shard)


ONE, TWO, THREE = "000000000001", "000000000002", "000000000003"

# What each setting that chooses accounts, regions or pools is called in a summary.
CHOICES: dict[str, tuple[object, str]] = {
    "accounts_from": ("self", "caller's account"),
    "accounts_snapshot": ("accounts.json", "accounts from a list"),
    "account_names": (("prod-*", "Shared"), "2 account names"),
    "exclude_account_names": (("*-old",), "all accounts, 1 account name excluded"),
    "accounts": ((ONE, TWO, THREE), "3 accounts"),
    "exclude_accounts": (("000000000004",), "all accounts, 1 account excluded"),
    "ous": (("ou-ab12-34cd56ef",), "1 OU"),
    "exclude_ous": (("ou-ab12-34cd56e1", "ou-ab12-34cd56e0"), "all accounts, 2 OUs excluded"),
    "account_tags": ((("env", "prod"),), "1 account tag"),
    "regions": (("us-east-1", "eu-west-1"), "all accounts, 2 regions"),
    "exclude_regions": (("us-*",), "all accounts, regions us-* excluded"),
    "extra_regions": (("xx-north-1",), "all accounts, 1 extra region"),
    "pool_ids": (("wspool-0123456ab",), "all accounts, 1 pool"),
    "filters": (("PoolName:EQUALS:a,b",), "all accounts, 1 pool filter"),
    "shard": (Shard(1, 4), "shard 1/4"),
}


def test_no_choice_is_the_whole_organization() -> None:
    assert asked().summary == "whole organization"
    # Nothing of it is in the manifests of the tests, and none of it may be missed in those of others.
    assert scope({}) == asked()
    assert scope({}).summary == "whole organization"


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_a_scope_of_its_own_and_is_said(name: str) -> None:
    value, summary = CHOICES[name]
    chosen = asked(**{name: value})
    assert chosen != asked()
    assert chosen.summary == summary


def test_a_request_has_every_choice_but_the_shard() -> None:
    assert {*Settings().request(), "shard"} == CHOICES.keys()


def test_a_summary_names_every_choice() -> None:
    every = asked(**{name: value for name, (value, _) in CHOICES.items() if not name.startswith("accounts_")})
    assert every.summary == (
        "3 accounts, 1 OU, 1 account tag, 2 account names, 1 account excluded, 2 OUs excluded,"
        " 1 account name excluded, 2 regions,"
        " regions us-* excluded, 1 extra region, 1 pool, 1 pool filter, shard 1/4"
    )
    assert dict(every.parts())["3 accounts"] == (ONE, TWO, THREE)
    assert dict(every.parts())["1 account tag"] == ("env=prod",)
    assert dict(every.parts())["1 pool filter"] == ("PoolName:EQUALS:a,b",)
    assert asked(regions=("a*", "eu-*", "us-*", "ca-*")).summary == "all accounts, 4 regions"
    assert asked(accounts_from="list.txt", regions=("us-east-1",)).summary == "accounts from a file, 1 region"
    assert asked(accounts_from="self,list.txt").summary == "accounts from 2 sources"
    assert asked(accounts_from="self,list.txt") == asked(accounts_from="list.txt,self")


@given(st.permutations([ONE, TWO, THREE]))
def test_the_order_of_a_list_is_no_difference(accounts: list[str]) -> None:
    assert asked(accounts=tuple(accounts)) == asked(accounts=(ONE, TWO, THREE))
    assert asked(accounts=tuple(accounts[:2])) != asked(accounts=(ONE, TWO, THREE))
    some, others = (
        ("PoolName:EQUALS:a,b", "PoolName:CONTAINS:c"),
        ("PoolName:CONTAINS:c", "PoolName:EQUALS:b,a"),
    )
    assert asked(filters=some) == asked(filters=others)


def test_the_same_request_for_another_account_or_organization_is_another_scope() -> None:
    alone: JsonObject = {"accounts_from": "self"}
    other = replace(CALLER, account_id=TWO)
    assert scope(alone, organization_id=None) != scope(alone, organization_id=None, caller=other)
    assert scope({}) == scope({}, caller=other)
    assert scope({}) != scope({}, organization_id="o-another")


def test_a_request_of_any_shape_is_a_scope() -> None:
    strange: JsonObject = {"accounts": "all", "regions": {"a": 1}, "filters": [None, 3, ["x"]], "more": True}
    assert scope(strange).summary == "1 account, 1 region, 3 pool filters"
    assert scope(strange) != scope({**strange, "more": False})
    assert scope(strange) == scope({**strange})


def test_a_difference_is_said_in_one_line() -> None:
    one = asked(accounts=(ONE,))
    assert one.difference(one) is None
    assert asked(accounts=(ONE, TWO)).difference(asked(accounts=(TWO, ONE))) is None
    assert one.difference(asked()) == (
        "This run covers 1 account; the snapshot before covers the whole organization."
    )
    assert asked().difference(asked(shard=Shard(1, 4))) == (
        "This run covers the whole organization; the snapshot before covers shard 1/4."
    )
    assert one.difference(asked(accounts=(TWO,))) == (
        "This run covers 1 account, and so does the snapshot before, but they differ in accounts."
    )
    assert scope({}).difference(scope({}, organization_id="o-another")) == (
        "This run covers the whole organization, and so does the snapshot before, but they differ in"
        " organization."
    )


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "accounts_from",
    "accounts_snapshot",
    "accounts",
    "regions",
    "filters",
    "pool_ids",
    "organizations",
    "x",
]
ORGANIZATIONS = st.lists(st.fixed_dictionaries({}, optional={"name": ANY_JSON, "ous": ANY_JSON}), max_size=3)
REQUESTS = st.builds(
    lambda request, organizations: {**request, **organizations},
    st.dictionaries(st.sampled_from(KEYS), ANY_JSON),
    st.fixed_dictionaries({}, optional={"organizations": ORGANIZATIONS}),
)


@given(REQUESTS, REQUESTS)
def test_whatever_stands_in_a_request_is_a_scope(one: JsonObject, other: JsonObject) -> None:
    manifest = replace(manifest_of(one), organizations=(OrganizationInfo("a", "o-1", CALLER, 1),))
    mine, its = Scope.of(manifest), scope(other)
    assert mine == Scope.of(manifest)
    assert isinstance(mine.summary, str)
    assert (mine.difference(its) is None) is (mine == its)
    assert its.differing(scope(other)) == []

"""The list of accounts that a plan writes and runs read."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.errors import DestinationError, SettingsError
from poolcensus.model import Account, Caller, SkippedAccount
from poolcensus.planned import Plan
from poolcensus.scope.account_choice import AccountChoice
from poolcensus.scope.account_list import accounts_digest, read_account_list
from poolcensus.scope.account_list_writing import write_account_list
from poolcensus.scope.accounts import AccountListing

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.aws.organizations import Organization

A, B, C, D = (f"{number:012d}" for number in range(1, 5))
CALLER = Caller(A, f"arn:aws:iam::{A}:user/x", "aws")
PLAN = Plan(
    caller=CALLER,
    organization_id="o-1",
    accounts=(
        Account(A, "a", f"o-1/r-1/{A}/", (("env", "prod"),)),
        Account(B, None, f"o-1/r-1/ou-a/{B}/", ()),
    ),
    skipped=(SkippedAccount(C, "c", "SUSPENDED"), SkippedAccount(D, "d", "excluded")),
    regions=("us-east-1",),
    targets=2,
    region_disabled=0,
    calls={},
)


async def walked(path: str, **choice: Any) -> tuple[list[Account], list[SkippedAccount], str | None]:
    read = await asyncio.to_thread(read_account_list, path)
    # One that would fail if it was asked.
    organization = cast("Organization", None)
    listing = AccountListing(AccountChoice(snapshot=read, **choice), CALLER, organization)
    accounts = [account async for batch in listing.accounts() for account in batch]
    return accounts, listing.skipped, listing.organization_id


async def test_a_list_takes_the_place_of_the_organization(tmp_path: Path) -> None:
    path = str(tmp_path / "list.json")
    await asyncio.to_thread(write_account_list, PLAN, path)
    suspended = [SkippedAccount(C, "c", "SUSPENDED")]
    assert await walked(path, with_paths=True, with_tags=True) == (list(PLAN.accounts), suspended, "o-1")
    plain = [replace(each, ou_path=None, tags=None) for each in PLAN.accounts]
    assert await walked(path) == (plain, suspended, "o-1")
    # Without a call: it tells where they are and what tags they have.
    assert (await walked(path, units=("ou-a",)))[0] == plain[1:]
    assert (await walked(path, exclude_units=("ou-a",)))[0] == plain[:1]
    assert (await walked(path, tags=frozenset({("env", "prod")})))[0] == plain[:1]
    read = await asyncio.to_thread(read_account_list, path)
    with pytest.raises(SettingsError, match="no account of the list is in ou-b"):
        read.check_units(("ou-a", "ou-b"))
    # The settings that the list was written with may be those of the run: it has nobody in what they exclude.
    assert (await walked(path, exclude_units=("ou-b",)))[0] == plain


@pytest.mark.parametrize("lacking", [Account(D, "d", None, ()), Account(D, "d", f"o-1/r-1/{D}/", None)])
def test_a_list_tells_places_and_tags_only_where_it_has_those_of_all(
    tmp_path: Path, lacking: Account
) -> None:
    path = str(tmp_path / "list.json")
    write_account_list(PLAN, path)
    whole = read_account_list(path)
    assert (whole.has_paths, whole.has_tags) == (True, True)
    write_account_list(replace(PLAN, accounts=(*PLAN.accounts, lacking)), path)
    read = read_account_list(path)
    assert (read.has_paths, read.has_tags) == (lacking.ou_path is not None, lacking.tags is not None)
    if not read.has_paths:
        # Organizations is asked.
        read.check_units(("ou-b",))


def test_a_list_is_private_and_has_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    digest = write_account_list(PLAN, str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_account_list(str(path)).digest == digest == json.loads(path.read_text())["accounts_digest"]


def test_a_list_that_can_not_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "list.json"
    write_account_list(PLAN, str(path))
    before = path.read_bytes()

    def broken(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(DestinationError, match=f"Could not write {path}: No space left on device.$"):
        write_account_list(replace(PLAN, accounts=()), str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def changed(change: Callable[[dict[str, Any]], object], *, again: bool = False) -> Callable[[str], bytes]:
    def made(path: str) -> bytes:
        content = json.loads(Path(path).read_bytes())
        change(content)
        if again:
            content["accounts_digest"] = accounts_digest(content["accounts"], content["created_at"])
        return json.dumps(content).encode()

    return made


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda _: b"", "it is not JSON: expecting value at column 1"),
        (lambda _: b"\xff", "it is not JSON"),
        (lambda _: b"[" * 100_000, "it is not JSON"),
        (lambda _: b"[]", "it is no list of accounts"),
        (lambda path: Path(path).read_bytes()[:-9], "it is not JSON"),
        (changed(lambda each: each.pop("kind")), "it is no list of accounts"),
        (changed(lambda each: each.update(schema_version=2)), "its schema_version is 2"),
        (changed(lambda each: each.update(schema_version=True)), "its schema_version is True"),
        (changed(lambda each: each.update(accounts=[])), "it names no account"),
        (changed(lambda each: each.pop("accounts_digest")), "it was changed or cut off"),
        (changed(lambda each: each["accounts"].pop()), "it was changed or cut off"),
        (changed(lambda each: each["accounts"][0].update(state="SUSPENDED")), "it was changed or cut off"),
        (changed(lambda each: each["accounts"].append(7), again=True), "account 4 is not an object"),
        (
            changed(lambda each: each["accounts"][1].update(account_id="1"), again=True),
            "account 2: account_id",
        ),
        (changed(lambda each: each["accounts"][1].update(account_id=A), again=True), "is there twice"),
        (changed(lambda each: each["accounts"][1].update(state=None), again=True), "account 2: state is not"),
        (
            changed(lambda each: each["accounts"][1].update(ou_path=1), again=True),
            "account 2: ou_path is neither",
        ),
        (changed(lambda each: each["accounts"][0].update(account_tags={"a": 1}), again=True), "not text"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: Callable[[str], bytes], sentence: str) -> None:
    path = tmp_path / "list.json"
    write_account_list(PLAN, str(path))
    path.write_bytes(content(str(path)))
    with pytest.raises(SettingsError) as raised:
        read_account_list(str(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert sentence in str(raised.value)
    assert "plan --output" in str(raised.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: No such file"):
        read_account_list(str(tmp_path / "none.json"))


@given(st.permutations([{"a": 1, "b": [1, 2]}, {"b": None}, {"c": {"d": 1, "e": 2}}]))
def test_the_digest_depends_on_no_order_of_accounts_or_keys(accounts: list[dict[str, Any]]) -> None:
    turned = [dict(reversed(each.items())) for each in accounts]
    first = [{"a": 1, "b": [1, 2]}, {"b": None}, {"c": {"d": 1, "e": 2}}]
    digest = accounts_digest(cast("Any", first), "then")
    assert accounts_digest(cast("Any", turned), "then") == digest
    assert accounts_digest(cast("Any", turned[1:]), "then") != digest
    assert accounts_digest(cast("Any", turned), "later") != digest

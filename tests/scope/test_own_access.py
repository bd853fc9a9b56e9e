"""Accounts with a role, an external id, regions or a profile of their own, from one file or several."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.config import Secret, Settings
from poolcensus.errors import ScopeError, SettingsError
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.account_entry import AccountEntry
from poolcensus.scope.account_file import read_accounts
from poolcensus.scope.joined_files import FileAccounts, join_files
from poolcensus.scope.regions import plan_regions

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = "000000000012", "123456789012", "000000000007"
SECRET = "such-a-secret-of-ours"
WHOLE = AccountEntry(A, "a", None, "path/Reader", Secret(SECRET), ("eu-*", "us-east-1"), "hub")
ARN = f"arn:aws:iam::{B}:role/path/Reader"


def write(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("between", [" ", ";", " | ", "; "])
def test_a_csv_file_has_columns_for_them(tmp_path: Path, between: str) -> None:
    regions = f"eu-*{between}us-east-1"
    text = f"Id,Name,Role,External-ID,Regions,Profile\n{A},a,path/Reader,{SECRET},{regions},hub\n{B},,,,,\n"
    assert read_accounts(write(tmp_path, "a.csv", text)) == (WHOLE, AccountEntry(B))


def test_json_and_toml_files_have_keys_for_them(tmp_path: Path) -> None:
    entry = {
        "Id": A,
        "name": "a",
        "role": "path/Reader",
        "external_id": SECRET,
        "regions": ["eu-*", "us-east-1"],
        "profile": "hub",
    }
    assert read_accounts(write(tmp_path, "a.json", json.dumps([entry, {"Id": B, "role": ARN}]))) == (
        WHOLE,
        AccountEntry(B, role=ARN),
    )
    toml = "[[accounts]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
    assert read_accounts(write(tmp_path, "a.toml", toml)) == (WHOLE,)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", f"Id,role\n{A},R\n{B},no role\n", "line 3, column 2 (role): must be a role name"),
        (
            "a.csv",
            f"role,Id\n{ARN},{A}\n",
            f'line 2, column 1 (role): "{ARN}" is not a role of account {A}',
        ),
        (
            "a.csv",
            f"Id,role_arn\n{A},arn:aws:s3:::x\n",
            'line 2, column 2 (role_arn): "arn:aws:s3:::x" is not the ARN',
        ),
        (
            "a.csv",
            f"Id,regions\n{A},us-east-1 eu-mest-1\n",
            'line 2, column 2 (regions): "eu-mest-1" matches no',
        ),
        ("a.csv", f"Id,regions\n{A},Ireland\n", 'line 2, column 2 (regions): "Ireland" is not a region'),
        (
            "a.csv",
            f"Id,external_id\n{A},x {SECRET}\n",
            "line 2, column 2 (external_id): the external ID must be",
        ),
        ("a.csv", f"Id,role,ROLE\n{A},R,S\n", "line 1, column 3: the header has the column role twice"),
        ("a.csv", f"Id,role\n{A},R\n{A},S\n", f"{A} is there twice, with different values of role"),
        ("a.json", json.dumps([{"Id": A, "External ID": 7}]), "account 1, key External ID: must be text"),
        ("a.json", json.dumps([A, {"Id": B, "Regions": [1]}]), "account 2, key Regions: 1 must be text"),
        ("a.json", json.dumps([{"Id": A, "regions": {"a": 1}}]), "account 1, key regions: must be a list"),
        (
            "a.toml",
            f'[[accounts]]\nid = "{A}"\nexternal_id = "{SECRET} "\nregions = "x-*"',
            '"x-*" matches no',
        ),
        ("a.toml", f'accounts = [{{ id = "{A}", role = 1 }}]', "account 1, key role: must be text"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_without_secrets(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)) as raised:
        read_accounts(write(tmp_path, name, content))
    assert SECRET not in f"{raised.value!r}"
    assert "\n" not in str(raised.value)


def test_a_secret_is_in_no_representation_of_an_entry() -> None:
    assert SECRET not in f"{WHOLE} {WHOLE!r} {FileAccounts({A: WHOLE})!r}"


@given(st.text(min_size=1, max_size=30))
def test_an_external_id_never_shows_whatever_it_is(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps([{"Id": A, "external_id": f"{text}{SECRET}"}]), encoding="utf-8")
    try:
        (entry,) = read_accounts(str(path))
        said = repr(entry)
    except SettingsError as error:
        said = str(error)
    assert SECRET not in said


def test_files_are_joined_in_order_and_add_to_each_other(tmp_path: Path) -> None:
    one = write(tmp_path, "one.txt", f"{A} first\n{B} b\n")
    two = write(tmp_path, "two.csv", f"Id,name,role\n{C},c,\n{A},second,R\n{B},,\n")
    joined = join_files((one, two))
    assert list(joined.entries.values()) == [
        AccountEntry(A, "first", role="R"),
        AccountEntry(B, "b"),
        AccountEntry(C, "c"),
    ]
    # The other of the two adds nothing.
    assert joined.repeated == (B,)


@pytest.mark.parametrize("key", ["name", "state", "role", "external_id", "regions", "profile"])
def test_what_one_file_does_not_say_is_taken_from_the_other(tmp_path: Path, key: str) -> None:
    whole = {
        "id": A,
        "name": "a",
        "state": "CLOSED",
        "role": "path/Reader",
        "external_id": SECRET,
        "regions": ["eu-*", "us-east-1"],
        "profile": "hub",
    }
    rest = {name: value for name, value in whole.items() if name != key}
    files = [
        write(tmp_path, f"{number}.json", json.dumps([entry]))
        for number, entry in enumerate((rest, {"id": A, key: whole[key]}))
    ]
    for paths in (files, files[::-1]):
        assert join_files(paths).entries == {A: WHOLE._replace(state="CLOSED")}


def test_a_file_that_is_silent_about_a_state_contradicts_none(tmp_path: Path) -> None:
    states = write(tmp_path, "list.csv", f"Id,State\n{A},SUSPENDED\n{B},ACTIVE\n")
    access = write(tmp_path, "access.csv", f"Id,role\n{A},R\n{B},\n")
    for paths in ((states, access), (access, states)):
        joined = join_files(paths)
        assert joined.entries[A] == AccountEntry(A, None, "SUSPENDED", role="R")
        assert joined.repeated == (B,)


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("Id,role,role_arn", f"{B}, ,{ARN}", AccountEntry(B, role=ARN)),
        ("Id,role,role_arn", f"{B},{ARN},{ARN}", AccountEntry(B, role=ARN)),
        ("Id,region,regions", f"{B},\t,eu-*", AccountEntry(B, regions=("eu-*",))),
        ("Id,state,status", f"{B}, ,CLOSED", AccountEntry(B, None, "CLOSED")),
    ],
)
def test_a_blank_cell_says_nothing(tmp_path: Path, header: str, row: str, found: AccountEntry) -> None:
    assert read_accounts(write(tmp_path, "a.csv", f"{header}\n{row}\n")) == (found,)


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        ("Id,role,role_arn", f"{B},R,{ARN}", "line 2, column 3 (role_arn): not the same as role"),
        ("Id,region,regions", f"{B},us-*,eu-*", "line 2, column 2 (region): not the same as regions"),
        (
            "Id,externalid,external_id",
            f"{B},{SECRET},x",
            "column 2 (externalid): not the same as external_id",
        ),
    ],
)
def test_two_columns_for_one_thing_have_to_agree(
    tmp_path: Path, header: str, row: str, sentence: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)) as raised:
        read_accounts(write(tmp_path, "a.csv", f"{header}\n{row}\n"))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("column", "one", "two"),
    [
        ("role", "R", "S"),
        ("state", "ACTIVE", "SUSPENDED"),
        ("external_id", SECRET, f"{SECRET}2"),
        ("regions", "eu-*", "us-*"),
        ("profile", "a", "b"),
    ],
)
def test_files_that_contradict_are_refused(tmp_path: Path, column: str, one: str, two: str) -> None:
    paths = [
        write(tmp_path, f"{number}.csv", f"Id,{column}\n{A},{each}\n")
        for number, each in enumerate((one, two))
    ]
    with pytest.raises(SettingsError, match=f"account {A} is also in .* with another value of {column}"):
        join_files(paths)


def test_regions_of_an_account_take_the_place_of_the_settings_but_for_the_excluded() -> None:
    settings = Settings(regions=("us-east-1", "eu-west-1"), exclude_regions=("eu-west-2",))
    own = {A: ("us-west-2", "af-south-1"), B: ("eu-west-*",), C: ("us-west-2", "af-south-1")}
    plan = plan_regions(WORKSPACES_POOLS, "aws", settings, own)
    assert plan.own == {
        A: ("af-south-1", "us-west-2"),
        B: ("eu-west-1", "eu-west-3"),
        C: ("af-south-1", "us-west-2"),
    }
    assert plan.own[A] is plan.own[C]
    assert plan.usual == ("eu-west-1", "us-east-1")
    assert plan.all.opt_in == ("af-south-1",)
    assert plan.all.always_on == ("eu-west-1", "eu-west-3", "us-east-1", "us-west-2")
    assert plan_regions(WORKSPACES_POOLS, "aws", settings, {}).usual is None
    with pytest.raises(ScopeError, match=f"account {A}, regions eu-west-2: `exclude_regions` leaves out all"):
        plan_regions(WORKSPACES_POOLS, "aws", settings, {A: ("eu-west-2",)})


def test_one_of_several_organizations_may_lack_the_regions_of_the_run() -> None:
    settings = Settings(regions=("us-gov-west-1",))
    with pytest.raises(ScopeError, match="us-gov-west-1: no region"):
        plan_regions(WORKSPACES_POOLS, "aws", settings, {})
    plan = plan_regions(WORKSPACES_POOLS, "aws", settings, {}, may_lack=True)
    assert (plan.all.regions, plan.usual) == ((), ())
    assert "us-gov-west-1: no region" in str(plan.lack)
    # But for accounts with regions of their own.
    plan = plan_regions(WORKSPACES_POOLS, "aws", settings, {A: ("us-east-1",)}, may_lack=True)
    assert (plan.all.regions, plan.usual, plan.own) == (("us-east-1",), (), {A: ("us-east-1",)})
    with pytest.raises(ScopeError, match=f"account {A}, regions cn-north-1: "):
        plan_regions(WORKSPACES_POOLS, "aws", settings, {A: ("cn-north-1",)}, may_lack=True)

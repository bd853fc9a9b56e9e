"""Several Organizations in one file: what each table sets, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from poolcensus.config import Settings
from poolcensus.config.narrowing import REASONS, may_have_none
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
role_name = "Reader"
regions = ["us-*"]

[[organization]]
name = "commercial"
profile = "audit"
external_id = "canary-of-a-secret"

[[organization]]
name = "gov"
profile = "audit-gov"
role_name = "GovReader"
regions = ["us-gov-*"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "poolcensus.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_table_ranks_above_what_the_file_sets_for_the_run(file: Path) -> None:
    settings = Settings.load(file).by_organization()
    assert [*settings] == ["commercial", "gov"]
    first, second = settings.values()
    assert (first.profile, first.role_name, first.regions) == ("audit", "Reader", ("us-*",))
    assert (second.profile, second.role_name, second.regions) == ("audit-gov", "GovReader", ("us-gov-*",))
    assert (first.organization, second.organization) == ((), ())


def test_what_stands_for_all_is_what_no_table_of_its_own_sets(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(file, exclude_accounts="000000000001")
    assert settings.narrowing_all("commercial") == {"regions", "exclude_accounts"}
    assert settings.narrowing_all("gov") == {"exclude_accounts"}
    monkeypatch.setenv("POOLCENSUS_REGIONS", "eu-*")
    monkeypatch.setenv("POOLCENSUS_ACCOUNT_NAMES", "prod-*")
    for name in ("commercial", "gov"):
        assert Settings.load(file).narrowing_all(name) == {"regions", "account_names"}
    # Of one Organization alone nothing can be another's.
    assert Settings(regions=("us-*",)).narrowing_all(None) == frozenset()


@pytest.mark.parametrize(
    ("for_all", "left_out_by", "expected"),
    [
        (set(), set(), False),
        ({"regions"}, set(), False),
        ({"exclude_accounts"}, set(), False),
        ({"exclude_accounts"}, {"exclude_accounts"}, True),
        ({"exclude_accounts"}, {"exclude_accounts", "exclude_account_names"}, True),
        ({"exclude_accounts"}, {"exclude_account_names"}, False),
        ({"exclude_accounts"}, {"exclude_accounts", "account_tags"}, False),
        (set(), {"account_tags"}, False),
        (set(), {"regions"}, True),
        ({"account_tags"}, set(), True),
        ({"accounts"}, {"account_names"}, True),
    ],
)
def test_an_organization_may_have_no_account_by_what_stands_for_all(
    for_all: set[str], left_out_by: set[str], expected: bool
) -> None:
    reasons = [REASONS[each] for each in left_out_by]
    assert may_have_none(frozenset(for_all), ["SUSPENDED", *reasons]) is expected


def test_what_a_table_leaves_out_takes_the_place_of_what_the_run_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "poolcensus.toml"
    path.write_text(
        'regions = ["us-east-1"]\nexclude_regions = ["us-*"]\n'
        '[[organization]]\nname = "a"\nexclude_regions = ["eu-*"]\n'
    )
    (found,) = Settings.load(path).by_organization().values()
    assert found.exclude_regions == ("eu-*",)
    path.write_text(path.read_text().replace("eu-*", "us-east-*"))
    with pytest.raises(SettingsError, match='"a": exclude_regions: leaves out all of regions in .*toml$'):
        Settings.load(path)


def test_the_environment_and_the_command_line_rank_above_tables(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLCENSUS_ROLE_NAME", "OfTheEnvironment")
    settings = Settings.load(file, regions="us-gov-west-1").by_organization()
    assert {each.role_name for each in settings.values()} == {"OfTheEnvironment"}
    assert {each.regions for each in settings.values()} == {("us-gov-west-1",)}


def test_they_rank_above_the_other_way_to_set_the_same_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "poolcensus.toml"
    path.write_text(
        '[[organization]]\nname = "a"\nrole_arn = "arn:{partition}:iam::{account_id}:role/OfTheTable"\n'
        'external_id_file = "/etc/id"\n[[organization]]\nname = "b"\nrole_name = "OfTheTable"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("POOLCENSUS_EXTERNAL_ID", "of-the-environment")
    for each in Settings.load(path, role_name="OfTheOption").by_organization().values():
        assert (each.role_name, each.role_arn, each.external_id_file) == ("OfTheOption", None, None)
        assert each.external_id is not None
    template = "arn:{partition}:iam::{account_id}:role/OfTheOption"
    for each in Settings.load(path, role_arn=template).by_organization().values():
        assert (each.role_name, each.role_arn) == (Settings().role_name, template)


def test_one_of_two_ways_in_a_table_takes_the_place_of_the_other(tmp_path: Path) -> None:
    path = tmp_path / "poolcensus.toml"
    path.write_text(
        'role_name = "Reader"\nexternal_id = "canary"\n[[organization]]\nname = "a"\n'
        'role_arn = "arn:{partition}:iam::{account_id}:role/Other"\nexternal_id_file = "/etc/id"\n',
        encoding="utf-8",
    )
    (found,) = Settings.load(path).by_organization().values()
    assert (found.role_name, found.external_id) == (Settings().role_name, None)
    assert found.role_arn == "arn:{partition}:iam::{account_id}:role/Other"


def test_without_tables_the_settings_are_those_of_the_one_organization() -> None:
    settings = Settings.load()
    assert settings.by_organization() == {None: settings}


def test_the_request_names_each_and_holds_no_secret(file: Path) -> None:
    settings = Settings.load(file)
    request = settings.request()
    organizations = request["organizations"]
    assert isinstance(organizations, list)
    assert [each["name"] for each in organizations if isinstance(each, dict)] == ["commercial", "gov"]
    assert "canary" not in f"{request} {settings}"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('name = "a b"', '"a b" is not a name'),
        ('profile = "x"', 'a table has no name: each needs one, such as name = "gov"'),
        ('external_id = "canary-secret"', "a table has no name"),
        ('concurrency = 7\nxyzzy = "a"', "a table has no name"),
        ('nme = "a"', 'organization: unknown setting "nme". Did you mean name?'),
        ('profile = "x"\nNAME = "a"', 'unknown setting "NAME". Did you mean name?'),
        ('name = "a"\nconcurrency = 7', '"a": concurrency is set for the whole run'),
        ('name = "a"\nprofil = "x"', '"a": unknown setting "profil". Did you mean profile?'),
        ('name = "a"\nregions = ["moon"]', '"a": regions: "moon" is not a region.'),
        ('name = "a"\nsession_duration = 1', '"a": session_duration: 1 must be a whole number'),
        ('name = "a"\nexternal_id = "not valid canary"', '"a": external_id: must be 2 to 1224'),
        (
            'name = "a"\nous = ["r-ab12"]\nexclude_ous = ["r-ab12"]',
            '"a": exclude_ous: organizational unit r-ab12',
        ),
        ('name = "a"\n[[organization]]\nname = "a"', 'two tables have the name "a"'),
    ],
)
def test_a_wrong_table_is_refused_with_its_name(tmp_path: Path, table: str, words: str) -> None:
    path = tmp_path / "poolcensus.toml"
    path.write_text(f"[[organization]]\n{table}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Settings.load(path)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_list_of_accounts_is_of_one_organization(file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(file, accounts_snapshot="accounts.json")
    assert str(caught.value) == (
        f"accounts_snapshot takes the list of one Organization, and organization in {file} names several:"
        " leave one out"
    )


def test_the_environment_has_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLCENSUS_ORGANIZATION", "gov")
    with pytest.raises(SettingsError, match="must be tables of a configuration file"):
        Settings.load()


def test_a_table_excludes_what_is_named_for_the_run_and_not_what_it_names_itself(tmp_path: Path) -> None:
    def fails(run: str, table: str) -> str:
        path.write_text(f'{run}\n[[organization]]\nname = "a"\n{table}\n', encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            Settings.load(path)
        return str(caught.value)

    path = tmp_path / "poolcensus.toml"
    one, two = "000000000001", "000000000002"
    path.write_text(f'[[organization]]\nname = "a"\nexclude_accounts = ["{one}"]\n', encoding="utf-8")
    (found,) = Settings.load(path, accounts=(one, two)).by_organization().values()
    assert (found.accounts, found.exclude_accounts) == ((one, two), (one,))
    assert msgspec.structs.replace(found, strict=True).exclude_accounts == (one,)
    named, excluded = f'accounts = ["{one}"]', f'exclude_accounts = ["{one}"]'
    said = f"account {one} is both in"
    assert f'"a": exclude_accounts: {said}' in fails("", f"{named}\n{excluded}")
    assert f"exclude_accounts: {said}" in fails(f"{named}\n{excluded}", "")
    assert f'"a": exclude_accounts: {said}' in fails(excluded, named)

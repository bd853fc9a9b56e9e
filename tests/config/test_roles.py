"""The settings that say how roles are assumed, and the external ID's file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.config import Secret, Settings
from poolcensus.config.external_id import with_external_id
from poolcensus.config.readers import EntryError
from poolcensus.config.roles import HubRole, arn_of, partition_of, role_arn, role_chain, role_of_account
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = "000000000001", "000000000002"
TEMPLATE = "arn:{partition}:iam::{account_id}:role/a/Reader"


def complaint(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(None, **overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("role", "arn"),
    [
        ("Reader", f"arn:aws-cn:iam::{ONE}:role/Reader"),
        ("/path/Reader", f"arn:aws-cn:iam::{ONE}:role/path/Reader"),
        (TEMPLATE, f"arn:aws-cn:iam::{ONE}:role/a/Reader"),
        ("arn:aws-cn:iam::{account_id}:role/R-{account_id}", f"arn:aws-cn:iam::{ONE}:role/R-{ONE}"),
    ],
)
def test_the_arn_of_a_role(role: str, arn: str) -> None:
    assert arn_of(role, partition="aws-cn", account_id=ONE) == arn


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (f"arn:aws:iam::{ONE}:role/Reader", "is a role of one account: write {account_id}"),
        ("arn:aws:iam::{account}:role/Reader", 'has "{account}": only {account_id} and {partition}'),
        ("arn:aws:iam::{account_id}:role/{Name}", 'has "{Name}"'),
        ("arn:aws:iam::{account_id}:role/a{", 'has "{"'),
        ("arn:aws:iam::{account_id}:role/a}", 'has "}"'),
        ("arn:aws:iam::{{account_id}}:role/a", 'has "{"'),
        ("arn:aws:iam::{account_id}:user/Reader", "is not the ARN of a role, such as arn:"),
        ("Reader", "is not the ARN of a role"),
        ("arn:aws:sts::{account_id}:assumed-role/Reader/me", "is not the ARN of a role"),
        ("arn:awss:iam::{account_id}:role/Reader", 'is in no partition of AWS: "awss"'),
        ("arn:aws:iam::{account_id}:role/", "is not the ARN of a role"),
        ("arn:aws:iam::{account_id}:role//R", "does not end with a role's name"),
        ("arn:aws:iam::{account_id}:role/a b", "does not end with a role's name"),
        ("arn:aws:iam::{account_id}:role/R\n", "does not end with a role's name"),
        ("arn:aws:iam::{account_id}:role/a/", "does not end with a role's name"),
        (f"arn:aws:iam::{{account_id}}:role/{'R' * 65}", "does not end with a role's name"),
        ("arn:aws:iam::12:role/R", "has no account ID of 12 digits"),
        ("arn:aws:iam::{partition}:role/R", "has no account ID of 12 digits"),
    ],
)
def test_what_is_no_template(template: str, words: str) -> None:
    said = complaint(role_arn=template)
    assert words in said
    assert "\n" not in said


@given(st.text(st.sampled_from("arn:ws{}account_idprole/R0 \n"), max_size=60) | st.text(max_size=30))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = role_arn(text)
    except ValueError:
        return
    arn = arn_of(template, partition="aws", account_id=ONE)
    assert re.fullmatch(rf"(?a)arn:[a-z-]+:iam::{ONE}:role/[\w+=,.@/-]+", arn)
    assert partition_of(template) in {None, "aws"} or "aws" not in template


def test_an_accounts_own_role_is_of_that_account() -> None:
    for role in ("Reader", TEMPLATE, f"arn:aws:iam::{ONE}:role/R"):
        assert role_of_account(role, ONE) == role
    with pytest.raises(EntryError, match=f"is not a role of account {ONE}"):
        role_of_account(f"arn:aws:iam::{TWO}:role/R", ONE)
    with pytest.raises(ValueError, match="role name"):
        role_of_account("a b", ONE)


def test_a_chain_is_of_arns_or_tables() -> None:
    hub, other = f"arn:aws:iam::{ONE}:role/Hub", f"arn:{{partition}}:iam::{TWO}:role/Hub"
    expected = (HubRole(hub), HubRole(other, Secret("hush")))
    assert role_chain([hub, {"role_arn": other, "external_id": "hush"}]) == expected
    assert role_chain(expected) == expected
    assert role_chain(f"{hub}, {other}") == (HubRole(hub), HubRole(other))
    assert role_chain([f"{hub},{other}"]) == (HubRole(hub), HubRole(other))
    assert role_chain({"role_arn": hub}) == (HubRole(hub),)
    assert role_chain("") == ()
    assert "hush" not in repr(expected)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ([f"arn:aws:iam::{ONE}:role/Hub"] * 2, "twice: a chain of roles can't come back to one"),
        ([f"arn:aws:iam::{ONE}:role/{name}" for name in ("Hub", "B", "hUB")], "twice"),
        ([f"arn:aws:iam::{ONE}:role/H{each}" for each in range(9)], "has 9 roles: at most 8"),
        ([TEMPLATE], "must name the hub's account by its 12 digits"),
        (
            [f"arn:{each}:iam::{ONE}:role/Hub" for each in ("aws", "{partition}")],
            '"arn:{partition}:iam::000000000001:role/Hub" twice',
        ),
        ([f"arn:aws:iam::{ONE}:role/Hub-{{account_id}}"], "is one role for all accounts: write its name"),
        (["Hub"], '"Hub" is not the ARN of a role'),
        ([7], "7 is neither the ARN of a role nor a table"),
        ([{"role": "x"}], 'unknown key "role". Did you mean role_arn?'),
        (
            [{"role_arn": f"arn:aws:iam::{ONE}:role/H", "externalid": "hush-hush"}],
            'unknown key "externalid". Did you mean external_id?',
        ),
        ([{"external_id": "hush-hush"}], "a table of it has role_arn"),
        ([{"role_arn": 7}], "role_arn: 7 must be text"),
        (
            [{"role_arn": f"arn:aws:iam::{ONE}:role/H", "external_id": "hush hush"}],
            "external_id: must be 2 to 1224 letters",
        ),
    ],
)
def test_what_is_no_chain(chain: object, words: str) -> None:
    said = complaint(role_chain=chain)
    assert words in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"role_arn": TEMPLATE, "role_name": "R"}, "role_arn excludes `role_name`: set only one of them"),
        (
            {"external_id": "hush-hush", "external_id_file": "/x"},
            "external_id_file excludes `external_id`: set only one of them",
        ),
        ({"session_name": "my census"}, '"my census" must be 2 to 64 letters, digits and +=,.@_-'),
        ({"source_identity": "a:b"}, "must be 2 to 64 letters"),
        ({"session_tags": "team"}, '"team" is not a tag: KEY=VALUE'),
        ({"session_tags": "AWS:team=x"}, "is not a session tag"),
        ({"session_tags": "te*am=x"}, "is not a session tag"),
        ({"session_tags": ["Team=x", "team=y"]}, 'has two tags with the key "team"'),
        ({"session_tags": [f"k{each}=v" for each in range(51)]}, "has 51 tags"),
        ({"session_duration": "13h"}, "from 900 to 43200"),
        ({"sts_region": "eu-wets-1"}, 'sts_region: "eu-wets-1" is not a region. Did you mean eu-west-1?'),
        ({"role_name": f"arn:aws:iam::{ONE}:role/X"}, 'role_name takes a role name, not an ARN: use "X"'),
    ],
)
def test_what_is_refused_before_the_first_call(given: dict[str, object], words: str) -> None:
    said = complaint(**given)
    assert words in said
    assert "hush" not in said


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "external-id"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("text", ["hush-hush", "hush-hush\n", "hush-hush\r\n"])
def test_the_external_id_is_read_from_a_file(file: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(text.encode())
    read = with_external_id(Settings(external_id_file=file))
    assert read == Settings(external_id=Secret("hush-hush"))
    assert with_external_id(read) is read
    assert not caplog.records
    file.chmod(0o644)
    with_external_id(Settings(external_id_file=file))
    (record,) = caplog.records
    assert "can read the external ID" in record.getMessage()
    assert "hush" not in record.getMessage()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty. Write the external ID of the role into it."),
        (b"\n", "is empty"),
        (b"hush hush", "holds no external ID, which must be 2 to 1224 letters"),
        (b"hush-hush\n\n", "holds no external ID"),
        (b" hush-hush", "holds no external ID"),
        (b"hush\xff", "holds no external ID"),
        (b"h" * 5000, "holds no external ID"),
        (None, "can't be read: No such file or directory"),
    ],
)
def test_what_is_no_file_of_an_external_id(file: Path, content: bytes | None, words: str) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        with_external_id(Settings(external_id_file=file))
    assert str(caught.value).startswith(f'`external_id_file`: "{file}" ')
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_folder_is_no_file_of_an_external_id(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        with_external_id(Settings(external_id_file=tmp_path))


def test_the_credential_directory_of_systemd_comes_last(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert with_external_id(Settings()) == Settings()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file.write_text("of-systemd")
    assert with_external_id(Settings()).external_id == Secret("of-systemd")
    assert with_external_id(Settings(external_id=Secret("given"))).external_id == Secret("given")
    other = tmp_path / "other"
    other.write_text("of-file")
    assert with_external_id(Settings(external_id_file=other)).external_id == Secret("of-file")
    file.unlink()
    assert with_external_id(Settings()) == Settings()

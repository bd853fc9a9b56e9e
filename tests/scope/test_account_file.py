"""Accounts from a file, and what is said of a file that is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.errors import SettingsError
from poolcensus.scope.account_entry import AccountEntry
from poolcensus.scope.account_file import read_accounts

if TYPE_CHECKING:
    from pathlib import Path

A, B = "000000000012", "123456789012"
TWO = (AccountEntry(A, "Team A"), AccountEntry(B, None))


def write(tmp_path: Path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", f"{A} Team A\n{B}\n"),
        ("accounts", f"# ours\n\n  {A}\tTeam A   # the first\n{B}#\n"),
        ("a.txt", f"{A} Team A\r\n{B}\r\n"),
        ("a.txt", f"{A} Team A\n{B}\n{A} another name\n"),
        ("a.csv", f"account_id,account_name\n{A},Team A\n{B},\n"),
        ("a.CSV", f'Name,Email,Id\n"Team A",x@y,{A}\n\n , ,\n"",,{B}\n'),
        ("a.csv", f"Account ID,Account Name\r\n {A} , Team A \r\n{B}\r\n"),
        ("a.json", json.dumps([{"Id": A, "Name": "Team A"}, B])),
        ("a.json", json.dumps({"Accounts": [{"Id": A, "Name": "Team A", "Status": "ACTIVE"}, {"Id": B}]})),
        ("a.json", json.dumps({"accounts": [{"account_id": A, "name": "Team A"}, int(B)]})),
        ("a.toml", f'accounts = [{{ id = "{A}", name = "Team A" }}, "{B}"]'),
        ("a.toml", f'[[accounts]]\naccount_id = "{A}"\nname = "Team A"\n[[accounts]]\naccount_id = {B}\n'),
    ],
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_each_format_is_read(tmp_path: Path, name: str, content: str, bom: bytes) -> None:
    first, second = read_accounts(write(tmp_path, name, bom + content.encode()))
    assert (first._replace(state=None), second) == TWO
    assert first.state == ("ACTIVE" if "ACTIVE" in content else None)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", f"{A}\n12345\n", "line 2, column 1: '12345' is not a 12-digit account id"),
        ("a.txt", f"{A}\n١٢٣٤٥٦٧٨٩٠١٢\n", "line 2"),  # noqa: RUF001 - digits, but none of an account id
        ("a.txt", f"{A}\n{A}3 x", "line 2"),
        (
            "a.csv",
            f"account_id\n{A}\n\nx\n",
            "line 4, column 1 (account_id): 'x' is not a 12-digit account id",
        ),
        ("a.csv", f"name,account_id\nonly a name\n{A}", "line 2, column 2 (account_id): '' is not"),
        ("a.csv", f"{A}\n{B}\n", "line 1: the header has no column account_id"),
        ("a.csv", "", "line 1: the header has no column account_id"),
        ("a.csv", f'name,Id\nx,{A}\n"B,{B}\n"C",{A}\n', "line 3: not CSV: "),
        ("a.csv", f'Id\n{A}\n"{B}', "line 3: not CSV: "),
        ("a.csv", f"Id,Regoins\n{A},x\n", "line 1, column 2 (regoins): this is not read. Write regions"),
        (
            "a.csv",
            f"Id,RoleName\n{A},x\n",
            "column 2 (rolename): this is not read. Write role_name",
        ),
        (
            "a.json",
            f'[{{"id": "{A}", "exteral id": "x"}}]',
            "account 1, key exteral id: this is not read",
        ),
        ("a.toml", f'[[accounts]]\nid = "{A}"\nprofil = "x"', "account 1, key profil: this is not read"),
        ("a.json", '[\n"123"\n"456"\n]', "line 3, column 1: not JSON"),
        # Python 3.13 finds the comma wrong, those before it what follows.
        ("a.json", '["123",]', "line 1, column "),
        ("a.json", '["123"]', "account 1: '123' is not a 12-digit account id"),
        ("a.json", f'["{A}", {{"name": "x"}}]', "account 2: there is no account_id"),
        ("a.json", "[true]", "account 1: 'True' is not"),
        ("a.json", "[1.5]", "account 1: '1.5' is not"),
        ("a.json", "[-1]", "account 1: '-1' is not"),
        # Padded, it would be an account, if not the one that was meant.
        (
            "a.json",
            "[11112222333]",
            "the number 11112222333 has fewer than the 12 digits of an account id: write the id as text, in",
        ),
        ("a.json", "[0]", "account 1: the number 0 has fewer than the 12 digits"),
        (
            "a.json",
            '[{"Id": 99999999999}]',
            "account 1, key Id: the number 99999999999 has fewer than the 12",
        ),
        ("a.json", "[1234567890123]", "account 1: '1234567890123' is not"),
        ("a.json", '{"a": []}', "there is no list of accounts"),
        ("a.json", "7", "there is no list of accounts"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "[" + "[" * 450 + "]" * 451, "nested too deeply"),
        ("a.json", "[" + "1" * 5000 + "]", "a.json: a number has too many digits"),
        ("a.toml", "accounts = [", "not TOML"),
        ("a.toml", f'account = ["{A}"]', "there is no list of accounts"),
        ("a.toml", "accounts = [true]", "account 1: 'True' is not"),
        ("a.toml", "accounts = [2]", "account 1: the number 2 has fewer than the 12 digits"),
        ("a.toml", "[[accounts]]\naccount_id = 2", "account 1, key account_id: the number 2 has fewer"),
        ("a.toml", "accounts = " + "[" * 100_000, "nested too deeply"),
        ("a.toml", "accounts = [" + "1" * 5000 + "]", "a.toml: a number has too many digits"),
        ("a.toml", "accounts = [0x" + "f" * 5000 + "]", "a.toml: a number has too many digits"),
        ("a.txt", "", "the file names no account"),
        ("a.txt", "# nothing\n\n", "the file names no account"),
        ("a.json", "[]", "the file names no account"),
        ("a.csv", "account_id\n", "the file names no account"),
        ("a.txt", f"{A} caf".encode() + b"\xe9\n", "is not UTF-8"),
        ("a.json", b"\xff\xfe[\x00]\x00", "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_place(
    tmp_path: Path, name: str, content: str | bytes, sentence: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(SettingsError) as raised:
        read_accounts(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_columns_of_a_list_that_is_kept_for_other_things_are_passed_over(tmp_path: Path) -> None:
    own = "Email,Arn,Stage,Team,Owner,Environment,JoinedMethod,Parent Id,AWS Region,OU,Cost Center"
    path = write(tmp_path, "a.csv", f"Id,{own}\n{A}\n")
    assert [each.id for each in read_accounts(path)] == [A]


def test_a_file_that_is_not_there_or_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_accounts(str(tmp_path / "absent.csv"))
    with pytest.raises(SettingsError, match="directory"):
        read_accounts(str(tmp_path))


@settings(max_examples=150)
@given(
    suffix=st.sampled_from([".txt", ".csv", ".json", ".toml"]),
    content=st.binary(max_size=80)
    | st.text(st.sampled_from('[]{}",=#\n 0123456789accountsidnm:'), max_size=80).map(str.encode)
    | st.text(max_size=40).map(lambda text: f"account_id,name\n{A},{text}".encode(errors="replace")),
)
def test_any_file_is_accounts_or_a_settings_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        found = read_accounts(str(path))
    except SettingsError:
        return
    assert found
    assert all(len(each.id) == 12 and each.id.isascii() and each.id.isdigit() for each in found)
    assert len({each.id for each in found}) == len(found)


OPEN_QUOTE = (
    # The quote is closed where the next begins, or never.
    f'account_id,name\n{A},"Team A\n{B},Team B\n',
    f'account_id,name\n{A},"Team A\n{B},"Team B"\n',
    f'account_id,name\n{A},"Team A\n{B},Team B\n"\n',
    f'name,account_id\n"Team A,{A}\nTeam B,{B}\n"Team C",{A}\n',
    f'account_id,name\n{A},"Team A\r{B},Team B"\r',
    f'account_id,name\n{A},"Team "A" and\n{B},others\n',
    # The id is not what a record begins with.
    f'name,account_id,note\n"Team A,{A},x\nTeam B",{B},y\n',
    f'name,email,account_id\n"A,a@x,{A}\nB",b@x,{B}\n',
    f'account_id;x,name\n"{A};x\n;{B}",others\n',
    f'account_id,name\n{A},"Team A\n;{B};Team B"\n',
)


@pytest.mark.parametrize("content", OPEN_QUOTE)
def test_a_quote_that_was_left_open_takes_no_account_away(tmp_path: Path, content: str) -> None:
    with pytest.raises(SettingsError):
        read_accounts(write(tmp_path, "a.csv", content))


@pytest.mark.parametrize("within", ["\n", "\r\n", "\u2028", "\x0b", "\x0c", "\x1c", "\x85"])
def test_a_name_keeps_what_is_no_line_end_of_the_file(tmp_path: Path, within: str) -> None:
    name = f"Team{within}A"
    found = read_accounts(write(tmp_path, "a.csv", f'account_id,name\n{A},"{name}"\n{B},\n'))
    assert found == (AccountEntry(A, name), AccountEntry(B))
    if within.strip("\r\n"):
        found = read_accounts(write(tmp_path, "a.txt", f"{A} {name}\n{B}\n"))
        assert [each.id for each in found] == [A, B]
        assert found[0].name == name


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", f"account_id,name\n{A},Team A,{B}\n", "line 2: 3 cells, and the header has 2"),
        ("a.json", json.dumps({"Accounts": [{"Id": A}], "NextToken": "more"}), "one page of a longer list"),
        ("a.json", f'{{"accounts": ["{A}"], "accounts": ["{B}"]}}', "'accounts' is there twice"),
        ("a.json", json.dumps({"accounts": [A], "Accounts": [B]}), "leave one out"),
        ("a.json", f'[{{"Id": "{A}", "Id": "{B}"}}]', "'Id' is there twice"),
        ("a.csv", f"account_id,status\n{A},prod\n", "'prod' is not the state of an account"),
        ("a.json", json.dumps([{"Id": A, "State": ["ACTIVE"]}]), "is not the state of an account"),
        ("a.json", json.dumps([{"Id": A, "State": 7}]), "'7' is not the state of an account"),
        ("a.txt", f"{A} {B}\n", f"line 1, column 14: {B} is a second account id"),
        ("a.txt", f"# ours\n{A}\u2028{B}\n", f"line 2, column 14: {B} is a second account id"),
        ("a.txt", f"{A} Team A;{B} Team B\n", f"line 1, column 21: {B} is a second account id"),
        ("a.csv", f"account_id,name,Account ID\n{A},Team A,{B}\n", "the column account_id twice"),
        ("a.csv", f"Status,Id,status\nACTIVE,{A},CLOSED\n", "the column status twice"),
        ("a.json", f'[{{"Id": "{A}", "id": "{B}"}}]', "account 1: the key 'id' is there twice"),
        ("a.toml", f'accounts = ["{A}"]\nAccounts = ["{B}"]\n', "leave one out"),
        ("a.csv", f"Id,State\n{A},SUSPENDED\n{A},ACTIVE\n", f"{A} is there twice, as SUSPENDED and as"),
        ("a.json", json.dumps([A, {"Id": A, "State": "CLOSED"}]), f"{A} is there twice, as ACTIVE and as"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)):
        read_accounts(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.json",
            json.dumps({"Accounts": [{"Id": A, "State": "SUSPENDED", "Status": "ACTIVE"}, {"Id": B}]}),
        ),
        ("a.json", json.dumps([{"Id": A, "Status": "SUSPENDED"}, {"Id": B, "Status": "ACTIVE"}])),
        ("a.csv", f"Id,Status\n{A},suspended\n{B},\n"),
        ("a.csv", f"Id,State,Status\n{A},,SUSPENDED\n{B},,\n"),
        ("a.json", json.dumps([{"Id": A, "State": None, "Status": "SUSPENDED"}, B])),
        ("a.toml", f'accounts = [{{ id = "{A}", state = "SUSPENDED" }}, "{B}"]'),
    ],
)
def test_a_list_says_which_accounts_are_not_active(tmp_path: Path, name: str, content: str) -> None:
    first, second = read_accounts(write(tmp_path, name, content))
    assert first == AccountEntry(A, None, "SUSPENDED")
    assert second in (AccountEntry(B), AccountEntry(B, None, "ACTIVE"))


@given(st.lists(st.tuples(st.integers(0, 10**12 - 1), st.text(max_size=20)), min_size=1, max_size=8))
def test_what_a_spreadsheet_writes_is_read_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]]
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerow(("account_id", "name"))
    writer.writerows((f"{number:012d}", name.replace("\0", "")) for number, name in rows)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(written.getvalue().encode("utf-8", "replace"))
    assert {each.id for each in read_accounts(str(path))} == {f"{number:012d}" for number, _ in rows}

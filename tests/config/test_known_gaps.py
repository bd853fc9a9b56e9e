"""Tables of known gaps: what is wrong with one is said, with the key that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.config import Settings
from poolcensus.config.known_gaps import read_known_gaps
from poolcensus.errors import SettingsError
from poolcensus.model import KnownGap, Outcome

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "111122223333"
GAP = KnownGap((ACCOUNT,), (), (Outcome.ERROR,))
_leaves = st.none() | st.integers() | st.text(max_size=5) | st.sampled_from((ACCOUNT, "*", "eu-*", "error"))
_values = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner))
_keys = st.sampled_from(("accounts", "regions", "outcomes", "reason", "account"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (f"accounts = {ACCOUNT}", f"accounts: {ACCOUNT} must be a list"),
        (f"accounts = [{ACCOUNT}]", f"accounts: {ACCOUNT} must be text, in quotes"),
        ('accounts = [["1"]]', 'accounts: ["1"] must be text, in quotes'),
        ("regions = [{ a = 1 }]", "regions: {a = 1} must be text, in quotes"),
        ("regions = { a = 1 }", "regions: {a = 1} must be a list"),
        (f'account = "{ACCOUNT}"', 'unknown key "account". Did you mean accounts?'),
        ('reson = "No workloads"', 'unknown key "reson". Did you mean reason?'),
        ('Region = "eu-*"', 'unknown key "Region". Did you mean regions?'),
        ("until = 2027-01-01", 'unknown key "until". A table of it has accounts, regions, outcomes, reason.'),
        ('reason = "No workloads"', "the table of error names neither an account nor a region"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_key(tmp_path: Path, table: str, words: str) -> None:
    path = tmp_path / "poolcensus.toml"
    path.write_text(f'[[known_gaps]]\noutcomes = "error"\n{table}\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Settings.load(path)
    assert str(caught.value).startswith(f"{path}: known_gaps: {words}")


@given(st.lists(st.dictionaries(_keys, _values, max_size=4) | _values, max_size=3))
def test_whatever_a_file_holds_is_gaps_or_one_sentence(value: object) -> None:
    try:
        gaps = read_known_gaps(value)
    except ValueError as error:
        words = str(error)
    else:
        words = ""
        assert read_known_gaps(gaps) == gaps
    assert len(words.splitlines()) <= 1


def test_an_outcome_may_be_given_by_its_member() -> None:
    assert read_known_gaps([{"accounts": ACCOUNT, "outcomes": [Outcome.ERROR]}]) == (GAP,)

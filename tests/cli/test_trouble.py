from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from poolcensus.cli.trouble import complain, failures, printable
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from poolcensus.model import TargetResult


def test_failures_are_grouped_by_outcome_and_name_the_accounts(result: Callable[..., TargetResult]) -> None:
    uncovered = [
        *(result(4, f"eu-west-{each}", Outcome.SCP_DENIED, "AccessDeniedException") for each in range(3)),
        result(7, "us-east-1", Outcome.SCP_DENIED, "AccessDeniedException"),
        *(result(each, "sa-east-1", Outcome.UNREACHABLE) for each in range(10, 30)),
    ]
    assert list(failures(uncovered)) == [
        (
            "20 accounts not reached in sa-east-1: 000000000010 acct-9, 000000000011 acct-10,"
            " 000000000012 acct-11, 000000000013 acct-12, 000000000014 acct-13, and 15 more"
        ),
        (
            "2 accounts refused by a service control policy: 000000000004 acct-3 (3 regions),"
            " 000000000007 acct-6 (us-east-1) [AccessDeniedException]"
        ),
    ]


def test_a_list_that_was_cut_says_how_much_is_missing(result: Callable[..., TargetResult]) -> None:
    assert list(failures([result(1, outcome=Outcome.ERROR)], 1001))[-1] == "and 1,000 more targets"


def test_every_way_to_fail_has_words_for_it_and_ten_lines_hold_them_all(
    result: Callable[..., TargetResult],
) -> None:
    uncovered = [result(1, outcome=each) for each in Outcome if not each.covered]
    lines = list(failures(uncovered))
    assert len(lines) == len(uncovered) <= 10
    assert len(set(lines)) == len(lines)


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    safe = printable(text)
    assert printable(safe) == safe
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in safe)
    assert "\u202e" not in safe
    safe.encode("utf-8")


def test_what_can_be_printed_is_left_as_it_is() -> None:
    assert printable("Zoë’s 東京 [bold]") == "Zoë’s 東京 [bold]"  # noqa: RUF001


def test_a_complaint_is_one_line_whatever_a_name_holds(capsys: pytest.CaptureFixture[str]) -> None:
    complain("account \x1b]0;x\x07\nname")
    assert capsys.readouterr().err == "poolcensus: account \\x1b]0;x\\x07\\nname\n"

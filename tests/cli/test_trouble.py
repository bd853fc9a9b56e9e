from __future__ import annotations

import errno
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.cli.trouble import complain, failures, hidden_items, is_writable, outdated_gaps, with_options
from poolcensus.errors import BadReply, LocalLimit, NoReply
from poolcensus.format.text import printable
from poolcensus.model import HIDING, KnownGap, OperationInfo, Outcome, OutdatedGap
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.model import TargetResult


POOLS = WORKSPACES_POOLS.info


def _lines(uncovered: list[TargetResult]) -> list[str]:
    return [*failures(FailureTally(WORKSPACES_POOLS, uncovered).groups())]


def test_what_can_not_be_asked_whether_it_takes_bytes_has_its_own_error() -> None:
    class Gone(io.StringIO):
        def fileno(self) -> int:
            raise OSError(errno.EIO, "Input/output error")

    assert is_writable(Gone())
    assert is_writable(io.StringIO())


def test_every_account_is_counted_however_many_there_are(result: Callable[..., TargetResult]) -> None:
    uncovered = [
        result(account, f"eu-west-{region}", Outcome.ASSUME_ROLE_FAILED, "AccessDenied")
        for region in range(1, 18)
        for account in range(1, 300)
    ]
    (line,) = _lines(uncovered)
    assert line.startswith("Could not assume the role in 299 accounts: 000000000001 acct-0 (17 regions), ")
    assert ", and 294 more (AccessDenied). If this is every account, check `role_name`, " in line


def test_a_name_is_cut_where_it_is_longer_than_any_of_aws(result: Callable[..., TargetResult]) -> None:
    named = replace(result(4, outcome=Outcome.ERROR), account_name="x" * 100_000)
    (line,) = _lines([named])
    assert f"000000000004 {'x' * 256} (eu-west-1)" in line
    (line,) = hidden_items({Outcome.NOT_ENTITLED: (replace(named, pools=1),)}, POOLS)
    assert f"000000000004 {'x' * 256} (eu-west-1)." in line


def test_a_gap_that_no_longer_holds_is_named_shortly_and_with_the_reason() -> None:
    gap = KnownGap(tuple(f"{each:012d}" for each in range(1, 5001)), (), (Outcome.SCP_DENIED,))
    gone, refused = outdated_gaps((OutdatedGap(gap, 0, None), OutdatedGap(gap, 0, None, 3)))
    named = ",".join(gap.accounts[:5])
    assert gone == (
        f"Known gap {named}:*:scp_denied (and 4,995 more accounts) no longer holds: the Organization has none"
        " of its accounts. Narrow it or remove it from `known_gaps`."
    )
    assert "none of its targets failed" in refused


def test_failures_are_grouped_by_outcome_and_name_the_accounts(result: Callable[..., TargetResult]) -> None:
    uncovered = [
        *(result(4, f"eu-west-{each}", Outcome.SCP_DENIED, "AccessDeniedException") for each in range(3)),
        result(7, "us-east-1", Outcome.SCP_DENIED, "AccessDeniedException"),
        *(result(each, "sa-east-1", Outcome.UNREACHABLE) for each in range(10, 30)),
    ]
    assert list(failures(FailureTally(WORKSPACES_POOLS, uncovered).groups())) == [
        (
            "Could not reach the service in 20 accounts (sa-east-1): 000000000010 acct-9,"
            " 000000000011 acct-10, 000000000012 acct-11, 000000000013 acct-12, 000000000014 acct-13, and 15"
            " more. Check DNS, proxy and firewall for the endpoints of these regions."
        ),
        (
            "Denied by a service control policy in 2 accounts: 000000000004 acct-3 (3 regions),"
            " 000000000007 acct-6 (us-east-1) (AccessDeniedException). No change to the role helps: change"
            " the policy, leave the accounts or the regions out with `exclude_accounts` or `exclude_regions`,"
            " or expect it with `known_gaps`."
        ),
    ]


def test_refusals_name_the_policy_and_are_grouped_by_it(result: Callable[..., TargetResult]) -> None:
    def refused(account: int, why: str, outcome: Outcome = Outcome.ACCESS_DENIED) -> TargetResult:
        message = (
            f"User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: x on resource: y {why}"
        )
        return replace(result(account, outcome=outcome, code="AccessDeniedException"), error_message=message)

    unexplained = replace(
        result(9, outcome=Outcome.ACCESS_DENIED),
        error_message="You do not have the permissions. Refer to https://x/workspaces-access-control.html",
    )
    lines = [
        *_lines(
            [
                refused(1, "because no identity-based policy allows the x action"),
                refused(2, "because no identity-based policy allows the x action"),
                refused(3, "with an explicit deny in a permissions boundary"),
                refused(4, "with an explicit deny in a service control policy", Outcome.SCP_DENIED),
                refused(5, "because no role trust policy allows it", Outcome.ASSUME_ROLE_FAILED),
                unexplained,
            ]
        )
    ]
    operation = "workspaces:DescribeWorkspacesPools"
    assert [
        (line.partition(":")[0], line.partition("). ")[2] or line.partition(". ")[2]) for line in lines
    ] == [
        (
            "Access denied (no identity-based policy allows it) in 2 accounts (eu-west-1)",
            (
                f"Allow {operation} in the identity-based policy of the role, or of the caller in its own"
                " account."
            ),
        ),
        (
            "Access denied (explicit deny in a permissions boundary) in 1 account",
            (
                f"Remove the deny of {operation} from the permissions boundary of the role, or of the caller"
                " in its own account."
            ),
        ),
        (
            "Denied by a service control policy in 1 account",
            (
                "No change to the role helps: change the policy, leave the accounts or the regions out with"
                " `exclude_accounts` or `exclude_regions`, or expect it with `known_gaps`."
            ),
        ),
        (
            "Could not assume the role (no role trust policy allows it) in 1 account",
            "If this is every account, check `role_name`, `external_id` and the role's trust policy.",
        ),
        (
            "Access denied (the service does not say why) in 1 account",
            (
                f"Check that the role allows {operation}. If it does, the region may not offer it:"
                " leave it out with `exclude_regions`."
            ),
        ),
    ]


def test_each_organization_has_a_line_of_its_own_that_names_no_option(
    result: Callable[..., TargetResult],
) -> None:
    uncovered = [
        replace(result(account, outcome=Outcome.ASSUME_ROLE_FAILED, code="AccessDenied"), organization=name)
        for name, accounts in (("com", (1, 2, 3)), ("gov", (4,)))
        for account in accounts
    ]
    com, gov = map(with_options, _lines(uncovered))
    assert com.startswith("com: Could not assume the role in 3 accounts (eu-west-1): 000000000001 acct-0, ")
    assert gov.startswith("gov: Could not assume the role in 1 account: 000000000004 acct-3 (eu-west-1) ")
    assert gov.endswith("check role_name, external_id and the role's trust policy.")


def test_what_tables_set_is_no_option_and_what_is_set_for_the_run_is_one(
    result: Callable[..., TargetResult],
) -> None:
    text = "Check `accounts`, set `strict` to false, or expect it with `known_gaps`."
    assert with_options(text, "gov") == "Check accounts, set --no-strict, or expect it with --known-gap."
    assert with_options(text) == "Check --accounts, set --no-strict, or expect it with --known-gap."
    (line,) = _lines([replace(result(4, outcome=Outcome.SCP_DENIED), organization="gov")])
    assert line.endswith("with exclude_accounts or exclude_regions, or expect it with --known-gap.")


def test_accounts_whose_role_fails_in_another_way_are_another_line(
    result: Callable[..., TargetResult],
) -> None:
    def failed(account: int, code: str, said: str = "") -> TargetResult:
        message = f"Could not assume arn:aws:iam::{account:012d}:role/Reader: {said}"
        return replace(result(account, outcome=Outcome.ASSUME_ROLE_FAILED, code=code), error_message=message)

    # One code, and two things to set.
    long_said, value_said = "exceeds the MaxSessionDuration set for this role", "Value 'x' at 'externalId'"
    too_long = [failed(each, "ValidationError", long_said) for each in range(10, 45)]
    no_value = [failed(each, "ValidationError", value_said) for each in range(50, 53)]
    missing_in = [failed(1, "AccessDenied"), failed(2, "AccessDenied")]
    long, value, missing = map(with_options, _lines([*missing_in, *too_long, *no_value]))
    assert value.startswith("Could not assume role Reader in 3 accounts")
    assert "(ValidationError). Check --role-name, --external-id, --session-name, --source-identity" in value
    assert long.startswith("Could not assume role Reader in 35 accounts")
    assert "(ValidationError). Check that --session-duration is at most" in long
    assert missing.startswith("Could not assume role Reader in 2 accounts")
    assert "(AccessDenied). If this is every account, check --role-name" in missing


def test_an_outage_of_sts_is_a_line_for_each_thing_to_do(result: Callable[..., TargetResult]) -> None:
    codes = [*NoReply, "503", "500", "ServiceUnavailable", "InternalFailure"]
    uncovered = [
        replace(
            result(number, outcome=Outcome.ASSUME_ROLE_FAILED, code=str(code)),
            error_message="Could not assume arn:aws:iam::1:role/Reader: it failed",
        )
        for number, code in enumerate(codes, 1)
    ]
    silent, down = map(with_options, _lines(uncovered))
    assert f"in {len(NoReply)} accounts" in silent
    assert "STS did not answer: check DNS, proxy and firewall" in silent
    assert "in 4 accounts" in down
    assert down.endswith("Run it again: STS was down.")


def test_the_role_that_could_not_be_assumed_is_named_where_it_is_one(
    result: Callable[..., TargetResult],
) -> None:
    def refused(account: int, role: str) -> TargetResult:
        message = f"Could not assume arn:aws:iam::{account:012d}:role/{role}: not authorized to perform: x"
        failed = result(account, outcome=Outcome.ASSUME_ROLE_FAILED, code="AccessDenied")
        return replace(failed, error_message=message)

    (line,) = _lines([refused(1, "team/a/Reader"), refused(2, "Reader")])
    assert line.startswith("Could not assume role Reader in 2 accounts (eu-west-1): ")
    (line,) = _lines([refused(1, "Reader"), refused(2, "Auditor")])
    assert line.startswith("Could not assume the role in 2 accounts (eu-west-1): ")


THROTTLES = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "429")
DURATIONS = (
    "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
    "1 validation error detected: Value '9' at 'durationSeconds' failed to satisfy constraint: Member must",
)


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("AccessDenied", "User: u is not authorized to perform: sts:AssumeRole", "check --role-name"),
        *((code, "no answer", "STS did not answer: check DNS, proxy and firewall") for code in NoReply),
        *((code, "no credentials", "Check for a proxy that changes responses.") for code in BadReply),
        *((code, "no port", "Run it again with a lower --concurrency") for code in LocalLimit),
        ("NoCredentials", "no SSO session", "Sign in with the profiles that the file names"),
        *((code, "Rate exceeded", "STS asked for fewer calls") for code in THROTTLES),
        *(("ValidationError", said, "Check that --session-duration is at most") for said in DURATIONS),
        ("ValidationError", "Value 'a b' at 'sourceIdentity'", "for the value that the message names."),
        (
            "PackedPolicyTooLarge",
            "too large",
            "Set fewer --session-tag. If the role takes no session policy, set",
        ),
        ("MalformedPolicyDocument", "bad", "If the role takes no session policy, set --no-session-policy."),
        (
            "AccessDenied",
            (
                "User: u is not authorized to perform: sts:AssumeRole on resource: r because no session"
                " policy allows the sts:AssumeRole action"
            ),
            "Allow sts:AssumeRole in the session policy of the caller's credentials, or use others.",
        ),
        (
            "AccessDenied",
            (
                "User: u is not authorized to perform: sts:AssumeRole on resource: r because no"
                " identity-based policy allows the sts:AssumeRole action"
            ),
            (
                "Allow sts:AssumeRole in the identity-based policy of the caller, or of the last role in"
                " --role-chain."
            ),
        ),
        (
            "AccessDenied",
            (
                "User: u is not authorized to perform: sts:AssumeRole on resource: r with an explicit deny"
                " in a permissions boundary"
            ),
            "Remove the deny of sts:AssumeRole from the permissions boundary of the caller, or of the last",
        ),
        (
            "AccessDenied",
            (
                "User: u is not authorized to perform: sts:AssumeRole on resource: r with an explicit deny"
                " in a service control policy"
            ),
            "No change to the role helps: change the service control policy.",
        ),
        (
            "AccessDenied",
            (
                "User: u is not authorized to perform: sts:AssumeRole on resource: r with an explicit deny"
                " in a role trust policy"
            ),
            "Remove the deny of sts:AssumeRole from the role trust policy.",
        ),
    ],
)
def test_what_helps_depends_on_what_the_role_refused(
    result: Callable[..., TargetResult], code: str, message: str, advice: str
) -> None:
    failed = result(1, outcome=Outcome.ASSUME_ROLE_FAILED, code=code)
    (line,) = _lines([replace(failed, error_message=f"Could not assume arn:aws:iam::1:role/R: {message}")])
    assert advice in with_options(line)


def test_accounts_that_had_pools_and_are_closed_are_one_line(result: Callable[..., TargetResult]) -> None:
    before = tuple(
        replace(result(each, region), pools=3) for each in (1, 2) for region in ("eu-west-1", "us-east-1")
    )
    (line,) = hidden_items({Outcome.NOT_ENTITLED: before}, POOLS)
    assert line == (
        "WorkSpaces Pools is closed now to 2 accounts in which an earlier snapshot saw 12 pools:"
        " 000000000001 acct-0 (2 regions), 000000000002 acct-1 (2 regions). A closed service lists no pools;"
        " whether these are gone is unknown."
    )
    assert not list(hidden_items({}, POOLS))


def test_pools_in_regions_that_are_disabled_are_a_line_with_what_they_cost(
    result: Callable[..., TargetResult],
) -> None:
    before = tuple(replace(result(each, "af-south-1"), pools=3) for each in range(8, 0, -1))
    disabled, unsupported = hidden_items(
        {Outcome.REGION_DISABLED: before, Outcome.REGION_UNSUPPORTED: before[-1:]}, POOLS
    )
    assert disabled == (
        "Regions are disabled now in 8 accounts where an earlier snapshot saw 24 pools: 000000000001 acct-0"
        " (af-south-1), 000000000002 acct-1 (af-south-1), 000000000003 acct-2 (af-south-1), 000000000004"
        " acct-3 (af-south-1), 000000000005 acct-4 (af-south-1), and 3 more. A disabled region keeps its"
        " resources, and AWS goes on to charge for them. Enable the region to list them."
    )
    assert unsupported == (
        "Regions no longer offer WorkSpaces Pools to 1 account in which an earlier snapshot saw 3 pools:"
        " 000000000001 acct-0 (af-south-1). Whether the pools are gone is unknown."
    )


def test_what_another_operation_lists_is_called_as_there(result: Callable[..., TargetResult]) -> None:
    keys = OperationInfo("kms:ListKeys", "key", "keys", "KeyId")
    lines = [*hidden_items(dict.fromkeys(sorted(HIDING), (replace(result(1), pools=3),)), keys)]
    assert all(" saw 3 keys: " in each and "pool" not in each.casefold() for each in lines)


def test_whatever_hides_pools_has_words_for_it(result: Callable[..., TargetResult]) -> None:
    before = (replace(result(1), pools=3),)
    lines = [*hidden_items(dict.fromkeys(sorted(HIDING), before), POOLS)]
    assert len({*lines}) == len(HIDING)
    assert all(
        "in which an earlier snapshot saw 3 pools" in each.replace("where", "in which") for each in lines
    )


def test_every_way_to_fail_has_words_for_it_and_ten_lines_hold_them_all(
    result: Callable[..., TargetResult],
) -> None:
    uncovered = [result(1, outcome=each) for each in Outcome if not each.covered]
    lines = list(failures(FailureTally(WORKSPACES_POOLS, uncovered).groups()))
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

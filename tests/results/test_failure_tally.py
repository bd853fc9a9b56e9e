"""Groups of failures, and the accounts that are named as examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ended_census import result
from poolcensus.analysis.causes import remedy_of
from poolcensus.errors import BadReply, LocalLimit, NoReply
from poolcensus.model import Outcome
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally

if TYPE_CHECKING:
    from poolcensus.model import TargetResult


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        *((code, "NoReply") for code in NoReply),
        *((code, "BadReply") for code in BadReply),
        *((code, "LocalLimit") for code in LocalLimit),
        *((code, "ServerError") for code in ("InternalFailure", "ServiceUnavailable", "503")),
        *((code, "ThrottledError") for code in ("Throttling", "RequestLimitExceeded", "429")),
        *(
            (code, "CredentialsNotAccepted")
            for code in ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch")
        ),
        ("RegionDisabledException", "RegionDisabledException"),
        ("PackedPolicyTooLarge", "PackedPolicyTooLarge"),
        ("AccessDenied", "AccessDenied"),
        (None, None),
    ],
)
def test_what_kept_a_role_from_being_assumed_is_told_in_words_that_stay(
    code: str | None, trouble: str | None
) -> None:
    failed = result(1, outcome=Outcome.ASSUME_ROLE_FAILED, code=code)
    (group,) = FailureTally(WORKSPACES_POOLS, [failed]).groups()
    assert repr(group.role_trouble) == repr(trouble)


def test_the_accounts_with_most_regions_come_first() -> None:
    regions = {3: ["a", "b"], 1: ["a"], 2: ["a", "b"], 4: ["a", "b", "c"]}
    tally = FailureTally(
        WORKSPACES_POOLS,
        (
            result(account, each, outcome=Outcome.SCP_DENIED)
            for account in regions
            for each in regions[account]
        ),
    )
    (group,) = tally.groups(examples=3)
    assert (group.accounts, group.targets) == (4, 8)
    assert [(int(each.id), each.regions) for each in group.examples] == [(4, 3), (2, 2), (3, 2)]


def test_causes_of_equally_many_accounts_have_one_order() -> None:
    failed = [
        result(1, outcome=Outcome.TIMED_OUT),
        result(2, outcome=Outcome.SCP_DENIED),
        result(3, outcome=Outcome.ASSUME_ROLE_FAILED, code="AccessDenied"),
        result(4, outcome=Outcome.ASSUME_ROLE_FAILED),
        result(5, outcome=Outcome.TIMED_OUT, code="Deadline"),
        *(result(number, outcome=Outcome.THROTTLED) for number in (6, 7)),
    ]
    met = (failed, failed[::-1], failed[3:] + failed[:3])
    first, *orders = (FailureTally(WORKSPACES_POOLS, each).groups() for each in met)
    assert orders == [first, first]
    assert [(each.outcome, each.code) for each in first] == [
        (Outcome.THROTTLED, None),
        (Outcome.SCP_DENIED, None),
        (Outcome.ASSUME_ROLE_FAILED, None),
        (Outcome.ASSUME_ROLE_FAILED, "AccessDenied"),
        (Outcome.TIMED_OUT, None),
        (Outcome.TIMED_OUT, "Deadline"),
    ]


def test_targets_that_timed_out_are_told_apart_by_what_ended_them() -> None:
    codes = ("Deadline", NoReply.TIMEOUT, None)
    tally = FailureTally(
        WORKSPACES_POOLS,
        [result(number, outcome=Outcome.TIMED_OUT, code=code) for number, code in enumerate(codes, 1)],
    )
    remedies = {group.code: remedy_of(group) for group in tally.groups()}
    settings = {None: "`target_timeout`", "Deadline": "`deadline`", NoReply.TIMEOUT: "`attempt_timeout`"}
    assert remedies.keys() == settings.keys()
    for code, setting in settings.items():
        assert f"with a longer {setting}" in remedies[code]


def test_targets_that_are_unreachable_for_several_reasons_are_one_group() -> None:
    codes = (NoReply.CONNECT, NoReply.NAME)
    failed = [result(number, outcome=Outcome.UNREACHABLE, code=code) for number, code in enumerate(codes, 1)]
    (group,) = FailureTally(WORKSPACES_POOLS, failed).groups()
    assert (group.code, group.targets) == (None, 2)


def test_sessions_that_are_too_short_for_the_queue_are_no_credentials_to_renew() -> None:
    remedies = [
        remedy_of(group)
        for code in ("SessionsTooShort", "ExpiredTokenException")
        for group in FailureTally(WORKSPACES_POOLS, [result(1, outcome=Outcome.EXPIRED, code=code)]).groups()
    ]
    assert ["a longer `session_duration`" in each for each in remedies] == [True, False]


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "AuthFailure"])
@pytest.mark.parametrize(
    ("regions", "advice"),
    [
        (("il-central-1", "af-south-1"), "The region may not be enabled, which nothing could confirm"),
        # A region that AWS has opened since then is one that an account has to enable.
        (("xx-new-1",), "The region may not be enabled, which nothing could confirm"),
        (("eu-west-1",), "AWS no longer knows the credentials of these accounts"),
        # What a region that is always on does not know either is no question of regions.
        (("eu-west-1", "il-central-1"), "AWS no longer knows the credentials of these accounts"),
    ],
)
def test_a_region_that_does_not_know_the_credentials_may_be_disabled_where_it_can_be(
    code: str, regions: tuple[str, ...], advice: str
) -> None:
    failed = [result(1, region, outcome=Outcome.ERROR, code=code) for region in regions]
    (group,) = FailureTally(WORKSPACES_POOLS, failed).groups()
    assert remedy_of(group).startswith(advice)


def test_what_few_accounts_have_besides_is_no_advice_for_the_others() -> None:
    def failed(account: int, region: str) -> TargetResult:
        return result(account, region, outcome=Outcome.ERROR, code="UnrecognizedClientException")

    opt_in = [failed(account, "il-central-1") for account in range(2, 5)]
    (group,) = FailureTally(WORKSPACES_POOLS, [*opt_in, failed(1, "eu-west-1")]).groups()
    assert remedy_of(group).startswith("The region may not be enabled")
    always_on = [failed(account, "eu-west-1") for account in range(5, 8)]
    (group,) = FailureTally(WORKSPACES_POOLS, [*opt_in, *always_on]).groups()
    assert remedy_of(group).startswith("AWS no longer knows")

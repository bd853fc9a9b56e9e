"""Expected failures, and known gaps that no longer hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.model import KnownGap, Outcome, OutdatedGap, TargetResult
from poolcensus.partitions import matches
from poolcensus.results.expected_failures import KnownGaps

ACCOUNTS = ("000000000001", "000000000002", "000000000003")
REGIONS = ("us-east-1", "eu-west-1", "eu-west-2")
OUTCOMES = (Outcome.OK, Outcome.EMPTY, Outcome.NOT_ENTITLED, Outcome.SCP_DENIED, Outcome.ACCESS_DENIED)

gaps = st.lists(
    st.builds(
        KnownGap,
        accounts=st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=2).map(tuple),
        regions=st.lists(st.sampled_from((*REGIONS, "eu-*")), unique=True, max_size=2).map(tuple),
        outcomes=st.lists(st.sampled_from(OUTCOMES[3:]), unique=True, min_size=1).map(tuple),
    ),
    max_size=4,
    unique=True,
)
ledgers = st.fixed_dictionaries(
    {(account, region): st.sampled_from(OUTCOMES) for account in ACCOUNTS for region in REGIONS}
)


def holds(gap: KnownGap, result: TargetResult) -> bool:
    account = not gap.accounts or result.account_id in gap.accounts
    return account and (not gap.regions or matches(result.region, gap.regions))


@settings(max_examples=200)
@given(gaps=gaps, ledger=ledgers)
def test_each_target_counts_once_and_each_gap_is_outdated_by_its_own_targets(
    gaps: list[KnownGap], ledger: dict[tuple[str, str], Outcome]
) -> None:
    known = KnownGaps(gaps)
    results = [TargetResult(account, None, region, outcome) for (account, region), outcome in ledger.items()]
    expected = [known.take(each) for each in results]
    assert expected == [
        any(holds(gap, each) and each.outcome in gap.outcomes for gap in gaps) for each in results
    ]
    assert known.expected == sum(expected) == sum(each.targets for each in known.counted())
    outdated = []
    for gap in gaps:
        inside = [each for each in results if holds(gap, each)]
        allowed = [each for each in inside if each.outcome in {Outcome.OK, Outcome.EMPTY}]
        if allowed or all(each.outcome.covered for each in inside):
            outdated.append(OutdatedGap(gap, len(allowed), allowed[0] if allowed else None, len(inside)))
    assert list(known.outdated(lambda _: False)) == outdated


def test_a_gap_without_a_target_holds_until_all_its_accounts_have_left() -> None:
    gap = KnownGap(ACCOUNTS[:2], (), (Outcome.SCP_DENIED,))
    anywhere = KnownGap((), ("eu-*",), (Outcome.SCP_DENIED,))
    known = KnownGaps((gap, anywhere))
    known.take(TargetResult(ACCOUNTS[2], None, "us-east-1", Outcome.OK))
    for left in ((), ACCOUNTS[:1], ACCOUNTS[2:]):
        assert known.outdated(left.__contains__) == ()
    assert known.outdated(ACCOUNTS.__contains__) == (OutdatedGap(gap, 0, None),)

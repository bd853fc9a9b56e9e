"""doctor and collect of several Organizations: what the one says of each, the other does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import poolcensus
from poolcensus.doctor import Cause, Check, CheckStatus, Finding
from poolcensus.errors import CensusError, CredentialsError, SettingsError
from storage.buckets import PLACE, stored
from two_organizations import FIVE, FOUR, ONE, THREE, TWO

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from poolcensus.config import Settings
    from poolcensus.simulator.s3.store import Bucket
    from two_organizations import Two

    OpenTwo = Callable[..., Coroutine[None, None, Two]]

DENIED = f"denied,policy=scp,account={FIVE}"
GAP = f"{FIVE}:*:scp_denied"


async def examined(settings: Settings, accounts: tuple[str, ...] = ()) -> list[Finding]:
    async with poolcensus.diagnose(settings, accounts=accounts, every_account=not accounts) as findings:
        return [each async for each in findings]


async def failed(settings: Settings) -> int | None:
    """How many targets of a collect failed, None where it published nothing."""
    async with poolcensus.Census(settings) as census:
        try:
            return (await census.collect()).manifest.failed
        except CensusError:
            return None


def problems(findings: list[Finding]) -> set[tuple[str | None, Check, str | None, Cause | None]]:
    return {
        (each.organization, each.check, each.account_id, each.cause) for each in findings if each.is_problem
    }


async def test_each_is_gone_through_and_every_finding_names_its_own(two: Two) -> None:
    findings = await examined(two.settings())
    assert problems(findings) == set()
    assert [(each.organization, each.account_id, each.region) for each in findings if each.region] == [
        *(
            ("commercial", each, region)
            for each in (ONE, TWO, THREE)
            for region in ("eu-west-1", "us-east-1")
        ),
        *(("gov", each, "us-gov-west-1") for each in (FOUR, FIVE)),
    ]
    *others, destination = findings
    assert {each.organization for each in others} == {"commercial", "gov"}
    for name in ("commercial", "gov"):
        checks = [each.check for each in others if each.organization == name]
        assert checks == sorted(checks, key=list(Check).index)
        assert set(checks) == {*Check} - {Check.DESTINATION}
    # Both are written to one.
    assert (destination.check, destination.organization) == (Check.DESTINATION, None)
    assert await failed(two.settings()) == 0


async def test_accounts_that_are_named_are_of_either(two: Two) -> None:
    findings = await examined(two.settings(), (THREE, FOUR))
    assert {(each.organization, each.account_id) for each in findings if each.check is Check.OPERATION} == {
        ("commercial", THREE),
        ("gov", FOUR),
    }
    with pytest.raises(CensusError, match="999999999999: not among the accounts of the census"):
        await examined(two.settings(), ("999999999999",))


async def test_what_one_lacks_is_said_of_that_one_and_a_known_gap_is_none(open_two: OpenTwo) -> None:
    two = await open_two(faults=(DENIED,))
    assert problems(await examined(two.settings())) == {("gov", Check.OPERATION, FIVE, Cause.SCP)}
    assert await failed(two.settings()) == 1
    findings = await examined(two.settings(known_gaps=[GAP]))
    assert problems(findings) == set()
    assert [(each.organization, each.account_id) for each in findings if each.cause is Cause.KNOWN_GAP] == [
        ("gov", FIVE)
    ]
    assert await failed(two.settings(known_gaps=[GAP])) == 0


async def test_a_statement_is_of_the_partition_of_its_own(open_two: OpenTwo) -> None:
    two = await open_two(faults=("denied,service=sts,operation=AssumeRole",))
    findings = [each for each in await examined(two.settings()) if each.is_problem]
    assert {(each.organization, each.check) for each in findings} == {("gov", Check.ROLE)}
    for each in findings:
        assert each.policy is not None
        assert each.policy["Resource"] == "arn:aws-us-gov:iam::*:role/GovReader"


async def test_one_that_can_t_be_reached_keeps_the_other_from_nothing(
    open_two: OpenTwo, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = await open_two()
    # The profile's keys are those of the other.
    first, second = two.tables()
    second = {**second, "profile": "commercial"}
    settings = two.settings(organization=[second, first])
    findings = await examined(settings)
    assert problems(findings) == {("gov", Check.CALLER, None, Cause.CREDENTIALS)}
    assert {each.status for each in findings if each.organization == "gov"} == {
        CheckStatus.FAILED,
        CheckStatus.SKIPPED,
    }
    assert {each.account_id for each in findings if each.check is Check.OPERATION and each.region} == {
        ONE,
        TWO,
        THREE,
    }
    assert await failed(settings) is None


async def test_where_accounts_can_t_be_listed_none_is_asked_by_the_wrong_credentials(
    open_two: OpenTwo,
) -> None:
    two = await open_two(commercial_faults=("denied,service=organizations",))
    findings = await examined(two.settings(), (FIVE,))
    assert problems(findings) == {("commercial", Check.ORGANIZATION, ONE, Cause.IDENTITY_POLICY)}
    assert {(each.organization, each.account_id) for each in findings if each.check is Check.ROLE} == {
        ("commercial", ONE),
        ("gov", FIVE),
    }
    assert await failed(two.settings()) is None


async def test_an_account_of_two_is_found_before_a_collect_ends_for_it(two: Two) -> None:
    first, second = two.tables()
    settings = two.settings(organization=[first, {**first, "name": "again"}, second])
    findings = await examined(settings)
    assert problems(findings) == {("again", Check.ORGANIZATION, ONE, Cause.ACCOUNTS)}
    assert [each.message for each in findings if each.is_problem] == [
        (
            f"3 accounts are listed by commercial too: {ONE}, {TWO}, {THREE}. Leave them out of one of them,"
            " with exclude_accounts in its table."
        )
    ]
    assert await failed(settings) is None


@pytest.mark.parametrize(
    ("changes", "second", "words"),
    [
        ({}, {"profile": "nobody"}, 'Organization gov: Profile "nobody" not found'),
        ({}, {"accounts_from": "missing.csv"}, "missing.csv"),
        ({"resume": True, "dest": PLACE}, {}, "`resume` needs a directory as its destination"),
    ],
)
async def test_what_is_wrong_in_the_settings_of_the_second_is_told_before_any_call(
    two: Two, changes: dict[str, object], second: dict[str, object], words: str
) -> None:
    first, other = two.tables()
    common = {"profile": "commercial", "endpoint_url": two.commercial.simulator.endpoint_url}
    settings = two.settings(organization=[first, {**other, **second}], **common, **changes)
    with pytest.raises(SettingsError) as by_doctor:
        await examined(settings)
    assert words in str(by_doctor.value)
    async with poolcensus.Census(settings) as census:
        with pytest.raises(SettingsError) as by_collect:
            await census.collect()
    assert str(by_collect.value) == str(by_doctor.value)
    assert two.commercial.simulator.stats.calls.total() == two.gov.simulator.stats.calls.total() == 0


def in_s3(two: Two, **changes: object) -> Settings:
    return two.settings(dest=PLACE, endpoint_url=two.commercial.simulator.endpoint_url, **changes)


def bucket_of(two: Two) -> Bucket:
    return stored(two.commercial.simulator)


async def test_a_bucket_is_written_with_the_credentials_outside_of_any_table(open_two: OpenTwo) -> None:
    two = await open_two(faults=(DENIED,))
    bucket = bucket_of(two)
    assert problems(await examined(in_s3(two))) == {
        ("gov", Check.OPERATION, FIVE, Cause.SCP),
        (None, Check.DESTINATION, None, Cause.CREDENTIALS),
    }
    async with poolcensus.Census(in_s3(two)) as census:
        with pytest.raises(CredentialsError):
            await census.collect()
    settings = in_s3(two, profile="commercial", known_gaps=[GAP])
    assert problems(await examined(settings)) == set()
    assert not bucket.objects
    assert await failed(settings) == 0
    assert any(each.endswith("/manifest.json") for each in bucket.objects)


async def test_the_bucket_s_grant_is_named_with_whoever_lacks_it(open_two: OpenTwo) -> None:
    two = await open_two(commercial_faults=("denied,service=s3,operation=PUT",))
    bucket_of(two)
    settings = in_s3(two, profile="commercial")
    (found,) = [each for each in await examined(settings) if each.is_problem]
    assert (found.check, found.organization, found.cause) == (
        Check.DESTINATION,
        None,
        Cause.IDENTITY_POLICY,
    )
    assert f"arn:aws:iam::{ONE}:user/census" in str(found.remedy)
    assert found.policy is not None
    assert (found.policy["Action"], str(found.policy["Resource"]).startswith("arn:aws:s3:::")) == (
        "s3:PutObject",
        True,
    )
    assert await failed(settings) is None

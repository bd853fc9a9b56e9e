"""Censuses by way of hub roles, by roles and profiles of single accounts, with sessions that end early."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from passing_time import PassingTime
from poolcensus.aws.credentials.chain_credentials import ChainCredentials
from poolcensus.aws.credentials.roles import RoleOverride
from poolcensus.aws.credentials.sts import StsEndpoints
from poolcensus.aws.session import open_aws, open_caller, open_limiter
from poolcensus.census import Census
from poolcensus.config.values import Secret
from poolcensus.errors import AssumeRoleError, CredentialsError, SettingsError
from poolcensus.model import Outcome
from poolcensus.operations import WORKSPACES_POOLS, Query
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.services.sts import Sts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.aws.credentials.sts import RoleRequest, RoleSession
    from poolcensus.aws.session import Aws
    from poolcensus.simulator.http import Identity, Request, Response

    Start = Callable[..., Coroutine[None, None, Lab]]

OWN, HUB, SECOND_HUB, MEMBER = (f"{number:012}" for number in range(1, 5))
REGIONS = ("us-east-1", "eu-west-1")
HUB_ROLE = f"arn:aws:iam::{HUB}:role/PoolCensusReader"


class Asked(msgspec.Struct, frozen=True):
    """A call of AssumeRole: by whose credentials, of which account's role."""

    by: str
    of: str
    form: dict[str, str]


class AssumeRoleLog:
    """What the simulator was asked for, and whether two calls for one role were under way at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Asked] = []
        real = Sts._assume_role

        def assume_role(service: Sts, request: Request, identity: Identity, form: dict[str, str]) -> Response:
            self.calls.append(Asked(identity.account_id, form["RoleArn"].split(":")[4], dict(form)))
            return real(service, request, identity, form)

        monkeypatch.setattr(Sts, "_assume_role", assume_role)

    def by(self) -> Counter[tuple[str, str]]:
        return Counter((each.by, each.of) for each in self.calls)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> AssumeRoleLog:
    return AssumeRoleLog(monkeypatch)


@asynccontextmanager
async def opened(
    here: Lab, overrides: Mapping[str, RoleOverride] | None = None, **changes: object
) -> AsyncIterator[Aws]:
    settings = here.settings(**changes)
    async with open_caller(settings) as read:
        async with open_aws(
            settings,
            read,
            WORKSPACES_POOLS,
            Query((), (), 25),
            None,
            limiter=open_limiter(settings),
            concurrent_runs=1,
            overrides=overrides or {},
            waiting=None,
        ) as aws:
            yield aws


async def test_accounts_behind_a_hub_are_asked_through_it(lab: Start, asked: AssumeRoleLog) -> None:
    here = await lab(accounts=8, pools_per_target=2, regions=REGIONS)
    snapshot = await here.collect(role_chain=HUB_ROLE)
    assert here.assert_exact(snapshot) == {Outcome.OK: 16}
    members = [f"{number:012}" for number in range(3, 9)]
    # One session of the hub for all, and one of its role for the census of its own account.
    assert asked.by() == {(OWN, HUB): 2, **{(HUB, each): 1 for each in members}}
    policies = Counter((each.of, "workspaces:" in each.form["Policy"]) for each in asked.calls)
    assert policies == {(HUB, False): 1, (HUB, True): 1, **{(each, True): 1 for each in members}}
    assert all(
        ("sts:AssumeRole" in each.form["Policy"]) is ("workspaces:" not in each.form["Policy"])
        for each in asked.calls
    )
    assert {each.form["DurationSeconds"] for each in asked.calls} == {"3600"}
    assert snapshot.manifest.totals.assume_role_calls == len(asked.calls)
    async with Census(here.settings(role_chain=HUB_ROLE)) as census:
        assert (await census.plan()).calls["sts:AssumeRole"] == len(asked.calls)


async def test_a_chain_of_two_hubs(lab: Start, asked: AssumeRoleLog) -> None:
    here = await lab(accounts=5, pools_per_target=1, regions=REGIONS, external_id="hush-hush")
    chain = [
        {"role_arn": each, "external_id": "hush-hush"}
        for each in (HUB_ROLE, HUB_ROLE.replace(HUB, SECOND_HUB))
    ]
    snapshot = await here.collect(
        role_chain=chain,
        external_id="hush-hush",
        source_identity="night",
        session_tags=["team=a b"],
        session_name="census",
        session_duration="2h",
    )
    assert here.assert_exact(snapshot) == {Outcome.OK: 10}
    last = "000000000005"
    assert asked.by() == {
        (OWN, HUB): 2,
        (HUB, SECOND_HUB): 2,
        (SECOND_HUB, MEMBER): 1,
        (SECOND_HUB, last): 1,
    }
    for each in asked.calls:
        # It stays for the whole chain, and can't be set again.
        assert each.form.get("SourceIdentity") == ("night" if each.by == OWN else None)
        assert (each.form["Tags.member.1.Key"], each.form["Tags.member.1.Value"]) == ("team", "a b")
        assert (each.form["RoleSessionName"], each.form["ExternalId"]) == ("census", "hush-hush")
        assert each.form["DurationSeconds"] == "3600" or each.of == HUB


async def test_the_callers_own_account_needs_neither_role_nor_hub(lab: Start) -> None:
    here = await lab(accounts=3, pools_per_target=1, regions=REGIONS)
    chain = f"arn:aws:iam::{HUB}:role/NoSuchHub"
    snapshot = await here.collect(role_chain=chain, accounts_from="self")
    assert {each.outcome for each in snapshot.targets()} == {Outcome.OK}
    assert here.calls("sts.AssumeRole") == 0


async def test_a_hub_that_cannot_be_assumed_ends_the_run(lab: Start) -> None:
    here = await lab(accounts=6, pools_per_target=1, regions=REGIONS)
    chain = f"arn:aws:iam::{HUB}:role/NoSuchHub"
    with pytest.raises(CredentialsError) as raised:
        await here.collect(role_chain=chain)
    assert str(raised.value).startswith(f"Could not assume {chain}: User: ")
    assert "(AccessDenied). No account can be asked without this role of `role_chain`" in str(raised.value)
    assert here.calls("sts.AssumeRole") == 1


async def test_a_run_outlasts_the_sessions_of_all_links(
    lab: Start, asked: AssumeRoleLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: Counter[object] = Counter()
    most: Counter[object] = Counter()
    real = StsEndpoints.assume_role

    async def assume_role(self: StsEndpoints, request: RoleRequest) -> RoleSession:
        # The session that a hub assumes others with is not that of the census in its own account.
        role = (request.owner, request.parameters["RoleArn"], request.parameters["Policy"])
        under_way[role] += 1
        most[role] = max(most[role], under_way[role])
        try:
            return await real(self, request)
        finally:
            under_way[role] -= 1

    monkeypatch.setattr(StsEndpoints, "assume_role", assume_role)
    here = await lab(
        accounts=9,
        pools_per_target=60,
        page_size=2,
        regions=REGIONS,
        latency=Latency.parse("5"),
        no_role=0.25,
    )
    hours = PassingTime(monkeypatch, here.simulator, pages=12)
    world = here.simulator.world
    first, second = [f"{index + 1:012}" for index in range(1, 9) if index not in world.no_role][:2]
    chain = [HUB_ROLE.replace(HUB, each) for each in (first, second)]
    snapshot = await here.collect(role_chain=chain, session_duration=900, concurrency=8)
    outcomes = here.assert_exact(snapshot)
    assert outcomes[Outcome.OK] > 0
    assert outcomes[Outcome.ASSUME_ROLE_FAILED] > 0
    assert hours.passed > 4 * 900
    assert set(most.values()) == {1}
    # A link is renewed after 14 minutes at the soonest, and only if somebody needs it.
    counts = asked.by()
    for by, of in ((OWN, first), (first, second)):
        assert 2 < counts[by, of] <= 2 * (hours.passed // 840 + 1)
    assert {each.form["DurationSeconds"] for each in asked.calls} == {"900"}


async def test_a_hub_that_is_refused_in_mid_run_ends_only_what_needs_it(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=6, pools_per_target=40, page_size=2, regions=REGIONS)
    PassingTime(monkeypatch, here.simulator, pages=8)
    real = Sts._assume_role
    before: list[str] = []

    def assume_role(service: Sts, request: Request, identity: Identity, form: dict[str, str]) -> Response:
        before.append(form["RoleArn"])
        if form["RoleArn"] == HUB_ROLE and identity.account_id == OWN and before.count(HUB_ROLE) > 1:
            raise RefusalError(403, "AccessDenied", "no more")
        return real(service, request, identity, form)

    monkeypatch.setattr(Sts, "_assume_role", assume_role)
    snapshot = await here.collect(role_chain=HUB_ROLE, session_duration=900, exclude_accounts=HUB)
    outcomes = Counter(each.outcome for each in snapshot.targets())
    assert outcomes.keys() == {Outcome.OK, Outcome.EXPIRED}
    expired = [each for each in snapshot.targets() if each.outcome is Outcome.EXPIRED]
    assert all(
        f"the session of hub role {HUB_ROLE} has ended" in (each.error_message or "") for each in expired
    )
    assert before.count(HUB_ROLE) == 2


async def test_single_accounts_have_roles_and_external_ids_of_their_own(
    lab: Start, asked: AssumeRoleLog
) -> None:
    here = await lab(accounts=4, regions=REGIONS, external_id="right")
    overrides = {
        HUB: RoleOverride(role="arn:{partition}:iam::{account_id}:role/PoolCensusReader"),
        SECOND_HUB: RoleOverride(role="PoolCensusReader", external_id=Secret("right")),
    }
    overrides[OWN] = RoleOverride(external_id=Secret("right"))
    async with opened(here, overrides, role_name="Other", external_id="wrong") as aws:
        assert isinstance(aws.broker.source(OWN), ChainCredentials)
        with pytest.raises(AssumeRoleError, match=f"{HUB}:role/PoolCensusReader"):
            await aws.broker.source(HUB).get()
        await aws.broker.source(SECOND_HUB).get()
        with pytest.raises(AssumeRoleError, match=f"{MEMBER}:role/Other"):
            await aws.broker.source(MEMBER).get()
    assert [each.form["ExternalId"] for each in asked.calls] == ["wrong", "right", "wrong"]


@pytest.mark.parametrize("key", ["role_arn", "role_chain", "override"])
async def test_a_role_in_another_partition_is_refused_once_the_caller_is_known(lab: Start, key: str) -> None:
    here = await lab(accounts=2, regions=REGIONS)
    template = "arn:aws-us-gov:iam::{account_id}:role/R"
    given: dict[str, object] = {"role_arn": template, "role_chain": template.format(account_id=HUB)}
    overrides = {HUB: RoleOverride(role=template)}
    with pytest.raises(
        SettingsError, match="is in partition aws-us-gov, and the caller's credentials are of aws"
    ):
        async with opened(
            here,
            overrides if key == "override" else None,
            **({key: given[key]} if key in given else {}),
        ):
            pass
    assert here.calls("sts.AssumeRole") == 0


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Lab], None]:
    """Two profiles: the one that the simulator knows, and one without credentials."""

    def write(here: Lab) -> None:
        path = tmp_path / "profiles"
        path.write_text(
            f"[profile known]\naws_access_key_id = {here.simulator.access_key_id}\n"
            f"aws_secret_access_key = {here.simulator.secret_access_key}\n[profile empty]\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    return write


async def test_a_profile_is_asked_whose_it_is_before_it_is_used(
    lab: Start, profiles: Callable[[Lab], None], asked: AssumeRoleLog
) -> None:
    here = await lab(accounts=4, regions=REGIONS)
    profiles(here)
    overrides = {
        OWN: RoleOverride(profile="known"),
        HUB: RoleOverride(profile="known"),
        SECOND_HUB: RoleOverride(profile="known", role="PoolCensusReader"),
        MEMBER: RoleOverride(profile="empty"),
    }
    # The hub is for those that have no profile.
    async with opened(here, overrides, role_chain=HUB_ROLE) as aws:
        assert here.calls("sts.GetCallerIdentity") == 1
        assert aws.broker.assume_role_calls((OWN, HUB, SECOND_HUB, MEMBER)) == 1
        own = aws.broker.source(OWN)
        assert own.current() is None
        assert (await own.get()).access_key_id == here.simulator.access_key_id
        assert own.current() is not None
        for _ in range(2):
            with pytest.raises(AssumeRoleError, match=f"credentials of account {OWN}, not of {HUB}"):
                await aws.broker.source(HUB).get()
            with pytest.raises(AssumeRoleError, match="profile empty") as raised:
                await aws.broker.source(MEMBER).get()
            assert raised.value.permanent
        assert (await aws.broker.source(SECOND_HUB).get()).access_key_id.startswith("ASIA")
    assert here.calls("sts.GetCallerIdentity") == 2
    assert asked.by() == {(OWN, SECOND_HUB): 1}


async def test_a_profile_is_asked_whose_it_is_where_sts_is_on(
    lab: Start, profiles: Callable[[Lab], None]
) -> None:
    off = "region-disabled,service=sts,operation=GetCallerIdentity,region=eu-west-1"
    here = await lab(accounts=2, regions=REGIONS, faults=(off,))
    profiles(here)
    overrides = {HUB: RoleOverride(profile="known", role="PoolCensusReader")}
    async with opened(here, overrides, sts_region="eu-west-1") as aws:
        assert (await aws.broker.source(HUB).get()).access_key_id.startswith("ASIA")


async def test_a_profile_with_a_region_that_is_none_is_told_of_its_accounts(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=2, regions=REGIONS)
    path = tmp_path / "odd"
    path.write_text("[profile odd]\nregion = not/a/region\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    async with opened(here, {HUB: RoleOverride(profile="odd")}) as aws:
        with pytest.raises(AssumeRoleError, match="Could not use profile odd: The region of your AWS config"):
            await aws.broker.source(HUB).get()


async def test_a_profile_that_is_not_there_is_refused_before_the_first_call(
    lab: Start, profiles: Callable[[Lab], None]
) -> None:
    here = await lab(accounts=2, regions=REGIONS)
    profiles(here)
    with pytest.raises(SettingsError, match=f'account {HUB}: Profile "nope" not found'):
        async with opened(here, {HUB: RoleOverride(profile="nope")}):
            pass
    assert here.calls("sts.GetCallerIdentity") == 0


async def test_a_duration_over_the_roles_maximum_says_what_to_set(lab: Start) -> None:
    here = await lab(accounts=3, pools_per_target=1, regions=REGIONS, role_max_session=7200)
    snapshot = await here.collect(session_duration="3h")
    failed = [each for each in snapshot.targets() if each.account_id != OWN]
    assert {each.outcome for each in failed} == {Outcome.ASSUME_ROLE_FAILED}
    for each in failed:
        assert (each.error_message or "").endswith(
            "MaxSessionDuration set for this role. Check that `session_duration` is at most the maximum"
            " session duration of the role."
        )


async def test_a_role_that_takes_no_session_policy(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=3, pools_per_target=1, regions=REGIONS)
    real = Sts._assume_role

    def assume_role(service: Sts, request: Request, identity: Identity, form: dict[str, str]) -> Response:
        if "Policy" in form:
            raise RefusalError(400, "PackedPolicyTooLarge", "Packed size of session tags and policy")
        return real(service, request, identity, form)

    monkeypatch.setattr(Sts, "_assume_role", assume_role)
    snapshot = await here.collect()
    failed = [each.error_message or "" for each in snapshot.targets() if each.outcome is not Outcome.OK]
    assert len(failed) == 4
    assert all("set `session_policy` to false" in each for each in failed)
    here.assert_exact(await here.collect(session_policy=False))

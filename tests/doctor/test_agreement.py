"""Whatever the Organization is like, doctor says what a collect then does: of each target, and in all."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import poolcensus
from census_lab import open_labs
from poolcensus.doctor import Check
from poolcensus.errors import CensusError
from poolcensus.simulator import Document, Policies, PolicySet, read_document

if TYPE_CHECKING:
    from census_lab import Lab
    from poolcensus.doctor import Finding
    from poolcensus.snapshot import Snapshot

REGIONS = ("us-east-1", "eu-west-1", "af-south-1")
TWO, THREE = "000000000002", "000000000003"
HUB = f"arn:aws:iam::{TWO}:role/Hub"
ACTIONS = (
    "organizations:ListAccounts",
    "sts:AssumeRole",
    "workspaces:DescribeWorkspacesPools",
    "account:ListRegions",
    "ec2:DescribeRegions",
)


def document(*statements: dict[str, object]) -> Document:
    return read_document(json.dumps({"Version": "2012-10-17", "Statement": [*statements]}))


def allowing(*actions: str) -> dict[str, object]:
    return {"Effect": "Allow", "Action": [*actions], "Resource": "*"}


def denying(action: str, region: str | None) -> dict[str, object]:
    condition = {} if region is None else {"Condition": {"StringEquals": {"aws:RequestedRegion": region}}}
    return {"Effect": "Deny", "Action": action, "Resource": "*", **condition}


PARTS = st.sets(st.sampled_from(ACTIONS), min_size=4).map(lambda some: document(allowing(*some)))
DENIALS = st.builds(
    lambda action, region: document(allowing("*"), denying(action, region)),
    st.sampled_from(ACTIONS),
    st.sampled_from((None, *REGIONS)),
)
DOCUMENTS = st.one_of(st.none(), st.none(), PARTS, DENIALS)
TRUST = st.sampled_from(
    [
        None,
        None,
        *(
            document(
                {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{each}:root"}, "Action": "sts:*"}
            )
            for each in ("000000000001", "999999999999")
        ),
    ]
)
SETS = st.builds(
    PolicySet,
    identity=DOCUMENTS,
    trust=TRUST,
    boundary=DOCUMENTS,
    scp=DOCUMENTS,
    rcp=st.one_of(st.none(), st.none(), DENIALS),
    endpoint=DOCUMENTS,
)
NO_POLICY = st.just(PolicySet())
POLICIES = st.builds(
    Policies,
    caller=st.one_of(NO_POLICY, NO_POLICY, NO_POLICY, SETS),
    members=st.one_of(NO_POLICY, SETS),
    accounts=st.dictionaries(st.sampled_from((TWO, THREE)), SETS, max_size=1),
    names_trust=st.booleans(),
)
FAULTS = st.lists(
    st.builds(
        lambda kind, place: f"{kind}{place}",
        st.sampled_from(
            ("denied", "denied,policy=scp", "neutral", "not-entitled", "unsupported",
             "region-disabled", "same-token")
        ),
        st.sampled_from(
            ("", f",account={TWO}", ",region=eu-west-1", f",account={THREE},region=af-south-1")
        ),
    ),
    max_size=2,
)  # fmt: skip
WORLDS = st.fixed_dictionaries(
    {
        "accounts": st.sampled_from((1, 4, 6)),
        "regions": st.sampled_from((REGIONS, REGIONS[:1], REGIONS[1:])),
        "pools_per_target": st.sampled_from((None, 0, 3)),
        "paths": st.booleans(),
        "states": st.sampled_from(("both", "State", "Status")),
        "management_role": st.booleans(),
        "hub_roles": st.sampled_from(((), (), (HUB,))),
        "caller": st.sampled_from(("management", "management", "delegated")),
        "neutral_regions": st.sampled_from(((), (), ("eu-west-1",))),
        "sts_off": st.sampled_from(((), (), ("us-east-1",))),
        "trusted_access": st.booleans(),
        "refuse_list_regions": st.booleans(),
        "refuse_describe_regions": st.booleans(),
        "external_id": st.sampled_from((None, None, "right")),
        "role_max_session": st.sampled_from((3600, 7200, 7200)),
        **{
            each: st.sampled_from((0.0, 0.0, 0.14))
            for each in (
                "suspended", "scp_denied", "no_role", "access_denied", "opt_in_disabled", "not_entitled",
                "invited_without_role",
            )
        },
    }
)  # fmt: skip
ASKED = st.fixed_dictionaries(
    {
        "role_chain": st.sampled_from(("", "", HUB)),
        "region_status": st.sampled_from(("member", "management", "off")),
        "external_id": st.sampled_from((None, "right", "right", "wrong")),
        "session_duration": st.sampled_from((3600, 3600, 7200)),
        "source_identity": st.sampled_from((None, None, "census")),
        "known_gaps": st.sampled_from(
            (
                (),
                (),
                (f"{TWO}:*:scp_denied",),
                ("*:eu-west-1:access_denied",),
                (f"{THREE}:*:assume_role_failed",),
            )
        ),
    }
)


async def collected(here: Lab, asked: dict[str, object]) -> Snapshot | None:
    async with poolcensus.Census(here.settings(**asked)) as census:
        try:
            return await census.collect()
        except CensusError:
            return None


def agree(findings: list[Finding], snapshot: Snapshot | None) -> None:
    """Assert that a collect failed just where doctor said so."""
    problems = [each for each in findings if each.is_problem]
    assert bool(problems) is (snapshot is None or snapshot.manifest.failed > 0), problems
    if snapshot is None:
        return
    # Of an account without credentials there is one finding, and a line for each region.
    without = {each.account_id for each in problems if each.check is Check.ROLE}
    said = {
        (each.account_id, each.region)
        for each in problems
        if each.check is Check.OPERATION and each.account_id not in without
    }
    tried = {
        (each.account_id, each.region) for each in findings if each.check is Check.OPERATION and each.region
    }
    ledger = {(each.account_id, each.region): each for each in snapshot.targets()}
    gaps = sum(each.targets or 0 for each in snapshot.manifest.known_gaps)
    lost = {place for place, each in ledger.items() if not each.outcome.covered}
    assert len(lost) - gaps == snapshot.manifest.failed
    assert tried <= ledger.keys()
    assert said <= lost
    assert {account for account, _ in lost - said} <= without | {
        each.account_id for each in findings if each.cause == "known_gap"
    }
    assert len({place for place in lost if place[0] in without} | said) == snapshot.manifest.failed


async def compare(world: dict[str, object], asked: dict[str, object]) -> None:
    # Enough for a region that is off to be told by another one that knows the same credentials.
    given = {"max_attempts": 3, **{key: each for key, each in asked.items() if each is not None}}
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        async with open_labs(patch, Path(folder)) as start:
            try:
                here = await start(**world)
            except ValueError:
                # More is wrong with the members than there are members.
                reject()
            findings = await here.examine(**given)
            snapshot = await collected(here, given)
            agree(findings, snapshot)


EXAMPLES = {"world": WORLDS, "asked": ASKED, "policies": POLICIES, "faults": FAULTS}


@given(**EXAMPLES)
@settings(max_examples=8, derandomize=True)
async def test_doctor_and_collect_agree(
    world: dict[str, object], asked: dict[str, object], policies: Policies, faults: list[str]
) -> None:
    await compare({**world, "policies": policies, "faults": faults}, asked)


@pytest.mark.long
@given(**EXAMPLES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
async def test_doctor_and_collect_agree_in_many_worlds(
    world: dict[str, object], asked: dict[str, object], policies: Policies, faults: list[str]
) -> None:
    await compare({**world, "policies": policies, "faults": faults}, asked)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.refusals.denials import PolicyDenial, read_denial

USER = "arn:aws:sts::2:assumed-role/Reader/census"
ROLE = "arn:aws:iam::000000000002:role/PoolCensusReader"
SUBJECT = f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
REGIONS = f"User: {USER} is not authorized to perform: ec2:DescribeRegions"
OBJECT = f"User: {USER} is not authorized to perform: s3:PutObject"
# A key may be any text.
KEY = "arn:aws:s3:::b/a because no session policy/x"
SCP = "arn:aws:organizations::1:policy/o-1/service_control_policy/p-1"


@pytest.mark.parametrize(
    ("message", "denial"),
    [
        (SUBJECT, PolicyDenial(USER, "sts:AssumeRole", ROLE)),
        (
            f"Could not assume {ROLE}: {SUBJECT}",
            PolicyDenial(USER, "sts:AssumeRole", ROLE),
        ),
        (
            f"{SUBJECT} because no identity-based policy allows the sts:AssumeRole action",
            PolicyDenial(USER, "sts:AssumeRole", ROLE, "identity-based policy"),
        ),
        (
            f"{SUBJECT} because no role trust policy allows the sts:AssumeRole action",
            PolicyDenial(USER, "sts:AssumeRole", ROLE, "role trust policy"),
        ),
        (
            f"{SUBJECT} with an explicit deny in a service control policy: {SCP}.",
            PolicyDenial(
                USER, "sts:AssumeRole", ROLE, "service control policy", explicit=True, policy_arn=SCP
            ),
        ),
        (
            f"You are not authorized to perform this operation. {REGIONS} because no permissions boundary",
            PolicyDenial(USER, "ec2:DescribeRegions", None, "permissions boundary"),
        ),
        (
            f'{OBJECT} on resource: "{KEY}" with an explicit deny in a resource-based policy',
            PolicyDenial(USER, "s3:PutObject", KEY, "resource-based policy", True),
        ),
        (
            f"{SUBJECT} because no sessions policy allows it",
            PolicyDenial(USER, "sts:AssumeRole", ROLE, "session policy"),
        ),
        ("Access Denied", None),
        ("because no identity-based policy allows it", None),
        ("", None),
    ],
)
def test_a_denial_is_read_in_every_form(message: str, denial: PolicyDenial | None) -> None:
    assert read_denial(message) == denial


@given(st.text())
def test_nothing_that_follows_changes_who_was_refused_what(text: str) -> None:
    found = read_denial(f"{SUBJECT} {text}")
    assert found is not None
    assert found[:3] == (USER, "sts:AssumeRole", ROLE)
    assert (found.policy is not None) or not found.explicit


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    read_denial(text)

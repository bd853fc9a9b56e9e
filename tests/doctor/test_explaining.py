"""What is made of a denial's text alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.analysis.causes import remedy_of
from poolcensus.doctor.denied import Attempt, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.doctor.principals import caller_in_words, principal_in_words, role_of_accounts
from poolcensus.doctor.role_refusal import RoleCall, explain_role_refusal
from poolcensus.doctor.statements import allow, allow_principal, trust
from poolcensus.errors import BadReply, LocalLimit, NoReply
from poolcensus.model import Outcome, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally

if TYPE_CHECKING:
    from poolcensus.model import JsonObject

USER = "arn:aws:iam::000000000001:user/census"
SESSION = "arn:aws-us-gov:sts::000000000001:assumed-role/Admin/jane"
ROLE = "arn:aws:iam::000000000002:role/PoolCensusReader"
SUBJECT = f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
OF_THE_ROLE: JsonObject = {
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws-us-gov:iam::000000000001:root"},
    "Condition": {
        "ArnLike": {
            "aws:PrincipalArn": [
                "arn:aws-us-gov:iam::000000000001:role/Admin",
                "arn:aws-us-gov:iam::000000000001:role/*/Admin",
            ]
        }
    },
}
POLICIES = {
    "identity-based policy": Cause.IDENTITY_POLICY,
    "resource-based policy": Cause.RESOURCE_POLICY,
    "role trust policy": Cause.TRUST_POLICY,
    "session policy": Cause.SESSION_POLICY,
    "permissions boundary": Cause.PERMISSIONS_BOUNDARY,
    "service control policy": Cause.SCP,
    "resource control policy": Cause.RCP,
    "VPC endpoint policy": Cause.VPC_ENDPOINT_POLICY,
}


def test_a_trust_policy_names_a_user_and_the_role_of_a_session_by_a_condition() -> None:
    assert trust(USER) == {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "sts:AssumeRole"}
    assert trust(SESSION, "sts:TagSession") == {**OF_THE_ROLE, "Action": "sts:TagSession"}
    with_id = trust(SESSION, with_external_id=True)
    assert with_id["Condition"] == {
        **dict(OF_THE_ROLE["Condition"]),  # type: ignore[arg-type] # an object
        "StringEquals": {"sts:ExternalId": "EXTERNAL_ID"},
    }
    assert allow_principal("s3:GetObject", SESSION, "arn:aws:s3:::b/*") == {
        **OF_THE_ROLE,
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::b/*",
    }


def test_who_calls_is_named_as_a_person_would_look_for_it() -> None:
    assert caller_in_words(USER) == f"the caller {USER}"
    assert caller_in_words(SESSION) == "the caller's role Admin"
    assert principal_in_words(USER) == USER
    assert principal_in_words(SESSION) == "role Admin of account 000000000001"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("explicit", [False, True])
def test_an_allow_is_offered_only_where_it_helps(policy: str, explicit: bool) -> None:
    reason = f"with an explicit deny in a {policy}" if explicit else f"because no {policy} allows it"
    message = (
        f"User: {USER} is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::b/k {reason}"
    )
    found = explain_denial(message, Attempt("s3:GetObject", "the caller", "the account", "arn:aws:s3:::b/*"))
    assert found.cause is POLICIES[policy]
    # What the denial says goes before what was tried.
    assert found.action == "s3:PutObject"
    mendable = not explicit and found.cause not in {Cause.SCP, Cause.RCP}
    assert found.status is (CheckStatus.FAILED if mendable else CheckStatus.NOT_MENDABLE)
    assert (found.policy is not None) is mendable
    if found.policy is not None:
        assert (found.policy["Effect"], found.policy["Action"]) == ("Allow", "s3:PutObject")


def test_the_policy_that_refused_is_named() -> None:
    arn = "arn:aws:organizations::1:policy/o-1/service_control_policy/p-1"
    message = f"{SUBJECT} with an explicit deny in a service control policy: {arn}"
    assert arn in explain_denial(message, Attempt("sts:AssumeRole", "x", "y")).remedy


@given(message=st.text(), code=st.text(), outcome=st.sampled_from(Outcome))
def test_anything_is_explained(message: str, code: str, outcome: Outcome) -> None:
    for text in (message, f"{SUBJECT} {message}"):
        found = explain_denial(text, Attempt("a:B", "x", "y"))
        assert found.remedy
        assert found.status is CheckStatus.FAILED or found.policy is None
        assert explain_failure(outcome, code, text).remedy


def refused(code: str, message: str, **facts: object) -> tuple[Cause, str]:
    call = RoleCall(
        caller_arn=USER,
        account_id="000000000002",
        role_arn=ROLE,
        has_external_id=bool(facts.get("external_id")),
        assumed=bool(facts.get("assumed")),
        denial_at_home=None,
    )
    found = explain_role_refusal(call, failed(code, f"Could not assume {ROLE}: {message}"))
    return found.cause, found.remedy


def failed(code: str, message: str) -> TargetResult:
    return TargetResult(
        account_id="000000000002",
        account_name=None,
        region="us-east-1",
        outcome=Outcome.ASSUME_ROLE_FAILED,
        pools=0,
        pages=0,
        attempts=1,
        throttles=0,
        seconds=0.1,
        error_code=code,
        error_message=message,
    )


TRUST = f"{SUBJECT} because no role trust policy allows the sts:AssumeRole action"
TAGS = (
    f"User: {USER} is not authorized to perform: sts:TagSession on resource: {ROLE} because no role trust"
    " policy allows the sts:TagSession action"
)


@pytest.mark.parametrize(
    ("code", "message", "facts", "cause"),
    [
        ("AccessDenied", SUBJECT, {"assumed": True}, Cause.MISSING_ROLE),
        ("AccessDenied", SUBJECT, {"assumed": True, "external_id": True}, Cause.MISSING_ROLE),
        ("AccessDenied", SUBJECT, {"external_id": True}, Cause.EXTERNAL_ID),
        ("AccessDenied", SUBJECT, {}, Cause.MISSING_ROLE),
        ("AccessDenied", TRUST, {}, Cause.TRUST_POLICY),
        ("AccessDenied", TRUST, {"external_id": True}, Cause.EXTERNAL_ID),
        ("AccessDenied", TRUST, {"external_id": True, "assumed": True}, Cause.TRUST_POLICY),
        ("AccessDenied", TAGS, {"external_id": True}, Cause.TRUST_POLICY),
        ("PackedPolicyTooLarge", "Packed size", {}, Cause.SESSION_POLICY),
        ("MalformedPolicyDocument", "Syntax errors in policy", {}, Cause.SESSION_POLICY),
        (
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            {},
            Cause.DURATION,
        ),
        ("ValidationError", "Value '9' at 'durationSeconds' failed", {}, Cause.DURATION),
        ("ValidationError", "1 validation error detected", {}, Cause.SERVICE_ERROR),
        (NoReply.CONNECT, "no connection", {}, Cause.UNREACHABLE),
        (BadReply.CUT_OFF, "cut off", {}, Cause.BAD_RESPONSE),
        (LocalLimit.FILES, "no file descriptor is left", {}, Cause.UNREACHABLE),
        ("ServiceUnavailable", "down", {}, Cause.SERVICE_ERROR),
        ("ExpiredTokenException", "The security token included in the request is expired", {}, Cause.EXPIRED),
        ("Throttling", "Rate exceeded", {}, Cause.THROTTLED),
        ("SignatureDoesNotMatch", "The signature we calculated does not match", {}, Cause.CREDENTIALS),
        ("SignatureDoesNotMatch", "Signature expired: it is earlier than", {}, Cause.CLOCK),
        ("RegionDisabledException", "STS is not activated in this region", {}, Cause.CREDENTIALS),
    ],
)
def test_a_refused_role_comes_down_to_one_cause(
    code: str, message: str, facts: dict[str, object], cause: Cause
) -> None:
    assert refused(code, message, **facts)[0] is cause


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ValidationError", "Value 'a b' at 'sourceIdentity' failed to satisfy constraint"),
        ("ValidationError", "exceeds the MaxSessionDuration set for this role"),
        *((code, "x") for code in ("MalformedPolicyDocument", "PackedPolicyTooLarge")),
        *((code, "x") for code in ("Throttling", "ThrottlingException", "ServiceUnavailable", "503")),
        *((code, "x") for code in ("InvalidClientTokenId", "SignatureDoesNotMatch")),
        *((code, "x") for code in (NoReply.TIMEOUT, BadReply.BODY, LocalLimit.OTHER)),
    ],
)
def test_what_a_snapshot_says_of_a_refused_role_is_what_doctor_says(code: str, said: str) -> None:
    (group,) = FailureTally(WORKSPACES_POOLS, [failed(code, f"Could not assume {ROLE}: {said}")]).groups()
    assert refused(code, said)[1] == remedy_of(group)


@pytest.mark.parametrize("outcome", ["throttled", "timed_out", "bad_response", "expired", "cancelled"])
def test_what_mends_an_outcome_is_the_same_in_doctor(outcome: str) -> None:
    result = replace(failed("x", "x"), outcome=Outcome(outcome))
    (group,) = FailureTally(WORKSPACES_POOLS, [result]).groups()
    assert explain_failure(result.outcome, "x", "x").remedy == remedy_of(group)


def test_what_is_said_of_a_role_is_the_same_for_every_account() -> None:
    # A template may put the account's ID into the name, and what differs is not grouped.
    def found(number: int) -> Diagnosis:
        account = f"{number:012}"
        role = f"arn:aws:iam::{account}:role/audit/Reader-{account}"
        message = (
            f"Could not assume {role}: User: {USER} is not authorized to perform: sts:AssumeRole on resource:"
            f" {role}"
        )
        call = RoleCall(USER, account, role, has_external_id=False, assumed=0, denial_at_home=None)
        return explain_role_refusal(call, failed("AccessDenied", message))

    assert found(2) == found(3)
    assert found(2).policy == allow("sts:AssumeRole", "arn:aws:iam::*:role/audit/Reader-*")
    assert "has a role audit/Reader-{account_id}: create it" in found(2).remedy
    assert role_of_accounts(ROLE, "000000000002") == "PoolCensusReader"


def test_what_is_left_is_listed() -> None:
    _, remedy = refused("AccessDenied", SUBJECT)
    for each in ("`role_name`", "trust policies", "`external_id`", "this statement"):
        assert each in remedy


@pytest.mark.parametrize("message", [SUBJECT, TRUST])
@pytest.mark.parametrize("external_id", [False, True])
def test_where_no_account_lets_the_caller_in_it_may_be_another_by_the_same_name(
    message: str, external_id: bool
) -> None:
    again = f"If the caller {USER} was deleted and created again,"
    for assumed in (False, True):
        _, remedy = refused("AccessDenied", message, external_id=external_id, assumed=assumed)
        assert (again in remedy) is not assumed

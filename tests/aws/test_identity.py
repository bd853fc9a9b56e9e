"""The caller's identity, and the region of the STS that is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.credentials.identity import _caller, _explained_error
from poolcensus.aws.credentials.sts import sts_region
from poolcensus.aws.faults import error_of
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import BadResponseError, CredentialsError, FatalError
from poolcensus.flow.retry import RetryPolicy
from poolcensus.model import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

_BODY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>{arn}</Arn><UserId>AIDA</UserId><Account>{account}</Account></GetCallerIdentityResult>"
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_the_partition_is_that_of_the_arn(partition: str) -> None:
    arn = f"arn:{partition}:sts::000000000001:assumed-role/r/s"
    body = _BODY.format(arn=arn, account="000000000001").encode()
    assert _caller(Reply(200, {}, body)) == Caller("000000000001", arn, partition)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b"<a/>",
        b"<a><Account>000000000001</Account></a>",
        b"<a><Account></Account><Arn>arn:aws:iam::000000000001:root</Arn></a>",
        b"<a><Account>000000000001</Account><Arn>nonsense</Arn></a>",
        b"<a><Account>000000000001</Account><Arn>arn:aws</Arn></a>",
        b"<a><Account>000000000001</Account><Arn>arn:::::</Arn></a>",
        b"<a><Account>000000000001</Account><Arn>arn:aw\ns:iam::000000000001:root</Arn></a>",
        b"<a><Account>../../etc</Account><Arn>arn:aws:iam::000000000001:root</Arn></a>",
        b"<a><Account>1</Account><Arn>arn:aws:iam::000000000001:root</Arn></a>",
        "<a><Account>\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661</Account>"
        "<Arn>arn:aws:iam::000000000001:root</Arn></a>".encode(),
    ],
)
def test_a_reply_without_an_identity(body: bytes) -> None:
    with pytest.raises(BadResponseError):
        _caller(Reply(200, {}, body))


@given(
    st.text(st.characters(exclude_characters="<&", exclude_categories=["C"]), max_size=40),
    st.text("1:a/", max_size=14) | st.text("01", min_size=12, max_size=12),
)
def test_any_arn_is_a_caller_or_a_bad_response(arn: str, account: str) -> None:
    try:
        found = _caller(Reply(200, {}, _BODY.format(arn=arn, account=account).encode()))
    except BadResponseError:
        return
    assert len(found.account_id) == 12
    assert found.partition.replace("-", "").isalpha()


@pytest.mark.parametrize(
    ("status", "code", "about_credentials", "words"),
    [
        (400, "Throttling", False, "STS throttles GetCallerIdentity"),
        (400, "ThrottlingException", False, "STS throttles GetCallerIdentity"),
        (400, "RequestLimitExceeded", False, "STS throttles GetCallerIdentity"),
        (429, "", False, "STS throttles GetCallerIdentity"),
        (503, "SlowDown", False, "STS throttles GetCallerIdentity"),
        (503, "ServiceUnavailable", False, "STS gave no usable answer"),
        (404, "", False, "STS gave no usable answer"),
        (403, "", False, "STS gave no usable answer"),
        (400, "InvalidAction", False, "STS gave no usable answer"),
        (302, "", False, "STS gave no usable answer"),
        (403, "InvalidClientTokenId", True, "does not accept the caller's credentials"),
        (403, "SignatureDoesNotMatch", True, "does not accept the caller's credentials"),
        (400, "IncompleteSignature", True, "does not accept the caller's credentials"),
        (403, "ExpiredToken", True, "does not accept the caller's credentials"),
        (403, "AccessDenied", True, "denies the caller GetCallerIdentity"),
    ],
)
def test_only_credentials_are_blamed_on_the_credentials(
    status: int, code: str, about_credentials: bool, words: str
) -> None:
    body = b"<Error><Code>%b</Code><Message>some message</Message></Error>" % code.encode()
    told = _explained_error(error_of(Reply(status, {}, body)))
    assert words in str(told)
    assert isinstance(told, CredentialsError) is about_credentials


async def test_a_throttled_sts_is_not_asked_once_only(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "poolcensus.aws.credentials.identity._PATIENCE",
        RetryPolicy(max_attempts=3, first_wait=0.0, throttle_floor=0.0),
    )
    here = await lab(accounts=1, faults=("throttle,service=sts,operation=GetCallerIdentity",))
    with pytest.raises(FatalError, match="STS throttles GetCallerIdentity.*Run again in a minute"):
        await here.collect()
    assert here.calls("sts.GetCallerIdentity") == 3


@pytest.mark.parametrize(
    ("partition", "configured", "region"),
    [
        ("aws", None, "us-east-1"),
        ("aws", "eu-north-1", "eu-north-1"),
        ("aws", "us-gov-west-1", "us-east-1"),
        ("aws", "aws-global", "us-east-1"),
        ("aws-us-gov", None, "us-gov-west-1"),
        ("aws-us-gov", "us-east-1", "us-gov-west-1"),
        ("aws-us-gov", "us-gov-east-1", "us-gov-east-1"),
        ("aws-cn", "us-east-1", "cn-northwest-1"),
        ("aws-new", "nn-1", "nn-1"),
        ("aws-new", None, "us-east-1"),
    ],
)
def test_the_region_whose_sts_is_asked(partition: str, configured: str | None, region: str) -> None:
    assert sts_region(partition, configured) == region

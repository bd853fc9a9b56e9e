"""Signatures, compared with those of the SDK's signer."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest import mock
from unittest.mock import ANY

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.aws.signing import Clock, Credentials, RequestTemplate, sign
from poolcensus.flow.breaker import Endpoint

HERE, THERE = Endpoint("us-east-1", "workspaces"), Endpoint("ap-south-1", "workspaces")
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: (
        name not in {"host", "authorization", "expect", "transfer-encoding", "x-amzn-trace-id", "connection"}
    )
)
# Names that sort before, between and after those of the two headers that differ in each call.
_NAMES = _NAMES | st.sampled_from(["content-type", "x-amz-a", "x-amz-e", "x-amz-target", "x-a", "z"])
_VALUES = st.from_regex(r"[!-~]{1,10}( [!-~]{1,10}){0,3}", fullmatch=True)
_KEYS = st.from_regex(r"[A-Za-z0-9/+=]{1,60}", fullmatch=True)


@settings(max_examples=60)
@given(
    headers=st.dictionaries(_NAMES, _VALUES, max_size=6),
    agent=st.none() | _VALUES,
    body=st.binary(max_size=200),
    access_key=st.from_regex(r"[A-Z0-9]{4,30}", fullmatch=True),
    secret=_KEYS,
    token=st.none() | _KEYS,
    service=st.sampled_from(["workspaces", "sts", "organizations", "account", "ec2"]),
    region=st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1"]),
    host=st.sampled_from(["workspaces.us-east-1.amazonaws.com", "127.0.0.1:4566", "localhost:80", "x:443"]),
    path=st.sampled_from(["/", "/list-regions", "/a/b_c-d.e~f"]),
    moment=st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1)),  # noqa: DTZ001 - UTC below
)
def test_signatures_are_those_of_the_sdk(  # noqa: PLR0917 - hypothesis gives them by name
    headers: dict[str, str],
    agent: str | None,
    body: bytes,
    access_key: str,
    secret: str,
    token: str | None,
    service: str,
    region: str,
    host: str,
    path: str,
    moment: dt.datetime,
) -> None:
    # The SDK signs the `host` of the URL, without the default port of the scheme.
    url = f"https://{host}{path}"
    named = host.removesuffix(":443")
    if agent is not None:
        headers = {**headers, "user-agent": agent}
    template = RequestTemplate("POST", url, named, path, headers, service, region, None, ANY)
    moment = moment.replace(microsecond=0, tzinfo=dt.UTC)
    clock = Clock(now=moment.timestamp)
    # Other calls of the operation, with another date, token and body, must leave nothing behind.
    for others in (None, "another/token", token):
        credentials = Credentials("AKIAOTHER", "another", others)
        sign(template, b"another", credentials, "20000101T000000Z")
    credentials = Credentials(access_key, secret, token)
    # The same credentials are used on another day, and in another region.
    sign(template, body, credentials, "20000101T000000Z")
    elsewhere = RequestTemplate("POST", url, named, path, headers, "another", "ap-south-1", None, ANY)
    sign(elsewhere, body, credentials, clock.stamp(HERE))
    ours = _headers(sign(template, body, credentials, clock.stamp(HERE)))

    request = AWSRequest("POST", url, headers=headers, data=body)
    naive = moment.replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", return_value=naive):
        SigV4Auth(SdkCredentials(access_key, secret, token), service, region).add_auth(request)
    theirs = {name.lower(): str(value) for name, value in request.headers.items()}
    assert ours["authorization"] == theirs["authorization"]
    assert ours["x-amz-date"] == theirs["x-amz-date"]
    assert ours.get("x-amz-security-token") == theirs.get("x-amz-security-token")
    assert ours["host"] == named
    assert headers.items() <= ours.items()


def _headers(lines: str) -> dict[str, str]:
    assert lines.endswith("\r\n")
    return dict(line.split(": ", 1) for line in lines.removesuffix("\r\n").split("\r\n"))


def test_a_template_is_not_changed_by_signing() -> None:
    headers = {"content-type": "application/x-amz-json-1.1"}
    template = RequestTemplate("POST", "https://h/", "h", "/", headers, "workspaces", "us-east-1", None, ANY)
    sign(template, b"", Credentials("AKIA", "secret", "token"), "20260101T000000Z")
    assert headers == {"content-type": "application/x-amz-json-1.1"}


def test_the_secret_parts_never_show() -> None:
    credentials = Credentials("AKIAEXAMPLE", "the-secret-key", "the-token")
    for shown in (repr(credentials), str(credentials), f"{credentials!r:>100}", repr([credentials])):
        assert "AKIAEXAMPLE" in shown
        assert "the-secret-key" not in shown
        assert "the-token" not in shown


def test_credentials_that_have_signed_are_what_they_were() -> None:
    template = RequestTemplate("POST", "https://h/", "h", "/", {}, "workspaces", "us-east-1", None, ANY)
    credentials, others = (Credentials("AKIAEXAMPLE", "the-secret-key", "the-token") for _ in range(2))
    before = repr(credentials)
    sign(template, b"", credentials, "20260101T000000Z")
    # The key of a day can sign as well as the secret key that it is derived from.
    assert repr(credentials) == before
    assert credentials == others
    assert hash(credentials) == hash(others)


class Now:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_stamp_is_utc_to_the_second() -> None:
    now = Now(0.0)
    clock = Clock(now)
    assert clock.stamp(HERE) == "19700101T000000Z"
    now.now = 0.999
    assert clock.stamp(HERE) == "19700101T000000Z"
    now.now = 1_000_000_000.5
    assert clock.stamp(HERE) == "20010909T014640Z"
    now.now = 0.0
    assert clock.stamp(HERE) == "19700101T000000Z"


@pytest.mark.parametrize("off", [-7200.0, -301.0, -60.0, 61.0, 301.0, 1e6])
def test_the_clock_follows_the_service(off: float) -> None:
    now = Now(1_000_000_000.0)
    clock = Clock(now)
    assert clock.stamp(HERE) == "20010909T014640Z"
    assert clock.correct(HERE, now.now + off)
    assert clock.offset == off
    expected = dt.datetime.fromtimestamp(now.now + off, dt.UTC)
    assert clock.stamp(HERE) == expected.strftime("%Y%m%dT%H%M%SZ")
    # All calls in flight are refused in the same way, and only the first refusal changes the clock.
    assert not clock.correct(HERE, now.now + off + 2)
    assert clock.offset == off
    # And back again, if this machine's clock was set meanwhile.
    assert clock.correct(HERE, now.now)
    assert clock.offset == 0


def test_the_first_correction_is_for_all_and_an_endpoint_that_refuses_it_has_its_own() -> None:
    now = Now(1_000_000_000.0)
    clock = Clock(now)
    assert clock.correct(HERE, now.now + 1200)
    assert clock.stamp(THERE) == "20010909T020640Z"
    assert not clock.correct(THERE, now.now - 300)
    for _ in range(2):
        assert [clock.stamp(each) for each in (HERE, THERE)] == ["20010909T020640Z", "20010909T014140Z"]
    assert not clock.correct(THERE, now.now - 301)
    # Its later corrections apply to all endpoints again.
    assert clock.correct(HERE, now.now)
    assert [clock.stamp(each) for each in (HERE, THERE)] == ["20010909T014640Z", "20010909T014140Z"]


def test_two_clocks_that_agree_outweigh_an_endpoint_that_is_off() -> None:
    now = Now(1_000_000_000.0)
    clock = Clock(now)
    assert clock.correct(HERE, now.now + 1200)
    assert clock.correct(THERE, now.now + 1)
    another = Endpoint("eu-west-1", "workspaces")
    assert [clock.stamp(each)[9:13] for each in (HERE, THERE, another)] == ["0206", "0146", "0146"]
    # Calls that were in flight then are refused, too, and change nothing.
    assert not clock.correct(HERE, now.now + 1201)
    assert not clock.correct(another, now.now)


def test_an_endpoint_whose_own_clock_is_put_right_has_the_time_of_this_machine() -> None:
    now = Now(1_000_000_000.0)
    clock = Clock(now)
    assert clock.correct(HERE, now.now + 400)
    assert not clock.correct(THERE, now.now + 700)
    assert clock.correct(THERE, now.now)
    assert [clock.stamp(each)[9:] for each in (HERE, THERE)] == ["015320Z", "014640Z"]


@pytest.mark.parametrize("off", [-59.0, 0.0, 1.0, 59.0])
def test_a_difference_that_no_service_minds_is_left(off: float) -> None:
    clock = Clock(Now(1_000_000_000.0))
    assert not clock.correct(HERE, 1_000_000_000.0 + off)
    assert clock.offset == 0


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\n", "\ra", "a b", "a\0", "a\x7f", "\u00e9", ""])
def test_credentials_that_fit_in_no_header_are_none(value: str) -> None:
    for keys in ((value, "s", "t"), ("a", value, "t"), ("a", "s", value)):
        with pytest.raises(ValueError, match="can't stand in a header|is empty") as caught:
            Credentials(*keys)
        assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"user-agent": "a\r\nx-evil: 1"}},
        {"headers": {"x-amz-target": "a\n"}},
        {"headers": {"x-amz-target": " a"}},
        {"headers": {"x-evil: 1\r\nhost": "a"}},
        {"headers": {"user-agent": "\u00e9"}},
        {"host": "h\r\nx-evil: 1"},
        {"path": "/ HTTP/1.1\r\nx-evil: 1"},
        {"url": "https://h/a b"},
        {"region": "us-east-1\n"},
        {"proxy": "http://p\r\nx-evil: 1"},
        {"method": "GET /evil"},
    ],
)
def test_a_request_whose_head_would_have_another_line_is_none(changes: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "method": "POST",
        "url": "https://h/",
        "host": "h",
        "path": "/",
        "headers": {"user-agent": "a b/1.0 (c; d)\te", "content-type": "x"},
        "service": "sts",
        "region": "us-east-1",
        "proxy": None,
        "operation": ANY,
    }
    RequestTemplate(**given)
    with pytest.raises(ValueError, match="can't stand in a header") as caught:
        RequestTemplate(**{**given, **changes})
    if "headers" not in changes:
        assert "evil" not in str(caught.value)


def test_a_template_does_not_show_the_password_of_its_proxy() -> None:
    template = RequestTemplate(
        "POST", "https://h/", "h", "/", {}, "sts", "us-east-1", "http://u:pass@p:1", ANY
    )
    assert "pass" not in repr(template)

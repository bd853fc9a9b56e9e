"""What an error of AWS means: every code and status of the references, every form they arrive in."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from poolcensus import codec
from poolcensus.aws.faults import classify, error_of, parse_xml, server_time
from poolcensus.aws.transport import Reply
from poolcensus.errors import (
    AccessDeniedError,
    BadResponseError,
    CallError,
    ClockSkewError,
    ExpiredError,
    RecordedError,
    RegionDisabledError,
    RegionUnsupportedError,
    RetryableError,
    ScpDeniedError,
    ServerError,
    ServiceError,
    ThrottledError,
    UnrecognizedCredentialsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CODES: dict[type[CallError], str] = {
    ThrottledError: (
        "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException"
        " TooManyRequestsException ProvisionedThroughputExceededException RequestLimitExceeded"
        " BandwidthLimitExceeded LimitExceededException SlowDown PriorRequestNotComplete"
        " EC2ThrottledException TransactionInProgressException"
    ),
    ServerError: (
        "RequestTimeout RequestTimeoutException InternalError InternalFailure InternalServerException"
        " ServiceUnavailable ServiceUnavailableException"
    ),
    ExpiredError: "ExpiredToken ExpiredTokenException RequestExpired",
    ClockSkewError: "RequestTimeTooSkewed RequestInTheFuture",
    AccessDeniedError: "AccessDenied AccessDeniedException UnauthorizedOperation",
    RegionDisabledError: "OptInRequired RegionDisabledException",
    UnrecognizedCredentialsError: "UnrecognizedClientException InvalidClientTokenId AuthFailure",
    ServiceError: "InvalidParameterValuesException ResourceNotFoundException ValidationException Whatever",
}
PAIRS = [(code, kind) for kind, codes in CODES.items() for code in codes.split()]
STATUSES: dict[int, type[CallError]] = {
    429: ThrottledError,
    509: ThrottledError,
    500: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    599: ServerError,
    400: ServiceError,
    403: AccessDeniedError,
}


def reply(body: bytes, status: int = 400, **headers: str) -> Reply:
    return Reply(
        status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body
    )


def forms(code: str, message: str) -> list[bytes]:
    """The bodies by which the three protocols say the same."""
    return [
        codec.dumps({"__type": code, "message": message}),
        codec.dumps({"__type": f"com.amazon.coral.service#{code}", "Message": message}),
        codec.dumps({"__type": f"{code}:http://internal.amazon.com/coral/com.amazon.coral.service/#x"}),
        codec.dumps({"code": code, "message": message}),
        f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>".encode(),
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error></Errors></Response>".encode(),
    ]


@pytest.mark.parametrize(("code", "kind"), PAIRS)
def test_every_code_has_its_family_in_every_form(code: str, kind: type[CallError]) -> None:
    for body in forms(code, "why"):
        error = error_of(reply(body))
        assert type(error) is kind
        assert error.code == code
        assert error.status == 400
    by_header = error_of(reply(b"", x_amzn_ErrorType=f"{code}:http://x/"))
    assert (type(by_header), by_header.code) == (kind, code)


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
@pytest.mark.parametrize(
    "body", [b"", b"<html><body><h1>oops</h1><br></body></html>", b"{}", b"[1]", b"\xff\xfe"]
)
def test_without_a_code_the_status_says_it(status: int, kind: type[CallError], body: bytes) -> None:
    error = error_of(reply(body, status))
    assert type(error) is kind
    assert error.code == str(status)
    assert str(status) in error.message


@pytest.mark.parametrize("status", [429, 509])
def test_an_unknown_code_does_not_hide_a_throttling_status(status: int) -> None:
    assert type(error_of(reply(codec.dumps({"__type": "New", "message": "x"}), status))) is ThrottledError


def test_a_known_code_goes_before_the_status() -> None:
    assert type(error_of(reply(codec.dumps({"__type": "ThrottlingException"}), 500))) is ThrottledError
    assert type(error_of(reply(codec.dumps({"__type": "AccessDeniedException"}), 503))) is AccessDeniedError


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation"])
def test_a_service_control_policy_is_told_by_the_message(code: str) -> None:
    message = "User: x is not authorized to perform: y with an explicit deny in a service control policy"
    for body in forms(code, message):
        if b"service control policy" in body:
            assert type(error_of(reply(body))) is ScpDeniedError


def test_a_policy_named_in_another_error_is_no_refusal() -> None:
    body = codec.dumps({"__type": "ValidationException", "message": "no such service control policy"})
    assert type(error_of(reply(body))) is ServiceError


@pytest.mark.parametrize("code", ["InvalidSignatureException", "SignatureDoesNotMatch"])
@pytest.mark.parametrize(
    ("message", "is_skew"),
    [
        ("Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z (+5 min.)", True),
        ("Signature not yet current: 20260101T010000Z is still later than 20260101T000500Z", True),
        ("The difference between the request time and the current time is too large.", True),
        ("The request signature we calculated does not match the signature you provided.", False),
        ("", False),
    ],
)
def test_a_signature_is_refused_for_its_date_or_for_good(code: str, message: str, is_skew: bool) -> None:
    body = codec.dumps({"__type": code, "message": message})
    error = error_of(reply(body, 403, Date="Thu, 01 Jan 2026 00:05:00 GMT"))
    assert isinstance(error, ClockSkewError) == is_skew
    assert isinstance(error, RecordedError) != is_skew
    if is_skew:
        assert error.server_time == datetime(2026, 1, 1, 0, 5, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307])
def test_what_is_no_error_by_its_status_is_a_bad_response(status: int) -> None:
    error = error_of(reply(codec.dumps({"__type": "AccessDenied"}), status, Location="https://elsewhere/"))
    assert type(error) is BadResponseError
    assert "elsewhere" not in error.message


@pytest.mark.parametrize(
    "code", ["UnknownOperationException", "UnknownOperation", "InvalidAction", "UnsupportedOperation"]
)
def test_a_region_that_does_not_know_the_operation(code: str) -> None:
    assert all(type(error_of(reply(body))) is RegionUnsupportedError for body in forms(code, "x"))


def test_a_region_that_says_in_words_that_it_does_not_offer_it() -> None:
    body = codec.dumps(
        {"__type": "InvalidParameterValuesException", "message": "It is not supported in this Region"}
    )
    assert type(error_of(reply(body))) is RegionUnsupportedError


SECRET = "IQoJb3JpZ2luX2VjEXAMPLEtokenEXAMPLE/+=="


@pytest.mark.parametrize(
    "text",
    [
        f"x-amz-security-token:{SECRET}",
        f"X-Amz-Security-Token={SECRET}&more",
        f'"SessionToken": "{SECRET}"',
        f"<SessionToken>{SECRET}</SessionToken>",
        f"the security token {SECRET} is expired",
        f"secret access key: {SECRET}",
        f"SecretAccessKey={SECRET}",
        f"secret_key '{SECRET}'",
        f"external id: {SECRET}",
        f"ExternalId={SECRET}",
    ],
)
def test_secrets_in_a_message_are_masked(text: str) -> None:
    for body in (codec.dumps({"__type": "X", "message": f"it says {text} here"}), *forms("X", f"a {text} b")):
        error = error_of(reply(body))
        assert SECRET not in str(error)
        assert SECRET[:16] not in error.message


@pytest.mark.parametrize("text", ["ExternalId=ab", '"ExternalId": "ab1"', "external-id: abc"])
def test_short_external_ids_are_masked_too(text: str) -> None:
    assert "ab" not in error_of(reply(codec.dumps({"__type": "X", "message": text}))).message


@pytest.mark.parametrize(
    "message",
    [
        "The security token included in the request is invalid.",
        "The security token included in the request is expired",
        "User: arn:aws:iam::000000000001:user/x is not authorized to perform: sts:AssumeRole on resource: r",
    ],
)
def test_common_messages_stay_as_they_are(message: str) -> None:
    assert error_of(reply(codec.dumps({"__type": "X", "message": message}))).message == message


def test_a_message_without_end_is_cut() -> None:
    assert len(error_of(reply(codec.dumps({"__type": "c" * 5000, "message": "m" * 50_000}))).message) == 1000
    assert len(error_of(reply(codec.dumps({"__type": "c" * 5000}))).code) == 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("9" * 7, None),
        ("soon", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert error_of(reply(b"", 503, Retry_After=text)).retry_after == seconds
    assert error_of(reply(b"", 503)).retry_after is None


def test_the_request_id_is_kept() -> None:
    assert error_of(reply(b"", x_amzn_RequestId="r-1")).request_id == "r-1"
    assert error_of(reply(b"", x_amz_request_id="r-2")).request_id == "r-2"


@pytest.fixture
def a_machine_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`-0000` says UTC without a zone: nothing of this machine's may come into it."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000"])
@pytest.mark.usefixtures("a_machine_in_tokyo")
def test_the_date_of_a_reply(zone: str) -> None:
    expected = datetime(2026, 11, 23, 2, 0, 3, tzinfo=UTC).timestamp()
    assert server_time({"Date": f"Mon, 23 Nov 2026 02:00:03 {zone}"}) == expected


@given(st.text(max_size=40) | st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,5} \d\d:\d\d:\d\d [+-]?\d{1,5}"))
def test_any_date_is_a_time_or_none(text: str) -> None:
    found = server_time({"Date": text})
    assert found is None or isinstance(found, float)


_XML_PIECES = st.lists(
    st.sampled_from(
        [
            *("<Code>AccessDenied</Code>", "<Error>", "</Error>", "<a>", "</a>", "<?xml version='1.0'?>"),
            *("<?xml version='1.0' encoding='gbk'?>", "<?xml version='1.0' encoding='none-such'?>", "<!--"),
            *("<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "&#0;", "text", "]]>", "<![CDATA[", "-->"),
        ]
    ),
    max_size=8,
).map(lambda pieces: "".join(pieces).encode())


@settings(deadline=None, max_examples=150)
@given(
    body=st.binary(max_size=100)
    | _XML_PIECES
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["__type", "message", "code", "Code", "x"]), inner),
        max_leaves=6,
    ).map(codec.dumps),
    status=st.integers(100, 599),
    headers=st.dictionaries(
        st.sampled_from(["Date", "Retry-After", "x-amzn-ErrorType", "x-amzn-RequestId"]), st.text(max_size=20)
    ),
)
def test_any_reply_is_an_error_that_can_be_read(body: bytes, status: int, headers: dict[str, str]) -> None:
    error = error_of(Reply(status, CIMultiDict(headers), body))
    assert isinstance(error, RetryableError | RecordedError)
    assert error.message
    assert error.code
    assert error.status == status


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=30), st.text(max_size=200), st.integers(400, 599))
def test_classify_takes_any_text(code: str, message: str, status: int) -> None:
    assert isinstance(classify(code, message, status=status, headers={}), CallError)


_BOMB = '<!DOCTYPE a [<!ENTITY b "no">]><a>&b;</a>'


@pytest.mark.parametrize(
    "body",
    [
        _BOMB.encode(),
        b'<?xml version="1.0"?>' + _BOMB.encode(),
        b" " * 2000 + _BOMB.encode(),
        b"<?pi " + b"x" * 2000 + b"?>" + _BOMB.encode(),
        _BOMB.encode("utf-16-le"),
        b"<?xml version='1.0' encoding='none-such'?><a/>",
        b"<?xml version='1.0' encoding='gbk'?><a/>",
        b"<a>",
        b"<a></b>",
        b"<html><br></html>",
        b"",
        b"{}",
    ],
)
def test_a_document_type_or_a_broken_body_is_not_xml(body: bytes) -> None:
    assert parse_xml(body) is None


def test_xml_is_read_with_comments_and_sections() -> None:
    root = parse_xml(b"\n<a><!-- x --><b><![CDATA[1 < 2]]></b></a>")
    assert root is not None
    assert root.findtext("b") == "1 < 2"

"""The meaning of AWS's errors: all codes and statuses of the references, in all forms of replies."""

from __future__ import annotations

import html
import json
import re
import time
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from poolcensus.aws.faults import error_of, parse_xml, server_time
from poolcensus.aws.refusals.redaction import redact, without_secrets
from poolcensus.aws.refusals.table import TABLE, denial_in
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import (
    AccessDeniedError,
    BadResponseError,
    CallError,
    ClockSkewError,
    ExpiredError,
    NotEntitledError,
    RecordedError,
    RegionUnsupportedError,
    RetryableError,
    ScpDeniedError,
    ServerError,
    ServiceError,
    ThrottledError,
    UnrecognizedCredentialsError,
)
from poolcensus.format import codec
from poolcensus.model import Denial, Outcome
from poolcensus.operations import WORKSPACES_POOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    UnrecognizedCredentialsError: (
        "UnrecognizedClientException InvalidClientTokenId AuthFailure OptInRequired RegionDisabledException"
    ),
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
    """The same error in the bodies of the three protocols."""
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


def test_every_code_has_its_family_in_every_form() -> None:
    wrong = []
    for code, kind in PAIRS:
        replies = [*map(reply, forms(code, "why")), reply(b"", x_amzn_ErrorType=f"{code}:http://x/")]
        for each in replies:
            error = error_of(each)
            if (type(error), error.code, error.status) != (kind, code, 400):
                wrong.append((code, each, error))
    assert not wrong


def test_without_a_code_the_status_says_it() -> None:
    bodies = (b"", b"<html><body><h1>oops</h1><br></body></html>", b"{}", b"[1]", b"\xff\xfe")
    wrong = []
    for (status, kind), body in product(STATUSES.items(), bodies):
        error = error_of(reply(body, status))
        if (type(error), error.code) != (kind, str(status)) or str(status) not in error.message:
            wrong.append((status, body, error))
    assert not wrong


@pytest.mark.parametrize("status", [429, 509])
def test_an_unknown_code_does_not_hide_a_throttling_status(status: int) -> None:
    assert type(error_of(reply(codec.dumps({"__type": "New", "message": "x"}), status))) is ThrottledError


def test_a_known_code_goes_before_the_status() -> None:
    assert type(error_of(reply(codec.dumps({"__type": "ThrottlingException"}), 500))) is ThrottledError
    assert type(error_of(reply(codec.dumps({"__type": "AccessDeniedException"}), 503))) is AccessDeniedError


ARN = "arn:aws:sts::000000000002:assumed-role/PoolCensusReader/poolcensus-me"
WHAT = "arn:aws:workspaces:eu-west-1:000000000002:workspacespool/*"
DENIAL = f"User: {ARN} is not authorized to perform: workspaces:DescribeWorkspacesPools on resource: {WHAT}"
POLICIES = (
    "identity-based policy",
    "resource-based policy",
    "service control policy",
    "resource control policy",
    "session policy",
    "VPC endpoint policy",
    "permissions boundary",
    "role trust policy",
)
DENIED_CODES = ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation")
CLOSED = (
    "Amazon WorkSpaces Pools is no longer available to new customers as of 7/30/2026. Refer to"
    " https://docs.aws.amazon.com/workspaces/latest/adminguide/wsp-pools-end-of-support.html"
)
NEUTRAL = (
    "You do not have the permissions required to perform this action. Refer to"
    " https://docs.aws.amazon.com/workspaces/latest/adminguide/workspaces-access-control.html"
)


def denied(code: str, message: str, region: str = "eu-west-1") -> CallError:
    return error_of(reply(codec.dumps({"__type": code, "message": message})), region, WORKSPACES_POOLS)


DENIED_BY = (
    " because no {} allows the workspaces:DescribeWorkspacesPools action",
    " with an explicit deny in a {}",
    " with an explicit deny in an {}: arn:aws:organizations::1:policy/o-1/service_control_policy/p-1",
    " with an explicit deny in the {}",
)


def test_a_denial_names_the_policy() -> None:
    wrong = []
    for code, policy, form in product(DENIED_CODES, POLICIES, DENIED_BY):
        kind = ScpDeniedError if policy == "service control policy" else AccessDeniedError
        denial = Denial(policy, "explicit" in form)
        for before in ("", "You are not authorized to perform this operation. "):
            message = before + DENIAL + form.format(policy)
            error = denied(code, message)
            # The last one is in the message of a role that could not be assumed.
            found = (
                type(error),
                error.message,
                denial_in(message),
                denial_in(f"Could not assume {ARN}: {message}"),
            )
            if found != (kind, message, denial, denial):
                wrong.append((code, message, found))
    assert not wrong


def test_a_denial_that_names_no_policy_is_a_denial() -> None:
    for message in (DENIAL, f"{DENIAL} with an explicit deny", "Access Denied", ""):
        assert type(denied("AccessDeniedException", message)) is AccessDeniedError
        assert denial_in(message) is None
    assert type(denied("AccessDenied", "Refused by a service control policy")) is ScpDeniedError


@pytest.mark.parametrize("code", DENIED_CODES)
@pytest.mark.parametrize(
    "message",
    [
        CLOSED,
        CLOSED.partition(" Refer")[0],
        "Amazon WorkSpaces Pools is no longer available to new customers as of 1/1/2027.",
        "See https://docs.aws.amazon.com/de_de/workspaces/latest/adminguide/wsp-pools-end-of-support.html",
    ],
)
def test_an_account_to_which_the_service_is_closed_is_told_by_the_text_or_its_page(
    code: str, message: str
) -> None:
    error = denied(code, message)
    assert type(error) is NotEntitledError
    assert error.message == message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        # A denial may name any resource. The name must not make a denied account look closed to the service.
        (
            "AccessDeniedException",
            "User: arn:aws:sts::2:assumed-role/r/wsp-pools-end-of-support is not authorized to perform: x",
        ),
        ("AccessDeniedException", f"{DENIAL} because no session policy allows it. {CLOSED}"),
        ("AccessDeniedException", "WorkSpaces is no longer available"),
        ("ValidationException", CLOSED),
        ("InternalServerException", CLOSED),
        ("ThrottlingException", CLOSED),
    ],
)
def test_nothing_else_makes_an_account_closed(code: str, message: str) -> None:
    assert not denied(code, message).outcome.covered


@pytest.mark.parametrize(
    "region", ["af-south-1", "il-central-1", "us-east-2", "ap-southeast-5", "eu-north-1"]
)
def test_the_neutral_refusal_means_no_pools_where_the_catalogue_says_so(region: str) -> None:
    assert type(denied("AccessDeniedException", NEUTRAL, region)) is RegionUnsupportedError


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-3", "sa-east-1", "us-gov-west-1", "xx-new-1", ""])
def test_the_neutral_refusal_is_a_refusal_elsewhere_and_says_what_it_may_be(region: str) -> None:
    error = denied("AccessDeniedException", NEUTRAL, region)
    assert type(error) is AccessDeniedError
    assert error.message.startswith(NEUTRAL)
    assert "may lack workspaces:DescribeWorkspacesPools" in error.message


def test_a_denial_by_a_policy_is_never_neutral() -> None:
    message = f"{DENIAL} because no identity-based policy allows it (/workspaces-access-control.html)"
    assert type(denied("AccessDeniedException", message, "af-south-1")) is AccessDeniedError


def test_every_row_of_the_table_has_a_source() -> None:
    for row in (*WORKSPACES_POOLS.refusals, *TABLE):
        assert all(page.startswith("https://") for page in row.source.split())
        assert row.codes


@given(code=st.sampled_from(["Whatever", "ValidationException", "", "Denied"]), message=st.text())
def test_what_no_row_knows_covers_nothing(code: str, message: str) -> None:
    for text in (message, CLOSED, NEUTRAL, "It is not supported in this Region"):
        assert not denied(code, text, "af-south-1").outcome.covered


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


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "code",
    [
        *("IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken"),
        *("MissingAuthenticationTokenException", "InvalidSignatureException", "SignatureDoesNotMatch"),
    ],
)
def test_no_policy_is_blamed_for_a_request_that_was_not_signed_right(code: str, status: int) -> None:
    said = "The request signature we calculated does not match the signature you provided."
    for body in forms(code, said):
        error = error_of(reply(body, status), "us-east-1", WORKSPACES_POOLS)
        assert (type(error), error.outcome) == (ServiceError, Outcome.ERROR)


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


@pytest.mark.parametrize(
    "request_id",
    [
        "b25f48e8-84fd-11e6-80d9-574e0c4664cb",
        "79104EXAMPLEB723",
        "IOWQ4fDEXAMPLEQM+ey7N9WgVhSnQ6JEXAMPLEZb7hSQDASK+Jd1vEXAMPLEa3Km".ljust(75, "x") + "=",
        "tx000001d5a7-0062a8b3c1-1b2f4-my_zone.1",
        "x" * 128,
    ],
)
def test_any_id_of_a_service_is_kept_whole(request_id: str) -> None:
    assert error_of(reply(b"", x_amzn_RequestId=request_id)).request_id == request_id


@pytest.mark.parametrize("other", ["", "x" * 129, "z" * 30_000, "r\x9b31mRED", "an id", "a%2Fb", "é", "a\n"])
def test_what_is_no_request_id_is_not_kept(other: str) -> None:
    assert error_of(reply(b"", x_amzn_RequestId=other)).request_id is None
    both = reply(b"", x_amzn_RequestId=other, x_amz_request_id="r-2")
    assert error_of(both).request_id == "r-2"


@pytest.mark.parametrize(
    "request_id", [SECRET, f"id-{SECRET}-1", SECRET[:20], SECRET[8:30]], ids=["token", "in it", "cut", "part"]
)
def test_a_secret_is_taken_out_of_a_request_id(request_id: str) -> None:
    error = error_of(reply(b"", x_amzn_RequestId=request_id))
    assert error.request_id == request_id
    redact(error, "another secret", SECRET)
    assert "***" in str(error.request_id)
    assert SECRET[8:20] not in str(error.request_id)
    short = error_of(reply(b"", x_amzn_RequestId="IQ"))
    redact(short, SECRET)
    assert short.request_id == "IQ"


EXTERNAL_ID = "EXT/CANARY+secret=12345,a@b:c"


def in_lower_case(secret: str) -> str:
    return re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe=""))


@pytest.mark.parametrize("written", [str, quote, partial(quote, safe=""), quote_plus, in_lower_case])
@pytest.mark.parametrize("before", ["", "x" * 990])
def test_a_secret_is_taken_out_as_it_is_and_as_a_url_has_it(
    written: Callable[[str], str], before: str
) -> None:
    text = f"{before} {written(EXTERNAL_ID)}"
    error = error_of(reply(codec.dumps({"__type": "ValidationError", "message": text})))
    redact(error, EXTERNAL_ID)
    assert error.message == str(error)
    assert error.message.endswith(" ***")


KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SESSION = f"IQoJb3JpZ2luX2VjE{'/'.join(sha256(b'%d' % n).hexdigest() for n in range(6))}+=="


def in_json(secret: str) -> str:
    return json.dumps(secret)[1:-1].replace("/", "\\/")


def in_codes_of_json(secret: str) -> str:
    return "".join(each if each.isalnum() else f"\\u{ord(each):04x}" for each in secret)


def in_html(secret: str) -> str:
    return html.escape(secret).replace("/", "&#x2F;").replace("=", "&#61;")


def twice_in_a_url(secret: str) -> str:
    return quote(quote(secret, safe=""), safe="")


@pytest.mark.parametrize(
    "written",
    [
        *(str, str.lower, str.upper, in_json, in_codes_of_json, in_html, twice_in_a_url),
        lambda secret: in_json(in_html(secret)),
        lambda secret: secret[-20:],
        lambda secret: secret[10:26],
    ],
)
@pytest.mark.parametrize("secret", [EXTERNAL_ID, KEY, SESSION])
def test_a_secret_is_found_escaped_in_another_case_and_in_part(
    secret: str, written: Callable[[str], str]
) -> None:
    told = without_secrets(
        f"No role/{written(secret)}\\n was found, 100% sure &amp; well.", ["other", secret]
    )
    left = secret[:8] if secret == SESSION else ""
    assert told.removeprefix("No role/").lower().removeprefix(left.lower()) == (
        "***\\n was found, 100% sure &amp; well."
    )


@pytest.mark.parametrize(
    "text",
    [
        f"Access key {KEY[:15]}",
        f"The token {SESSION[:20]}... is malformed",
        "arn:aws:sts::000000000001:assumed-role/PoolCensusReader/poolcensus at 100%, &quot;a\\u002fb&quot;",
    ],
)
def test_what_says_little_of_a_secret_stays(text: str) -> None:
    assert without_secrets(text, [KEY, SESSION, "PoolCensusReader-of-us"[4:], EXTERNAL_ID]) == text


@given(st.text("abc%2F&;x#\\/u0", max_size=40), st.text("abc/", min_size=4, max_size=30))
def test_any_text_loses_the_secret(text: str, secret: str) -> None:
    assert secret not in without_secrets(f"{text}{secret}{text}", [secret]).replace("***", " ")
    if secret not in text and "%" not in text and "&" not in text and "\\" not in text and len(secret) < 16:
        assert without_secrets(text, [secret]) == text


def test_a_code_that_was_cut_off_in_a_secret_is_told_without_it() -> None:
    token = "IQoJb3JpZ2luX2Vj" * 25
    error = error_of(reply(codec.dumps({"__type": f"X#No{token}:http://x", "message": "why"})))
    redact(error, token)
    assert error.code == "No***"


@pytest.fixture
def a_machine_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`-0000` means UTC. This machine's time zone must not matter."""
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


@settings(max_examples=150)
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


@settings(max_examples=100)
@given(st.text(max_size=30), st.text(max_size=200), st.integers(400, 599))
def test_an_error_may_have_any_text(code: str, message: str, status: int) -> None:
    body = codec.dumps({"__type": code, "message": message})
    assert isinstance(error_of(reply(body, status)), CallError)


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

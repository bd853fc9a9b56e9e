from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from poolcensus.simulator import SimulatorConfig, WorldConfig

if TYPE_CHECKING:
    from http.client import HTTPMessage

    from simulator.conftest import Start

WORLD = WorldConfig(accounts=4, pools_per_target=1)
CALLER = "Action=GetCallerIdentity&Version=2011-06-15"


def test_a_good_signature_is_accepted(start: Start) -> None:
    reply = start(SimulatorConfig(world=WORLD)).pools()
    assert reply.status == 200
    assert len(reply.json["WorkspacesPools"]) == 1


def test_a_wrong_secret_is_refused(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    reply = running.pools(credentials=Credentials(running.caller.access_key, "wrong"))
    assert (reply.status, reply.code) == (400, "InvalidSignatureException")


@pytest.mark.parametrize("header", ["X-Amz-Target", "X-Amz-Date", "Authorization"])
def test_a_tampered_header_is_refused(start: Start, header: str) -> None:
    running = start(SimulatorConfig(world=WORLD))
    headers = running.signed()
    if header == "X-Amz-Date":
        headers[header] = headers[header][:-3] + ("00Z" if headers[header][-3:] != "00Z" else "01Z")
    elif header == "Authorization":
        headers[header] = headers[header][:-1] + ("0" if headers[header][-1] != "0" else "1")
    else:
        headers[header] = "WorkspacesService.DescribeWorkspaces"
    reply = running.send(b"{}", headers)
    assert (reply.status, reply.code) == (400, "InvalidSignatureException")


def test_a_tampered_body_is_refused(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    reply = running.send(b'{"Limit":1}', running.signed(b'{"Limit":2}'))
    assert (reply.status, reply.code) == (400, "InvalidSignatureException")


def test_a_region_other_than_the_signed_one_is_refused(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    headers = running.signed(region="us-east-1")
    headers["Authorization"] = headers["Authorization"].replace("us-east-1", "us-west-2")
    assert running.send(b"{}", headers).code == "InvalidSignatureException"


@pytest.mark.parametrize(("offset", "words"), [(400.0, "now earlier than"), (-400.0, "still later than")])
def test_a_clock_that_is_off_is_told_the_server_s(start: Start, offset: float, words: str) -> None:
    running = start(SimulatorConfig(world=WORLD, clock_offset=offset))
    reply = running.pools()
    assert (reply.status, reply.code) == (400, "InvalidSignatureException")
    assert words in reply.json["message"]
    told = time.mktime(time.strptime(reply.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
    assert told == pytest.approx(time.time() + offset, abs=3)


def test_a_clock_that_is_a_little_off_is_accepted(start: Start) -> None:
    assert start(SimulatorConfig(world=WORLD, clock_offset=200)).pools().status == 200


def test_each_service_says_skew_in_its_own_way(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD, clock_offset=3600))
    sts = running.send(CALLER.encode(), running.signed(CALLER.encode(), service="sts", target=None))
    assert sts.status == 403
    assert b"<Code>SignatureDoesNotMatch</Code>" in sts.body
    assert b"Signature expired" in sts.body
    with pytest.raises(Exception, match="RequestTimeTooSkewed"):
        running.client("s3").list_buckets()


def test_an_unknown_key_is_refused_in_each_service_s_own_way(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    unknown = Credentials("AKIAAAAAAAAAAAAAAAAA", "secret")
    assert running.pools(credentials=unknown).code == "UnrecognizedClientException"
    for service, code in (
        ("sts", b"InvalidClientTokenId"),
        ("ec2", b"AuthFailure"),
        ("s3", b"InvalidAccessKeyId"),
    ):
        body = CALLER.encode()
        headers = running.signed(body, credentials=unknown, service=service, target=None)
        assert b"<Code>%b</Code>" % code in running.send(body, headers).body


def test_a_signature_covers_the_host(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))

    class Hostless(SigV4Auth):  # type: ignore[misc]
        def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
            headers: HTTPMessage = super().headers_to_sign(request)
            del headers["host"]
            return headers

    for service, code in (
        ("workspaces", b"InvalidSignatureException"),
        ("sts", b"<Code>SignatureDoesNotMatch</Code>"),
        ("s3", b"<HeadersNotSigned>host</HeadersNotSigned>"),
    ):
        request = AWSRequest("POST", f"{running.simulator.endpoint_url}/", data=b"{}")
        request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
        Hostless(running.caller, service, "us-east-1").add_auth(request)
        reply = running.send(b"{}", dict(request.headers.items()))
        assert reply.status == (400 if service == "workspaces" else 403)
        assert code in reply.body
        assert b"ost" in reply.body


def test_a_signature_for_s3_covers_all_that_is_meant_for_aws(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    running.client("s3").create_bucket(Bucket="some-bucket")
    url = f"{running.simulator.endpoint_url}/some-bucket/key"
    for unsigned, told in (
        ({}, None),
        ({"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD", "Accept": "*/*"}, None),
        ({"X-Amz-Meta-Name": "else", "X-Amz-Acl": "private"}, b"x-amz-acl, x-amz-meta-name"),
    ):
        request = AWSRequest("PUT", url)
        S3SigV4QueryAuth(running.caller, "s3", "us-east-1").add_auth(request)
        sent = urllib.request.Request(request.url, b"hello", unsigned, method="PUT")
        if told is None:
            urllib.request.urlopen(sent).close()
            continue
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(sent)
        with refused.value as reply:
            assert reply.code == 403
            assert b"<HeadersNotSigned>%b</HeadersNotSigned>" % told in reply.read()
    headers = {**running.signed(), "X-Amz-Meta-Name": "else"}
    assert running.send(b"{}", headers).status == 200


def test_a_presigned_url_is_good_for_a_week_at_most(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    client = running.client("s3", signature_version="s3v4")
    for seconds, status in ((604_800, 200), (604_801, 400)):
        url = client.generate_presigned_url("list_buckets", ExpiresIn=seconds)
        reply = running.get(url.removeprefix(running.simulator.endpoint_url))
        assert reply.status == status
    assert b"<Code>AuthorizationQueryParametersError</Code>" in reply.body


def test_a_presigned_url_of_s3_has_to_say_how_long_it_is_good(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))

    class Endless(S3SigV4QueryAuth):  # type: ignore[misc]
        def canonical_request(self, request: AWSRequest) -> str:
            request.url = request.url.replace("&X-Amz-Expires=3600", "")
            text: str = super().canonical_request(request)
            return text

    request = AWSRequest("GET", f"{running.simulator.endpoint_url}/")
    Endless(running.caller, "s3", "us-east-1", expires=3600).add_auth(request)
    assert "Expires" not in request.url
    reply = running.get(request.url.removeprefix(running.simulator.endpoint_url))
    assert reply.status == 400
    assert b"<Code>AuthorizationQueryParametersError</Code>" in reply.body
    assert b"X-Amz-Expires" in reply.body


def test_an_unsigned_call_is_refused(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    reply = running.send(b"{}", {"X-Amz-Target": "WorkspacesService.DescribeWorkspacesPools"})
    assert (reply.status, reply.code) == (400, "MissingAuthenticationTokenException")
    assert b"MissingAuthenticationToken" in running.send(CALLER.encode(), {}).body
    unsigned = running.send(b"", {}, "/bucket/key")
    assert (unsigned.status, b"<Code>AccessDenied</Code>" in unsigned.body) == (403, True)


def test_a_session_needs_its_token_and_no_other(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    mine, other = running.assume("000000000002"), running.assume("000000000003")
    assert running.pools(credentials=mine).status == 200
    for token in (None, other.token):
        stolen = Credentials(mine.access_key, mine.secret_key, token)
        assert running.pools(credentials=stolen).code == "UnrecognizedClientException"
        refused = "InvalidAccessKeyId" if token is None else "InvalidToken"
        with pytest.raises(ClientError, match=refused):
            running.client("s3", stolen).list_buckets()


def test_a_session_expires_and_says_so(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD, session_seconds=100.0))
    session = running.assume("000000000002")
    assert running.pools(credentials=session).status == 200
    running.simulator.advance(100)
    reply = running.pools(credentials=session)
    assert (reply.status, reply.code) == (400, "ExpiredTokenException")
    sts = running.send(
        CALLER.encode(), running.signed(CALLER.encode(), credentials=session, service="sts", target=None)
    )
    assert b"<Code>ExpiredToken</Code>" in sts.body


def test_a_presigned_url_is_good_for_its_time_and_no_other_object(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    client = running.client("s3", signature_version="s3v4")
    client.create_bucket(Bucket="some-bucket")
    client.put_object(Bucket="some-bucket", Key="a b/ü+c", Body=b"hello")
    url = client.generate_presigned_url("get_object", Params={"Bucket": "some-bucket", "Key": "a b/ü+c"})
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"hello"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("a%20b", "a%20d"))
    assert refused.value.code == 403
    refused.value.close()

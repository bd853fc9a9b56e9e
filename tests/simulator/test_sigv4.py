from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import botocore.auth
import pytest
from botocore.credentials import Credentials

from poolcensus.simulator import SimulatorConfig, WorldConfig

if TYPE_CHECKING:
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


def test_a_session_expires_and_says_so(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD, session_seconds=1.0))
    session = running.assume("000000000002")
    assert running.pools(credentials=session).status == 200
    time.sleep(1.05)
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


def test_an_object_sent_in_signed_chunks_arrives_without_them(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    client = running.client("s3", request_checksum_calculation="when_required")
    client.create_bucket(Bucket="some-bucket")
    data = b"0123456789" * 2000
    chunks = b"".join(
        b"%x;chunk-signature=%064x\r\n%b\r\n" % (len(part), 0, part)
        for part in (data[:7000], data[7000:], b"")
    )
    request = botocore.awsrequest.AWSRequest(
        "PUT",
        f"{running.simulator.endpoint_url}/some-bucket/key",
        data=chunks,
        headers={
            "X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "Content-Encoding": "aws-chunked",
            "X-Amz-Decoded-Content-Length": f"{len(data)}",
        },
    )
    request.context["payload_signing_enabled"] = True

    class Streaming(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
        def payload(self, _: object) -> str:
            return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

    Streaming(running.caller, "s3", "us-east-1").add_auth(request)
    prepared = urllib.request.Request(
        request.url, data=chunks, headers=dict(request.headers.items()), method="PUT"
    )
    with urllib.request.urlopen(prepared) as response:
        assert response.status == 200
    with client.get_object(Bucket="some-bucket", Key="key")["Body"] as stored:
        assert hashlib.sha256(stored.read()).digest() == hashlib.sha256(data).digest()

"""Bodies in the aws-chunked encoding, with signatures of chunks and trailers."""

from __future__ import annotations

import hmac
import http.client
import zlib
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from poolcensus.simulator.chunks import decode_chunks
from poolcensus.simulator.refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from simulator.conftest import Running

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
EMPTY = sha256(b"").hexdigest()
DATA = b"0123456789" * 2000
CRC32 = b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()


class Streaming(S3SigV4Auth):  # type: ignore[misc]
    kind = ""

    def payload(self, _: AWSRequest) -> str:
        return self.kind


@pytest.fixture(scope="module")
def running(open_simulator: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    with open_simulator() as running:
        client = running.client("s3")
        client.create_bucket(Bucket="some-bucket")
        client.close()
        yield running


class Upload:
    """A PUT whose chunks are signed one after the other, as AWS documents."""

    def __init__(self, running: Running, kind: str, **headers: str) -> None:
        self.running = running
        sent = {
            "X-Amz-Decoded-Content-Length": f"{len(DATA)}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = AWSRequest("PUT", f"{running.simulator.endpoint_url}/some-bucket/key", headers=sent)
        request.context["payload_signing_enabled"] = True
        signer = Streaming(running.caller, "s3", "us-east-1")
        signer.kind = kind
        signer.add_auth(request)
        self.headers: dict[str, str] = dict(request.headers.items())
        authorization = self.headers["Authorization"]
        self.scope = authorization.partition("Credential=")[2].partition(",")[0].partition("/")[2]
        self.last = authorization.partition("Signature=")[2]
        self.body = b""

    def sign(self, what: str, digest: str) -> bytes:
        key = f"AWS4{self.running.caller.secret_key}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        date = self.headers["X-Amz-Date"]
        text = f"AWS4-HMAC-SHA256-{what}\n{date}\n{self.scope}\n{self.last}\n{digest}"
        self.last = hmac.digest(key, text.encode(), "sha256").hex()
        return self.last.encode()

    def chunk(self, data: bytes) -> None:
        signature = self.sign("PAYLOAD", f"{EMPTY}\n{sha256(data).hexdigest()}")
        end = b"\r\n" if data else b""
        self.body += b"%x;chunk-signature=%b\r\n%b%b" % (len(data), signature, data, end)

    def trailer(self, line: bytes) -> None:
        signature = self.sign("TRAILER", sha256(line + b"\n").hexdigest())
        self.body += b"%b\r\nx-amz-trailer-signature:%b\r\n\r\n" % (line, signature)

    def send(self) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.running.address, timeout=5)
        try:
            connection.request("PUT", "/some-bucket/key", self.body, self.headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


def chunked(upload: Upload) -> Upload:
    for part in (DATA[:7000], DATA[7000:], b""):
        upload.chunk(part)
    return upload


def stored(running: Running) -> bytes:
    client = running.client("s3")
    with client.get_object(Bucket="some-bucket", Key="key")["Body"] as body:
        content: bytes = body.read()
    client.close()
    return content


def test_signed_chunks_arrive_without_their_signatures(running: Running) -> None:
    upload = chunked(Upload(running, SIGNED))
    upload.body += b"\r\n"
    assert upload.send()[0] == 200
    assert stored(running) == DATA


def test_a_trailer_s_signature_is_checked_too(running: Running) -> None:
    upload = chunked(Upload(running, f"{SIGNED}-TRAILER", X_Amz_Trailer="x-amz-checksum-crc32"))
    good = upload.body
    upload.trailer(f"x-amz-checksum-crc32:{CRC32}".encode())
    assert upload.send()[0] == 200
    upload.body = upload.body.replace(b"crc32:", b"crc32: ")
    assert upload.send()[0] == 200
    upload.body = good + f"x-amz-checksum-crc32:{CRC32}\r\n\r\n".encode()
    assert upload.send()[0] == 403


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body.replace(b"chunk-signature=", b"chunk-signature=0", 1), id="malformed"),
        pytest.param(lambda body: body.replace(b"0123456789", b"0123456780", 1), id="data"),
        pytest.param(lambda body: body[: body.index(b";")] + body[body.index(b"\r\n") :], id="no signature"),
        pytest.param(lambda body: body[body.index(b"\r\n", 7000) + 2 :], id="first chunk left out"),
    ],
)
def test_chunks_that_are_not_as_they_were_signed_are_refused(
    running: Running, change: Callable[[bytes], bytes]
) -> None:
    upload = chunked(Upload(running, SIGNED))
    upload.body = change(upload.body)
    status, body = upload.send()
    assert (status, body.count(b"<Error>")) in {(403, 1), (400, 1)}
    assert b"SignatureDoesNotMatch" in body or b"IncompleteBody" in body


@pytest.mark.parametrize("body", [b"-6\r\n-6\r\n", b"1\r\na\r\n-6\r\n", b"+0\r\n", b"0x0\r\n", b"1_0\r\n"])
def test_the_size_of_a_chunk_is_hexadecimal_digits(running: Running, body: bytes) -> None:
    upload = Upload(running, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    upload.body = body
    status, reply = upload.send()
    assert (status, b"<Code>IncompleteBody</Code>" in reply) == (400, True)


def test_a_trailer_that_was_announced_has_to_come(running: Running) -> None:
    announced: dict[str, Any] = {"X_Amz_Trailer": "x-amz-checksum-crc32"}
    upload = Upload(running, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", **announced)
    upload.body = b"%x\r\n%b\r\n0\r\n" % (len(DATA), DATA)
    data = upload.body
    upload.body = data + b"\r\n"
    status, reply = upload.send()
    assert (status, b"<Code>MalformedTrailerError</Code>" in reply) == (400, True)
    upload.body = data + f"x-amz-checksum-crc32:{CRC32}\r\n\r\n".encode()
    assert upload.send()[0] == 200
    # Only announced trailers are used.
    upload.body = data + f"x-amz-checksum-crc32:{CRC32}\r\nx-amz-acl:public-read\r\n\r\n".encode()
    assert upload.send()[0] == 200


def test_a_trailer_has_one_line() -> None:
    assert decode_chunks(b"0\r\nx-amz-meta-a:b\n\r\n\r\n", None) == (b"", {"x-amz-meta-a": "b"})
    for end in ("\n", "\r"):
        with pytest.raises(RefusalError, match="more than one line"):
            decode_chunks(f"0\r\nx-amz-meta-a:b{end}X-Else: 1\r\n\r\n".encode(), None)


def test_a_kind_of_streaming_that_is_not_simulated_is_refused(running: Running) -> None:
    status, reply = chunked(Upload(running, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")).send()
    assert (status, b"<Code>NotImplemented</Code>" in reply) == (501, True)

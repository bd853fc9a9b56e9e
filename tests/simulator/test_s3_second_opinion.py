from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from poolcensus.simulator.access import Principal
from poolcensus.simulator.http import Identity, Request
from poolcensus.simulator.refusal import RefusalError, render
from poolcensus.simulator.s3 import S3

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ETAG_OF_1 = '"c4ca4238a0b923820dcc509a6f75849b"'
KEY = {"Bucket": "bucket", "Key": "k"}
BIG = b"x" * (5 * 1024 * 1024)
# Known calls for which moto is less strict than S3: our result, then that of moto.
KNOWN = {
    "bad name": ((400, "InvalidBucketName"), (200, "")),
    "order": ((400, "InvalidPartOrder"), (400, "EntityTooSmall")),
}
Outcome = tuple[str, int, str, object]
Step = tuple[str, Any, dict[str, Any], tuple[str, ...]]
OLDER = ("IsTruncated", "CommonPrefixes", "MaxKeys")


class Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._body

    def read(self, *_: object) -> bytes:
        body, self._body = self._body, b""
        return body


def answer(service: S3) -> Any:
    """Return an event handler of botocore that returns the reply of the service instead of sending."""

    def before_send(request: Any, **_: object) -> AWSResponse:
        path, _, query = request.url.partition("://")[2].partition("/")[2].partition("?")
        headers = {
            name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        headers["host"] = "127.0.0.1:1"
        data = request.body or b""
        body = data if isinstance(data, bytes) else data.read() if hasattr(data, "read") else data.encode()
        identity = Identity(
            Principal("123456789012", "arn:aws:iam::123456789012:user/u"), "AKIA", None, "AIDA"
        )
        try:
            response = service.handle(
                Request(request.method, f"/{path}", query, headers, body, identity, "s3", "us-east-1", "R")
            )
        except RefusalError as refusal:
            response = render(refusal, "s3", "R")
        shown = {**dict(response.headers), "Content-Length": str(len(response.body))}
        sent = b"" if request.method == "HEAD" else response.body
        return AWSResponse(request.url, response.status, shown, Raw(sent))

    return before_send


def steps(client: Any) -> Iterator[Step]:
    """Yield the name of a call, the call, its arguments, and the parts of its reply that must be equal."""
    yield "no bucket", client.list_objects_v2, {"Bucket": "bucket"}, ()
    yield "create", client.create_bucket, {"Bucket": "bucket"}, ("Location",)
    yield "create again", client.create_bucket, {"Bucket": "bucket"}, ()
    yield "bad name", client.create_bucket, {"Bucket": "Bucket"}, ()
    yield "no key", client.get_object, KEY, ()
    yield "head no key", client.head_object, KEY, ()
    yield "delete no key", client.delete_object, KEY, ()
    yield "put", client.put_object, {**KEY, "Body": b"1"}, ("ETag", "ChecksumCRC32")
    yield "put if none", client.put_object, {**KEY, "Body": b"2", "IfNoneMatch": "*"}, ()
    yield "put if match", client.put_object, {**KEY, "Body": b"2", "IfMatch": '"no"'}, ()
    yield "get", client.get_object, KEY, ("ETag", "ContentType", "ContentLength", "AcceptRanges")
    yield "head", client.head_object, KEY, ("ETag", "ContentLength")
    yield "get if match", client.get_object, {**KEY, "IfMatch": '"no"'}, ()
    yield "range", client.get_object, {**KEY, "Range": "bytes=0-0"}, ("ContentRange", "ContentLength")
    yield "bad range", client.get_object, {**KEY, "Range": "bytes=5-"}, ()
    yield "put if it matches", client.put_object, {**KEY, "Body": b"1", "IfMatch": ETAG_OF_1}, ("ETag",)
    yield "nested", client.put_object, {**KEY, "Key": "d/e", "Body": b"1"}, ()
    yield (
        "list",
        client.list_objects_v2,
        {"Bucket": "bucket", "Delimiter": "/"},
        ("CommonPrefixes", "KeyCount"),
    )
    yield (
        "list of one",
        client.list_objects_v2,
        {"Bucket": "bucket", "MaxKeys": 1},
        ("IsTruncated", "MaxKeys"),
    )

    upload = client.create_multipart_upload(**KEY)["UploadId"]
    named = {**KEY, "UploadId": upload}
    tags = {
        number: client.upload_part(**named, PartNumber=number, Body=body)["ETag"]
        for number, body in ((1, BIG), (2, b"small"), (3, b"end"))
    }

    def completion(*numbers: int) -> dict[str, Any]:
        parts = [{"PartNumber": number, "ETag": tags.get(number, '"no"')} for number in numbers]
        return {**named, "MultipartUpload": {"Parts": parts}}

    yield "too small", client.complete_multipart_upload, completion(1, 2, 3), ()
    yield "order", client.complete_multipart_upload, completion(3, 1), ()
    yield "no part", client.complete_multipart_upload, completion(1, 9), ()
    yield "complete", client.complete_multipart_upload, completion(1, 3), ("ETag", "Bucket", "Key")
    again = client.create_multipart_upload(**KEY)["UploadId"]
    listed = client.list_multipart_uploads, {"Bucket": "bucket", "Prefix": "k"}, ("IsTruncated",)
    yield "uploads", *listed
    yield "abort", client.abort_multipart_upload, {**KEY, "UploadId": again}, ()
    yield "no upload", client.abort_multipart_upload, {**KEY, "UploadId": "none"}, ()
    yield "parts", client.list_parts, named_again(client), ("Key", "IsTruncated", "MaxParts")
    yield from further_steps(client)


def named_again(client: Any) -> dict[str, Any]:
    return {**KEY, "UploadId": client.create_multipart_upload(**KEY)["UploadId"]}


def further_steps(client: Any) -> Iterator[Step]:
    """Yield calls of clients that a census does not make."""
    other = {"Bucket": "bucket", "Key": "o"}
    both = {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "o"}, {"Key": "none"}]}}
    yield "head bucket", client.head_bucket, {"Bucket": "bucket"}, ()
    yield "head no bucket", client.head_bucket, {"Bucket": "none"}, ()
    yield "location", client.get_bucket_location, {"Bucket": "bucket"}, ("LocationConstraint",)
    yield "metadata", client.put_object, {**other, "Body": b"1", "Metadata": {"a": "b"}}, ("ETag",)
    yield "metadata again", client.head_object, other, ("Metadata", "ETag")
    yield "unchanged", client.get_object, {**other, "IfNoneMatch": ETAG_OF_1}, ()
    yield "list older", client.list_objects, {"Bucket": "bucket", "Delimiter": "/"}, OLDER
    yield "copy", client.copy_object, {**KEY, "CopySource": "bucket/o"}, ()
    yield "copied", client.head_object, KEY, ("Metadata", "ETag")
    yield "copy to itself", client.copy_object, {**KEY, "CopySource": "bucket/k"}, ()
    yield "copy nothing", client.copy_object, {**KEY, "CopySource": "bucket/none"}, ()
    yield "delete two", client.delete_objects, both, ("Errors",)
    yield "delete full", client.delete_bucket, {"Bucket": "bucket"}, ()
    client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}, {"Key": "d/e"}]})
    yield "delete empty", client.delete_bucket, {"Bucket": "bucket"}, ()


def outcomes(client: Any) -> list[Outcome]:
    found: list[Outcome] = []
    for name, call, arguments, compared in steps(client):
        try:
            response = call(**arguments)
            code = ""
        except ClientError as error:
            response = error.response
            code = response["Error"]["Code"]
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        found.append((name, status, code, {field: response.get(field) for field in compared}))
    return found


def connect(endpoint_url: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def test_moto_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        theirs = outcomes(connect())
    # With a plain HTTP address, bodies are not chunked. Nothing is sent there.
    client = connect("http://127.0.0.1:1")
    client.meta.events.register("before-send.s3", answer(S3()))
    ours = outcomes(client)
    differing = {
        mine[0]: (mine[1:3], other[1:3]) for mine, other in zip(ours, theirs, strict=True) if mine != other
    }
    assert differing == KNOWN

"""Calls that usual S3 clients make and a census does not, made with boto3 over a socket."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from poolcensus.simulator import Policies, PolicySet, SimulatorConfig, WorldConfig, read_document
from poolcensus.simulator.s3.crc64nvme import crc64nvme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from simulator.conftest import Running

MIB = 1 << 20
KEPT = {
    "CacheControl": "max-age=60",
    "ContentDisposition": 'attachment; filename="a.txt"',
    "ContentEncoding": "identity",
    "ContentLanguage": "de-CH",
    "ContentType": "text/plain",
    "Metadata": {"purpose": "a test", "mtime": "1795000000"},
}


@pytest.fixture(scope="module")
def running(open_simulator: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    # The caller may not access objects below `secret`. Deleting needs a permission on objects, not buckets.
    secret = {"Action": ["s3:GetObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::*/secret/*"}
    statement = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", **secret},
        {"Effect": "Deny", "Action": "s3:DeleteObject", "NotResource": "arn:aws:s3:::*/*"},
    ]
    policy = read_document(json.dumps({"Version": "2012-10-17", "Statement": statement}))
    world = WorldConfig(accounts=3, policies=Policies(caller=PolicySet(identity=policy)))
    with open_simulator(SimulatorConfig(world=world)) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[Any]:
    made = running.client("s3", signature_version="s3v4")
    yield made
    for each in running.clients:
        each.close()


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:40].strip("-")
    client.create_bucket(Bucket=name)  # once more, where it exists, for each set of parameters
    return name


def refused(call: Any, **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def fill(client: Any, bucket: str, *keys: str) -> None:
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"1")


def test_buckets(client: Any) -> None:
    assert refused(client.head_bucket, Bucket="buckets") == (404, "404")
    client.create_bucket(Bucket="buckets", ACL="private")
    elsewhere = {"LocationConstraint": "eu-west-1"}
    client.create_bucket(Bucket="buckets-elsewhere", CreateBucketConfiguration=elsewhere)
    assert client.head_bucket(Bucket="buckets")["BucketRegion"] == "us-east-1"
    assert client.head_bucket(Bucket="buckets-elsewhere")["BucketRegion"] == "eu-west-1"
    assert client.get_bucket_location(Bucket="buckets")["LocationConstraint"] is None
    assert client.get_bucket_location(Bucket="buckets-elsewhere")["LocationConstraint"] == "eu-west-1"
    fill(client, "buckets", "k")
    assert refused(client.delete_bucket, Bucket="buckets") == (409, "BucketNotEmpty")
    client.delete_object(Bucket="buckets", Key="k")
    client.delete_bucket(Bucket="buckets")
    assert refused(client.delete_bucket, Bucket="buckets") == (404, "NoSuchBucket")
    assert refused(client.create_bucket, Bucket="buckets", ACL="public-read") == (501, "NotImplemented")


KEYS = ("a", "b/1", "b/2", "b/x/1", "c", "d/1", "e f+", "é", "\U0001f600")


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_the_older_listing_in_pages(client: Any, size: int) -> None:
    bucket = f"older-{size}"
    client.create_bucket(Bucket=bucket)
    fill(client, bucket, *KEYS)

    def listed(**arguments: str) -> tuple[list[str], list[str]]:
        paginator = client.get_paginator("list_objects")
        pages = list(paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": size}, **arguments))
        return (
            [item["Key"] for page in pages for item in page.get("Contents", ())],
            [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ())],
        )

    assert listed() == (sorted(KEYS, key=str.encode), [])
    assert listed(Delimiter="/") == (["a", "c", "e f+", "é", "\U0001f600"], ["b/", "d/"])
    assert listed(Delimiter="/", Prefix="b/") == (["b/1", "b/2"], ["b/x/"])


def test_the_older_listing_says_where_it_stopped_where_names_are_rolled_up(client: Any, bucket: str) -> None:
    fill(client, bucket, *KEYS)
    plain = client.list_objects(Bucket=bucket, MaxKeys=2)
    assert (plain["IsTruncated"], "NextMarker" in plain) == (True, False)
    rolled = client.list_objects(Bucket=bucket, MaxKeys=2, Delimiter="/")
    assert (rolled["IsTruncated"], rolled["NextMarker"]) == (True, "b/")
    following = client.list_objects(Bucket=bucket, MaxKeys=2, Delimiter="/", Marker="b/")
    assert (following["Marker"], following["Contents"][0]["Key"]) == ("b/", "c")
    assert [each["Prefix"] for each in following["CommonPrefixes"]] == ["d/"]
    last = client.list_objects(Bucket=bucket, Marker="e f+", EncodingType="url")
    assert [each["Key"] for each in last["Contents"]] == ["%C3%A9", "%F0%9F%98%80"]
    assert (last["IsTruncated"], last["EncodingType"]) == (False, "url")


def test_owners(client: Any, bucket: str) -> None:
    fill(client, bucket, "k")
    (without,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    (owned,) = client.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"]
    (older,) = client.list_objects(Bucket=bucket)["Contents"]
    assert "Owner" not in without
    assert owned["Owner"] == older["Owner"]
    assert len(owned["Owner"]["ID"]) == 64


def test_deleting_many(client: Any, bucket: str) -> None:
    keys = ["a", " b ", "c&<d>", "é", "secret/x"]
    fill(client, bucket, *keys)
    named = {"Objects": [{"Key": key} for key in [*keys, "none"]]}
    reply = client.delete_objects(Bucket=bucket, Delete=named)
    assert [each["Key"] for each in reply["Deleted"]] == ["a", " b ", "c&<d>", "é", "none"]
    (error,) = reply["Errors"]
    assert (error["Key"], error["Code"]) == ("secret/x", "AccessDenied")
    assert "s3:DeleteObject" in error["Message"]
    assert f"arn:aws:s3:::{bucket}/secret/x" in error["Message"]
    assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["secret/x"]
    quiet = client.delete_objects(Bucket=bucket, Delete={**named, "Quiet": True})
    assert "Deleted" not in quiet
    assert len(quiet["Errors"]) == 1


def test_deleting_many_is_refused(client: Any, running: Running, bucket: str) -> None:
    many = {"Objects": [{"Key": f"{number}"} for number in range(1001)]}
    assert refused(client.delete_objects, Bucket=bucket, Delete=many) == (400, "MalformedXML")
    assert refused(client.delete_objects, Bucket=bucket, Delete={"Objects": []}) == (400, "MalformedXML")
    version = {"Objects": [{"Key": "k", "VersionId": "1"}]}
    assert refused(client.delete_objects, Bucket=bucket, Delete=version) == (501, "NotImplemented")
    fill(client, bucket, "k")
    url = f"{running.simulator.endpoint_url}/{bucket}?delete"
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    for headers, status, code in (
        ({}, 400, b"<Code>InvalidRequest</Code>"),
        ({"Content-MD5": b64encode(md5(b"other").digest()).decode()}, 400, b"<Code>BadDigest</Code>"),
        ({"Content-MD5": b64encode(md5(body).digest()).decode()}, 200, b"<Key>k</Key>"),
    ):
        request = AWSRequest("POST", url, headers=headers, data=body)
        S3SigV4Auth(running.caller, "s3", "us-east-1").add_auth(request)
        got, _, reply = send(running, "POST", url, body, dict(request.headers.items()))
        assert (got, code in reply) == (status, True)


def send(
    running: Running, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    target = url.removeprefix(running.simulator.endpoint_url)
    connection = http.client.HTTPConnection(*running.address, timeout=10)
    try:
        connection.request(method, target, body, headers or {})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def test_what_goes_with_an_object_comes_back(client: Any, bucket: str) -> None:
    client.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"hello",
        StorageClass="STANDARD",
        ACL="bucket-owner-full-control",
        **KEPT,
    )
    upload = client.create_multipart_upload(Bucket=bucket, Key="parts", ACL="private", **KEPT)["UploadId"]
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    etag = client.upload_part(**named, PartNumber=1, Body=b"hello")["ETag"]
    client.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    for key in ("k", "parts"):
        for call in (client.get_object, client.head_object):
            found = call(Bucket=bucket, Key=key)
            assert {name: found[name] for name in KEPT} == KEPT
            if "Body" in found:
                found["Body"].read()


def test_expires_and_encodings_come_back(client: Any, running: Running, bucket: str) -> None:
    url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    expires = "Wed, 18 Nov 2026 11:06:40 GMT"
    sent = {"Expires": expires, "Content-Encoding": "aws-chunked, gzip"}
    assert send(running, "PUT", url, b"x", sent)[0] == 200
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    shown = send(running, "GET", url)[1]
    assert (shown["expires"], shown["content-encoding"]) == (expires, "gzip")


@pytest.mark.parametrize("key", ["plain", "a b/ü+~'%41?&#", " x "])
def test_copies(client: Any, bucket: str, key: str) -> None:
    put = client.put_object(Bucket=bucket, Key=key, Body=b"hello", **KEPT)
    copied = client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert copied["CopyObjectResult"]["ETag"] == put["ETag"]
    assert copied["CopyObjectResult"]["ChecksumCRC32"] == put["ChecksumCRC32"]
    found = client.get_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert found["Body"].read() == b"hello"
    assert {name: found[name] for name in KEPT} == KEPT
    client.copy_object(
        Bucket=bucket,
        Key="copy",
        CopySource=f"{bucket}/copy",
        MetadataDirective="REPLACE",
        Metadata={"other": "1"},
        ServerSideEncryption="aws:kms",
        ChecksumAlgorithm="SHA256",
    )
    found = client.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert (found["Metadata"], found["ContentType"]) == ({"other": "1"}, "binary/octet-stream")
    assert found["ServerSideEncryption"] == "aws:kms"
    assert found["ChecksumSHA256"] == b64encode(sha256(b"hello").digest()).decode()


def test_copies_that_are_refused(client: Any, running: Running, bucket: str) -> None:
    fill(client, bucket, "k", "secret/x")
    copy = client.copy_object
    assert refused(copy, Bucket=bucket, Key="k", CopySource=f"{bucket}/k") == (400, "InvalidRequest")
    assert refused(copy, Bucket=bucket, Key="c", CopySource=f"{bucket}/none") == (404, "NoSuchKey")
    assert refused(copy, Bucket=bucket, Key="c", CopySource=f"{bucket}/secret/x") == (403, "AccessDenied")
    source = {"Bucket": bucket, "Key": "c", "CopySource": f"{bucket}/k"}
    etag = client.head_object(Bucket=bucket, Key="k")["ETag"]
    for condition in ({"CopySourceIfMatch": "x"}, {"CopySourceIfNoneMatch": etag}):
        assert refused(copy, **source, **condition) == (412, "PreconditionFailed")
    assert copy(**source, CopySourceIfMatch=etag)
    assert refused(copy, **source, TaggingDirective="REPLACE", Tagging="a=b") == (501, "NotImplemented")
    member = running.client("s3", running.assume("000000000002"))
    assert refused(member.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/k")[0] == 403
    member.create_bucket(Bucket=f"{bucket}-2")
    assert refused(member.copy_object, Bucket=f"{bucket}-2", Key="c", CopySource=f"{bucket}/k")[0] == 403


@pytest.mark.parametrize("algorithm", [None, "CRC32", "SHA256"])
def test_copies_of_parts(client: Any, bucket: str, algorithm: str | None) -> None:
    body = bytes(range(256)) * (6 * MIB // 256)
    client.put_object(Bucket=bucket, Key="k", Body=body)
    named = {"Bucket": bucket, "Key": "c"}
    wanted = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}
    named["UploadId"] = client.create_multipart_upload(**named, **wanted)["UploadId"]
    parts = []
    for number, span in enumerate((f"bytes=0-{5 * MIB - 1}", f"bytes={5 * MIB}-{6 * MIB - 1}"), 1):
        source = {"CopySource": f"{bucket}/k", "CopySourceRange": span, "PartNumber": number}
        result = client.upload_part_copy(**named, **source)["CopyPartResult"]
        parts.append(
            {
                "PartNumber": number,
                **{name: value for name, value in result.items() if name != "LastModified"},
            }
        )
    client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert client.get_object(Bucket=bucket, Key="c")["Body"].read() == body
    upload = client.create_multipart_upload(Bucket=bucket, Key="d")["UploadId"]
    part = {"Bucket": bucket, "Key": "d", "UploadId": upload, "CopySource": f"{bucket}/k"}
    copy = client.upload_part_copy
    assert refused(copy, **part, PartNumber=1, CopySourceRange="bytes=x") == (400, "InvalidArgument")
    assert refused(copy, **part, PartNumber=0) == (400, "InvalidArgument")
    assert (
        copy(**part, PartNumber=1)["CopyPartResult"]["ETag"]
        == client.head_object(Bucket=bucket, Key="k")["ETag"]
    )


def test_there_are_no_versions_and_no_tags(client: Any, bucket: str) -> None:
    fill(client, bucket, "k")
    assert "Status" not in client.get_bucket_versioning(Bucket=bucket)
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert refused(client.get_object_tagging, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    versioned = {"VersioningConfiguration": {"Status": "Enabled"}}
    assert refused(client.put_bucket_versioning, Bucket=bucket, **versioned) == (501, "NotImplemented")


def test_listing_parts(client: Any, bucket: str) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA1")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    assert "Parts" not in client.list_parts(**named)
    etags = {
        number: client.upload_part(**named, PartNumber=number, Body=b"x" * number, ChecksumAlgorithm="SHA1")[
            "ETag"
        ]
        for number in (7, 1, 4)
    }
    pages = list(client.get_paginator("list_parts").paginate(**named, PaginationConfig={"PageSize": 2}))
    parts = [part for page in pages for part in page["Parts"]]
    assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, 1), (4, 4), (7, 7)]
    assert [part["ETag"] for part in parts] == [etags[number] for number in (1, 4, 7)]
    assert all(part["ChecksumSHA1"] and part["LastModified"] for part in parts)
    assert [page["IsTruncated"] for page in pages] == [True, False]
    assert pages[0]["NextPartNumberMarker"] == 4
    assert refused(client.list_parts, **{**named, "UploadId": "none"}) == (404, "NoSuchUpload")


def test_md5_of_a_body(client: Any, running: Running, bucket: str) -> None:
    good, other = (b64encode(md5(data).digest()).decode() for data in (b"hello", b"other"))
    put = {"Bucket": bucket, "Key": "k", "Body": b"hello"}
    assert client.put_object(**put, ContentMD5=good)["ETag"]
    assert refused(client.put_object, **put, ContentMD5=other) == (400, "BadDigest")
    assert refused(client.put_object, **put, ContentMD5="AAAA") == (400, "InvalidDigest")
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = {**put, "UploadId": upload, "PartNumber": 1}
    assert refused(client.upload_part, **part, ContentMD5=other) == (400, "BadDigest")
    assert client.upload_part(**part, ContentMD5=good)["ETag"]
    # The MinIO client sends it with every request.
    url = f"{running.simulator.endpoint_url}/{bucket}/k?uploadId={upload}"
    body = b"<CompleteMultipartUpload/>"
    for digest, code in (
        (md5(b"other").digest(), b"<Code>BadDigest</Code>"),
        (md5(body).digest(), b"<Code>MalformedXML</Code>"),
    ):
        headers = {"Content-MD5": b64encode(digest).decode()}
        request = AWSRequest("POST", url, headers=headers, data=body)
        S3SigV4Auth(running.caller, "s3", "us-east-1").add_auth(request)
        assert code in send(running, "POST", url, body, dict(request.headers.items()))[2]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_checked_on_both_sides(client: Any, bucket: str, algorithm: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    found = client.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert found["Body"].read() == b"hello"
    assert found[f"Checksum{algorithm}"]
    wrong = {f"Checksum{algorithm}": found[f"Checksum{algorithm}"]}
    assert refused(client.put_object, Bucket=bucket, Key="k", Body=b"other", **wrong) == (400, "BadDigest")


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("GET", "x-amz-checksum-mode=ENABLED&x-id=GetObject", 200),
        ("GET", "X-Amz-Checksum-Mode=ENABLED", 200),
        ("PUT", "x-amz-acl=private&x-amz-meta-a=b", 200),
        ("PUT", "x-amz-acl=public-read", 501),
        ("PUT", "x-amz-tagging=a%3Db", 501),
        ("PUT", "x-amz-checksum-crc32=AAAAAA%3D%3D", 400),
    ],
)
def test_headers_in_the_query_of_a_presigned_url(
    client: Any, running: Running, bucket: str, *, method: str, query: str, status: int
) -> None:
    # The SDK for JavaScript puts headers into the query. boto3 leaves them to the user of the URL.
    client.put_object(Bucket=bucket, Key="k", Body=b"hello")
    request = AWSRequest(method, f"{running.simulator.endpoint_url}/{bucket}/k?{query}")
    S3SigV4QueryAuth(running.caller, "s3", "us-east-1").add_auth(request)
    got, shown, _ = send(running, method, request.url, b"hello" if method == "PUT" else b"")
    assert got == status
    assert ("x-amz-checksum-crc32" in shown) == (method == "GET")


def test_conditional_reads(client: Any, bucket: str) -> None:
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"hello")["ETag"]
    modified = client.head_object(Bucket=bucket, Key="k")["LastModified"]
    named = {"Bucket": bucket, "Key": "k"}
    for call in (client.get_object, client.head_object):
        assert refused(call, **named, IfNoneMatch=etag) == (304, "304")
        assert refused(call, **named, IfModifiedSince=modified) == (304, "304")
        assert refused(call, **named, IfUnmodifiedSince=modified.replace(year=2020))[0] == 412
        # The connection can be used again after a reply without a body.
        found = call(**named, IfNoneMatch='"other"')
        if "Body" in found:
            assert found["Body"].read() == b"hello"


def test_a_large_crc64nvme_is_taken_as_stated_and_put_together(client: Any, bucket: str) -> None:
    def stated(data: bytes) -> str:
        return b64encode(crc64nvme(data)).decode()

    parts = (b"a" * (5 * MIB), b"end")
    wrong = {"Bucket": bucket, "Key": "k", "Body": parts[1], "ChecksumCRC64NVME": stated(b"other")}
    assert refused(client.put_object, **wrong) == (400, "BadDigest")
    large = {"Bucket": bucket, "Key": "k", "Body": parts[0]}
    assert client.put_object(**large, ChecksumCRC64NVME=stated(b"other"))["ChecksumCRC64NVME"]
    assert refused(client.put_object, **large, ChecksumCRC64NVME="AAAA") == (400, "InvalidRequest")
    upload = client.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC64NVME")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    done = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(**named, PartNumber=number, Body=data, ChecksumCRC64NVME=stated(data))[
                "ETag"
            ],
        }
        for number, data in enumerate(parts, 1)
    ]
    whole = client.complete_multipart_upload(**named, MultipartUpload={"Parts": done})
    assert whole["ChecksumCRC64NVME"] == stated(b"".join(parts))
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/k"}
    assert client.copy_object(**copy)["CopyObjectResult"]["ChecksumCRC64NVME"] == stated(b"".join(parts))

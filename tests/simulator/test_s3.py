from __future__ import annotations

import base64
import zlib
from hashlib import md5, sha256
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from poolcensus.simulator.http import Identity, Request, Response
from poolcensus.simulator.s3 import S3, checksums

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_795_000_000
MIB = 1024 * 1024
OWNER = "000000000001"
Headers = dict[str, str]


class Service:
    def __init__(self, *, max_bytes: int | None = None) -> None:
        self.time = float(NOW)
        self.s3 = S3(clock=lambda: self.time, max_bytes=max_bytes)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
        *,
        query: str = "",
        account: str | None = OWNER,
        region: str = "us-east-1",
        host: str = "127.0.0.1:4566",
    ) -> Response:
        identity = None
        if account is not None:
            identity = Identity(account, f"arn:aws:iam::{account}:user/u", "AKIA", None, "AIDA")
        return self.s3.handle(
            Request(
                method, path, query, {"host": host, **(headers or {})}, body, identity, "s3", region, "R1"
            )
        )


@pytest.fixture
def s3() -> Service:
    service = Service()
    assert service("PUT", "/bucket").status == 200
    return service


def head(response: Response) -> Headers:
    return {name.lower(): value for name, value in response.headers}


def texts(response: Response, name: str) -> list[str]:
    root = ET.fromstring(response.body)
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == name]


def refused(response: Response) -> tuple[int, str]:
    root = ET.fromstring(response.body)
    assert root.tag == "Error"
    assert root.findtext("RequestId") == "R1"
    assert root.findtext("Code") == response.code
    return response.status, root.findtext("Code") or ""


def begin(s3: Service, key: str = "/bucket/big", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return texts(s3("POST", key, headers=named, query="uploads"), "UploadId")[0]


def part(s3: Service, upload: str, number: int, body: bytes, headers: Headers | None = None) -> str:
    response = s3("PUT", "/bucket/big", body, headers, query=f"partNumber={number}&uploadId={upload}")
    assert response.status == 200
    return head(response)["etag"]


def completion(*parts: tuple[int, str]) -> bytes:
    inner = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


def complete(s3: Service, upload: str, body: bytes, headers: Headers | None = None) -> Response:
    return s3("POST", "/bucket/big", body, headers, query=f"uploadId={upload}")


def test_object_comes_back_as_it_was_put(s3: Service) -> None:
    sent = {"content-type": "text/plain", "x-amz-meta-who": "me", "content-encoding": "aws-chunked,gzip"}
    put = s3("PUT", "/bucket/a%20b/%C3%BC+1", b"hello", sent)
    etag = f'"{md5(b"hello").hexdigest()}"'
    assert (put.status, head(put)["etag"]) == (200, etag)
    got = s3("GET", "/bucket/a%20b/%C3%BC+1")
    assert (got.status, got.body) == (200, b"hello")
    shown = head(got)
    assert shown["etag"] == etag
    assert shown["content-type"] == "text/plain"
    assert shown["content-encoding"] == "gzip"
    assert shown["x-amz-meta-who"] == "me"
    assert shown["last-modified"] == "Wed, 18 Nov 2026 11:06:40 GMT"
    assert shown["x-amz-server-side-encryption"] == "AES256"
    assert head(s3("HEAD", "/bucket/a%20b/%C3%BC+1")) == shown
    assert texts(s3("GET", "/bucket", query="list-type=2"), "Key") == ["a b/ü+1"]


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/nowhere/key", "", (404, "NoSuchBucket")),
        ("GET", "/bucket/nothing", "", (404, "NoSuchKey")),
        ("GET", "/bucket", "policy", (501, "NotImplemented")),
        ("GET", "/bucket/key", "versionId=1", (501, "NotImplemented")),
        ("PUT", "/bucket/key", "tagging", (501, "NotImplemented")),
        ("POST", "/bucket", "", (501, "NotImplemented")),
        ("POST", "/bucket/key", "", (405, "MethodNotAllowed")),
        ("PATCH", "/bucket/key", "", (405, "MethodNotAllowed")),
        ("PUT", "/", "", (405, "MethodNotAllowed")),
        ("PUT", "/AB", "", (400, "InvalidBucketName")),
        ("PUT", "/192.168.0.1", "", (400, "InvalidBucketName")),
        ("GET", "/bucket/%ff", "", (400, "InvalidURI")),
        ("PUT", "/bucket/" + "k" * 1025, "", (400, "KeyTooLongError")),
        ("GET", "/bucket", "list-type=2&max-keys=x", (400, "InvalidArgument")),
        ("GET", "/bucket", "list-type=2&max-keys=-1", (400, "InvalidArgument")),
        ("GET", "/bucket", "list-type=2&continuation-token=%2A", (400, "InvalidArgument")),
        ("GET", "/bucket", "list-type=2&encoding-type=x", (400, "InvalidArgument")),
        ("DELETE", "/bucket/key", "uploadId=none", (404, "NoSuchUpload")),
    ],
)
def test_refusals(s3: Service, method: str, path: str, query: str, expected: tuple[int, str]) -> None:
    assert refused(s3(method, path, query=query)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-amz-tagging": "a=b"}, (501, "NotImplemented")),
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, (501, "NotImplemented")),
        ({"x-amz-storage-class": "GLACIER"}, (501, "NotImplemented")),
        ({"x-amz-storage-class": "CHEAP"}, (400, "InvalidStorageClass")),
        ({"x-amz-acl": "public-read"}, (400, "AccessControlListNotSupported")),
        ({"x-amz-server-side-encryption": "rot13"}, (400, "InvalidEncryptionAlgorithmError")),
        ({"x-amz-server-side-encryption-aws-kms-key-id": "k"}, (400, "InvalidArgument")),
        ({"x-amz-meta-a": "x" * 2048}, (400, "MetadataTooLarge")),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, (400, "BadDigest")),
        ({"x-amz-checksum-crc32": "AAAA"}, (400, "InvalidRequest")),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "x"}, (400, "InvalidRequest")),
        ({"content-md5": base64.b64encode(md5(b"other").digest()).decode()}, (400, "BadDigest")),
        ({"content-md5": "AAAA"}, (400, "InvalidDigest")),
        ({"content-md5": "!"}, (400, "InvalidDigest")),
        ({"x-amz-decoded-content-length": "6"}, (400, "IncompleteBody")),
        ({"x-amz-expected-bucket-owner": "000000000002"}, (403, "AccessDenied")),
        ({"x-amz-expected-bucket-owner": "me"}, (400, "InvalidBucketOwnerAWSAccountID")),
        ({"if-none-match": '"x"'}, (501, "NotImplemented")),
        ({"if-match": '"x"'}, (404, "NoSuchKey")),
    ],
)
def test_put_that_is_refused_leaves_nothing(s3: Service, headers: Headers, expected: tuple[int, str]) -> None:
    assert refused(s3("PUT", "/bucket/key", b"hello", headers)) == expected
    assert s3("HEAD", "/bucket/key").status == 404


def test_head_error_has_no_body(s3: Service) -> None:
    response = s3("HEAD", "/bucket/nothing")
    assert (response.status, response.body, response.code) == (404, b"", "NoSuchKey")


def test_buckets_belong_to_the_account_that_made_them(s3: Service) -> None:
    assert refused(s3("GET", "/bucket", account="000000000002")) == (403, "AccessDenied")
    assert refused(s3("PUT", "/bucket", account="000000000002")) == (409, "BucketAlreadyExists")
    assert refused(s3("GET", "/bucket", account=None)) == (403, "AccessDenied")
    assert texts(s3("GET", "/", account="000000000002"), "Name") == []
    assert texts(s3("GET", "/"), "Name") == ["bucket"]


def test_bucket_regions(s3: Service) -> None:
    asked = (
        b"<CreateBucketConfiguration><LocationConstraint>%b</LocationConstraint></CreateBucketConfiguration>"
    )
    assert refused(s3("PUT", "/b-1", region="eu-west-1")) == (400, "IllegalLocationConstraintException")
    assert refused(s3("PUT", "/b-1", asked % b"us-west-2", region="eu-west-1"))[0] == 400
    assert refused(s3("PUT", "/b-1", asked % b"us-east-1")) == (400, "InvalidLocationConstraint")
    assert s3("PUT", "/b-1", asked % b"eu-west-1", region="eu-west-1").status == 200
    assert refused(s3("PUT", "/b-1", asked % b"eu-west-1", region="eu-west-1")) == (
        409,
        "BucketAlreadyOwnedByYou",
    )
    assert s3("PUT", "/bucket").status == 200
    assert texts(s3("GET", "/b-1", query="location"), "LocationConstraint") == ["eu-west-1"]
    assert texts(s3("GET", "/bucket", query="location"), "LocationConstraint") == [""]
    assert head(s3("HEAD", "/b-1"))["x-amz-bucket-region"] == "eu-west-1"


def test_bucket_is_deleted_only_when_empty(s3: Service) -> None:
    s3("PUT", "/bucket/key", b"1")
    part(s3, begin(s3), 1, b"left over")
    assert refused(s3("DELETE", "/bucket")) == (409, "BucketNotEmpty")
    assert s3("DELETE", "/bucket/key").status == 204
    assert s3("DELETE", "/bucket/key").status == 204
    assert s3("DELETE", "/bucket").status == 204
    assert s3("HEAD", "/bucket").status == 404
    assert s3.s3.used_bytes == 0


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("bucket.localhost:4566", "/k"),
        ("bucket.s3.localhost:4566", "/k"),
        ("bucket.s3.us-east-1.amazonaws.com", "/k"),
        ("bucket.s3-us-west-2.amazonaws.com", "/k"),
        ("s3.us-east-1.amazonaws.com", "/bucket/k"),
        ("s3.localhost:4566", "/bucket/k"),
        ("localhost:4566", "/bucket/k"),
        ("localhost", "/bucket/k"),
        ("[::1]:4566", "/bucket/k"),
    ],
)
def test_bucket_in_the_host_or_in_the_path(s3: Service, host: str, path: str) -> None:
    s3("PUT", "/bucket/k", b"here")
    assert s3("GET", path, host=host).body == b"here"


@pytest.mark.parametrize(
    ("asked", "status", "body", "shown"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=" + "9" * 5000 + "-", 200, b"0123456789", None),
    ],
)
def test_ranges(s3: Service, asked: str, status: int, body: bytes, shown: str | None) -> None:
    s3("PUT", "/bucket/k", b"0123456789", {"x-amz-checksum-crc32": _crc32(b"0123456789")})
    got = s3("GET", "/bucket/k", headers={"range": asked, "x-amz-checksum-mode": "ENABLED"})
    assert (got.status, got.body, head(got).get("content-range")) == (status, body, shown)
    assert ("x-amz-checksum-crc32" in head(got)) == (status == 200)


def test_range_past_the_end(s3: Service) -> None:
    s3("PUT", "/bucket/k", b"0123456789")
    s3("PUT", "/bucket/empty")
    for path, asked in (("/bucket/k", "bytes=10-"), ("/bucket/k", "bytes=-0"), ("/bucket/empty", "bytes=0-")):
        assert refused(s3("GET", path, headers={"range": asked})) == (416, "InvalidRange")


def test_conditional_reads(s3: Service) -> None:
    etag = head(s3("PUT", "/bucket/k", b"1"))["etag"]
    same, later, earlier = (
        "Wed, 18 Nov 2026 11:06:40 GMT",
        "Wed, 18 Nov 2026 11:06:41 GMT",
        "Wed, 18 Nov 2026 11:06:39 GMT",
    )

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return s3("GET", "/bucket/k", headers=named).status

    assert status(if_match=etag) == status(if_match="*") == status(if_match=f'"no", {etag}') == 200
    assert status(if_match='"no"') == 412
    assert status(if_none_match=etag) == status(if_none_match="*") == 304
    assert status(if_none_match='"no"') == 200
    assert status(if_modified_since=same) == status(if_modified_since=later) == 304
    assert status(if_modified_since=earlier) == status(if_modified_since="nonsense") == 200
    assert status(if_unmodified_since=earlier) == 412
    assert status(if_unmodified_since=same) == 200
    assert status(if_match=etag, if_unmodified_since=earlier) == 200
    assert status(if_none_match='"no"', if_modified_since=same) == 200


def test_conditional_writes(s3: Service) -> None:
    first = s3("PUT", "/bucket/k", b"1", {"if-none-match": "*"})
    assert first.status == 200
    again = s3("PUT", "/bucket/k", b"2", {"if-none-match": "*"})
    assert refused(again) == (412, "PreconditionFailed")
    assert texts(again, "Condition") == ["If-None-Match"]
    assert refused(s3("PUT", "/bucket/k", b"2", {"if-match": '"no"'})) == (412, "PreconditionFailed")
    assert s3("GET", "/bucket/k").body == b"1"
    assert s3("PUT", "/bucket/k", b"2", {"if-match": head(first)["etag"]}).status == 200
    assert refused(s3("DELETE", "/bucket/k", headers={"if-match": head(first)["etag"]}))[0] == 412
    assert s3("DELETE", "/bucket/k", headers={"if-match": "*"}).status == 204
    assert refused(s3("DELETE", "/bucket/k", headers={"if-match": "*"})) == (404, "NoSuchKey")


def test_encryption_is_said_back(s3: Service) -> None:
    prefix = "x-amz-server-side-encryption"
    asked = {
        prefix: "aws:kms",
        f"{prefix}-aws-kms-key-id": "alias/mine",
        f"{prefix}-bucket-key-enabled": "true",
    }
    for shown in (
        head(s3("PUT", "/bucket/k", b"1", asked)),
        head(s3("HEAD", "/bucket/k")),
        head(s3("POST", "/bucket/k", headers=asked, query="uploads")),
    ):
        assert {name: value for name, value in shown.items() if name.startswith(prefix)} == asked
    assert head(s3("HEAD", "/bucket/k"))["etag"] != f'"{md5(b"1").hexdigest()}"'
    default = head(s3("PUT", "/bucket/k", b"1", {prefix: "aws:kms"}))[f"{prefix}-aws-kms-key-id"]
    assert default.startswith("arn:aws:kms:us-east-1:000000000001:key/")


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("crc32", "cbf43926"),
        ("crc32c", "e3069283"),
        ("crc64nvme", "ae8b14860a799888"),
        ("sha256", sha256(b"123456789").hexdigest()),
    ],
)
def test_checksum_algorithms(s3: Service, algorithm: str, expected: str) -> None:
    value = base64.b64encode(bytes.fromhex(expected)).decode()
    name = f"x-amz-checksum-{algorithm}"
    assert head(s3("PUT", "/bucket/k", b"123456789", {name: value}))[name] == value
    assert name not in head(s3("GET", "/bucket/k"))
    shown = head(s3("GET", "/bucket/k", headers={"x-amz-checksum-mode": "ENABLED"}))
    assert (shown[name], shown["x-amz-checksum-type"]) == (value, "FULL_OBJECT")


def test_crc_of_any_length_agrees_with_bit_by_bit() -> None:
    def slow(data: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    data = bytes(value * 37 % 256 for value in range(40))
    for length in range(len(data)):
        expected = base64.b64encode(slow(data[:length]).to_bytes(4, "big")).decode()
        assert checksums.of("crc32c", data[:length]).value == expected


def test_response_headers_can_be_replaced_but_not_added(s3: Service) -> None:
    s3("PUT", "/bucket/k", b"1", {"content-type": "text/plain"})
    got = head(s3("GET", "/bucket/k", query="response-content-type=a%2Fb&response-expires=never"))
    assert (got["content-type"], got["expires"]) == ("a/b", "never")
    broken = s3("GET", "/bucket/k", query="response-content-type=a%0D%0Ax%3A%20y")
    assert refused(broken) == (400, "InvalidArgument")


def test_copy(s3: Service) -> None:
    s3("PUT", "/bucket/a%20b", b"1", {"content-type": "text/plain", "x-amz-meta-m": "1"})
    source = {"x-amz-copy-source": "/bucket/a%20b"}
    assert s3("PUT", "/bucket/copy", headers=source).status == 200
    shown = head(s3("HEAD", "/bucket/copy"))
    assert (shown["content-type"], shown["x-amz-meta-m"]) == ("text/plain", "1")
    replaced = {**source, "x-amz-metadata-directive": "REPLACE", "content-type": "a/b"}
    assert s3("PUT", "/bucket/a%20b", headers=replaced).status == 200
    shown = head(s3("HEAD", "/bucket/a%20b"))
    assert shown["content-type"] == "a/b"
    assert "x-amz-meta-m" not in shown
    for headers, expected in (
        (source, (400, "InvalidRequest")),
        ({"x-amz-copy-source": "bucket/none"}, (404, "NoSuchKey")),
        ({"x-amz-copy-source": "none/none"}, (404, "NoSuchBucket")),
        ({"x-amz-copy-source": "none"}, (400, "InvalidArgument")),
        ({"x-amz-copy-source": "bucket/a%20b?versionId=1"}, (501, "NotImplemented")),
        ({**source, "x-amz-metadata-directive": "KEEP"}, (400, "InvalidArgument")),
        ({**source, "x-amz-copy-source-if-match": '"no"'}, (412, "PreconditionFailed")),
        ({**source, "x-amz-copy-source-if-none-match": "*"}, (412, "PreconditionFailed")),
        ({**source, "x-amz-source-expected-bucket-owner": "000000000002"}, (403, "AccessDenied")),
    ):
        assert refused(s3("PUT", "/bucket/a%20b", headers=headers)) == expected
    s3("PUT", "/theirs", account="000000000002")
    assert refused(s3("PUT", "/theirs/k", headers=source, account="000000000002")) == (403, "AccessDenied")


def test_delete_objects(s3: Service) -> None:
    for key in ("a", "b", "c"):
        s3("PUT", f"/bucket/{key}", key.encode())
    body = (
        b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a</Key></Object>'
        b'<Object><Key>b</Key><ETag>"no"</ETag></Object><Object><Key>none</Key></Object></Delete>'
    )
    stated = {"x-amz-checksum-crc32": _crc32(body)}
    response = s3("POST", "/bucket", body, stated, query="delete")
    assert texts(response, "Code") == ["PreconditionFailed"]
    assert texts(response, "Key") == ["a", "b", "none"]
    assert texts(s3("GET", "/bucket"), "Key") == ["b", "c"]
    quiet = b"<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>"
    sent = {"content-md5": base64.b64encode(md5(quiet).digest()).decode()}
    assert texts(s3("POST", "/bucket", quiet, sent, query="delete"), "Key") == []
    assert refused(s3("POST", "/bucket", quiet, query="delete")) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Delete>",
        b"<Delete></Delete>",
        b"<Other/>",
        b"<Delete><Object/></Delete>",
        b'<!DOCTYPE d [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b"<a>" * 50 + b"</a>" * 50,
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    ],
)
def test_delete_objects_with_a_bad_document(s3: Service, body: bytes) -> None:
    response = s3("POST", "/bucket", body, {"x-amz-checksum-crc32": _crc32(body)}, query="delete")
    assert refused(response) == (400, "MalformedXML")


def test_body_that_is_too_large_for_a_document(s3: Service) -> None:
    body = b"<Delete>" + b" " * (2 * MIB) + b"</Delete>"
    sent = {"x-amz-checksum-crc32": _crc32(body)}
    assert refused(s3("POST", "/bucket", body, sent, query="delete")) == (400, "MaxMessageLengthExceeded")


KEYS = ("a", "b/1", "b/2", "b/x/1", "c", "d/1", "e f", "é", "\U0001f600")


@pytest.fixture
def filled(s3: Service) -> Service:
    from urllib.parse import quote

    for key in KEYS:
        assert s3("PUT", f"/bucket/{quote(key)}", b"1").status == 200
    return s3


def pages(s3: Service, query: str, marker: Callable[[Response], str]) -> tuple[list[str], list[str], int]:
    keys: list[str] = []
    prefixes: list[str] = []
    count = 0
    extra = ""
    while True:
        response = s3("GET", "/bucket", query=query + extra)
        assert response.status == 200
        root = ET.fromstring(response.body)
        space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        keys += [element.text or "" for element in root.iterfind(f"{space}Contents/{space}Key")]
        prefixes += [element.text or "" for element in root.iterfind(f"{space}CommonPrefixes/{space}Prefix")]
        count += 1
        if root.findtext(f"{space}IsTruncated") == "false":
            return keys, prefixes, count
        extra = marker(response)


def _token(response: Response) -> str:
    return f"&continuation-token={texts(response, 'NextContinuationToken')[0]}"


def _marker(response: Response) -> str:
    return f"&marker={(texts(response, 'NextMarker') or texts(response, 'Key'))[-1]}"


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_listing_in_pages(filled: Service, limit: int) -> None:
    names = sorted(KEYS, key=str.encode)
    rolled = ["a", "c", "e f", "é", "\U0001f600"]
    assert pages(filled, f"list-type=2&max-keys={limit}", _token)[:2] == (names, [])
    assert pages(filled, f"max-keys={limit}", _marker)[:2] == (names, [])
    with_delimiter = pages(filled, f"list-type=2&delimiter=%2F&max-keys={limit}", _token)
    assert with_delimiter[:2] == (rolled, ["b/", "d/"])
    assert with_delimiter[2] == -(-7 // limit)
    assert pages(filled, f"delimiter=%2F&max-keys={limit}", _marker)[:2] == (rolled, ["b/", "d/"])
    inner = pages(filled, f"list-type=2&prefix=b%2F&delimiter=%2F&max-keys={limit}", _token)
    assert inner[:2] == (["b/1", "b/2"], ["b/x/"])


def test_listing_details(filled: Service) -> None:
    assert texts(filled("GET", "/bucket", query="list-type=2&start-after=d%2F1"), "Key") == list(KEYS[6:])
    encoded = filled("GET", "/bucket", query="list-type=2&start-after=d%2F1&encoding-type=url")
    assert texts(encoded, "Key") == ["e%20f", "%C3%A9", "%F0%9F%98%80"]
    nothing = filled("GET", "/bucket", query="list-type=2&max-keys=0")
    assert (texts(nothing, "Key"), texts(nothing, "IsTruncated")) == ([], ["false"])
    assert texts(filled("GET", "/bucket", query="list-type=2&max-keys=5000"), "MaxKeys") == ["1000"]


def test_token_holds_while_objects_come_and_go(filled: Service) -> None:
    token = _token(filled("GET", "/bucket", query="list-type=2&delimiter=%2F&max-keys=2"))
    filled("DELETE", "/bucket/b/1")
    filled("PUT", "/bucket/b/0", b"")
    filled("PUT", "/bucket/bb", b"")
    rest = filled("GET", "/bucket", query=f"list-type=2&delimiter=%2F&max-keys=2{token}")
    assert texts(rest, "Key") == ["bb", "c"]


def test_multipart(s3: Service) -> None:
    upload = begin(s3, content_type="text/plain", x_amz_meta_a="1")
    first = part(s3, upload, 1, b"a" * (5 * MIB))
    part(s3, upload, 3, b"dropped")
    third = part(s3, upload, 3, b"end")
    assert texts(s3("GET", "/bucket/big", query=f"uploadId={upload}"), "PartNumber") == ["1", "3"]
    assert s3("GET", "/bucket/big").status == 404
    response = complete(s3, upload, completion((1, first), (3, third)))
    digest = md5(md5(b"a" * (5 * MIB)).digest() + md5(b"end").digest()).hexdigest()
    assert texts(response, "ETag") == [f'"{digest}-2"']
    got = s3("GET", "/bucket/big")
    assert got.body == b"a" * (5 * MIB) + b"end"
    assert (head(got)["content-type"], head(got)["x-amz-meta-a"]) == ("text/plain", "1")
    assert refused(complete(s3, upload, completion((1, first)))) == (404, "NoSuchUpload")
    assert s3.s3.used_bytes == 5 * MIB + 3


def test_multipart_refusals(s3: Service) -> None:
    upload = begin(s3)
    one, two = part(s3, upload, 1, b"small"), part(s3, upload, 2, b"small too")
    for body, expected in (
        (completion((1, one), (2, two)), "EntityTooSmall"),
        (completion((2, two), (1, one)), "InvalidPartOrder"),
        (completion((1, one), (1, one)), "InvalidPartOrder"),
        (completion((1, two)), "InvalidPart"),
        (completion((3, one)), "InvalidPart"),
        (completion(), "MalformedXML"),
        (b"", "MalformedXML"),
    ):
        assert refused(complete(s3, upload, body)) == (400, expected)
    for number in ("0", "10001", "x", "1" * 5000):
        query = f"partNumber={number}&uploadId={upload}"
        assert refused(s3("PUT", "/bucket/big", b"", query=query)) == (400, "InvalidArgument")
    assert (
        refused(s3("PUT", "/bucket/other", b"", query=f"partNumber=1&uploadId={upload}"))[1] == "NoSuchUpload"
    )
    assert complete(s3, upload, completion((1, one))).status == 200


def test_conditional_completion(s3: Service) -> None:
    upload = begin(s3)
    body = completion((1, part(s3, upload, 1, b"new")))
    s3("PUT", "/bucket/big", b"old")
    assert refused(complete(s3, upload, body, {"if-none-match": "*"})) == (412, "PreconditionFailed")
    assert refused(complete(s3, upload, body, {"if-match": '"no"'})) == (412, "PreconditionFailed")
    assert s3("GET", "/bucket/big").body == b"old"
    etag = head(s3("HEAD", "/bucket/big"))["etag"]
    assert complete(s3, upload, body, {"if-match": etag}).status == 200


def test_abort_and_listing_of_uploads(s3: Service) -> None:
    ids = [begin(s3, f"/bucket/{key}") for key in ("b/1", "a", "b/2", "a")]
    listed = s3("GET", "/bucket", query="uploads")
    assert texts(listed, "UploadId") == [ids[1], ids[3], ids[0], ids[2]]
    first = s3("GET", "/bucket", query="uploads&max-uploads=1")
    assert (texts(first, "NextKeyMarker"), texts(first, "NextUploadIdMarker")) == (["a"], [ids[1]])
    after = s3("GET", "/bucket", query=f"uploads&key-marker=a&upload-id-marker={ids[1]}&delimiter=%2F")
    assert texts(after, "UploadId") == [ids[3]]
    assert texts(after, "Prefix") == ["b/"]
    assert s3("DELETE", "/bucket/a", query=f"uploadId={ids[1]}").status == 204
    assert refused(s3("DELETE", "/bucket/a", query=f"uploadId={ids[1]}")) == (404, "NoSuchUpload")
    assert len(texts(s3("GET", "/bucket", query="uploads"), "UploadId")) == 3


def test_parts_in_pages(s3: Service) -> None:
    upload = begin(s3)
    for number in (1, 2, 5):
        part(s3, upload, number, b"x")
    first = s3("GET", "/bucket/big", query=f"uploadId={upload}&max-parts=2")
    assert texts(first, "PartNumber") == ["1", "2"]
    assert texts(first, "NextPartNumberMarker") == ["2"]
    rest = s3("GET", "/bucket/big", query=f"uploadId={upload}&max-parts=2&part-number-marker=2")
    assert (texts(rest, "PartNumber"), texts(rest, "IsTruncated")) == (["5"], ["false"])


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_multipart_checksums(s3: Service, kind: str) -> None:
    bodies = (b"a" * (5 * MIB), b"end")
    upload = begin(s3, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type=kind)
    unstated = s3("PUT", "/bucket/big", b"x", query=f"partNumber=1&uploadId={upload}")
    assert refused(unstated) == (400, "InvalidRequest")
    rows = ""
    for number, body in enumerate(bodies, 1):
        etag = part(s3, upload, number, body, {"x-amz-checksum-crc32": _crc32(body)})
        rows += (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
            f"<ChecksumCRC32>{_crc32(body)}</ChecksumCRC32></Part>"
        )
    wrong = rows.replace(_crc32(b"end"), _crc32(b"fin"))
    template = "<CompleteMultipartUpload>{}</CompleteMultipartUpload>"
    assert refused(complete(s3, upload, template.format(wrong).encode())) == (400, "InvalidPart")
    document = template.format(rows).encode()
    assert refused(complete(s3, upload, document, {"x-amz-checksum-crc32": "AAAAAA=="})) == (400, "BadDigest")
    assert refused(complete(s3, upload, document, {"x-amz-mp-object-size": "1"})) == (400, "InvalidRequest")
    raw = b"".join(zlib.crc32(body).to_bytes(4, "big") for body in bodies)
    expected = f"{_crc32(raw)}-2" if kind == "COMPOSITE" else _crc32(b"".join(bodies))
    response = complete(s3, upload, document)
    assert (texts(response, "ChecksumCRC32"), texts(response, "ChecksumType")) == ([expected], [kind])
    shown = head(s3("HEAD", "/bucket/big", headers={"x-amz-checksum-mode": "ENABLED"}))
    assert (shown["x-amz-checksum-crc32"], shown["x-amz-checksum-type"]) == (expected, kind)


def test_part_from_another_object(s3: Service) -> None:
    s3("PUT", "/bucket/source", b"0123456789")
    upload = begin(s3)
    query = f"partNumber=1&uploadId={upload}"
    sent = {"x-amz-copy-source": "bucket/source", "x-amz-copy-source-range": "bytes=2-4"}
    etag = texts(s3("PUT", "/bucket/big", headers=sent, query=query), "ETag")[0]
    sent["x-amz-copy-source-range"] = "bytes=2-40"
    assert refused(s3("PUT", "/bucket/big", headers=sent, query=query)) == (400, "InvalidArgument")
    assert complete(s3, upload, completion((1, etag))).status == 200
    assert s3("GET", "/bucket/big").body == b"234"


def test_quota() -> None:
    s3 = Service(max_bytes=10)
    s3("PUT", "/bucket")
    assert s3("PUT", "/bucket/a", b"12345678").status == 200
    assert refused(s3("PUT", "/bucket/b", b"123")) == (403, "QuotaExceeded")
    assert s3("PUT", "/bucket/a", b"1234567890").status == 200
    assert s3("DELETE", "/bucket/a").status == 204
    upload = begin(s3)
    etag = part(s3, upload, 1, b"1234567890")
    assert refused(s3("PUT", "/bucket/b", b"1")) == (403, "QuotaExceeded")
    assert complete(s3, upload, completion((1, etag))).status == 200
    assert s3.s3.used_bytes == 10


def test_same_calls_give_the_same_replies() -> None:
    def run() -> list[Response]:
        s3 = Service()
        answers = [
            s3("PUT", "/bucket"),
            s3("PUT", "/bucket/k", b"1"),
            s3("POST", "/bucket/k", query="uploads"),
        ]
        return [*answers, s3("GET", "/bucket"), s3("GET", "/bucket", query="uploads"), s3("GET", "/")]

    assert run() == run()


def _crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()

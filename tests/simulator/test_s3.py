from __future__ import annotations

import base64
import time
import zlib
from hashlib import md5
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from poolcensus.simulator.access import Principal
from poolcensus.simulator.http import Identity, Request, Response
from poolcensus.simulator.refusal import RefusalError, render
from poolcensus.simulator.s3 import S3, checksums

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_795_000_000
MIB = 1024 * 1024
OWNER = "000000000001"
Headers = dict[str, str]


class Service:
    def __init__(self) -> None:
        self.s3 = S3(clock=lambda: float(NOW))

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
        *,
        query: str = "",
        account: str = OWNER,
        host: str = "127.0.0.1:4566",
    ) -> Response:
        identity = Identity(Principal(account, f"arn:aws:iam::{account}:user/u"), "AKIA", None, "AIDA")
        sent = {"host": host, **(headers or {})}
        try:
            return self.s3.handle(Request(method, path, query, sent, body, identity, "s3", "us-east-1", "R1"))
        except RefusalError as refusal:
            return render(refusal, "s3", "R1")


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
    sent = {"content-type": "text/plain"}
    put = s3("PUT", "/bucket/a%20b/%C3%BC+1", b"hello", sent)
    etag = f'"{md5(b"hello").hexdigest()}"'
    assert (put.status, head(put)["etag"]) == (200, etag)
    got = s3("GET", "/bucket/a%20b/%C3%BC+1")
    assert (got.status, got.body) == (200, b"hello")
    shown = head(got)
    assert shown["etag"] == etag
    assert shown["content-type"] == "text/plain"
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
        ("POST", "/bucket", "delete", (400, "InvalidRequest")),
        ("GET", "/bucket", "versions", (501, "NotImplemented")),
        ("PUT", "/bucket", "versioning", (501, "NotImplemented")),
        ("GET", "/bucket/key", "acl", (501, "NotImplemented")),
        ("GET", "/bucket/key", "x-amz-acl=private", (501, "NotImplemented")),
        ("GET", "/nowhere", "", (404, "NoSuchBucket")),
        ("GET", "/nowhere", "location", (404, "NoSuchBucket")),
        ("HEAD", "/nowhere", "", (404, "NoSuchBucket")),
        ("DELETE", "/nowhere", "", (404, "NoSuchBucket")),
        ("GET", "/bucket", "max-keys=x", (400, "InvalidArgument")),
        ("GET", "/bucket/key", "uploadId=none", (404, "NoSuchUpload")),
        ("POST", "/bucket/key", "", (501, "NotImplemented")),
        ("PATCH", "/bucket/key", "", (501, "NotImplemented")),
        ("PUT", "/", "", (501, "NotImplemented")),
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
        ({"x-amz-acl": "public-read"}, (501, "NotImplemented")),
        ({"x-amz-copy-source": "/bucket/other"}, (404, "NoSuchKey")),
        ({"x-amz-copy-source": "/nowhere/other"}, (404, "NoSuchBucket")),
        ({"x-amz-copy-source": "/bucket"}, (400, "InvalidArgument")),
        ({"x-amz-copy-source": "/bucket/%ff"}, (400, "InvalidArgument")),
        ({"x-amz-copy-source": "/bucket/other?versionId=1"}, (501, "NotImplemented")),
        ({"x-amz-copy-source": "/bucket/o", "x-amz-tagging": "a=b"}, (501, "NotImplemented")),
        ({"x-amz-copy-source-range": "bytes=0-1"}, (501, "NotImplemented")),
        ({"x-amz-meta-a": "x" * 2048}, (400, "MetadataTooLarge")),
        ({"x-amz-checksum-sha1": "x"}, (400, "BadDigest")),
        ({"x-amz-checksum-crc32c": "yZRlqg=="}, (501, "NotImplemented")),
        ({"if-unmodified-since": "Wed, 18 Nov 2026 11:06:39 GMT"}, (501, "NotImplemented")),
        ({"x-amz-server-side-encryption": "rot13"}, (400, "InvalidEncryptionAlgorithmError")),
        ({"x-amz-server-side-encryption-aws-kms-key-id": "k"}, (400, "InvalidArgument")),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, (400, "BadDigest")),
        ({"x-amz-checksum-crc32": "AAAA"}, (400, "BadDigest")),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc64nvme": "x"}, (400, "InvalidRequest")),
        ({"content-md5": base64.b64encode(md5(b"other").digest()).decode()}, (400, "BadDigest")),
        ({"content-md5": "nonsense"}, (400, "InvalidDigest")),
        ({"content-md5": "é"}, (400, "InvalidDigest")),
        ({"x-amz-decoded-content-length": "6"}, (400, "IncompleteBody")),
        ({"x-amz-trailer": "x-amz-checksum-crc32"}, (400, "MalformedTrailerError")),
        ({"x-amz-expected-bucket-owner": "000000000002"}, (403, "AccessDenied")),
        ({"x-amz-expected-bucket-owner": "me"}, (400, "InvalidBucketOwnerAWSAccountID")),
        ({"if-none-match": '"x"'}, (501, "NotImplemented")),
        ({"if-match": '"x"'}, (404, "NoSuchKey")),
    ],
)
def test_put_that_is_refused_leaves_nothing(s3: Service, headers: Headers, expected: tuple[int, str]) -> None:
    assert refused(s3("PUT", "/bucket/key", b"hello", headers)) == expected
    assert s3("HEAD", "/bucket/key").status == 404


def test_a_body_of_unknown_length_is_refused(s3: Service) -> None:
    chunked = {"transfer-encoding": "chunked"}
    reply = s3("PUT", "/bucket/k", b"hello", chunked)
    assert refused(reply) == (501, "NotImplemented")
    assert texts(reply, "Header") == ["Transfer-Encoding"]
    assert refused(s3("GET", "/bucket/k")) == (404, "NoSuchKey")
    assert s3("PUT", "/bucket/k", b"hello", {**chunked, "x-amz-decoded-content-length": "5"}).status == 200


def test_what_stands_for_a_header_comes_back_as_one(s3: Service) -> None:
    for number, (sent, back) in enumerate(
        [
            ("x-amz-meta-name=plain", "plain"),
            ("x-amz-meta-name=" + quote("日本 ü"), "日本 ü"),
            ("x-amz-meta-name=", ""),
        ]
    ):
        assert s3("PUT", f"/bucket/{number}", b"x", query=sent).status == 200
        reply = s3("GET", f"/bucket/{number}")
        assert head(reply)["x-amz-meta-name"].encode("latin-1").decode() == back
    encryption = "x-amz-server-side-encryption"
    kms = f"{encryption}=aws:kms&{encryption}-aws-kms-key-id={quote('schlüssel→')}"
    assert s3("PUT", "/bucket/kms", b"x", query=kms).status == 200
    assert all(value.encode("latin-1") for _, value in s3("GET", "/bucket/kms").headers)


@pytest.mark.parametrize(
    "query",
    [
        "x-amz-meta-name=a%0D%0AX-Else:%201",
        "x-amz-meta-name=a%00",
        "x-amz-meta-a%0D%0AX-Else:%201%0D%0Aa=b",
        "x-amz-meta-%C3%BC=b",
    ],
)
def test_what_can_be_no_header_is_refused(s3: Service, query: str) -> None:
    assert refused(s3("PUT", "/bucket/k", b"x", query=query)) == (400, "InvalidArgument")
    assert refused(s3("GET", "/bucket/k")) == (404, "NoSuchKey")


def test_buckets_belong_to_the_account_that_made_them(s3: Service) -> None:
    assert refused(s3("GET", "/bucket", query="list-type=2", account="000000000002")) == (403, "AccessDenied")
    assert refused(s3("PUT", "/bucket", account="000000000002")) == (409, "BucketAlreadyExists")
    assert texts(s3("GET", "/", account="000000000002"), "Name") == []
    assert texts(s3("GET", "/"), "Name") == ["bucket"]
    assert s3("PUT", "/bucket").status == 200


def test_a_bucket_elsewhere_is_created_once(s3: Service) -> None:
    asked = (
        b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
        b"</CreateBucketConfiguration>"
    )
    assert s3("PUT", "/b-1", asked).status == 200
    assert refused(s3("PUT", "/b-1", asked)) == (409, "BucketAlreadyOwnedByYou")
    assert refused(s3("PUT", "/b-2", b"<Other/>")) == (400, "MalformedXML")


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


@pytest.mark.parametrize("bucket", ["s3-data", "my.s3-logs", "s3.files", "a.s3.b", "logs3", "s3s"])
def test_a_bucket_in_the_host_may_have_s3_in_its_name(s3: Service, bucket: str) -> None:
    assert s3("PUT", f"/{bucket}").status == 200
    for host in (
        "localhost:4566",
        "s3.localhost:4566",
        "s3.amazonaws.com",
        "s3.us-east-1.amazonaws.com",
        "s3-us-west-2.amazonaws.com",
        "s3.dualstack.eu-west-1.amazonaws.com",
        "s3-fips.dualstack.us-east-1.amazonaws.com",
        "s3.cn-north-1.amazonaws.com.cn",
    ):
        assert s3("PUT", f"/{host}", b"here", host=f"{bucket}.{host}").status == 200
        assert s3("GET", f"/{bucket}/{host}").body == b"here"


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
    assert s3("GET", "/bucket/k", headers={"if-match": etag}).status == 200
    assert refused(s3("GET", "/bucket/k", headers={"if-match": '"no"'})) == (412, "PreconditionFailed")
    unchanged = s3("GET", "/bucket/k", headers={"if-none-match": etag})
    assert (unchanged.status, unchanged.body, head(unchanged)["etag"]) == (304, b"", etag)


MODIFIED = "Wed, 18 Nov 2026 11:06:40 GMT"
BEFORE = "Wed, 18 Nov 2026 11:06:39 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-modified-since": MODIFIED}, 304),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-unmodified-since": MODIFIED}, 200),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-none-match": '"no", W/"c4ca4238a0b923820dcc509a6f75849b"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"no"'}, 200),
        # With an ETag, a date is ignored.
        ({"if-none-match": '"no"', "if-modified-since": MODIFIED}, 200),
        ({"if-match": '"c4ca4238a0b923820dcc509a6f75849b"', "if-unmodified-since": BEFORE}, 200),
        ({"if-match": '"no", "c4ca4238a0b923820dcc509a6f75849b"', "if-modified-since": MODIFIED}, 304),
        ({"if-match": '"no"', "if-none-match": '"no"'}, 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_dates_and_etags_of_a_read(s3: Service, method: str, headers: Headers, status: int) -> None:
    s3("PUT", "/bucket/k", b"1")
    assert s3(method, "/bucket/k", headers=headers).status == status


@pytest.mark.parametrize("zone", [" GMT", " -0000", ""])
def test_a_date_without_a_zone_is_in_utc(s3: Service, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    s3("PUT", "/bucket/k", b"1")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        statuses = [
            s3("GET", "/bucket/k", headers={"if-modified-since": each.removesuffix(" GMT") + zone}).status
            for each in (MODIFIED, BEFORE)
        ]
    time.tzset()
    assert statuses == [304, 200]


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
    }
    for shown in (
        head(s3("PUT", "/bucket/k", b"1", asked)),
        head(s3("HEAD", "/bucket/k")),
        head(s3("POST", "/bucket/k", headers=asked, query="uploads")),
    ):
        assert {name: value for name, value in shown.items() if name.startswith(prefix)} == asked
    assert head(s3("HEAD", "/bucket/k"))["etag"] != f'"{md5(b"1").hexdigest()}"'
    assert head(s3("PUT", "/bucket/k", b"1", {prefix: "aws:kms"}))[f"{prefix}-aws-kms-key-id"]


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("crc32", "cbf43926"),
        ("crc64nvme", "ae8b14860a799888"),
        ("sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ("sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ],
)
def test_checksum_algorithms(s3: Service, algorithm: str, expected: str) -> None:
    value = base64.b64encode(bytes.fromhex(expected)).decode()
    name = f"x-amz-checksum-{algorithm}"
    assert head(s3("PUT", "/bucket/k", b"123456789", {name: value}))[name] == value
    assert name not in head(s3("GET", "/bucket/k"))
    shown = head(s3("GET", "/bucket/k", headers={"x-amz-checksum-mode": "ENABLED"}))
    assert (shown[name], shown["x-amz-checksum-type"]) == (value, "FULL_OBJECT")


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


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_listing_in_pages(filled: Service, limit: int) -> None:
    names = sorted(KEYS, key=str.encode)
    rolled = ["a", "c", "e f", "é", "\U0001f600"]
    assert pages(filled, f"list-type=2&max-keys={limit}", _token)[:2] == (names, [])
    with_delimiter = pages(filled, f"list-type=2&delimiter=%2F&max-keys={limit}", _token)
    assert with_delimiter[:2] == (rolled, ["b/", "d/"])
    assert with_delimiter[2] == -(-7 // limit)
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
    upload = begin(s3, content_type="text/plain")
    first = part(s3, upload, 1, b"a" * (5 * MIB))
    part(s3, upload, 3, b"dropped")
    third = part(s3, upload, 3, b"end")
    assert s3("GET", "/bucket/big").status == 404
    response = complete(s3, upload, completion((1, first), (3, third)))
    digest = md5(md5(b"a" * (5 * MIB)).digest() + md5(b"end").digest()).hexdigest()
    assert texts(response, "ETag") == [f'"{digest}-2"']
    got = s3("GET", "/bucket/big")
    assert got.body == b"a" * (5 * MIB) + b"end"
    assert head(got)["content-type"] == "text/plain"
    assert refused(complete(s3, upload, completion((1, first)))) == (404, "NoSuchUpload")


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
        (b"<Other/>", "MalformedXML"),
        (b"<CompleteMultipartUpload>", "MalformedXML"),
        (b"<!DOCTYPE d>" + completion((1, one)), "MalformedXML"),
        (completion((1, one)).replace(b"Part>", b"Piece>"), "MalformedXML"),
        (completion((0, one)), "InvalidArgument"),
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


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("CRC32", "COMPOSITE"), ("SHA256", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT")]
)
def test_multipart_checksums(s3: Service, monkeypatch: pytest.MonkeyPatch, algorithm: str, kind: str) -> None:
    # The CRC of 5 MiB takes seconds.
    monkeypatch.setattr("poolcensus.simulator.s3.uploads.MIN_PART", 5001)

    def stated(body: bytes) -> str:
        return checksums.of(algorithm.lower(), body).value

    bodies = (b"a" * 5001, b"end")
    upload = begin(s3, x_amz_checksum_algorithm=algorithm)
    unstated = s3("PUT", "/bucket/big", b"x", query=f"partNumber=1&uploadId={upload}")
    assert refused(unstated) == (400, "InvalidRequest")
    rows = ""
    for number, body in enumerate(bodies, 1):
        etag = part(s3, upload, number, body, {f"x-amz-checksum-{algorithm.lower()}": stated(body)})
        rows += (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
            f"<Checksum{algorithm}>{stated(body)}</Checksum{algorithm}></Part>"
        )
    wrong = rows.replace(stated(b"end"), stated(b"fin"))
    template = "<CompleteMultipartUpload>{}</CompleteMultipartUpload>"
    assert refused(complete(s3, upload, template.format(wrong).encode())) == (400, "InvalidPart")
    raw = b"".join(base64.b64decode(stated(body)) for body in bodies)
    expected = f"{stated(raw)}-2" if kind == "COMPOSITE" else stated(b"".join(bodies))
    response = complete(s3, upload, template.format(rows).encode())
    assert (texts(response, f"Checksum{algorithm}"), texts(response, "ChecksumType")) == ([expected], [kind])
    shown = head(s3("HEAD", "/bucket/big", headers={"x-amz-checksum-mode": "ENABLED"}))
    name = f"x-amz-checksum-{algorithm.lower()}"
    assert (shown[name], shown["x-amz-checksum-type"]) == (expected, kind)


def test_an_upload_with_another_checksum_is_refused(s3: Service) -> None:
    sent = {"x-amz-checksum-algorithm": "CRC32C"}
    assert refused(s3("POST", "/bucket/big", headers=sent, query="uploads")) == (501, "NotImplemented")


def test_same_calls_give_the_same_replies() -> None:
    def run() -> list[Response]:
        s3 = Service()
        answers = [
            s3("PUT", "/bucket"),
            s3("PUT", "/bucket/k", b"1"),
            s3("POST", "/bucket/k", query="uploads"),
        ]
        queries = ("list-type=2", "uploads")
        return [*answers, *(s3("GET", "/bucket", query=query) for query in queries), s3("GET", "/")]

    assert run() == run()


def _crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import threading
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from poolcensus.simulator.server import Simulator

if TYPE_CHECKING:
    from poolcensus.simulator.s3.store import StoredObject

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    served = Simulator()
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with served:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield served
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def connect(simulator: Simulator, **s3: str) -> Any:
    return boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=simulator.endpoint_url.replace("127.0.0.1", s3.pop("host", "127.0.0.1")),
        aws_access_key_id=simulator.access_key_id,
        aws_secret_access_key=simulator.secret_access_key,
        config=Config(
            s3=s3, signature_version=s3.pop("signature_version", None), retries={"total_max_attempts": 1}
        ),
    )


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Any]:
    made = connect(simulator)
    yield made
    made.close()


def objects_in(simulator: Simulator, bucket: str) -> dict[str, StoredObject]:
    """Return the objects of a bucket, as the simulator stores them."""
    s3: Any = simulator._application._services["s3"]
    objects: dict[str, StoredObject] = s3._store.buckets[bucket].objects
    return objects


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> str:
    name: str = "b-" + request.node.name.removeprefix("test_").replace("_", "-")
    client.create_bucket(Bucket=name)
    return name


def refused(call: Any, **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


Send = Callable[[str, bytes, dict[str, str]], tuple[http.client.HTTPResponse, bytes]]
TRAILER = {"request_algorithm": {"in": "trailer", "algorithm": "crc32", "name": "x-amz-checksum-crc32"}}


@contextmanager
def raw(simulator: Simulator) -> Iterator[Send]:
    """Return a function that PUTs what boto3 does not send over plain HTTP, or sends slowly."""
    signer = S3SigV4Auth(Credentials(simulator.access_key_id, simulator.secret_access_key), "s3", "us-east-1")
    connection = http.client.HTTPConnection(simulator.endpoint_url.removeprefix("http://"), timeout=10)

    def send(path: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        request = AWSRequest("PUT", simulator.endpoint_url + path, headers=headers, data=body)
        if "X-Amz-Trailer" in headers:
            request.context["checksum"] = TRAILER
        signer.add_auth(request)
        connection.request("PUT", path, body, dict(request.headers.items()))
        response = connection.getresponse()
        return response, response.read()

    yield send
    connection.close()


def test_round_trip(client: Any, bucket: str) -> None:
    put = client.put_object(Bucket=bucket, Key="a b/ü+~'%41", Body=b"hello", ServerSideEncryption="AES256")
    assert put["ChecksumCRC32"] == b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    got = client.get_object(Bucket=bucket, Key="a b/ü+~'%41")
    assert (got["Body"].read(), got["ETag"]) == (b"hello", put["ETag"])
    assert got["ServerSideEncryption"] == "AES256"
    assert client.head_object(Bucket=bucket, Key="a b/ü+~'%41")["ContentLength"] == 5
    assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["a b/ü+~'%41"]
    assert refused(client.head_object, Bucket=bucket, Key="none") == (404, "404")
    assert refused(client.get_object, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    assert refused(client.get_object, Bucket=bucket, Key="none", IfMatch="x") == (404, "NoSuchKey")
    assert refused(client.get_object, Bucket=bucket, Key="a b/ü+~'%41", IfMatch="x")[0] == 412
    assert refused(client.get_bucket_policy, Bucket=bucket) == (501, "NotImplemented")
    buckets = client.list_buckets()
    assert bucket in {item["Name"] for item in buckets["Buckets"]}
    assert buckets["ResponseMetadata"]["HostId"]
    listed = client.list_objects_v2(Bucket=bucket, Prefix="none", FetchOwner=True)
    assert listed["Prefix"] == "none"
    owned = client.list_objects_v2(Bucket=bucket, FetchOwner=True)
    assert (owned["Prefix"], owned["Contents"][0]["Owner"]) == ("", buckets["Owner"])


def test_bucket_in_the_host(simulator: Simulator, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    # Not every system resolves subdomains of localhost.
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest: resolve("127.0.0.1", *rest))
    virtual = connect(simulator, host="localhost", addressing_style="virtual")
    sent: list[str] = []
    virtual.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.url))
    virtual.put_object(Bucket=bucket, Key="k/l", Body=b"1")
    assert virtual.get_object(Bucket=bucket, Key="k/l")["Body"].read() == b"1"
    assert all(url.startswith(f"http://{bucket}.localhost:") for url in sent)
    virtual.close()


def test_multipart_of_twelve_mebibytes(client: Any, bucket: str) -> None:
    body = bytes(range(256)) * (12 * MIB // 256)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    client.upload_fileobj(io.BytesIO(body), bucket, "big", Config=config)
    shown = client.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert shown["ETag"].endswith('-3"')
    assert shown["ChecksumType"] == "COMPOSITE"
    target = io.BytesIO()
    client.download_fileobj(bucket, "big", target, Config=config)
    assert target.getvalue() == body
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_abort(client: Any, bucket: str) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    client.upload_part(**named, PartNumber=1, Body=b"1")
    assert [item["UploadId"] for item in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    client.abort_multipart_upload(**named)
    assert refused(client.upload_part, **named, PartNumber=1, Body=b"1") == (404, "NoSuchUpload")
    assert refused(client.head_object, Bucket=bucket, Key="k") == (404, "404")


def test_one_of_many_conditional_puts_wins(client: Any, bucket: str) -> None:
    def put(number: int) -> int:
        try:
            client.put_object(Bucket=bucket, Key="lock", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(put, range(16)))
    assert sorted(statuses) == [200] + [412] * 15
    winner = client.get_object(Bucket=bucket, Key="lock")
    assert winner["Body"].read() == b"%d" % statuses.index(200)
    client.put_object(Bucket=bucket, Key="lock", Body=b"new", IfMatch=winner["ETag"])
    again = {"Bucket": bucket, "Key": "lock", "IfMatch": winner["ETag"]}
    assert refused(client.put_object, **again, Body=b"late") == (412, "PreconditionFailed")
    assert refused(client.delete_object, **again) == (412, "PreconditionFailed")


def test_listing_many(simulator: Simulator, client: Any, bucket: str) -> None:
    keys = [f"d{number % 50:02d}/k {number:04d}+é" for number in range(2500)]
    with raw(simulator) as send:
        for key in keys[:50]:
            answer, _ = send(f"/{bucket}/{quote(key)}", b"", {})
            assert answer.status == 200
    # A call takes a millisecond, and the listing is the same however the objects were made.
    objects = objects_in(simulator, bucket)
    objects.update((key, replace(objects[keys[0]], key=key)) for key in keys[50:])
    found = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [len(page["Contents"]) for page in found] == [1000, 1000, 500]
    assert [item["Key"] for page in found for item in page["Contents"]] == sorted(keys)
    rolled = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 7}
    )
    prefixes = [item["Prefix"] for page in rolled for item in page["CommonPrefixes"]]
    assert prefixes == [f"d{number:02d}/" for number in range(50)]


@pytest.mark.parametrize(
    ("stated", "status"),
    [
        (b"hello", 200),
        (b"other", 400),
    ],
)
def test_checksum_in_a_trailer(simulator: Simulator, client: Any, stated: bytes, status: int) -> None:
    client.create_bucket(Bucket="trailer")
    checksum = b64encode(zlib.crc32(stated).to_bytes(4, "big"))
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": "5",
    }
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + checksum + b"\r\n\r\n"
    with raw(simulator) as send:
        answer, content = send(f"/trailer/k-{status}", body, headers)
    assert (answer.status, b"BadDigest" in content) == (status, status == 400)
    if status == 200:
        assert answer.headers["x-amz-checksum-crc32"] == checksum.decode()
        assert client.get_object(Bucket="trailer", Key="k-200")["Body"].read() == b"hello"


def test_presigned_reads_and_writes(simulator: Simulator, bucket: str) -> None:
    client = connect(simulator, signature_version="s3v4")
    for method, operation, body in (("PUT", "put_object", b"hi"), ("GET", "get_object", None)):
        url = client.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": "a b"})
        host, _, path = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request(method, f"/{path}", body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert (response.status, content) == (200, b"" if method == "PUT" else b"hi")
    client.close()

"""The client of S3: what it says of errors, whom it trusts, what it sends, how it goes on after trouble."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

import anyio
import pytest
import trustme

from poolcensus.aws.sdk.access import Sdk
from poolcensus.aws.session import CallerSession
from poolcensus.aws.signing import Credentials
from poolcensus.aws.transport.tls import Trust
from poolcensus.config import load_settings
from poolcensus.errors import DestinationError, DestinationRefusedError, SettingsError, UnreachableError
from poolcensus.simulator import Simulator
from poolcensus.storage.s3.client import open_bucket
from poolcensus.storage.s3.credentials import S3Credentials
from poolcensus.storage.s3.objects import Upload
from storage.buckets import stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from poolcensus.aws.credentials.chain_credentials import ChainCredentials
    from poolcensus.storage.s3.objects import Bucket

NAME = "census"
SECRET, TOKEN = "the-secret-key", "the-session-token"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own attempts follow each other at once."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


class Source:
    """Credentials that are other ones after they have expired."""

    def __init__(self) -> None:
        self.generation = 0

    async def get(self) -> Credentials:
        return Credentials(f"AKIA{self.generation}", SECRET, f"{TOKEN}-{self.generation}")

    def expired(self, _: Credentials) -> None:
        self.generation += 1


@asynccontextmanager
async def opened(url: str, source: Source | None = None, **settings: object) -> AsyncIterator[Bucket]:
    given: dict[str, object] = {"endpoint_url": url, "attempt_timeout": 5, "connect_timeout": 2}
    loaded = load_settings(None, {**given, **settings})
    async with Sdk(profile=None, endpoint_url=url) as sdk:
        session = CallerSession(sdk, cast("ChainCredentials", source or Source()), Trust(sdk.ca_bundle))
        async with open_bucket(loaded, session, NAME) as bucket:
            yield bucket


def error(status: int, code: str, message: str = "no") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return reply(status, body, "Content-Type: application/xml")


def reply(status: int, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Scripted:
    """A server that gives these replies, one after the other, and then the last one for ever."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = [*replies]
        self.heads: list[str] = []
        self.url = ""

    def header(self, number: int, name: str) -> str | None:
        found = re.search(rf"^{name}: (.*)\r$", self.heads[number], re.MULTILINE | re.IGNORECASE)
        return found[1] if found else None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                length = self.header(-1, "content-length")
                await reader.readexactly(int(length or 0))
                answer = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                writer.write(answer)
                await writer.drain()
                stated = re.search(rb"Content-Length: (\d+)", answer)
                if b"Connection: close" in answer:
                    break
                if stated and len(answer.partition(b"\r\n\r\n")[2]) < int(stated[1]):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Scripted, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    try:
        yield server
    finally:
        listener.close()
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)


HTML = "Content-Type: text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(404, "NoSuchBucket"), ["there is no bucket census", "create it"]),
        (error(403, "AccessDenied"), ["access is denied", "s3:PutObject"]),
        (
            error(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey on"),
            ["kms:GenerateDataKey", "the key refuses"],
        ),
        (error(400, "KMS.DisabledException"), ["KMS.DisabledException", "s3_kms_key"]),
        (error(400, "ExpiredToken"), ["have expired", "renew"]),
        (error(403, "InvalidAccessKeyId"), ["does not accept the caller's credentials", "`profile`"]),
        (error(403, "RequestTimeTooSkewed"), ["clock of this machine"]),
        (error(501, "NotImplemented"), ["conditional writes", "choose another"]),
        (error(503, "SlowDown"), ["fewer calls", "later"]),
        (error(400, "Odd"), ["S3 answered Odd"]),
        (reply(400), ["S3 answered 400"]),
        (error(400, f"no {TOKEN}"), ["S3 answered 400"]),
        (error(403, "x" * 65), ["access is denied (403)"]),
        (reply(200, b"<html>Sign in</html>"), ["is not S3", "`endpoint_url`"]),
        (reply(404, b"<html>Not Found</html>"), ["is not S3: HTTP 404 without", "`endpoint_url`"]),
        (
            reply(404, b"<!doctype html><html><br></html>", HTML),
            ["is not S3: HTTP 404 without", "`endpoint_url`"],
        ),
        (reply(403, b"<html>Blocked</html>", HTML), ["is not S3: HTTP 403 without"]),
        (
            reply(502, b"<html>Bad Gateway</html>", HTML),
            [": HTTP 502 without an error code, perhaps from a proxy"],
        ),
        (
            reply(503, b"<html>Maintenance</html>", HTML),
            [": HTTP 503 without an error code, perhaps from a proxy"],
        ),
    ],
)
async def test_a_refusal_is_a_sentence_that_says_what_to_do(answer: bytes, said: list[str]) -> None:
    async with serving(Scripted(answer)) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError) as caught:
            await bucket.put("p/.lock", b"x", if_absent=True)
    message = str(caught.value)
    # Without its bucket, there is no object to name.
    place = "s3://census" if "no bucket" in said[0] else "s3://census/p/.lock"
    assert message.startswith(f"can't write {place}: ")
    for each in said:
        assert each in message
    assert "\n" not in message
    assert SECRET not in message
    assert TOKEN not in message


async def read(bucket: Bucket) -> None:
    await bucket.get("p/x")


async def look(bucket: Bucket) -> None:
    await bucket.size_of("p/x")


async def list_objects(bucket: Bucket) -> None:
    [each async for each in bucket.entries("p/x")]


async def list_folders(bucket: Bucket) -> None:
    [each async for each in bucket.folders("p/x", after="p/x/", before="p/x:")]


async def list_uploads(bucket: Bucket) -> None:
    await bucket.uploads("p/x")


async def delete(bucket: Bucket) -> None:
    await bucket.delete("p/x", if_match='"e"')


async def abort(bucket: Bucket) -> None:
    await bucket.abort(Upload("p/x", "1"))


async def write(bucket: Bucket) -> None:
    await bucket.put("p/x", b"x")


async def send(bucket: Bucket) -> None:
    await bucket.send(Upload("p/x", "1"), 1, b"x")


def moved(status: int, code: str) -> bytes:
    return reply(status, error(status, code).partition(b"\r\n\r\n")[2], "x-amz-bucket-region: eu-west-3")


CALLS = [
    (read, "read", "s3:GetObject and s3:ListBucket"),
    (look, "look for", "s3:GetObject and s3:ListBucket"),
    (list_objects, "list", "s3:ListBucket"),
    (list_folders, "list", "s3:ListBucket"),
    (list_uploads, "list", "s3:ListBucketMultipartUploads"),
    (delete, "delete", "s3:DeleteObject"),
    (abort, "clear up", "s3:AbortMultipartUpload"),
    (write, "write", "s3:PutObject"),
    (send, "write", "s3:PutObject"),
]


@pytest.mark.parametrize(("call", "doing", "permission"), CALLS)
async def test_an_error_says_what_was_being_done(
    call: Callable[[Bucket], Awaitable[None]],
    doing: str,
    permission: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Scripted(error(403, "AccessDenied"))
    async with serving(script) as server, opened(server.url) as bucket:
        for reply_, words in (
            (error(403, "AccessDenied"), f"access is denied (AccessDenied); the caller needs {permission}"),
            (error(404, "NoSuchBucket"), "there is no bucket census; create it"),
            (moved(301, "PermanentRedirect"), "in another region; name that with AWS_REGION"),
            (
                moved(400, "IllegalLocationConstraintException"),
                "in another region; name that with AWS_REGION",
            ),
            (error(400, "AuthorizationHeaderMalformed"), "in another region; name that with AWS_REGION"),
        ):
            if call is look:
                # The reply to a HEAD has no body, and so no code.
                continue
            script.replies = [reply_]
            with pytest.raises(DestinationError) as caught:
                await call(bucket)
            place = "s3://census" if "no bucket" in words else "s3://census/p/x"
            assert str(caught.value).startswith(f"can't {doing} {place}: ")
            assert words in str(caught.value)

        async def fail(_: Source) -> Credentials:
            raise UnreachableError("no credentials: the endpoint is silent", code="Unreachable")

        monkeypatch.setattr(Source, "get", fail)
        with pytest.raises(DestinationError) as caught:
            await call(bucket)
    assert str(caught.value) == f"can't {doing} s3://census/p/x: no credentials: the endpoint is silent"


@pytest.mark.parametrize("call", [read, list_objects, list_folders])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(501, "NotImplemented"), "does not have this call"),
        (error(400, "KMS.DisabledException"), "the key that the object is encrypted with"),
        (error(403, "AccessDenied", "not authorized to perform: kms:Decrypt on"), "needs kms:Decrypt on it"),
        (error(403, "InvalidObjectState"), "restore-object"),
    ],
)
async def test_what_reading_lacks_is_not_what_writing_would(
    call: Callable[[Bucket], Awaitable[None]], answer: bytes, said: str
) -> None:
    async with serving(Scripted(answer)) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match=said) as caught:
            await call(bucket)
    assert "writ" not in str(caught.value)
    assert "s3_kms_key" not in str(caught.value)


async def test_an_upload_that_someone_aborted_is_a_sentence() -> None:
    async with serving(Scripted(error(404, "NoSuchUpload"))) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match="someone has aborted the upload"):
            await send(bucket)


async def test_a_refusal_names_the_owner_that_was_expected() -> None:
    async with (
        serving(Scripted(error(403, "AccessDenied"))) as server,
        opened(server.url, s3_bucket_owner="123456789012") as bucket,
    ):
        with pytest.raises(DestinationError, match="s3:ListBucketMultipartUploads.*account 123456789012"):
            await bucket.uploads("p/")


@pytest.mark.parametrize(
    "body", [b"", b"<html>Sign in</html>", b"<ListBucketResult></ListBucketResult>", b"junk"]
)
async def test_a_list_that_is_none_is_never_an_empty_one(body: bytes) -> None:
    async with serving(Scripted(reply(200, body))) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError):
            [each async for each in bucket.entries("p/")]
        with pytest.raises(DestinationError):
            await bucket.uploads("p/")


@pytest.mark.parametrize("call", [delete, abort])
@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"<html>Sign in</html>", "Content-Type: text/html"),
        reply(200, b"<!doctype html><html><br></html>"),
        reply(200, b"{}", "Content-Type: application/json"),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nok\r\n\r\n0\r\n\r\n",
        reply(200, b"", "Content-Type: Text/HTML; charset=utf-8"),
        reply(202),
    ],
    ids=["page", "page that is no XML", "JSON", "chunked", "empty page", "accepted"],
)
async def test_what_s3_would_not_say_deletes_nothing(
    call: Callable[[Bucket], Awaitable[None]], answer: bytes
) -> None:
    async with serving(Scripted(answer)) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match=r"p/x: what answered is not S3; check the network and `"):
            await call(bucket)
    assert len(server.heads) == 1


@pytest.mark.parametrize("call", [delete, abort])
@pytest.mark.parametrize(
    "answer",
    [
        # As frameworks for web pages say it, which some services are made with.
        b"HTTP/1.1 204 X\r\nContent-Type: text/html\r\n\r\n",
        reply(200),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_nothing_is_needed_to_say_that_something_is_deleted(
    call: Callable[[Bucket], Awaitable[None]], answer: bytes
) -> None:
    async with serving(Scripted(answer)) as server, opened(server.url) as bucket:
        await call(bucket)
    assert len(server.heads) == 1


async def test_a_list_whose_pages_go_in_a_circle_ends() -> None:
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
    )
    async with serving(Scripted(reply(200, page))) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match="is not S3"):
            [each async for each in bucket.entries("p/")]
    assert len(server.heads) == 2


async def test_an_endpoint_that_cannot_be_reached_is_named() -> None:
    async with serving(Scripted(b"")) as server:
        pass
    async with opened(server.url) as bucket:
        with pytest.raises(DestinationError, match="s3://census/k: the service can't be reached; check"):
            await bucket.get("k")


async def test_a_service_that_says_nothing_is_given_up() -> None:
    async with (
        serving(Scripted(b"")) as server,
        opened(server.url, attempt_timeout=0.05) as bucket,
    ):
        with pytest.raises(DestinationError, match="did not answer in time"):
            await bucket.get("k")
    # By the SDK, and not by us once more.
    assert len(server.heads) == 5


async def test_the_body_of_an_error_that_breaks_off_is_asked_for_again() -> None:
    missing = error(404, "NoSuchKey")
    async with serving(Scripted(missing[:-10], missing)) as server, opened(server.url) as bucket:
        assert await bucket.get("k") is None
    assert len(server.heads) == 2
    async with serving(Scripted(missing[:-10])) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match="s3://census/k: the connection broke again and again"):
            await bucket.get("k")


async def test_the_body_of_an_error_that_never_comes_is_asked_for_again() -> None:
    class Stalling(Scripted):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not self.heads:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(error(404, "NoSuchKey")[:-10])
                await reader.read()
                writer.close()
            else:
                await super().serve(reader, writer)

    async with (
        serving(Stalling(error(404, "NoSuchKey"))) as server,
        opened(server.url, attempt_timeout=0.2) as bucket,
    ):
        assert await bucket.get("k") is None
    assert len(server.heads) == 2


async def test_what_may_work_in_a_moment_is_tried_again() -> None:
    script = Scripted(error(503, "SlowDown"), error(500, "InternalError"), reply(200, b"", 'ETag: "e"'))
    async with serving(script) as server, opened(server.url) as bucket:
        assert await bucket.put("k", b"x" * 3_000_000) == '"e"'
    assert len(server.heads) == 3


async def test_credentials_that_expired_are_renewed_once() -> None:
    script = Scripted(error(400, "ExpiredToken"), reply(200, b"", 'ETag: "e"'))
    source = Source()
    async with serving(script) as server, opened(server.url, source) as bucket:
        assert await bucket.put("k", b"data") == '"e"'
    assert [server.header(number, "x-amz-security-token") for number in (0, 1)] == [
        f"{TOKEN}-0",
        f"{TOKEN}-1",
    ]
    assert [server.header(number, "content-length") for number in (0, 1)] == ["4", "4"]


async def test_each_of_several_calls_tells_of_the_credentials_that_it_was_signed_with() -> None:
    told: list[str] = []

    class Renewing(Source):
        async def get(self) -> Credentials:
            self.generation += 1
            return await super().get()

        def expired(self, credentials: Credentials) -> None:
            told.append(credentials.access_key_id)

    held = S3Credentials(Renewing())
    signed: list[anyio.Event] = [anyio.Event(), anyio.Event()]

    async def call(number: int) -> None:
        assert (await held.current()).access_key == f"AKIA{number + 1}"
        signed[number].set()
        for each in signed:
            await each.wait()
        held.expired()

    async with anyio.create_task_group() as group:
        group.start_soon(call, 0)
        group.start_soon(call, 1)
    assert sorted(told) == ["AKIA1", "AKIA2"]


async def test_a_body_that_breaks_off_is_read_again() -> None:
    whole = reply(206, b"0123456789", 'ETag: "e"', "Last-Modified: Mon, 23 Nov 2026 02:00:00 GMT")
    script = Scripted(whole[:-4], whole)
    async with serving(script) as server, opened(server.url) as bucket:
        held = await bucket.get("k", start=5, size=10)
    assert held is not None
    assert held.body == b"0123456789"
    assert server.header(1, "range") == "bytes=5-14"


@pytest.mark.parametrize("length", ["Content-Length: 6", "Connection: close"])
async def test_a_body_that_is_shorter_than_its_range_is_read_again(length: str) -> None:
    head = ["HTTP/1.1 206 X", 'ETag: "e"', "Content-Range: bytes 5-14/15"]
    cut = "\r\n".join([*head, length, "", "012345"]).encode()
    whole = "\r\n".join([*head, "Content-Length: 10", "", "0123456789"]).encode()
    async with serving(Scripted(cut, cut, whole)) as server, opened(server.url) as bucket:
        held = await bucket.get("k", start=5, size=20)
    assert held is not None
    assert held.body == b"0123456789"
    async with serving(Scripted(cut)) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match="s3://census/k: the connection broke again and again"):
            await bucket.get("k", start=5, size=20)
    assert len(server.heads) == 3


# Within the quarter of an hour in which S3 takes a signature.
NOW = 1_000_000_000.0


@pytest.mark.parametrize(
    ("date", "modified", "age"),
    [
        (formatdate(NOW, usegmt=True), formatdate(NOW - 90, usegmt=True), 90.0),
        (formatdate(NOW + 600, usegmt=True), formatdate(NOW + 590, usegmt=True), 10.0),
        (formatdate(NOW - 600, usegmt=True), formatdate(NOW - 599, usegmt=True), 0.0),
        # No zone, which is UTC's.
        (formatdate(NOW), formatdate(NOW - 90), 90.0),
        (None, formatdate(NOW - 90, usegmt=True), None),
        (formatdate(NOW, usegmt=True), None, None),
        ("soon", formatdate(NOW - 90, usegmt=True), None),
        ("", formatdate(NOW - 90, usegmt=True), None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", formatdate(NOW - 90, usegmt=True), None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", formatdate(NOW - 90, usegmt=True), None),
        (formatdate(NOW + 1000, usegmt=True), formatdate(NOW - 90, usegmt=True), None),
        (formatdate(NOW, usegmt=True), formatdate(NOW + 60, usegmt=True), None),
    ],
)
async def test_an_objects_age_is_a_matter_of_the_services_clock_alone(
    monkeypatch: pytest.MonkeyPatch, date: str | None, modified: str | None, age: float | None
) -> None:
    monkeypatch.setattr("poolcensus.storage.s3.bucket.time.time", lambda: NOW)
    given = {"ETag": '"e"', "Date": date, "Last-Modified": modified}
    headers = [f"{name}: {value}" for name, value in given.items() if value is not None]
    async with serving(Scripted(reply(200, b"x", *headers))) as server, opened(server.url) as bucket:
        held = await bucket.get("k")
    assert held is not None
    assert (held.age, held.modified) == (age, modified or "")


async def test_a_last_modified_that_is_no_date_is_none() -> None:
    script = Scripted(reply(200, b"x", 'ETag: "e"', "Last-Modified: yesterday"))
    async with serving(script) as server, opened(server.url) as bucket:
        held = await bucket.get("k")
    assert held is not None
    assert held.age is None


async def test_a_condition_that_does_not_hold_is_no_error() -> None:
    async with serving(Scripted(error(412, "PreconditionFailed"))) as server, opened(server.url) as bucket:
        assert await bucket.put("k", b"x", if_absent=True) is None
        assert await bucket.put("k", b"x", if_match='"e"') is None
        await bucket.delete("k", if_match='"e"')
        with pytest.raises(DestinationError):
            await bucket.put("k", b"x")
    assert server.header(0, "if-none-match") == "*"
    assert server.header(1, "if-match") == '"e"'
    assert server.header(2, "if-match") == '"e"'


async def test_a_service_without_conditional_deletes_deletes_all_the_same() -> None:
    script = Scripted(error(501, "NotImplemented"), reply(204))
    async with serving(script) as server, opened(server.url) as bucket:
        await bucket.delete("k", if_match='"e"')
    assert server.header(1, "if-match") is None


async def test_a_redirect_to_elsewhere_takes_no_token_there() -> None:
    async with serving(Scripted(reply(200, b"x", 'ETag: "e"'))) as elsewhere:
        away = reply(307, b"", f"Location: {elsewhere.url}/census/k")
        async with serving(Scripted(away)) as server, opened(server.url) as bucket:
            with pytest.raises(DestinationError, match="is not S3, it redirects"):
                await bucket.put("k", b"x")
        assert server.heads
        assert elsewhere.heads == []


async def test_a_bucket_of_another_region_is_asked_there(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = reply(
        301, error(301, "PermanentRedirect").partition(b"\r\n\r\n")[2], "x-amz-bucket-region: eu-west-3"
    )
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    async with serving(Scripted(moved, reply(200, b"", 'ETag: "e"'))) as server, opened(server.url) as bucket:
        assert await bucket.put("k", b"x") == '"e"'
    signed_for = [(server.header(number, "authorization") or "").split("/")[2] for number in (0, 1)]
    assert signed_for == ["us-west-2", "eu-west-3"]


@pytest.fixture
def trusted(authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    return authority


def server_side(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_trusted_certificate_is_accepted(trusted: trustme.CA) -> None:
    script = Scripted(reply(200, b"", 'ETag: "e"'))
    async with serving(script, server_side(trusted, "localhost")) as server, opened(server.url) as bucket:
        assert await bucket.put("k", b"x") == '"e"'
    assert server.header(0, "x-amz-content-sha256") is not None


@pytest.mark.parametrize("wrong", ["another authority", "another name"])
async def test_a_certificate_that_is_not_the_services_is_refused(trusted: trustme.CA, wrong: str) -> None:
    context = (
        server_side(trustme.CA(), "localhost")
        if wrong == "another authority"
        else server_side(trusted, "elsewhere.example.com")
    )
    async with serving(Scripted(reply(200)), context) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match="certificate of the service is not trusted"):
            await bucket.put("k", b"x")
    assert server.heads == []


async def test_a_page_does_not_say_that_an_object_is_there() -> None:
    page = b"HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 30\r\n\r\n"
    async with serving(Scripted(page)) as server, opened(server.url) as bucket:
        with pytest.raises(DestinationError, match=r"p/x: what answered is not S3; check the network and `"):
            await bucket.size_of("p/x")
    assert len(server.heads) == 1


CHUNKED = b"HTTP/1.1 404 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


async def get(bucket: Bucket) -> object:
    return await bucket.get("p/x")


@pytest.mark.parametrize("call", [get, delete, abort])
@pytest.mark.parametrize(
    "page",
    [
        reply(404, b"<!doctype html><html><br></html>", HTML),
        reply(404, b"<html><p>broken", "Content-Type: text/xml"),
        reply(404, b"default backend - 404", "Content-Type: text/plain; charset=utf-8"),
        reply(404, b'{"message":"no Route matched"}', "Content-Type: application/json"),
        reply(404, b"not found"),
    ],
)
async def test_a_page_is_no_word_of_s3(call: Callable[[Bucket], Awaitable[object]], page: bytes) -> None:
    for status in (404, 403):
        script = Scripted(page.replace(b"404", str(status).encode(), 1))
        async with serving(script) as server, opened(server.url) as bucket:
            says = f"what answered is not S3: HTTP {status} without"
            with pytest.raises(DestinationError, match=says) as raised:
                await call(bucket)
            assert not isinstance(raised.value, DestinationRefusedError)


@pytest.mark.parametrize("missing", [error(404, "NoSuchKey"), reply(404, b"", HTML), reply(404), CHUNKED])
async def test_an_object_is_missing_where_the_service_says_so(missing: bytes) -> None:
    async with serving(Scripted(missing)) as server, opened(server.url) as bucket:
        assert await bucket.get("p/x") is None


@pytest.mark.parametrize("missing", [reply(404, b"", HTML), reply(404)])
async def test_the_status_alone_says_that_an_object_is_missing_where_there_is_no_body(missing: bytes) -> None:
    async with serving(Scripted(missing)) as server, opened(server.url) as bucket:
        assert await bucket.size_of("p/x") is None


NO_TLS = "what answered does not speak TLS; check the scheme and the port of `endpoint_url`"


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (reply(400, b"no request"), NO_TLS),
        (b"220 mail.example.com ESMTP\r\n", NO_TLS),
        # An alert of TLS 1.2, fatal: handshake_failure.
        (
            b"\x15\x03\x03\0\x02\x02\x28",
            r"no TLS connection with the service can be made \(\w*HANDSHAKE_FAILURE\); check the network and",
        ),
    ],
    ids=["HTTP", "SMTP", "alert"],
)
async def test_what_fails_before_there_is_a_certificate_is_not_called_one(first: bytes, said: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(first)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        async with opened(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as bucket:
            with pytest.raises(DestinationError, match=f"^can't write s3://census/k: {said}"):
                await bucket.put("k", b"x")
    finally:
        listener.close()


async def test_a_certificate_is_checked_behind_a_proxy_too(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        port = int(head.split()[1].rpartition(b":")[2])
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass
            finally:
                target.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, inner_writer))
            group.create_task(carry(inner_reader, writer))

    listener = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    proxy = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    async with serving(Scripted(reply(200, b"", 'ETag: "e"')), server_side(trusted, "localhost")) as server:
        async with opened(server.url) as bucket:
            assert await bucket.put("k", b"x") == '"e"'
    async with serving(Scripted(reply(200)), server_side(trustme.CA(), "localhost")) as server:
        async with opened(server.url) as bucket:
            with pytest.raises(DestinationError):
                await bucket.put("k", b"x")
        assert server.heads == []
    listener.close()


async def test_a_bundle_that_is_missing_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(SettingsError, match=r"none\.pem can't be read.*AWS_CA_BUNDLE"):
        async with opened("http://127.0.0.1:9"):
            pytest.fail("it was opened")


SSE = "x-amz-server-side-encryption"


@pytest.mark.parametrize(
    ("settings", "algorithm", "key"),
    [
        ({}, None, None),
        ({"s3_encryption": "AES256"}, "AES256", None),
        ({"s3_encryption": "aws:kms"}, "aws:kms", None),
        ({"s3_kms_key": "alias/census"}, "aws:kms", "alias/census"),
    ],
)
async def test_every_object_is_encrypted_as_the_settings_say_and_every_call_names_the_owner(
    settings: dict[str, str], algorithm: str | None, key: str | None
) -> None:
    begun = reply(200, b"<R><UploadId>u</UploadId></R>")
    etag = reply(200, b"", 'ETag: "e"')
    done = reply(200, b'<R><ETag>"e"</ETag></R>')
    ended = reply(200, b"<R><IsTruncated>false</IsTruncated></R>")
    script = Scripted(
        etag, begun, etag, done, ended, ended, reply(204), reply(204), etag, error(404, "NoSuchKey")
    )
    async with (
        serving(script) as server,
        opened(server.url, None, s3_bucket_owner="000000000001", **settings) as bucket,
    ):
        await bucket.put("k", b"x")
        upload = await bucket.begin("k")
        part = await bucket.send(upload, 1, b"x")
        assert await bucket.complete(upload, [part], if_absent=True)
        assert [each async for each in bucket.entries("p/")] == []
        assert await bucket.uploads("p/") == []
        await bucket.abort(upload)
        await bucket.delete("k")
        assert await bucket.size_of("k") == 0
        assert await bucket.get("k") is None
    owners = {server.header(number, "x-amz-expected-bucket-owner") for number in range(len(server.heads))}
    assert (len(server.heads), owners) == (10, {"000000000001"})
    for number in (0, 1):
        assert server.header(number, SSE) == algorithm
        assert server.header(number, f"{SSE}-aws-kms-key-id") == key
    assert server.header(0, "x-amz-checksum-crc32") == server.header(2, "x-amz-checksum-crc32") != None  # noqa: E711
    assert server.header(3, "if-none-match") == "*"


@pytest.fixture
async def simulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    async with Simulator() as started:

        async def get(_: Source) -> Credentials:
            return Credentials(started.access_key_id, started.secret_access_key, None)

        monkeypatch.setattr(Source, "get", get)
        stored(started)
        yield started


async def test_lists_go_over_all_pages(simulator: Simulator) -> None:
    async with opened(simulator.endpoint_url) as bucket:
        await bucket.put("p/ é+", b"x")
        first = await bucket.begin("p/ é+")
        held = stored(simulator)
        for number in range(1003):
            key = f"p/{number:04} é+"
            held.objects[key] = replace(held.objects["p/ é+"], key=key)
            held.uploads[f"{number}"] = replace(held.uploads[first.id], key=key, upload_id=f"{number}")
        held.keys[:] = sorted(held.objects)
        assert [each.key async for each in bucket.entries("p/")] == held.keys
        assert {each.id for each in await bucket.uploads("p/")} == held.uploads.keys()
        assert {each.key for each in await bucket.uploads("p/")} == {*held.keys}


async def test_ranges_of_an_object_make_the_whole(simulator: Simulator) -> None:
    async with opened(simulator.endpoint_url) as bucket:
        for body in (b"", b"0123456789"):
            await bucket.put("k", body)
            found = [await bucket.get("k", start=start, size=4) for start in (0, 4, 8, 12)]
            assert b"".join(each.body for each in found if each is not None) == body
            assert await bucket.size_of("k") == len(body)
        assert await bucket.get("none") is None
        assert await bucket.size_of("none") is None


async def test_an_upload_that_was_aborted_can_never_be_completed(simulator: Simulator) -> None:
    async with opened(simulator.endpoint_url) as bucket:
        upload = await bucket.begin("k")
        part = await bucket.send(upload, 1, b"x")
        await bucket.abort(upload)
        await bucket.abort(upload)
        assert not await bucket.complete(upload, [part], if_absent=True)
        assert await bucket.get("k") is None

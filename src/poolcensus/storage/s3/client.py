"""Amazon S3 through the SDK's asynchronous client, for destinations there. Imports that SDK when opened."""

from __future__ import annotations

import asyncio
import io
import time
import zlib
from base64 import b64encode
from contextlib import aclosing, asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import to_thread
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)

from poolcensus.aws.chain_failures import without_passwords
from poolcensus.aws.endpoints import endpoint_problem
from poolcensus.aws.sdk import profile_not_found
from poolcensus.aws.transport.proxies import Proxies
from poolcensus.aws.transport.tls import trusting
from poolcensus.errors import CallError, CensusError, DestinationError, DestinationRefusedError, SettingsError
from poolcensus.storage.s3.objects import ObjectEntry, StoredObject, Upload, UploadedPart
from poolcensus.storage.s3.refusals import EXPIRED, UPLOAD_GONE, code_of, is_unknown, reason_of, refusal_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from typing import Any

    from poolcensus.aws.sdk import Sdk
    from poolcensus.aws.session import CallerSession
    from poolcensus.aws.signing import Credentials
    from poolcensus.config import Settings
    from poolcensus.storage.s3.http import Client
    from poolcensus.storage.s3.objects import Bucket

# All attempts of a call together: there is no end to what drips otherwise.
_LONGEST_CALL = 300.0
_LONGEST_CLOSE = 2.0
_BODY_ATTEMPTS = 3
_LARGEST_SKEW = 15 * 60.0
# Dates have whole seconds, and the hosts of a service differ by a little.
_SECONDS_ARE_WHOLE = 5.0

_GONE = frozenset({"NoSuchKey", "404", "NotFound"})
_CONDITION = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_OBJECT_MARKERS = {"ContinuationToken": "NextContinuationToken"}
_UPLOAD_MARKERS = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}


class _CallerSource(Protocol):
    """Where the caller's credentials come from, and who is told that they have expired."""

    async def get(self) -> Credentials: ...
    def expired(self, credentials: Credentials) -> None: ...


class _SdkCredentials:
    """The caller's credentials as the SDK asks for them, once for each signature."""

    def __init__(self, source: _CallerSource) -> None:
        self._source = source
        self._last: Credentials | None = None

    async def current(self) -> ReadOnlyCredentials:
        self._last = last = await self._source.get()
        return ReadOnlyCredentials(last.access_key_id, last.secret_access_key, last.session_token)

    def expired(self) -> None:
        """Note that the service says that the last ones have expired."""
        if self._last is not None:
            self._source.expired(self._last)


@asynccontextmanager
async def open_bucket(settings: Settings, session: CallerSession, name: str) -> AsyncIterator[Bucket]:
    """Open a client for the bucket called `name`, as the caller. Makes no call.

    Raises SettingsError where the SDK's configuration can't be used. On leaving, every connection is closed.
    """
    credentials = _SdkCredentials(session.credentials)
    client = await to_thread.run_sync(_open_client, settings, session.sdk, credentials)
    try:
        yield S3Bucket(client, name, credentials, _constants(settings), _encryption(settings))
    finally:
        with anyio.move_on_after(_LONGEST_CLOSE, shield=True):
            await client.close()
            # What is closed says so in the loop's next turn.
            await asyncio.sleep(0)


def _open_client(settings: Settings, sdk: Sdk, credentials: _SdkCredentials) -> Client:
    # It has no connection yet and belongs to no loop. Making one takes files and a good 100 ms, which the
    # SDK spends inside its coroutine: so that runs in a loop of this thread.
    from poolcensus.storage.s3.http import new_client  # noqa: PLC0415 - loads the asynchronous SDK

    async def _enter_in_thread() -> Client:
        opening = new_client(
            profile=settings.profile,
            endpoint_url=settings.endpoint_url,
            region=sdk.region,
            credentials=credentials.current,
            tls=trusting(sdk.ca_bundle),
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.attempt_timeout,
        )
        client = await opening.__aenter__()
        if (problem := endpoint_problem(client.meta.endpoint_url)) is not None:
            raise SettingsError(f"no client for S3 can be made: its endpoint URL {problem}")
        Proxies().of(client.meta.endpoint_url)
        return client

    try:
        return asyncio.run(_enter_in_thread())
    except ProfileNotFound as error:
        raise SettingsError(profile_not_found(error)) from None
    except BotoCoreError as error:
        raise SettingsError(f"no client for S3 can be made: {without_passwords(str(error))}") from None
    except CensusError:
        raise
    # The SDK trips over sections and models of any shape in as many ways: AttributeError, KeyError and more.
    except Exception as error:  # noqa: BLE001 - the SDK raises anything on a malformed section
        raise SettingsError(
            "no client for S3 can be made: the endpoint URL, or the profile's section in your AWS config, is"
            f" malformed ({type(error).__name__})"
        ) from None


def _constants(settings: Settings) -> Mapping[str, str]:
    owner = settings.s3_bucket_owner
    return {} if owner is None else {"ExpectedBucketOwner": owner}


def _encryption(settings: Settings) -> Mapping[str, str]:
    key = settings.s3_kms_key
    if key is not None:
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    if settings.s3_encryption == "none":
        return {}
    return {"ServerSideEncryption": settings.s3_encryption.value}


class S3Bucket:
    """A bucket of S3: see `poolcensus.storage.s3.objects.Bucket`."""

    def __init__(
        self,
        client: Client,
        name: str,
        credentials: _SdkCredentials,
        constants: Mapping[str, str],
        encryption: Mapping[str, str],
    ) -> None:
        self._client = client
        self._name = name
        self._credentials = credentials
        self._constants = {"Bucket": name, **constants}
        self._encryption = encryption

    @property
    def name(self) -> str:
        return self._name

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        span = {"Range": f"bytes={start}-{start + size - 1}"}
        for attempts_left in reversed(range(_BODY_ATTEMPTS)):
            try:
                return await self._read(key, size, span)
            except ClientError as error:
                if code_of(error) in _GONE:
                    return None
                if code_of(error) != "InvalidRange":
                    raise self._explained("read", key, "get_object", error) from error
                if start > 0:
                    return StoredObject(b"", "", None)
                # An empty object has no range at all.
                span = {}
            except (ResponseStreamingError, ReadTimeoutError) as error:
                # The SDK's own attempts end where the body begins.
                if not attempts_left:
                    raise self._explained("read", key, "get_object", error) from error
            except (BotoCoreError, TimeoutError, CallError) as error:
                raise self._explained("read", key, "get_object", error) from error
        raise self._not_s3("read", key)

    async def size_of(self, key: str) -> int | None:
        reply = await self._call("look for", key, "head_object", _GONE, Key=key)
        return None if reply is None else int(self._said(reply, "ContentLength", "look for", key))

    async def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str | None:
        conditions: dict[str, str] = {}
        broken: frozenset[str] = frozenset()
        if if_absent:
            conditions["IfNoneMatch"] = "*"
            broken |= _CONDITION
        if if_match is not None:
            conditions["IfMatch"] = if_match
            # What should match and is gone is not the one either.
            broken |= _CONDITION | _GONE
        reply = await self._call(
            "write",
            key,
            "put_object",
            broken,
            Key=key,
            Body=io.BytesIO(data),
            ChecksumCRC32=await _crc32(data),
            **conditions,
            **self._encryption,
        )
        return None if reply is None else self._said(reply, "ETag", "write", key)

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        if if_match is not None:
            try:
                await self._call(
                    "delete", key, "delete_object", _GONE | _CONDITION, Key=key, IfMatch=if_match
                )
            except DestinationError as error:
                if not is_unknown(error.__cause__):
                    raise
            else:
                return
        await self._call("delete", key, "delete_object", _GONE, Key=key)

    async def entries(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectEntry, None]:
        start = {"StartAfter": after} if after else {}
        async with aclosing(self._pages("list_objects_v2", prefix, start, _OBJECT_MARKERS)) as pages:
            async for page in pages:
                for each in page.get("Contents", ()):
                    yield ObjectEntry(each["Key"], int(each["Size"]))

    async def folders(
        self, prefix: str, *, after: str, before: str, of_uploads: bool = False
    ) -> AsyncGenerator[str, None]:
        operation, start, markers, kind = (
            ("list_multipart_uploads", "KeyMarker", _UPLOAD_MARKERS, "Uploads")
            if of_uploads
            else ("list_objects_v2", "StartAfter", _OBJECT_MARKERS, "Contents")
        )
        asked = {"Delimiter": "/", start: after}
        async with aclosing(self._pages(operation, prefix, asked, markers)) as pages:
            async for page in pages:
                found = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
                for folder in found:
                    if after < folder < before:
                        yield folder.removeprefix(prefix).removesuffix("/")
                # Files beside the folders fill pages too.
                if any(key >= before for key in (*found, *(each["Key"] for each in page.get(kind, ())))):
                    return

    async def uploads(self, prefix: str) -> list[Upload]:
        async with aclosing(self._pages("list_multipart_uploads", prefix, {}, _UPLOAD_MARKERS)) as pages:
            return [
                Upload(each["Key"], each["UploadId"])
                async for page in pages
                for each in page.get("Uploads", ())
            ]

    async def begin(self, key: str) -> Upload:
        reply = await self._call(
            "write",
            key,
            "create_multipart_upload",
            Key=key,
            ChecksumAlgorithm="CRC32",
            **self._encryption,
        )
        return Upload(key, self._said(reply, "UploadId", "write", key))

    async def send(self, upload: Upload, number: int, data: bytes) -> UploadedPart:
        checksum = await _crc32(data)
        reply = await self._call(
            "write",
            upload.key,
            "upload_part",
            Key=upload.key,
            UploadId=upload.id,
            PartNumber=number,
            Body=io.BytesIO(data),
            ChecksumCRC32=checksum,
        )
        return UploadedPart(number, self._said(reply, "ETag", "write", upload.key), checksum)

    async def complete(
        self, upload: Upload, parts: Sequence[UploadedPart], *, if_absent: bool = False
    ) -> bool:
        named = [
            {"PartNumber": each.number, "ETag": each.etag, "ChecksumCRC32": each.checksum} for each in parts
        ]
        reply = await self._call(
            "write",
            upload.key,
            "complete_multipart_upload",
            UPLOAD_GONE | (_CONDITION if if_absent else frozenset()),
            Key=upload.key,
            UploadId=upload.id,
            MultipartUpload={"Parts": named},
            **({"IfNoneMatch": "*"} if if_absent else {}),
        )
        return reply is not None and bool(self._said(reply, "ETag", "write", upload.key))

    async def abort(self, upload: Upload) -> None:
        await self._call(
            "clear up",
            upload.key,
            "abort_multipart_upload",
            UPLOAD_GONE,
            Key=upload.key,
            UploadId=upload.id,
        )

    async def _read(self, key: str, size: int, span: Mapping[str, str]) -> StoredObject:
        from poolcensus.storage.s3.http import read_body  # noqa: PLC0415 - loaded by whoever opened the client

        with anyio.fail_after(_LONGEST_CALL):
            reply = await self._send("get_object", Key=key, **span)
            body = await read_body(reply["Body"], size)
        headers = reply["ResponseMetadata"]["HTTPHeaders"]
        modified = headers.get("last-modified", "")
        return StoredObject(
            body, self._said(reply, "ETag", "read", key), _age(headers.get("date", ""), modified), modified
        )

    async def _pages(
        self, operation: str, prefix: str, asked: Mapping[str, str], markers: Mapping[str, str]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        after: dict[str, str] = {}
        while True:
            page = await self._call("list", prefix, operation, **{"Prefix": prefix, **asked, **after})
            # Every page says whether it is the last: a reply that doesn't is somebody else's.
            if page is None or "IsTruncated" not in page:
                raise self._not_s3("list", prefix)
            yield page
            if not page["IsTruncated"]:
                return
            before, after = after, {name: page.get(said, "") for name, said in markers.items()}
            if after == before:
                raise self._not_s3("list", prefix)

    async def _call(
        self,
        doing: str,
        key: str,
        operation: str,
        none_for: frozenset[str] = frozenset(),
        /,
        **parameters: object,
    ) -> Mapping[str, Any] | None:
        """Return the reply of an operation; None where its error has a code in `none_for`."""
        try:
            with anyio.fail_after(_LONGEST_CALL):
                return await self._send(operation, **parameters)
        except ClientError as error:
            if code_of(error) in none_for:
                return None
            raise self._explained(doing, key, operation, error) from error
        except (BotoCoreError, TimeoutError, CallError) as error:
            raise self._explained(doing, key, operation, error) from error

    async def _send(self, operation: str, /, **parameters: object) -> Mapping[str, Any]:
        try:
            return await self._send_once(operation, parameters)
        except ClientError as error:
            if code_of(error) not in EXPIRED:
                raise
        # Renewed by their own expiry as a rule; a service may see it earlier.
        self._credentials.expired()
        body = parameters.get("Body")
        if isinstance(body, io.BytesIO):
            body.seek(0)
        return await self._send_once(operation, parameters)

    async def _send_once(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, Any]:
        reply: Mapping[str, Any] = await getattr(self._client, operation)(**self._constants, **parameters)
        return reply

    def _said(self, reply: Mapping[str, Any] | None, name: str, doing: str, key: str) -> str:
        """Return what a reply has to say: one that doesn't is none of S3's, whatever its status is."""
        if reply is None or reply.get(name) is None:
            raise self._not_s3(doing, key)
        return str(reply[name])

    def _not_s3(self, doing: str, key: str) -> DestinationError:
        return DestinationError(
            f"can't {doing} {self._url(key)}: what answered is not S3; check the network and `endpoint_url`"
        )

    def _explained(self, doing: str, key: str, operation: str, error: Exception) -> DestinationError:
        owner = self._constants.get("ExpectedBucketOwner")
        reason = reason_of(error, operation, bucket=self._name, owner=owner)
        text = f"can't {doing} {self._url(key)}: {reason}"
        refusal = refusal_in(error, operation)
        if refusal is None:
            return DestinationError(text)
        return DestinationRefusedError(
            text, code=refusal.code, reason=refusal.message, permissions=refusal.permissions
        )

    def _url(self, key: str) -> str:
        return f"s3://{self._name}/{key}"


async def _crc32(data: bytes) -> str:
    sum_ = await to_thread.run_sync(zlib.crc32, data)
    return b64encode(sum_.to_bytes(4, "big")).decode("ascii")


def _age(date: str, modified: str) -> float | None:
    try:
        now, written = _moment(date), _moment(modified)
    except ValueError:
        return None
    # S3 refuses the signatures of clocks that are further off: such a date is not that of its clock.
    if abs(now - time.time()) > _LARGEST_SKEW or written > now + _SECONDS_ARE_WHOLE:
        return None
    return max(0.0, now - written)


def _moment(text: str) -> float:
    """Return the epoch seconds of a date in a header. Raises `ValueError`."""
    found = parsedate_to_datetime(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()

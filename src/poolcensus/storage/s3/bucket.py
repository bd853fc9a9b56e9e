"""Implements the interface `Bucket` with the operations of Amazon S3."""

from __future__ import annotations

import io
import re
import time
import zlib
from base64 import b64encode
from contextlib import aclosing
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import anyio
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError, ResponseStreamingError

from poolcensus.errors import CallError, DestinationError
from poolcensus.loops import in_thread
from poolcensus.storage.s3.calls import LONGEST_CALL
from poolcensus.storage.s3.objects import ObjectEntry, StoredObject, Upload, UploadedPart
from poolcensus.storage.s3.refusals import BROKEN, CONFLICT, UPLOAD_GONE, code_of, is_unknown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from poolcensus.storage.s3.calls import BucketCalls

_BODY_ATTEMPTS = 3
_LARGEST_SKEW = 15 * 60.0
# Dates in headers have whole seconds, and the clocks of a service's hosts differ a little.
_SECONDS_ARE_WHOLE = 5.0
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/", re.ASCII)

_GONE = frozenset({"NoSuchKey", "404", "NotFound"})
_CONDITION = BROKEN | CONFLICT
_OBJECT_MARKERS = {"ContinuationToken": "NextContinuationToken"}
_UPLOAD_MARKERS = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}


class S3Bucket:
    """A bucket of S3. See `poolcensus.storage.s3.objects.Bucket`."""

    def __init__(self, calls: BucketCalls, encryption: Mapping[str, str]) -> None:
        self._calls = calls
        self._encryption = encryption

    @property
    def name(self) -> str:
        return self._calls.name

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        try:
            with anyio.fail_after(LONGEST_CALL):
                try:
                    return await self._read(key, size, {"Range": f"bytes={start}-{start + size - 1}"})
                except ClientError as error:
                    if code_of(error) != "InvalidRange":
                        raise
                # A range request for an empty object fails, even from byte 0.
                return StoredObject(b"", "", None) if start > 0 else await self._read(key, size, {})
        except ClientError as error:
            if code_of(error) in _GONE:
                return None
            raise self._calls.explained("read", key, "get_object", error) from error
        except (BotoCoreError, TimeoutError, CallError) as error:
            raise self._calls.explained("read", key, "get_object", error) from error

    async def size_of(self, key: str) -> int | None:
        reply = await self._calls.call("look for", key, "head_object", _GONE, Key=key)
        return None if reply is None else int(self._calls.required(reply, "ContentLength", "look for", key))

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
            # If the object is gone, the condition does not hold, either.
            broken |= _CONDITION | _GONE
        reply = await self._calls.call(
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
        return None if reply is None else self._calls.required(reply, "ETag", "write", key)

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        if if_match is not None:
            try:
                await self._calls.call(
                    "delete", key, "delete_object", _GONE | BROKEN, Key=key, IfMatch=if_match
                )
            except DestinationError as error:
                if not is_unknown(error.__cause__):
                    raise
            else:
                return
        await self._calls.call("delete", key, "delete_object", _GONE, Key=key)

    async def entries(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectEntry, None]:
        start = {"StartAfter": after} if after else {}
        async with aclosing(self._calls.pages("list_objects_v2", prefix, start, _OBJECT_MARKERS)) as pages:
            async for page in pages:
                for each in page.get("Contents", ()):
                    yield ObjectEntry(each["Key"], int(each["Size"]))

    async def folders(self, prefix: str, *, after: str, before: str) -> AsyncGenerator[str, None]:
        asked = {"Delimiter": "/", "StartAfter": after}
        async with aclosing(self._calls.pages("list_objects_v2", prefix, asked, _OBJECT_MARKERS)) as pages:
            async for page in pages:
                found = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
                for folder in found:
                    if after < folder < before:
                        yield folder.removeprefix(prefix).removesuffix("/")
                # Objects beside the folders are on the pages, too.
                if any(
                    key >= before for key in (*found, *(each["Key"] for each in page.get("Contents", ())))
                ):
                    return

    async def folders_of_uploads(self, prefix: str, beginning: str) -> list[str]:
        # Without a start marker. With one that is not an upload's key, some compatible services find nothing,
        # or list all uploads instead of folders.
        asked = {"Delimiter": "/"}
        found: set[str] = set()
        async with aclosing(
            self._calls.pages("list_multipart_uploads", prefix + beginning, asked, _UPLOAD_MARKERS)
        ) as pages:
            async for page in pages:
                keys = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
                keys += [each["Key"] for each in page.get("Uploads", ())]
                found.update(key.removeprefix(prefix).partition("/")[0] for key in keys)
        return sorted(found)

    async def uploads(self, prefix: str) -> list[Upload]:
        async with aclosing(
            self._calls.pages("list_multipart_uploads", prefix, {}, _UPLOAD_MARKERS)
        ) as pages:
            return [
                Upload(each["Key"], each["UploadId"])
                async for page in pages
                for each in page.get("Uploads", ())
            ]

    async def begin(self, key: str) -> Upload:
        reply = await self._calls.call(
            "write",
            key,
            "create_multipart_upload",
            Key=key,
            ChecksumAlgorithm="CRC32",
            **self._encryption,
        )
        return Upload(key, self._calls.required(reply, "UploadId", "write", key))

    async def send(self, upload: Upload, number: int, data: bytes) -> UploadedPart:
        checksum = await _crc32(data)
        reply = await self._calls.call(
            "write",
            upload.key,
            "upload_part",
            Key=upload.key,
            UploadId=upload.id,
            PartNumber=number,
            Body=io.BytesIO(data),
            ChecksumCRC32=checksum,
        )
        return UploadedPart(number, self._calls.required(reply, "ETag", "write", upload.key), checksum)

    async def complete(
        self, upload: Upload, parts: Sequence[UploadedPart], *, if_absent: bool = False
    ) -> bool:
        named = [
            {"PartNumber": each.number, "ETag": each.etag, "ChecksumCRC32": each.checksum} for each in parts
        ]
        reply = await self._calls.call(
            "write",
            upload.key,
            "complete_multipart_upload",
            UPLOAD_GONE,
            Key=upload.key,
            UploadId=upload.id,
            MultipartUpload={"Parts": named},
            **({"IfNoneMatch": "*"} if if_absent else {}),
        )
        return reply is not None and bool(self._calls.required(reply, "ETag", "write", upload.key))

    async def abort(self, upload: Upload) -> None:
        await self._calls.call(
            "clear up",
            upload.key,
            "abort_multipart_upload",
            UPLOAD_GONE,
            Key=upload.key,
            UploadId=upload.id,
        )

    async def _read(self, key: str, size: int, span: Mapping[str, str]) -> StoredObject:
        from poolcensus.storage.s3.http import read_body  # noqa: PLC0415 - loaded by whoever opened the client

        attempts_left = _BODY_ATTEMPTS
        while True:
            reply = await self._calls.send("get_object", Key=key, **span)
            try:
                stated = _length_of(reply.get("ContentRange", ""))
                body = await read_body(reply["Body"], size, at_least=min(size, stated))
                break
            except (ResponseStreamingError, ReadTimeoutError):
                # The SDK does not retry once the body has begun.
                attempts_left -= 1
                if not attempts_left:
                    raise
        headers = reply["ResponseMetadata"]["HTTPHeaders"]
        modified = headers.get("last-modified", "")
        return StoredObject(
            body,
            self._calls.required(reply, "ETag", "read", key),
            _age(headers.get("date", ""), modified),
            modified,
        )


async def _crc32(data: bytes) -> str:
    sum_ = await in_thread(zlib.crc32, data)
    return b64encode(sum_.to_bytes(4, "big")).decode("ascii")


def _length_of(content_range: str) -> int:
    """Return the length of a reply by its Content-Range header, or 0 without one."""
    found = _RANGE.match(content_range)
    return int(found[2]) - int(found[1]) + 1 if found else 0


def _age(date: str, modified: str) -> float | None:
    try:
        now, written = _moment(date), _moment(modified)
    except ValueError:
        return None
    # S3 refuses signatures if the clocks differ by more, so such a date is not from its clock.
    if abs(now - time.time()) > _LARGEST_SKEW or written > now + _SECONDS_ARE_WHOLE:
        return None
    return max(0.0, now - written)


def _moment(text: str) -> float:
    """Return a date of a header in epoch seconds. Raises `ValueError`."""
    found = parsedate_to_datetime(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()

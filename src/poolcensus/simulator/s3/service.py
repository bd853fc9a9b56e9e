"""The S3 service: the table of its operations, and the dispatch of requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from poolcensus.simulator.http import Request, Response
from poolcensus.simulator.s3 import (
    attributes,
    buckets,
    checksums,
    conditions,
    copying,
    deletion,
    listing,
    objects,
    uploads,
)
from poolcensus.simulator.s3.call import Deny, S3Call, parse
from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.store import Store

Run: TypeAlias = Callable[[Store, S3Call], Response]
Route: TypeAlias = tuple[str, str, str]

# Headers with a meaning for S3 that every request may have. Others belong to single operations.
_ANY_HEADERS = frozenset(
    {
        "content-md5",
        "x-amz-content-sha256",
        "x-amz-date",
        checksums.LENGTH,
        "x-amz-expected-bucket-owner",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-trailer",
        "x-amz-user-agent",
    }
)
_MEANINGFUL = ("x-amz-", "if-", "range")
_CREATE = checksums.HEADERS | {"x-amz-acl"}
_PAGE = frozenset({"prefix", "delimiter", "encoding-type"})
_UPLOAD = frozenset({"uploadId"})


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, and the query parameters and headers that it supports."""

    run: Run
    params: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()

    def check(self, call: S3Call) -> None:
        """Check that the call has no other parameters and headers, which would be ignored silently.

        Raises S3Error if it asks for something that is not simulated.
        """
        for name in call.params.keys() - self.params - {"x-id"}:
            raise S3Error("NotImplemented", f"The parameter {name} is not implemented", Parameter=name)
        for name in call.headers.keys() - self.headers - _ANY_HEADERS:
            if name.startswith(attributes.METADATA) and attributes.METADATA in self.headers:
                continue
            if name.startswith(_MEANINGFUL):
                raise S3Error("NotImplemented", Header=name)


_READ = Operation(objects.get_object, headers=conditions.READ | {objects.CHECKSUM_MODE, "range"})
_OPERATIONS: dict[Route, Operation] = {
    ("service", "GET", ""): Operation(buckets.list_buckets),
    ("bucket", "PUT", ""): Operation(buckets.create_bucket, headers=_CREATE),
    ("bucket", "HEAD", ""): Operation(buckets.head_bucket),
    ("bucket", "DELETE", ""): Operation(buckets.delete_bucket),
    ("bucket", "GET", "location"): Operation(buckets.get_location, frozenset({"location"})),
    ("bucket", "GET", "versioning"): Operation(buckets.get_versioning, frozenset({"versioning"})),
    ("bucket", "GET", ""): Operation(listing.list_objects_v1, _PAGE | {"marker", "max-keys"}),
    ("bucket", "GET", "list-type"): Operation(
        listing.list_objects,
        _PAGE | {"continuation-token", "fetch-owner", "list-type", "max-keys", "start-after"},
    ),
    ("bucket", "POST", "delete"): Operation(
        deletion.delete_objects, frozenset({"delete"}), checksums.HEADERS
    ),
    ("bucket", "GET", "uploads"): Operation(
        listing.list_uploads, _PAGE | {"key-marker", "max-uploads", "upload-id-marker", "uploads"}
    ),
    ("object", "GET", ""): _READ,
    ("object", "HEAD", ""): _READ,
    ("object", "PUT", ""): Operation(
        objects.put_object, headers=attributes.HEADERS | conditions.WRITE | checksums.HEADERS
    ),
    ("object", "PUT", copying.SOURCE): Operation(
        copying.copy_object, headers=attributes.HEADERS | copying.HEADERS
    ),
    ("object", "PUT", f"uploadId&{copying.SOURCE}"): Operation(
        copying.copy_part, _UPLOAD | {"partNumber"}, copying.PART_HEADERS
    ),
    ("object", "GET", "tagging"): Operation(objects.get_tagging, frozenset({"tagging"})),
    ("object", "DELETE", ""): Operation(objects.delete_object, headers=frozenset({"if-match"})),
    ("object", "POST", "uploads"): Operation(
        uploads.create_upload, frozenset({"uploads"}), attributes.HEADERS | {checksums.ALGORITHM}
    ),
    ("object", "PUT", "uploadId"): Operation(
        uploads.upload_part, _UPLOAD | {"partNumber"}, checksums.HEADERS
    ),
    ("object", "GET", "uploadId"): Operation(
        uploads.list_parts, _UPLOAD | {"max-parts", "part-number-marker"}
    ),
    ("object", "POST", "uploadId"): Operation(uploads.complete_upload, _UPLOAD, conditions.WRITE),
    ("object", "DELETE", "uploadId"): Operation(uploads.abort_upload, _UPLOAD),
}
_SELECTORS = ("list-type", "uploads", "uploadId", "delete", "location", "tagging", "versioning")


class S3:
    """The S3 service. Every region's endpoint reaches all buckets. A bucket is open to its owner only.

    `deny` evaluates the permissions that a call needs besides its own.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, deny: Deny | None = None) -> None:
        self._store = Store(clock)
        self._deny = deny

    def handle(self, request: Request) -> Response:
        """Return the reply to a request whose signature has been checked.

        Raises RefusalError if the call is refused.
        """
        # S3 requires the length of a body. A chunked request is accepted only if it is aws-chunked, too.
        if "transfer-encoding" in request.headers and checksums.LENGTH not in request.headers:
            raise S3Error("NotImplemented", Header="Transfer-Encoding")
        call = parse(request, self._deny)
        selectors = [name for name in _SELECTORS if name in call.params][:1]
        if request.method == "PUT" and copying.SOURCE in call.headers:
            selectors.append(copying.SOURCE)
        operation = _OPERATIONS.get((call.scope, request.method, "&".join(selectors)))
        if operation is None:
            raise S3Error("NotImplemented", "This operation is not implemented")
        operation.check(call)
        checksums.verify_md5(call.headers.get("content-md5"), request.body)
        return operation.run(self._store, call)

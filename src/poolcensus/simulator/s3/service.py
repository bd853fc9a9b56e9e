"""The table of S3's operations, and the way of a request through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from poolcensus.simulator.http import Request, Response
from poolcensus.simulator.s3 import (
    attributes,
    buckets,
    checksums,
    listing,
    markup,
    objects,
    upload_listing,
    uploads,
)
from poolcensus.simulator.s3.call import Call, parse
from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.store import Store

if TYPE_CHECKING:
    from poolcensus.simulator.s3.markup import Node

Run: TypeAlias = Callable[[Store, Call], Response]
Route: TypeAlias = tuple[str, str, str]

_ANY_HEADERS = frozenset(
    {
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-expected-bucket-owner",
        "x-amz-request-payer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-trailer",
        "x-amz-user-agent",
    }
)
_DESCRIBING = frozenset(
    {
        attributes.ACL,
        attributes.STORAGE_CLASS,
        attributes.ENCRYPTION,
        attributes.KMS_KEY,
        attributes.KMS_CONTEXT,
        attributes.BUCKET_KEY,
    }
)
_COPYING = frozenset(
    {
        objects.COPY_SOURCE,
        objects.SOURCE_OWNER,
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-unmodified-since",
    }
)
_PAGE = frozenset({"prefix", "delimiter", "encoding-type"})


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation and all that may be asked of it: parameters of the query, and headers `x-amz-…`."""

    run: Run
    params: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()
    meta: bool = False

    def check(self, call: Call) -> None:
        """Refuse what would otherwise be left undone without a word.

        Raises:
            S3Error: something is asked for that is not simulated.
        """
        for name in call.params.keys() - self.params - {"x-id"}:
            raise S3Error("NotImplemented", f"The parameter {name} is not implemented", Parameter=name)
        for name in call.headers.keys() - self.headers - _ANY_HEADERS:
            if name.startswith("x-amz-") and not (self.meta and name.startswith(attributes.META)):
                raise S3Error("NotImplemented", Header=name)


def _not_implemented(_: Store, __: Call) -> Response:
    raise S3Error("NotImplemented", "This operation is not implemented")


_READ = Operation(objects.get_object, attributes.OVERRIDES, frozenset({objects.CHECKSUM_MODE}))
_UPLOAD = frozenset({"uploadId"})
_OPERATIONS: dict[Route, Operation] = {
    ("service", "GET", ""): Operation(
        buckets.list_buckets, frozenset({"bucket-region", "continuation-token", "max-buckets", "prefix"})
    ),
    ("bucket", "PUT", ""): Operation(
        buckets.create_bucket, headers=frozenset({attributes.ACL, buckets.OWNERSHIP}) | checksums.HEADERS
    ),
    ("bucket", "HEAD", ""): Operation(buckets.head_bucket),
    ("bucket", "DELETE", ""): Operation(buckets.delete_bucket),
    ("bucket", "GET", "location"): Operation(buckets.get_bucket_location, frozenset({"location"})),
    ("bucket", "GET", ""): Operation(listing.list_objects, _PAGE | {"marker", "max-keys"}),
    ("bucket", "GET", "list-type"): Operation(
        listing.list_objects_v2,
        _PAGE | {"continuation-token", "fetch-owner", "list-type", "max-keys", "start-after"},
    ),
    ("bucket", "GET", "uploads"): Operation(
        upload_listing.list_uploads, _PAGE | {"key-marker", "max-uploads", "upload-id-marker", "uploads"}
    ),
    ("bucket", "POST", "delete"): Operation(objects.delete_objects, frozenset({"delete"}), checksums.HEADERS),
    ("bucket", "POST", ""): Operation(_not_implemented),
    ("object", "GET", ""): _READ,
    ("object", "HEAD", ""): _READ,
    ("object", "PUT", ""): Operation(objects.put_object, headers=_DESCRIBING | checksums.HEADERS, meta=True),
    ("object", "PUT", "copy"): Operation(
        objects.copy_object,
        headers=_DESCRIBING
        | _COPYING
        | {objects.CHECKSUM_ALGORITHM, objects.METADATA_DIRECTIVE, objects.TAGGING_DIRECTIVE},
        meta=True,
    ),
    ("object", "DELETE", ""): Operation(objects.delete_object),
    ("object", "GET", "tagging"): Operation(objects.get_object_tagging, frozenset({"tagging"})),
    ("object", "PUT", "tagging"): Operation(_not_implemented),
    ("object", "DELETE", "tagging"): Operation(_not_implemented),
    ("object", "POST", "uploads"): Operation(
        uploads.create_upload,
        frozenset({"uploads"}),
        _DESCRIBING | {objects.CHECKSUM_ALGORITHM, uploads.CHECKSUM_TYPE},
        meta=True,
    ),
    ("object", "PUT", "uploadId"): Operation(
        uploads.upload_part, _UPLOAD | {"partNumber"}, checksums.HEADERS
    ),
    ("object", "PUT", "copy-part"): Operation(
        uploads.upload_part_copy, _UPLOAD | {"partNumber"}, _COPYING | {uploads.COPY_RANGE}
    ),
    ("object", "POST", "uploadId"): Operation(
        uploads.complete_upload, _UPLOAD, checksums.HEADERS | {uploads.CHECKSUM_TYPE, uploads.OBJECT_SIZE}
    ),
    ("object", "DELETE", "uploadId"): Operation(uploads.abort_upload, _UPLOAD),
    ("object", "GET", "uploadId"): Operation(
        upload_listing.list_parts, _UPLOAD | {"encoding-type", "max-parts", "part-number-marker"}
    ),
}
_SELECTORS = ("list-type", "location", "delete", "uploads", "uploadId", "tagging")
_COPIES = {"": "copy", "uploadId": "copy-part"}


class S3:
    """The service. Any region's endpoint reaches any bucket; a bucket answers only its own account.

    `max_bytes` bounds what all objects and parts hold together: what goes beyond is QuotaExceeded.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, max_bytes: int | None = None) -> None:
        self._store = Store(clock, max_bytes)

    @property
    def used_bytes(self) -> int:
        """How much all objects and parts hold together."""
        return self._store.used

    def handle(self, request: Request) -> Response:
        """Answer a request whose signature has been checked."""
        try:
            call = parse(request)
            operation = _operation(call)
            operation.check(call)
            return operation.run(self._store, call)
        except S3Error as error:
            return _reply(request, error)


def _operation(call: Call) -> Operation:
    selector = next((name for name in _SELECTORS if name in call.params), "")
    if call.request.method == "PUT" and objects.COPY_SOURCE in call.headers:
        selector = _COPIES.get(selector, selector)
    found = _OPERATIONS.get((call.scope, call.request.method, selector))
    if found is not None:
        return found
    allowed = [method for scope, method, name in _OPERATIONS if (scope, name) == (call.scope, selector)]
    if not allowed:
        raise S3Error("NotImplemented", "This operation is not implemented")
    raise S3Error("MethodNotAllowed", Method=call.request.method, AllowedMethods=", ".join(sorted(allowed)))


def _reply(request: Request, error: S3Error) -> Response:
    if request.method == "HEAD":
        return Response(error.status, b"", markup.TYPE, error.code)
    content: list[Node] = [
        ("Code", error.code),
        ("Message", error.message),
        *error.details.items(),
        ("Resource", unquote(request.path)),
        ("RequestId", request.request_id),
        ("HostId", "simulator"),
    ]
    return Response(error.status, markup.write("Error", content, namespace=None), markup.TYPE, error.code)

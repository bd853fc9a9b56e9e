"""The operations on buckets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import checksums, markup
from poolcensus.simulator.s3.attributes import ACL
from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.store import Bucket, Store, owner_id

if TYPE_CHECKING:
    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.markup import Node

OWNERSHIP = "x-amz-object-ownership"
_DEFAULT_REGION = "us-east-1"
_NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d")
_MAX_BUCKETS = 10_000


def timestamp(seconds: int) -> str:
    """Return a time as the XML of S3 carries it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def list_buckets(store: Store, call: Call) -> Response:
    """ListBuckets."""
    prefix, region = call.params.get("prefix", ""), call.params.get("bucket-region")
    after = call.params.get("continuation-token", "")
    limit = call.count("max-buckets", _MAX_BUCKETS)
    if limit < 1:
        raise invalid_argument(
            "max-buckets", "0", "Argument max-buckets must be an integer between 1 and 10000"
        )
    names = [
        name
        for name, bucket in sorted(store.buckets.items())
        if bucket.owner == call.account_id
        and name > after
        and name.startswith(prefix)
        and region in (None, bucket.region)
    ]
    page = [store.buckets[name] for name in names[:limit]]
    content: list[Node] = [
        ("Owner", [("ID", owner_id(call.account_id))]),
        ("Buckets", [("Bucket", _describe(bucket)) for bucket in page]),
    ]
    if len(names) > limit:
        content.append(("ContinuationToken", page[-1].name))
    if "prefix" in call.params:
        content.append(("Prefix", prefix))
    return Response(200, markup.write("ListAllMyBucketsResult", content), markup.TYPE)


def create_bucket(store: Store, call: Call) -> Response:
    """CreateBucket."""
    if call.headers.get(ACL, "private") != "private":
        raise S3Error("InvalidBucketAclWithObjectOwnership")
    if call.headers.get(OWNERSHIP, "BucketOwnerEnforced") != "BucketOwnerEnforced":
        raise S3Error("NotImplemented", Header=OWNERSHIP)
    if _NAME.fullmatch(call.bucket) is None:
        raise S3Error("InvalidBucketName", BucketName=call.bucket)
    checksums.verify_body(call.headers, call.request.body)
    region = _location(call)
    existing = store.buckets.get(call.bucket)
    if existing is not None and existing.owner != call.account_id:
        raise S3Error("BucketAlreadyExists", BucketName=call.bucket)
    if existing is None:
        store.buckets[call.bucket] = Bucket(call.bucket, call.account_id, region, store.now())
    elif not region == existing.region == _DEFAULT_REGION:
        # Only the oldest region still takes a repeated creation for a success.
        raise S3Error("BucketAlreadyOwnedByYou", BucketName=call.bucket)
    return Response(200, headers=(("Location", f"/{call.bucket}"),))


def head_bucket(store: Store, call: Call) -> Response:
    """HeadBucket."""
    bucket = store.reach(call)
    return Response(
        200,
        headers=(
            ("x-amz-bucket-region", bucket.region),
            ("x-amz-access-point-alias", "false"),
            ("Content-Type", "application/xml"),
        ),
    )


def delete_bucket(store: Store, call: Call) -> Response:
    """DeleteBucket. Uploads that are under way end with it."""
    bucket = store.reach(call)
    if bucket.objects:
        raise S3Error("BucketNotEmpty", BucketName=bucket.name)
    for upload in list(bucket.uploads.values()):
        store.abort(bucket, upload)
    del store.buckets[bucket.name]
    return Response(204)


def get_bucket_location(store: Store, call: Call) -> Response:
    """GetBucketLocation."""
    region = store.reach(call).region
    named = "" if region == _DEFAULT_REGION else region
    return Response(200, markup.write("LocationConstraint", named), markup.TYPE)


def _describe(bucket: Bucket) -> list[Node]:
    return [
        ("Name", bucket.name),
        ("CreationDate", timestamp(bucket.created)),
        ("BucketRegion", bucket.region),
    ]


def _location(call: Call) -> str:
    """Return the region a new bucket goes to. Only the default one's endpoint takes one for another."""
    here = call.request.region or _DEFAULT_REGION
    asked = None
    if call.request.body.strip():
        root = markup.read(call.request.body, "CreateBucketConfiguration")
        root.only(frozenset({"LocationConstraint"}))
        asked = root.value("LocationConstraint") or None
    if asked == "EU":
        asked = "eu-west-1"
    if asked == _DEFAULT_REGION or (asked is not None and _REGION.fullmatch(asked) is None):
        raise S3Error("InvalidLocationConstraint", LocationConstraint=asked)
    if here not in (_DEFAULT_REGION, asked):
        if asked is None:
            raise S3Error("IllegalLocationConstraintException")
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {asked} location constraint is incompatible for the region specific endpoint this request "
            "was sent to.",
        )
    return asked or _DEFAULT_REGION

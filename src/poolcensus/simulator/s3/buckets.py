"""The operations on buckets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import checksums, markup
from poolcensus.simulator.s3.attributes import check_acl
from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.store import Bucket, Store, owner, timestamp

if TYPE_CHECKING:
    from poolcensus.simulator.s3.call import S3Call

_DEFAULT_REGION = "us-east-1"
_NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


def list_buckets(store: Store, call: S3Call) -> Response:
    """ListBuckets, in a single page."""
    found = [
        ("Bucket", [("Name", name), ("CreationDate", timestamp(bucket.created))])
        for name, bucket in sorted(store.buckets.items())
        if bucket.owner == call.account_id
    ]
    return markup.reply("ListAllMyBucketsResult", [("Owner", owner(call.account_id)), ("Buckets", found)])


def create_bucket(store: Store, call: S3Call) -> Response:
    """CreateBucket."""
    if _NAME.fullmatch(call.bucket) is None:
        raise S3Error("InvalidBucketName", BucketName=call.bucket)
    check_acl(call.headers)
    body = call.request.body
    checksums.verify_body(call.headers, body)
    named = dict(markup.read(body, "CreateBucketConfiguration")) if body.strip() else {}
    region = named.get("LocationConstraint", {}).get("", _DEFAULT_REGION)
    existing = store.buckets.get(call.bucket)
    if existing is not None and existing.owner != call.account_id:
        raise S3Error("BucketAlreadyExists", BucketName=call.bucket)
    if existing is None:
        store.buckets[call.bucket] = Bucket(call.bucket, call.account_id, region, store.now())
    elif not region == existing.region == _DEFAULT_REGION:
        # Only in us-east-1 does creating a bucket again succeed.
        raise S3Error("BucketAlreadyOwnedByYou", BucketName=call.bucket)
    return Response(200, headers=(("Location", f"/{call.bucket}"),))


def head_bucket(store: Store, call: S3Call) -> Response:
    """HeadBucket."""
    return Response(200, headers=(("x-amz-bucket-region", store.reach(call).region),))


def get_location(store: Store, call: S3Call) -> Response:
    """GetBucketLocation. The location of us-east-1 is empty."""
    region = store.reach(call).region
    return markup.reply("LocationConstraint", "" if region == _DEFAULT_REGION else region)


def get_versioning(store: Store, call: S3Call) -> Response:
    """GetBucketVersioning. No bucket has ever had versioning enabled."""
    store.reach(call)
    return markup.reply("VersioningConfiguration", ())


def delete_bucket(store: Store, call: S3Call) -> Response:
    """DeleteBucket. Its multipart uploads in progress are deleted, too."""
    bucket = store.reach(call)
    if bucket.objects:
        raise S3Error("BucketNotEmpty", BucketName=bucket.name)
    del store.buckets[bucket.name]
    return Response(204)

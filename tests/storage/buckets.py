"""Buckets for the tests, in the simulator's S3 and in moto's."""

from __future__ import annotations

from contextlib import asynccontextmanager
from hashlib import md5
from typing import TYPE_CHECKING, Any

from poolcensus.aws.session import open_caller
from poolcensus.config import load_settings
from poolcensus.simulator.s3.store import Attributes, StoredObject
from poolcensus.simulator.s3.store import Bucket as StoredBucket
from poolcensus.storage.s3.client import open_bucket
from poolcensus.storage.s3.store import BucketStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poolcensus.config import Settings
    from poolcensus.simulator import Simulator
    from poolcensus.storage.s3.objects import Bucket

NAME = "census"
PREFIX = "a b/snapshots/"
PLACE = f"s3://{NAME}/{PREFIX}".rstrip("/")


def stored(simulator: Simulator, region: str = "us-east-1") -> StoredBucket:
    """The bucket as the simulator keeps it; made where it is missing."""
    s3: Any = simulator._application._services["s3"]
    buckets: dict[str, StoredBucket] = s3._store.buckets
    owner = simulator.world.management_account_id
    return buckets.setdefault(NAME, StoredBucket(NAME, owner, region, 0))


def stored_object(key: str, body: bytes, modified: float = 0) -> StoredObject:
    """An object as the simulator keeps it, for a bucket that nobody has called yet."""
    attributes = Attributes("application/octet-stream", "AES256", None)
    return StoredObject(
        key, body, md5(body, usedforsecurity=False).hexdigest(), int(modified), attributes, None
    )


@asynccontextmanager
async def opened(settings: Settings | None = None) -> AsyncIterator[Bucket]:
    """The bucket, of whatever the environment points at."""
    settings = settings or load_settings()
    async with open_caller(settings) as session, open_bucket(settings, session, NAME) as bucket:
        yield bucket


def bucket_store(settings: Settings | None = None, **options: Any) -> BucketStore:
    return BucketStore(lambda: opened(settings), PLACE, **options)

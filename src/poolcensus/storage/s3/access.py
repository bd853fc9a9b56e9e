"""Opens a bucket from settings alone, with the caller's credentials."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from poolcensus.aws.session import open_caller
from poolcensus.errors import first_reason_raised
from poolcensus.storage.s3.client import open_bucket
from poolcensus.storage.s3.keys import split_place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poolcensus.config import Settings
    from poolcensus.storage.s3.objects import Bucket


@asynccontextmanager
async def open_place(settings: Settings, place: str) -> AsyncIterator[Bucket]:
    """Open the bucket of `place`, an `s3://BUCKET/PREFIX`. Makes no call to S3.

    Raises `SettingsError` if the SDK's configuration can't be used, and `CredentialsError`.
    """
    name, _ = split_place(place)
    with first_reason_raised():
        async with open_caller(settings) as session, open_bucket(settings, session, name) as bucket:
            yield bucket

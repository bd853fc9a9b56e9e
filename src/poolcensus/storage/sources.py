"""Opens several destinations for reading, with one client for each bucket."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from poolcensus.storage.destination import checked_place, open_source, plain_settings
from poolcensus.storage.naming import is_in_s3

if TYPE_CHECKING:
    import os

    from poolcensus.config import Settings
    from poolcensus.storage.s3.shared_bucket import SharedBucket
    from poolcensus.storage.source import Source


class Sources:
    """Opens destinations for reading, in any thread. Buckets stay open until `close`."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._mutex = threading.Lock()
        self._buckets: dict[str, SharedBucket] = {}
        self._kept = ExitStack()
        self._closed = False

    def open(self, dest: str | os.PathLike[str]) -> Source:
        """Return the source that reads a destination. If it is in a bucket, open that first.

        Raises `SettingsError` and `CredentialsError`. Blocks.
        """
        place = checked_place(dest)
        if not is_in_s3(place):
            return open_source(place)
        from poolcensus.storage.s3.source import S3Source  # noqa: PLC0415 - loads the SDK

        return S3Source(self._bucket(place), place)

    def close(self) -> None:
        """Close the buckets as soon as nobody reads from them any more. Blocks."""
        with self._mutex:
            self._closed = True
            self._kept.close()

    def _bucket(self, place: str) -> SharedBucket:
        from poolcensus.storage.s3.access import open_place  # noqa: PLC0415 - loads the SDK
        from poolcensus.storage.s3.keys import split_place  # noqa: PLC0415 - loads the SDK
        from poolcensus.storage.s3.shared_bucket import SharedBucket, in_own_loop  # noqa: PLC0415 - loads the SDK

        bucket, _ = split_place(place)
        with self._mutex:
            if (known := self._buckets.get(bucket)) is not None:
                return known
            opening = partial(open_place, self._settings or plain_settings(), place)
            made = SharedBucket(partial(in_own_loop, opening))
            # A cancelled caller's thread may get here after `close`. Then it closes its bucket itself.
            if not self._closed:
                self._kept.enter_context(made)
            self._buckets[bucket] = made
            return made

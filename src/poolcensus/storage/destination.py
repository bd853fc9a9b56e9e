"""Opens the storage of a destination: a folder, `s3://BUCKET/PREFIX`, or `-` for standard output.

The code for S3, which loads the SDK, is imported only if the destination is a bucket.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from poolcensus.config.readers import EntryError, destination, shown
from poolcensus.errors import DestinationError, SettingsError
from poolcensus.storage.local.reading import LocalFiles, LocalSource
from poolcensus.storage.local.store import FolderStore
from poolcensus.storage.naming import STANDARD_OUTPUT, is_in_s3, is_local
from poolcensus.storage.stdout import StreamedFiles, StreamStore

if TYPE_CHECKING:
    from typing import BinaryIO

    from poolcensus.aws.session import CallerSession
    from poolcensus.config import Settings
    from poolcensus.storage.base import Repository, Store
    from poolcensus.storage.source import SnapshotFiles, Source


def checked_place(dest: str | os.PathLike[str], key: str = "dest") -> str:
    """Return a destination as text. Raises `SettingsError` if it is not valid as a setting.

    Messages call the parameter `key`.
    """
    place = os.fspath(dest)
    try:
        return destination(place)
    except EntryError as error:
        raise SettingsError(f"{key}: {error}") from None
    except ValueError as error:
        raise SettingsError(f"{key}: {shown(place)} {error}") from None


def check_resume(settings: Settings, place: str) -> None:
    """Raise `SettingsError` if a run is to resume at a destination that keeps no journal."""
    if settings.resume and not is_local(place):
        raise SettingsError(
            f"`resume` needs a directory as its destination: {place} keeps no journal. Set `resume` to false."
        )


def open_source(dest: str | os.PathLike[str], settings: Settings | None = None) -> Source:
    """Return the source that reads a destination. Nothing is read yet. Raises `SettingsError`."""
    place = checked_place(dest)
    if not is_in_s3(place):
        return LocalSource(Path(place))
    from poolcensus.storage.s3.access import open_place  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.shared_bucket import SharedBucket, in_own_loop  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.source import S3Source  # noqa: PLC0415 - loads the SDK

    opening = partial(open_place, settings or plain_settings(), place)
    return S3Source(SharedBucket(partial(in_own_loop, opening)), place)


def open_folder(path: str | os.PathLike[str]) -> SnapshotFiles:
    """Return the files of a snapshot in a folder, which may have any name."""
    return LocalFiles(Path(path), is_listed=False)


def published_files(place: str, snapshot_id: str, settings: Settings) -> SnapshotFiles:
    """Return the files of a snapshot that was just published."""
    if place == STANDARD_OUTPUT:
        return StreamedFiles(snapshot_id)
    return open_source(place, settings).files(snapshot_id)


def open_repository(
    dest: str | os.PathLike[str], settings: Settings | None = None, *, must_exist: bool = False
) -> Repository:
    """Return the repository of a destination. Nothing is opened yet. Raises `SettingsError`."""
    place = checked_place(dest)
    if not is_in_s3(place):
        return _folder_store(place, settings, must_exist=must_exist)
    from poolcensus.storage.s3.access import open_place  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.store import BucketStore  # noqa: PLC0415 - loads the SDK

    return BucketStore(partial(open_place, settings or plain_settings(), place), place)


def open_store(place: str, settings: Settings, session: CallerSession | None) -> Store:
    """Return the store that a run writes to. Nothing is opened yet. A bucket needs the session.

    Raises `DestinationError` if the destination is standard output, and that is closed or takes no bytes.
    """
    if place == STANDARD_OUTPUT:
        stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
        if stream is None:
            # If the process was started without standard output, the commands have put a substitute there.
            if sys.stdout is None or sys.__stdout__ is None:
                raise DestinationError("standard output is closed: nothing can be written there")
            kind = type(sys.stdout).__name__
            raise DestinationError(
                f"standard output takes no bytes: `sys.stdout` is a {kind}, without `buffer`",
                advice="collect into a folder or a bucket",
            )
        return StreamStore(stream)
    if not is_in_s3(place):
        return _folder_store(place, settings)
    if session is None:
        raise RuntimeError("a bucket needs the caller's session")
    from poolcensus.storage.s3.client import open_bucket  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.keys import split_place  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.store import BucketStore  # noqa: PLC0415 - loads the SDK

    bucket, _ = split_place(place)
    return BucketStore(partial(open_bucket, settings, session, bucket), place)


def _folder_store(place: str, settings: Settings | None, *, must_exist: bool = False) -> FolderStore:
    if settings is None:
        return FolderStore(place, must_exist=must_exist)
    return FolderStore(
        place, file_mode=settings.file_mode, folder_mode=settings.folder_mode, must_exist=must_exist
    )


def plain_settings() -> Settings:
    """Return the default settings, without reading any file or the environment."""
    from poolcensus.config import Settings  # noqa: PLC0415 - its table is read from annotations at import

    return Settings()

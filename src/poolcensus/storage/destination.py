"""Which storage a destination is: a folder, `s3://BUCKET/PREFIX`, or `-` for standard output.

What is for S3 is imported where a destination is there.
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
    """Return the text of a destination. Raises `SettingsError` for what the settings would refuse, too.

    `key` is what a message calls it.
    """
    place = os.fspath(dest)
    try:
        return destination(place)
    except EntryError as error:
        raise SettingsError(f"{key}: {error}") from None
    except ValueError as error:
        raise SettingsError(f"{key}: {shown(place)} {error}") from None


def check_resume(settings: Settings, place: str) -> None:
    """Raise `SettingsError` for a run that is to resume where no journal is kept."""
    if settings.resume and not is_local(place):
        raise SettingsError(
            f"`resume` needs a directory as its destination: {place} keeps no journal. Set `resume` to false."
        )


def open_source(dest: str | os.PathLike[str], settings: Settings | None = None) -> Source:
    """Return what reads a destination. Nothing is read yet. Raises `SettingsError`."""
    place = checked_place(dest)
    if not is_in_s3(place):
        return LocalSource(Path(place))
    from poolcensus.storage.s3.access import open_place  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.shared_bucket import SharedBucket, in_own_loop  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.source import S3Source  # noqa: PLC0415 - loads the SDK

    opening = partial(open_place, settings or plain_settings(), place)
    return S3Source(SharedBucket(partial(in_own_loop, opening)), place)


def open_folder(path: str | os.PathLike[str]) -> SnapshotFiles:
    """Return the files of one snapshot in a folder of any name."""
    return LocalFiles(Path(path), is_listed=False)


def published_files(place: str, snapshot_id: str, settings: Settings) -> SnapshotFiles:
    """Return the files of a snapshot that has just been published."""
    if place == STANDARD_OUTPUT:
        return StreamedFiles(snapshot_id)
    return open_source(place, settings).files(snapshot_id)


def open_repository(
    dest: str | os.PathLike[str], settings: Settings | None = None, *, must_exist: bool = False
) -> Repository:
    """Return what changes the snapshots at a destination. Nothing is opened yet. Raises `SettingsError`."""
    place = checked_place(dest)
    if not is_in_s3(place):
        return _folder_store(place, settings, must_exist=must_exist)
    from poolcensus.storage.s3.access import open_place  # noqa: PLC0415 - loads the SDK
    from poolcensus.storage.s3.store import BucketStore  # noqa: PLC0415 - loads the SDK

    return BucketStore(partial(open_place, settings or plain_settings(), place), place)


def open_store(place: str, settings: Settings, session: CallerSession | None) -> Store:
    """Return what a run writes to. Nothing is opened yet. A bucket needs the session.

    Raises `DestinationError` for standard output where that is closed or takes no bytes.
    """
    if place == STANDARD_OUTPUT:
        stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
        if stream is None:
            # The commands have put another in the place of one that the process was started without.
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
    """Return the settings of those who give none: the defaults, with nothing read from files."""
    from poolcensus.config import Settings  # noqa: PLC0415 - its table is read from annotations at import

    return Settings()

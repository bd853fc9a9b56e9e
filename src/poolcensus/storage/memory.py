"""A snapshot in memory, as workers return it."""

from __future__ import annotations

from contextlib import closing
from io import BytesIO
from typing import TYPE_CHECKING

from poolcensus.errors import SnapshotError
from poolcensus.format.manifest import MANIFEST_NAME
from poolcensus.storage.source import MissingFileError, SnapshotFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from poolcensus.format.compression import Readable


class MemoryFiles(SnapshotFiles):
    """The files of one snapshot, by name. Messages call it `location`."""

    def __init__(self, files: Mapping[str, bytes], location: str) -> None:
        self._files = files
        self._location = location

    @property
    def location(self) -> str:
        return self._location

    @property
    def called(self) -> str:
        return self._location

    def manifest(self) -> bytes:
        try:
            return self._files[MANIFEST_NAME]
        except KeyError:
            raise SnapshotError(f"{self._location} has no {MANIFEST_NAME}") from None

    def names(self) -> list[str]:
        return sorted(self._files)

    def open(self, name: str) -> AbstractContextManager[Readable]:
        if name not in self._files:
            raise MissingFileError
        return closing(BytesIO(self._files[name]))

"""Reads published snapshots."""

from __future__ import annotations

from functools import partial
from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Self, TypeVar

from poolcensus.errors import SnapshotError
from poolcensus.format.schema import TARGETS_NAME, Schema
from poolcensus.snapshot.data_file import DataFile
from poolcensus.snapshot.info import data_file, info_of, own_manifest, read_manifest
from poolcensus.snapshot.latest import find, looked_up, looked_up_beside_folder, warn_of_latest
from poolcensus.storage.destination import open_folder, open_source
from poolcensus.storage.naming import LATEST, is_in_s3

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from poolcensus.config import Settings
    from poolcensus.model import Compression, FileEntry, Manifest, PoolRecord, TargetResult
    from poolcensus.snapshot.info import SnapshotInfo
    from poolcensus.snapshot.latest import Misnamed
    from poolcensus.storage.source import SnapshotFiles, Source

_MANY_PAGES: Final = 3
_LONG_TARGETS: Final = 1000

_T = TypeVar("_T")


class Snapshot:
    """A published snapshot, at any kind of destination. Its lines are read one by one, as they are needed.

    Files are open only while one of its iterators is read. Used as a context manager, it keeps the connection
    to S3 between reads. Reading blocks: in an event loop, use a worker thread.
    """

    def __init__(
        self, files: SnapshotFiles, manifest: Manifest, uncovered: Sequence[TargetResult] | None = None
    ) -> None:
        self._files = files
        self._manifest = manifest
        self._uncovered = uncovered

    @classmethod
    def open(
        cls,
        ref: str | os.PathLike[str],
        dest: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
    ) -> Self:
        """Open the snapshot that `ref` names: `latest`, `latest~N`, a snapshot ID, or its place.

        The place is the path of its folder, or `s3://BUCKET/PREFIX/ID`. `latest` is the snapshot that was
        published last, by its manifest, and `latest~N` the N-th before it; snapshots dated in the future
        don't count. The beginning of an ID is enough if it is unique, unless a folder of a snapshot has that
        name. IDs and `latest` are looked up in `dest`, a folder or `s3://BUCKET/PREFIX`, by default the
        current folder.

        A bucket is accessed as the AWS CLI would, with `AWS_PROFILE`, `AWS_ENDPOINT_URL` and the like, or
        with the profile, the endpoint, the time limits and the `s3_…` keys of `settings`. `Settings.load()`
        returns the settings that the commands use. Only the manifest of the snapshot is read.

        Raises `SnapshotError` if the snapshot does not exist or can't be read, and `DestinationError` or
        another `FatalError` if a bucket can't be read. Blocks.
        """
        return cls.open_in(partial(open_source, settings=settings), ref, dest)

    @classmethod
    def open_in(
        cls,
        opened: Callable[[str | os.PathLike[str]], Source],
        ref: str | os.PathLike[str],
        dest: str | os.PathLike[str] | None = None,
        misnamed: Misnamed = warn_of_latest,
    ) -> Self:
        """Open the snapshot that `ref` names, as `open` does. `opened` opens a destination.

        Call `misnamed` if `latest` names something that is not a snapshot, by default to log it.
        """
        found = looked_up(ref, dest) or looked_up_beside_folder(
            opened, ref, dest, lambda source: source.ids()
        )
        if found is None:
            if isinstance(ref, str) and is_in_s3(ref):
                raise SnapshotError(f"{ref.rstrip('/')} is not a snapshot: name one as s3://BUCKET/PREFIX/ID")
            # The folder may have any name: it may be a copy of a snapshot.
            files = open_folder(ref)
            return cls(files, read_manifest(files.manifest(), files.location))
        place, name = found
        with opened(place) as source:
            snapshot_id = find(source, name, misnamed)
            files = source.files(snapshot_id)
            return cls(files, own_manifest(files.manifest(), snapshot_id, files.location))

    def __repr__(self) -> str:
        return f"<Snapshot {self.location!r}>"

    def __enter__(self) -> Self:
        self._files.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, traceback)

    @property
    def id(self) -> str:
        """The snapshot ID."""
        return self._manifest.snapshot_id

    @property
    def location(self) -> str:
        """The place of the snapshot, for people: a path, an `s3://` URL, or standard output."""
        return self._files.location

    @property
    def path(self) -> Path | None:
        """The folder of the snapshot, or None if it is not in a folder."""
        return self._files.path

    @property
    def files(self) -> SnapshotFiles:
        """The snapshot's files."""
        return self._files

    @property
    def manifest(self) -> Manifest:
        """The manifest of the snapshot."""
        return self._manifest

    @property
    def schema(self) -> Schema:
        """The schema of the snapshot's lines."""
        return Schema(self._manifest.operation)

    @property
    def info(self) -> SnapshotInfo:
        """The snapshot as an entry of a list."""
        return info_of(self._manifest)

    @property
    def pools_path(self) -> Path:
        """The file of the records, whose suffix says how it is compressed.

        Raises `SnapshotError` if the snapshot is not in a folder.
        """
        return self._path_of(self.pools_file[0].name)

    @property
    def targets_path(self) -> Path:
        """The file of the ledger, whose suffix says how it is compressed.

        Raises `SnapshotError` if the snapshot is not in a folder.
        """
        return self._path_of(self.targets_file[0].name)

    @property
    def pools_file(self) -> tuple[FileEntry, Compression]:
        """The manifest's entry for the records, and how they are compressed."""
        return data_file(self._manifest, self.schema.records_name)

    @property
    def targets_file(self) -> tuple[FileEntry, Compression]:
        """The manifest's entry for the ledger, and how it is compressed."""
        return data_file(self._manifest, TARGETS_NAME)

    def _path_of(self, name: str) -> Path:
        if self._files.path is None:
            raise SnapshotError(f"snapshot {self.id} is in no folder: it is at {self.location}")
        return self._files.path / name

    def pools(self) -> Iterator[PoolRecord]:
        """Return an iterator over the records.

        Raises `SnapshotError` if a line is not a record, if the snapshot went to standard output, and at the
        end if the file does not match the manifest. Raises `DestinationError` if a bucket can't be read.
        """
        return lines_of(self._files, self.pools_file, lambda line: self.schema.decode_record(line)[1])

    def targets(self) -> Iterator[TargetResult]:
        """Return an iterator over the lines of the ledger. Raises the errors of `pools`."""
        return lines_of(self._files, self.targets_file, self.schema.decode_result)

    def uncovered(self) -> Iterator[TargetResult]:
        """Return an iterator over the ledger lines of targets that are not covered.

        For a snapshot that went to standard output, these are the first 1,000.
        """
        if self._uncovered is not None:
            return iter(self._uncovered)
        return (result for result in self.targets() if not result.outcome.covered)

    def targets_where(self, wanted: Callable[[str, str], bool]) -> Iterator[TargetResult]:
        """Return an iterator over the ledger lines for which `wanted(account_id, region)` is true.

        Other lines are not parsed any further, which takes a fifth of the time.
        """
        schema = self.schema

        def decode(line: bytes) -> TargetResult | None:
            return schema.decode_result(line) if wanted(*schema.target_of(line)) else None

        return (each for each in lines_of(self._files, self.targets_file, decode) if each is not None)

    def paged(self, least: int) -> Iterator[TargetResult]:
        """Return an iterator over the ledger lines of targets with at least `least` pages.

        Other lines are not parsed.
        """
        few = tuple(b'"pages":%d,' % pages for pages in range(least))
        return (
            result
            for result in lines_of(self._files, self.targets_file, lambda line: self._unless(few, line))
            if result is not None and result.pages >= least
        )

    def long_targets(self) -> dict[tuple[str, str], int]:
        """Return the number of pages of targets with at least three, by account ID and region.

        At most the 1,000 longest targets are returned, and none if the ledger can't be read. Blocks.
        """
        try:
            longest = nlargest(_LONG_TARGETS, self.paged(_MANY_PAGES), key=attrgetter("pages"))
        except SnapshotError:
            return {}
        return {(each.account_id, each.region): each.pages for each in longest}

    def _unless(self, signs: tuple[bytes, ...], line: bytes) -> TargetResult | None:
        return None if any(sign in line for sign in signs) else self.schema.decode_result(line)


def lines_of(
    files: SnapshotFiles, source: tuple[FileEntry, Compression], decode: Callable[[bytes], _T]
) -> Iterator[_T]:
    """Yield the decoded lines of a data file. Raises `SnapshotError` as `Snapshot.pools` does."""
    file = DataFile(files, *source)
    with file.placing(), file:
        yield from map(decode, file.lines())
        file.check()


def long_targets(dest: str | os.PathLike[str]) -> dict[tuple[str, str], int]:
    """Return the long targets of the newest snapshot at `dest`. Empty if it can't be read. Blocks."""
    try:
        snapshot = Snapshot.open(LATEST, dest)
    except SnapshotError:
        return {}
    return snapshot.long_targets()

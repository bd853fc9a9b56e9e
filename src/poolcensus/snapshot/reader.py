"""Reading published snapshots."""

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
    """A published snapshot, wherever it is. Its lines are read as they are asked for, never all at once.

    Nothing is open but while one of its iterators is read. As a context manager it keeps the connection to
    S3 from one read to the next. Reading blocks: in an event loop, use a worker thread.
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
        """Return the snapshot that `ref` names: `latest`, `latest~N`, a snapshot id, or where it is.

        That is the path of its folder, or `s3://BUCKET/PREFIX/ID`. `latest` is the one that was published
        last, by its manifest, and `latest~N` the N-th before it; one from the future is neither. The
        beginning of an id is enough where no other id has it, and no folder of a snapshot that name. Ids and
        `latest` are looked up in `dest`, a folder or `s3://BUCKET/PREFIX`, by default the current folder.

        S3 is reached as the AWS CLI would reach it, with `AWS_PROFILE`, `AWS_ENDPOINT_URL` and the like, or
        by the profile, the endpoint, the time limits and the `s3_…` keys of `settings`; `Settings.load()`
        gives those of the commands. Of a snapshot only the manifest is read.

        Raises `SnapshotError` where there is none, or where it can't be read, `DestinationError` or another
        `FatalError` where a bucket can't. Blocks.
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
        """Return the snapshot that `ref` names, as `open`, where `opened` gives what reads a destination.

        `misnamed` is told where `latest` names what is no snapshot, by default with a warning in the log.
        """
        found = looked_up(ref, dest) or looked_up_beside_folder(
            opened, ref, dest, lambda source: source.ids()
        )
        if found is None:
            if isinstance(ref, str) and is_in_s3(ref):
                raise SnapshotError(f"{ref.rstrip('/')} is not a snapshot: name one as s3://BUCKET/PREFIX/ID")
            # A copy of a snapshot may have any name.
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
        """The snapshot id."""
        return self._manifest.snapshot_id

    @property
    def location(self) -> str:
        """Where the snapshot is, as a person would name it: a path, an `s3://` URL, or standard output."""
        return self._files.location

    @property
    def path(self) -> Path | None:
        """The folder that the snapshot is in; None where it is in none."""
        return self._files.path

    @property
    def files(self) -> SnapshotFiles:
        """The snapshot's files."""
        return self._files

    @property
    def manifest(self) -> Manifest:
        """What the snapshot says of itself."""
        return self._manifest

    @property
    def schema(self) -> Schema:
        """The schema of the snapshot's lines."""
        return Schema(self._manifest.operation)

    @property
    def info(self) -> SnapshotInfo:
        """The snapshot as a line of a list."""
        return info_of(self._manifest)

    @property
    def pools_path(self) -> Path:
        """The file of the records, by its suffix perhaps compressed. Raises `SnapshotError` for no folder."""
        return self._path_of(self.pools_file[0].name)

    @property
    def targets_path(self) -> Path:
        """The file of the ledger, by its suffix perhaps compressed. Raises `SnapshotError` for no folder."""
        return self._path_of(self.targets_file[0].name)

    @property
    def pools_file(self) -> tuple[FileEntry, Compression]:
        """The manifest's entry of the records, and how they are compressed."""
        return data_file(self._manifest, self.schema.records_name)

    @property
    def targets_file(self) -> tuple[FileEntry, Compression]:
        """The manifest's entry of the ledger, and how it is compressed."""
        return data_file(self._manifest, TARGETS_NAME)

    def _path_of(self, name: str) -> Path:
        if self._files.path is None:
            raise SnapshotError(f"snapshot {self.id} is in no folder: it is at {self.location}")
        return self._files.path / name

    def pools(self) -> Iterator[PoolRecord]:
        """Return the records, one after the other.

        Raises `SnapshotError` for a line that is no record, at the end where the file is not what the
        manifest says, and where the snapshot went to standard output; `DestinationError` where a bucket can't
        be read.
        """
        return lines_of(self._files, self.pools_file, lambda line: self.schema.decode_record(line)[1])

    def targets(self) -> Iterator[TargetResult]:
        """Return the ledger, one line after the other. Raises what `pools` does."""
        return lines_of(self._files, self.targets_file, self.schema.decode_result)

    def uncovered(self) -> Iterator[TargetResult]:
        """Return the ledger's lines of targets whose pools the census does not know.

        Of a snapshot that went to standard output, the first 1,000.
        """
        if self._uncovered is not None:
            return iter(self._uncovered)
        return (result for result in self.targets() if not result.outcome.covered)

    def targets_where(self, wanted: Callable[[str, str], bool]) -> Iterator[TargetResult]:
        """Return the ledger's lines of the targets that are wanted, by account id and region.

        Of the others no more is parsed: that takes a fifth of the time.
        """
        schema = self.schema

        def decode(line: bytes) -> TargetResult | None:
            return schema.decode_result(line) if wanted(*schema.target_of(line)) else None

        return (each for each in lines_of(self._files, self.targets_file, decode) if each is not None)

    def paged(self, least: int) -> Iterator[TargetResult]:
        """Return the ledger's lines of targets with at least so many pages, without parsing the others."""
        few = tuple(b'"pages":%d,' % pages for pages in range(least))
        return (
            result
            for result in lines_of(self._files, self.targets_file, lambda line: self._unless(few, line))
            if result is not None and result.pages >= least
        )

    def long_targets(self) -> dict[tuple[str, str], int]:
        """Return the targets with many pages: account id and region, and the pages.

        Three pages are many; the longest 1,000 targets are enough. Where the ledger can't be read, there is
        nothing to be known. Blocks.
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
    """Return the long targets of the newest snapshot, none where none can be read. Blocks."""
    try:
        snapshot = Snapshot.open(LATEST, dest)
    except SnapshotError:
        return {}
    return snapshot.long_targets()

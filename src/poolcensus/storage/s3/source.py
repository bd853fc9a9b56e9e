"""Reads snapshots in a bucket, for blocking code."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from poolcensus.errors import SnapshotError
from poolcensus.format.manifest import MANIFEST_NAME, REFUSED_NAME
from poolcensus.storage.base import CONNECTIONS
from poolcensus.storage.s3.keys import contents, published, split_place
from poolcensus.storage.s3.reading import changed, latest_in, read_manifest, sizes_of
from poolcensus.storage.source import MissingFileError, SnapshotFiles, Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
    from types import TracebackType

    from poolcensus.format.compression import Readable
    from poolcensus.storage.s3.objects import Bucket, StoredObject
    from poolcensus.storage.s3.shared_bucket import SharedBucket

# Four ranges at a time use the full bandwidth of a connection, and take 32 MiB of memory.
RANGE_BYTES = 8 << 20
_RANGES_AHEAD = 4


class _Shared:
    """A context manager that keeps its bucket open."""

    bucket: SharedBucket

    def __enter__(self) -> Self:
        self.bucket.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bucket.__exit__(kind, error, traceback)


class S3Files(_Shared, SnapshotFiles):
    """The objects under the ID of a snapshot. `sizes` has their names and sizes, if already known."""

    def __init__(
        self,
        bucket: SharedBucket,
        place: str,
        snapshot_id: str,
        sizes: Mapping[str, int] | None = None,
        range_bytes: int = RANGE_BYTES,
    ) -> None:
        _, self._prefix = split_place(place)
        self.bucket = bucket
        self._place = place
        self._id = snapshot_id
        self._sizes = sizes
        self._range_bytes = range_bytes

    @property
    def location(self) -> str:
        return f"{self._place}/{self._id}"

    @property
    def called(self) -> str:
        return self._id

    def manifest(self) -> bytes:
        found = self.bucket.call(read_manifest, self._prefix, self._id)
        if isinstance(found, SnapshotError):
            raise found
        return found

    def names(self) -> list[str]:
        return sorted(self._listed())

    @contextmanager
    def open(self, name: str) -> Iterator[Readable]:
        size = self._listed().get(name)
        if size is None:
            raise MissingFileError
        with closing(self._ranges(name, size)) as ranges:
            yield _Pieces(ranges)

    def _listed(self) -> Mapping[str, int]:
        if self._sizes is None:
            self._sizes = self.bucket.call(sizes_of, f"{self._prefix}{self._id}/")
        return self._sizes

    def _ranges(self, name: str, size: int) -> Generator[bytes, None, None]:
        starts = range(0, size, self._range_bytes)
        etag: str | None = None
        with closing(self.bucket.ahead(self._calls(name, starts), _RANGES_AHEAD)) as found:
            for start, held in zip(starts, found, strict=True):
                wanted = min(self._range_bytes, size - start)
                if held is None or len(held.body) != wanted or etag not in (None, held.etag):
                    raise changed(self.place_of(name))
                etag = held.etag
                yield held.body

    def _calls(
        self, name: str, starts: Iterable[int]
    ) -> Iterator[Callable[[Bucket], Awaitable[StoredObject | None]]]:
        key = f"{self._prefix}{self._id}/{name}"
        for start in starts:
            yield partial(_read_range, key=key, start=start, size=self._range_bytes)


class S3Source(_Shared, Source):
    """The snapshots at `place`, an `s3://BUCKET/PREFIX`."""

    def __init__(self, bucket: SharedBucket, place: str) -> None:
        _, self._prefix = split_place(place)
        self.bucket = bucket
        self._place = place
        self._contents: Mapping[str, Mapping[str, int]] | None = None

    @property
    def location(self) -> str:
        return self._place

    def ids(self) -> list[str]:
        return published(self._listed())

    def latest(self) -> str | None:
        return self.bucket.call(latest_in, self._prefix)

    def manifests(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes | SnapshotError]]:
        ids = [*ids]
        calls = (partial(read_manifest, prefix=self._prefix, snapshot_id=each) for each in ids)
        with closing(self.bucket.ahead(calls, CONNECTIONS)) as found:
            yield from zip(ids, found, strict=True)

    def files(self, snapshot_id: str) -> SnapshotFiles:
        sizes = None if self._contents is None else self._contents.get(snapshot_id)
        return S3Files(self.bucket, self._place, snapshot_id, sizes)

    def refused(self) -> list[str]:
        return [
            run_id
            for run_id, names in self._listed().items()
            if REFUSED_NAME in names and MANIFEST_NAME not in names
        ]

    def refused_files(self, run_id: str) -> SnapshotFiles:
        return self.files(run_id)

    def _listed(self) -> Mapping[str, Mapping[str, int]]:
        if self._contents is None:
            self._contents = self.bucket.call(contents, self._prefix)
        return self._contents


class _Pieces:
    """A readable file over an iterator of byte pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


async def _read_range(bucket: Bucket, *, key: str, start: int, size: int) -> StoredObject | None:
    return await bucket.get(key, start=start, size=size)

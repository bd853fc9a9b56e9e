"""Puts the files of snapshots into a private folder for a query, and checks them against their manifests."""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from poolcensus.errors import DamagedSnapshotError, DestinationError, SnapshotError, reason_of
from poolcensus.format import codec
from poolcensus.format.compression import compressor, count_lines, read_lines
from poolcensus.format.digesting import Digesting
from poolcensus.paths import exists
from poolcensus.snapshot.data_file import miscounted
from poolcensus.storage.source import MissingFileError
from poolcensus.temporary import make_folder, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import BinaryIO

    from poolcensus.format.compression import Readable
    from poolcensus.model import Compression, FileEntry, JsonValue
    from poolcensus.snapshot import Snapshot
    from poolcensus.storage.source import SnapshotFiles

# Threads. A file in a bucket takes up to 32 MiB of memory while it is read, and the digest of a local file
# takes a core.
_WORKERS: Final = 4
_READ_BYTES: Final = 1 << 20
# DuckDB can't read half of a surrogate pair. In a file, it can only be an escape sequence in JSON.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF: Final = re.compile("[\ud800-\udfff]")


class Staging:
    """A private folder with the files of snapshots, each at `ID/NAME`.

    A file on the file system becomes a symbolic link. A file in a bucket is fetched. So is a file whose path
    is not UTF-8, because DuckDB can't open it. Worker threads read every file, and compare its digest and its
    count with the manifest. The files are known to be whole only after `check` has returned.

    The folder is in the one that `TMPDIR` names or in the system's default, and exists until `close`.
    """

    def __init__(self) -> None:
        try:
            self._folder = make_folder()
        except OSError as error:
            raise DestinationError(f"no temporary folder can be made: {reason_of(error)}") from error
        self._pool = ThreadPoolExecutor(_WORKERS, "poolcensus staging")
        self._stopped = threading.Event()
        self._digests: list[Future[None]] = []
        # For each file, its place as messages name it, and its compression.
        self._staged: dict[Path, tuple[str, Compression]] = {}

    @property
    def folder(self) -> Path:
        """The private folder."""
        return self._folder

    def close(self) -> None:
        """Stop the threads, and remove the folder. May be called more than once."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        remove(self._folder)

    def add(
        self,
        snapshots: Iterable[Snapshot],
        file_of: Callable[[Snapshot], tuple[FileEntry, Compression]],
    ) -> list[Path]:
        """Stage one file of each snapshot, and return the paths in the folder.

        If there are no snapshots, the only path is that of an empty file. Raises `SnapshotError` or
        `DestinationError` if a file can't be fetched.
        """
        paths: list[Path] = []
        fetched: list[Future[None]] = []
        with ExitStack() as stack:
            for snapshot in snapshots:
                stack.enter_context(snapshot)
                entry, compression = source = file_of(snapshot)
                path = self._folder / snapshot.id / entry.name
                path.parent.mkdir(mode=0o700, exist_ok=True)
                self._staged[path] = (snapshot.files.place_of(entry.name), compression)
                paths.append(path)
                if snapshot.files.path is not None:
                    _check_file(snapshot.files, entry.name)
                there = None if snapshot.files.path is None else snapshot.files.path.resolve() / entry.name
                if there is not None and _is_utf8(there):
                    path.symlink_to(there)
                    self._digests.append(self._pool.submit(self._read, snapshot.files, source, None))
                else:
                    fetched.append(self._pool.submit(self._read, snapshot.files, source, path))
            for each in fetched:
                each.result()
        if not paths:
            paths.append(self._folder / "nothing.ndjson")
            paths[0].touch()
        return paths

    def check(self) -> None:
        """Wait until every staged file has been read.

        Raises `SnapshotError` for the first that is damaged.
        """
        for each in self._digests:
            each.result()

    def check_presence(self) -> None:
        """Raise `SnapshotError` for the first snapshot that has been removed since it was staged."""
        for path in self._staged:
            if not exists(path):
                raise SnapshotError(f"{path.resolve().parent} was removed while it was read")

    def real_paths(self) -> list[str]:
        """Return the paths of the staged files, and those of the files that they link to."""
        return [name for path in self._staged for name in (str(path), os.path.realpath(path))]

    def repair(self) -> bool:
        """Replace files with half of a surrogate pair by copies that have U+FFFD in its place.

        Return whether there was such a file. Call `check` first. Raises `DamagedSnapshotError` if a line with
        half of a pair is not JSON.
        """
        repaired = [path for path, staged in self._staged.items() if _repair(path, *staged)]
        return bool(repaired)

    def _read(self, files: SnapshotFiles, source: tuple[FileEntry, Compression], to: Path | None) -> None:
        """Read a file to its end, and compare it with the manifest. If `to` is given, copy the file to it."""
        entry, compression = source
        place = files.place_of(entry.name)
        lines, broken = 0, None
        try:
            with ExitStack() as stack:
                opened = stack.enter_context(files.open(entry.name))
                out = None if to is None else stack.enter_context(to.open("xb"))
                raw = Digesting(_Reading(opened, out, self._stopped))
                try:
                    lines = count_lines(raw, compression, entry.records)
                except ValueError as error:
                    broken = error
                # Read to the end: a wrong size or digest says more about the file than its first invalid
                # byte.
                while raw.read(_READ_BYTES):
                    pass
        except MissingFileError as error:
            raise _damage(place, str(error)) from error
        except OSError as error:
            into = "" if to is None else f" into {self._folder}"
            raise SnapshotError(f"{place} can't be read{into}: {reason_of(error)}") from error
        if self._stopped.is_set():
            return
        if raw.bytes != entry.bytes:
            wrong = f"has {raw.bytes:,} bytes where the manifest says {entry.bytes:,}"
        elif raw.digest != entry.sha256:
            wrong = "has another sha256 than the manifest says"
        elif broken is not None:
            raise _damage(f"{place}:", str(broken)) from broken
        elif lines != entry.records:
            wrong = miscounted(lines, entry.records)
        else:
            return
        raise _damage(place, wrong)


class _Reading:
    """Reads a file until `stopped` is set. If `out` is given, copies what it reads to it."""

    def __init__(self, raw: Readable, out: BinaryIO | None, stopped: threading.Event) -> None:
        self._raw = raw
        self._out = out
        self._stopped = stopped

    def read(self, size: int, /) -> bytes:
        if self._stopped.is_set():
            return b""
        data = self._raw.read(size)
        if self._out is not None:
            self._out.write(data)
        return data


def _is_utf8(path: Path) -> bool:
    """Return whether DuckDB can open the path. It needs UTF-8, also in the target of a link."""
    try:
        os.path.realpath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_file(files: SnapshotFiles, name: str) -> None:
    """Raise `DamagedSnapshotError` if this is not a regular file.

    DuckDB would block on a pipe, for example.
    """
    try:
        # If access is denied, the thread that reads the file reports it.
        with suppress(PermissionError), files.open(name):
            pass
    except MissingFileError as error:
        raise _damage(files.place_of(name), str(error)) from error


def _damage(place: str, wrong: str) -> DamagedSnapshotError:
    return DamagedSnapshotError(f"{place} {wrong}; the snapshot is damaged")


def _repair(path: Path, place: str, compression: Compression) -> bool:
    """Replace a file by a copy without halves of surrogate pairs. Return whether it had any."""
    try:
        with path.open("rb") as raw:
            if not any(_SURROGATE.search(line) for line in read_lines(raw, compression)):
                return False
        made = path.with_name(f"repaired-{path.name}")
        packer = compressor(compression)
        with path.open("rb") as raw, made.open("xb") as out:
            for line in read_lines(raw, compression):
                out.write(packer.compress(whole_line(line)))
            out.write(packer.flush())
    except ValueError as error:
        raise _damage(f"{place}:", str(error)) from error
    made.replace(path)
    return True


def whole_line(line: bytes) -> bytes:
    """Return a line of JSON with each half of a surrogate pair replaced by U+FFFD."""
    if _SURROGATE.search(line) is None:
        return line
    return codec.dumps(_whole(codec.loads(line))) + b"\n"


def _whole(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return _HALF.sub("\N{REPLACEMENT CHARACTER}", value)
        case list():
            return [_whole(each) for each in value]
        case dict():
            return {_HALF.sub("\N{REPLACEMENT CHARACTER}", key): _whole(each) for key, each in value.items()}
        case _:
            return value

"""The files of snapshots in a private folder, as a query reads them, held against their manifests."""

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

# What reads a bucket holds up to 32 MiB of each file; digests of local files need one core each.
_WORKERS: Final = 4
_READ_BYTES: Final = 1 << 20
# DuckDB reads no half of a surrogate pair. JSON that holds one has it as an escape.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF: Final = re.compile("[\ud800-\udfff]")


class Staging:
    """A private folder in which the files of snapshots lie side by side: `ID/NAME`.

    What is in a folder already is a link there. What is in a bucket is fetched, and so is what lies in a
    folder whose path is not UTF-8, which DuckDB can't open. Files are held against the digests and the counts
    of their manifests while they are read, in threads: only after `check` has returned are they known to be
    whole. The folder lies in the one that `TMPDIR` names or the system's own, until `close`.
    """

    def __init__(self) -> None:
        try:
            self._folder = make_folder()
        except OSError as error:
            raise DestinationError(f"no temporary folder can be made: {reason_of(error)}") from error
        self._pool = ThreadPoolExecutor(_WORKERS, "poolcensus staging")
        self._stopped = threading.Event()
        self._digests: list[Future[None]] = []
        # Where each is, as a person would name it, and how it is compressed.
        self._staged: dict[Path, tuple[str, Compression]] = {}

    @property
    def folder(self) -> Path:
        """The private folder."""
        return self._folder

    def close(self) -> None:
        """End the threads and remove the folder. May be called twice."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        remove(self._folder)

    def add(
        self,
        snapshots: Iterable[Snapshot],
        file_of: Callable[[Snapshot], tuple[FileEntry, Compression]],
    ) -> list[Path]:
        """Stage one file of each snapshot, and return where they are now.

        Of no snapshots, that is an empty file. Raises `SnapshotError` or `DestinationError` for a file that
        can't be fetched.
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
        """Wait until every staged file has been read. Raises `SnapshotError` for the first that is wrong."""
        for each in self._digests:
            each.result()

    def check_presence(self) -> None:
        """Raise `SnapshotError` for the first snapshot that has been removed since it was staged."""
        for path in self._staged:
            if not exists(path):
                raise SnapshotError(f"{path.resolve().parent} was removed while it was read")

    def real_paths(self) -> list[str]:
        """Return the paths of the staged files, and those that they lead to."""
        return [name for path in self._staged for name in (str(path), os.path.realpath(path))]

    def repair(self) -> bool:
        """Replace files that hold half a surrogate pair by copies that have U+FFFD in its place.

        Returns whether there was one. Call `check` first. Raises `DamagedSnapshotError` for a line with one
        that is no JSON.
        """
        repaired = [path for path, staged in self._staged.items() if _repair(path, *staged)]
        return bool(repaired)

    def _read(self, files: SnapshotFiles, source: tuple[FileEntry, Compression], to: Path | None) -> None:
        """Read a file to its end, into `to` where that is given, and hold it against the manifest."""
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
                # A size or a digest that is wrong says more than what such a file is found to hold.
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
    """Reads a file until nobody wants it any more, and copies it to `out` where that is given."""

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
    """Whether DuckDB takes the path, and what it leads to: it looks at both, as UTF-8."""
    try:
        os.path.realpath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_file(files: SnapshotFiles, name: str) -> None:
    """Raise `DamagedSnapshotError` where no file is there: DuckDB, which opens it by its path, would hang."""
    try:
        # What can't be opened is told when it is read.
        with suppress(PermissionError), files.open(name):
            pass
    except MissingFileError as error:
        raise _damage(files.place_of(name), str(error)) from error


def _damage(place: str, wrong: str) -> DamagedSnapshotError:
    return DamagedSnapshotError(f"{place} {wrong}; the snapshot is damaged")


def _repair(path: Path, place: str, compression: Compression) -> bool:
    """Replace a file by a copy without halves of surrogate pairs. Return whether it has any."""
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
    """Return a line of JSON with U+FFFD for each half of a surrogate pair."""
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

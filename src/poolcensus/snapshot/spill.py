"""Records of open targets that memory is too small for, in one file without a name."""

from __future__ import annotations

import os
import tempfile
import threading
import zlib
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from poolcensus.errors import DestinationError
from poolcensus.storage.advice import destination_error, temporary_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Spill:
    """Blocks of one size in an anonymous file, each used again once it is freed.

    The file is as large as the most blocks that were ever in use at once, and needs one descriptor
    however many targets are open. It is made with the first write, or by `open`, and vanishes with the
    process. It is in `folder` or, with None, where the system keeps temporary files.

    `allocate` and `free` belong to the event loop; the rest blocks, and belongs to worker threads.
    """

    def __init__(self, folder: Path | None, block_bytes: int) -> None:
        self.block_bytes = block_bytes
        self.blocks = 0
        self._free: list[int] = []
        self._checksums: dict[int, int] = {}
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._closed = False
        self._mutex = threading.Lock()

    def open(self) -> None:
        """Make the file now, so that whoever can't have one knows. Raises `DestinationError`."""
        with self._mutex:
            try:
                self._descriptor()
            except OSError as error:
                raise self._failure("make a file in", error) from error

    def allocate(self) -> int:
        """Return a block that nobody uses."""
        if self._free:
            return self._free.pop()
        self.blocks += 1
        return self.blocks - 1

    def free(self, blocks: Iterable[int]) -> None:
        """Give blocks back. What was written to them is lost."""
        self._free.extend(blocks)

    def write(self, block: int, data: bytes) -> None:
        """Fill a block with `data`, which is exactly of its size. Raises `DestinationError`."""
        if len(data) != self.block_bytes:
            raise ValueError("a block is written whole")
        with self._mutex:
            try:
                fd = self._descriptor()
                rest, offset = memoryview(data), block * self.block_bytes
                while rest:
                    count = os.pwrite(fd, rest, offset)
                    rest, offset = rest[count:], offset + count
                self._checksums[block] = zlib.crc32(data)
            except OSError as error:
                raise self._failure("keep records in", error) from error

    def read(self, block: int) -> bytes:
        """Return what was written to a block. Raises `DestinationError`."""
        with self._mutex:
            try:
                fd = self._descriptor()
                parts, offset, end = [], block * self.block_bytes, (block + 1) * self.block_bytes
                while offset < end:
                    part = os.pread(fd, end - offset, offset)
                    if not part:
                        raise self._loss("the file was cut")
                    parts.append(part)
                    offset += len(part)
            except OSError as error:
                raise self._failure("read records in", error) from error
            data = b"".join(parts)
            # A network file system may tell of a write that failed only when the file is closed, and until
            # then give back something else.
            if zlib.crc32(data) != self._checksums.get(block):
                raise self._loss("the file has other bytes than were written")
        return data

    def block(self, number: int) -> SpilledBlock:
        """Return a block as a part of a piece, which is read when that is packed."""
        return SpilledBlock(self, number)

    def close(self) -> None:
        """Give the file back to the system."""
        # First, so that a call that is under way for nobody stops.
        self._closed = True
        with self._mutex:
            if self._file is not None:
                # What was read of it is what was written, and nobody wants the rest: no failure of a close
                # loses anything.
                with suppress(OSError):
                    self._file.close()

    def _loss(self, why: str) -> DestinationError:
        return DestinationError(f"records kept in {self._folder or 'a temporary file'} are lost: {why}")

    def _failure(self, doing: str, error: OSError) -> DestinationError:
        if self._folder is not None:
            return destination_error(doing, self._folder, error)
        # Where there is none that can be used, asking which one it is fails as well.
        return temporary_error(f"{doing} {tempfile.tempdir or 'a temporary folder'}", error)

    def _descriptor(self) -> int:
        if self._closed:
            raise RuntimeError("the spill file is closed")
        if self._file is None:
            # O_TMPFILE where there is one, else made and unlinked at once; 0600 either way.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - closed in close
        return self._file.fileno()


class SpilledBlock(NamedTuple):
    """A block of a spill file."""

    spill: Spill
    number: int

    def read(self) -> bytes:
        """Return what was written to it. Blocks. Raises `DestinationError`."""
        return self.spill.read(self.number)

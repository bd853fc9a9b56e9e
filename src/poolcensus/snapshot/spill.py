"""The spill file: an anonymous file for records of open targets that exceed the limit on memory."""

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
    """Blocks of one size in an anonymous file. Freed blocks are used again.

    The file grows to the largest number of blocks in use at one time, and needs one descriptor, however many
    targets are open. It is created by the first write, or by `open`, and disappears with the process. It is
    in `folder`, or in the system's temporary folder if that is None.

    `allocate` and `free` are for the event loop. The other methods block, and are for worker threads.
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
        """Create the file now, so that a failure is known early. Raises `DestinationError`."""
        with self._mutex:
            try:
                self._descriptor()
            except OSError as error:
                raise self._failure("make a file in", error) from error

    def allocate(self) -> int:
        """Return the number of an unused block."""
        if self._free:
            return self._free.pop()
        self.blocks += 1
        return self.blocks - 1

    def free(self, blocks: Iterable[int]) -> None:
        """Free blocks. Their content is lost."""
        self._free.extend(blocks)

    def write(self, block: int, data: bytes) -> None:
        """Write `data`, which has exactly the size of a block. Raises `DestinationError`."""
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
        """Return the content of a block. Raises `DestinationError`."""
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
            # A network file system may report a failed write only when the file is closed. Until then, it may
            # return other data.
            if zlib.crc32(data) != self._checksums.get(block):
                raise self._loss("the file has other bytes than were written")
        return data

    def block(self, number: int) -> SpilledBlock:
        """Return a reference to a block, which is read when it is packed."""
        return SpilledBlock(self, number)

    def close(self) -> None:
        """Close the file, which removes it."""
        # Set first, so that a thread that nobody waits for stops.
        self._closed = True
        with self._mutex:
            if self._file is not None:
                # All that is needed has been read and checked, so an error while closing loses nothing.
                with suppress(OSError):
                    self._file.close()

    def _loss(self, why: str) -> DestinationError:
        return DestinationError(f"records kept in {self._folder or 'a temporary file'} are lost: {why}")

    def _failure(self, doing: str, error: OSError) -> DestinationError:
        if self._folder is not None:
            return destination_error(doing, self._folder, error)
        # tempfile.gettempdir() would fail again if there is no usable temporary folder.
        return temporary_error(f"{doing} {tempfile.tempdir or 'a temporary folder'}", error)

    def _descriptor(self) -> int:
        if self._closed:
            raise RuntimeError("the spill file is closed")
        if self._file is None:
            # Uses O_TMPFILE if possible, else creates and unlinks the file at once. Its mode is 0600.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - closed in close
        return self._file.fileno()


class SpilledBlock(NamedTuple):
    """A block of a spill file."""

    spill: Spill
    number: int

    def read(self) -> bytes:
        """Return the content of the block. Blocks. Raises `DestinationError`."""
        return self.spill.read(self.number)

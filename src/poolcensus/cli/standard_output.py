"""A standard output whose errors name it."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import BinaryIO, cast

_NAME = "standard output"


def prepare() -> None:
    """Replace `sys.stdout`, so that its errors name it, and characters that it can't encode are escaped.

    Names of accounts and pools may contain characters that the terminal's encoding lacks.
    """
    stream = sys.stdout
    if stream is None:
        # Otherwise, output would be lost silently.
        sys.stdout = _ClosedOutput()
    elif isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
        # Not if something has replaced it, such as a test, nor if its descriptor was closed.
        if stream is sys.__stdout__:
            with suppress(OSError):
                sys.stdout = _named(stream)


def _named(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw: io.FileIO = _Output(stream.fileno(), "wb", closefd=False)
    # Set by PYTHONUNBUFFERED.
    is_unbuffered = stream.write_through
    return io.TextIOWrapper(
        cast("BinaryIO", raw) if is_unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=is_unbuffered,
    )


class _Output(io.FileIO):
    """A raw file whose write() writes all of its data, even if the system takes less at a time."""

    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override] # all that a text is written in
        rest = memoryview(data)
        try:
            while rest:
                written: int | None = super().write(rest)
                if written is None:
                    self._wait()
                else:
                    rest = rest[written:]
        except OSError as error:
            error.filename = _NAME
            raise
        return len(data)

    def _wait(self) -> None:
        """Wait until a non-blocking pipe or terminal takes bytes. A parent process may have set it so."""
        ready = select.poll()
        ready.register(self, select.POLLOUT)
        ready.poll()


class _ClosedOutput(io.TextIOBase):
    """Stands for the standard output of a process that was started without one. Every write fails."""

    def write(self, text: str) -> int:  # noqa: ARG002 - a stream's signature
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), _NAME)

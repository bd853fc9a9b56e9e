"""Write to a terminal in a thread, so that a terminal that takes no bytes does not block the event loop."""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

STEP = 0.01
"""Seconds between two checks for text left to write. Short enough that nobody notices waiting for one."""
# Half a second. A slow connection takes less between two chunks, and a run that is stopped has four seconds.
_STEPS_WITHOUT_A_BYTE = 50
# Bytes in one write. Small, so that a slow terminal can be seen to make progress.
_CHUNK = 512

_open: list[BackgroundStream] = []


class BackgroundStream(io.StringIO):
    """A text stream whose writes return at once. A daemon thread writes the text, in order.

    `behind` is true while text is left to write. If a write fails, the remaining text is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        # By the descriptor. If the thread wrote to the stream, it could hold the stream's lock at exit.
        self._descriptor = stream.fileno()
        self._encoding, self._errors = stream.encoding, stream.errors or "backslashreplace"
        self._is_terminal = stream.isatty()
        self._left: deque[bytes] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self.written = 0
        threading.Thread(target=self._write_all, daemon=True).start()
        _open.append(self)

    @property
    def encoding(self) -> str:  # type: ignore[override] # None of a text in memory
        return self._encoding

    @property
    def behind(self) -> bool:
        """Whether text is left to write."""
        return bool(self._left)

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        self._left.append(text.encode(self._encoding, self._errors))
        self._wake.put(True)
        return len(text)

    def end(self) -> None:
        """Stop the thread after it has written everything."""
        self._wake.put(False)

    def _write_all(self) -> None:
        is_gone = False
        while self._wake.get():
            if not is_gone:
                try:
                    self._write(self._left[0])
                except OSError:
                    is_gone = True
            self._left.popleft()
        _open.remove(self)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                count = os.write(self._descriptor, rest[:_CHUNK])
            except BlockingIOError:
                # The descriptor is non-blocking, set so by the parent process.
                ready = select.poll()
                ready.register(self._descriptor, select.POLLOUT)
                ready.poll()
                continue
            self.written += count
            rest = rest[count:]


def unsettled() -> Iterator[None]:
    """Yield each time that the caller should wait another `STEP` for text left to write.

    Ends when all text is written, or after half a second in which the terminal took none. Takes no lock, so
    that a signal handler can call it at any moment.
    """
    for stream in tuple(_open):
        seen, steps = stream.written, 0
        while stream.behind and steps < _STEPS_WITHOUT_A_BYTE:
            yield
            seen, steps = stream.written, steps + 1 if stream.written == seen else 0


def settle() -> bool:
    """Wait for the text left to write while the terminal takes it. Return whether all was written."""
    for _ in unsettled():
        time.sleep(STEP)
    return not any(each.behind for each in _open)

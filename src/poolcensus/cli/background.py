"""Writing to a terminal in a thread, which waits in place of the event loop while it takes no bytes."""

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
"""Seconds between two looks at what is left to write: nobody notices that the end waits for one."""
# Half a second: longer than a slow connection takes between two pieces, and short in the four seconds that a
# stop has.
_STEPS_WITHOUT_A_BYTE = 50
# In pieces, so that a terminal that takes them slowly is seen to take some.
_CHUNK = 512

_open: list[BackgroundStream] = []


class BackgroundStream(io.StringIO):
    """A stream whose writes return at once. One daemon thread makes them, in their order.

    It is `behind` while something is left to write. Where the stream fails, what is left is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        # Not through the stream, whose lock the thread would hold at the exit.
        self._descriptor = stream.fileno()
        self._encoding = stream.encoding
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
        """Whether something is left to write."""
        return bool(self._left)

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        self._left.append(text.encode(self._encoding, "replace"))
        self._wake.put(True)
        return len(text)

    def end(self) -> None:
        """Let the thread end once it has written everything."""
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
                # Whoever started this process may have left it so.
                ready = select.poll()
                ready.register(self._descriptor, select.POLLOUT)
                ready.poll()
                continue
            self.written += count
            rest = rest[count:]


def unsettled() -> Iterator[None]:
    """Yield as long as it is worth to wait another `STEP` for what is left to write.

    That is until nothing is, or nothing was taken for half a second. Takes no lock: a signal may have come
    amid anything.
    """
    for stream in tuple(_open):
        seen, steps = stream.written, 0
        while stream.behind and steps < _STEPS_WITHOUT_A_BYTE:
            yield
            seen, steps = stream.written, steps + 1 if stream.written == seen else 0


def settle() -> bool:
    """Wait for what is left to write, as long as it is taken, and return whether it was."""
    for _ in unsettled():
        time.sleep(STEP)
    return not any(each.behind for each in _open)

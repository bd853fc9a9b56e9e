"""What the workers of the tests run: they import it by its name."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def backward(task: bytes) -> bytes:
    """Return a task turned round."""
    return task[::-1]


def ends_its_worker(task: bytes) -> bytes:
    """End the process, unless the task is harmless."""
    if task != b"harmless":
        os._exit(9)
    return task


def secret_of_the_environment(task: bytes) -> bytes:
    """Return what a variable of the worker holds."""
    return os.environ.get(task.decode(), "nothing").encode()


def takes_its_time(task: bytes) -> bytes:
    """Return after as many seconds as the task says."""
    time.sleep(float(task))
    return task


def is_ended_with_a_file_open(task: bytes) -> bytes:
    """Keep a file that a task would remove at its end, and go on for longer than any test waits."""
    (Path(tempfile.mkdtemp()) / "part").write_bytes(task)
    time.sleep(600)
    return task

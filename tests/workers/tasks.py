"""What the workers of the tests run: they import it by its name."""

from __future__ import annotations

import os
import time


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

"""The signals that end the program, their handlers, and the exit code that they no longer change."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from signal import SIGHUP, SIGINT, SIGTERM
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

_Function: TypeAlias = "Callable[[int, FrameType | None], object]"

ENDING: Final = {SIGINT: "interrupted", SIGTERM: "terminated", SIGHUP: "hung up"}

_decided: list[int] = []


def handlers() -> dict[signal.Signals, _Function | int | None]:
    """Return the handlers of the signals that end the program, except signals that are ignored.

    A program that is started in the background may be meant to ignore some.
    """
    now = {each: signal.getsignal(each) for each in ENDING}
    return {each: handler for each, handler in now.items() if handler is not signal.SIG_IGN}


@contextmanager
def handled(handler: _Function, signals: Iterable[signal.Signals] | None = None) -> Iterator[None]:
    """Handle some signals with `handler` in the block, by default those that `handlers` returns."""
    before = {each: signal.getsignal(each) for each in (handlers() if signals is None else signals)}
    try:
        for each in before:
            signal.signal(each, handler)
        yield
    finally:
        for each, former in before.items():
            signal.signal(each, former)


def decide(code: int) -> None:
    """Set the exit code that signals no longer change, since the work of the process is done."""
    _decided.append(code)


def decided() -> int | None:
    """Return the exit code that signals no longer change, or None if it is not set yet."""
    return _decided[-1] if _decided else None

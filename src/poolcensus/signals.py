"""The signals that end the program, each with its word, who handles them, and what they no longer change."""

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
    """Return what handles each signal that ends the program, without those that are ignored.

    Whoever starts a program in the background may want them to be.
    """
    now = {each: signal.getsignal(each) for each in ENDING}
    return {each: handler for each, handler in now.items() if handler is not signal.SIG_IGN}


@contextmanager
def handled(handler: _Function, signals: Iterable[signal.Signals] | None = None) -> Iterator[None]:
    """Have `handler` called for some signals, by default for those that `handlers` returns."""
    before = {each: signal.getsignal(each) for each in (handlers() if signals is None else signals)}
    try:
        for each in before:
            signal.signal(each, handler)
        yield
    finally:
        for each, former in before.items():
            signal.signal(each, former)


def decide(code: int) -> None:
    """Have a signal change the exit code no more: what this process was started for has been done."""
    _decided.append(code)


def decided() -> int | None:
    """Return the exit code that a signal changes no more, None where there is none yet."""
    return _decided[-1] if _decided else None

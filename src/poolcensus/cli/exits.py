"""Exit codes, all of them, and the one place that turns exceptions into codes and lines of text."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import click

from poolcensus.cli import background
from poolcensus.signals import ENDING
from poolcensus.temporary import remove_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from poolcensus.errors import CensusError


_LAST_THREADS = 1.0

NO_THREADS = (
    "The system lets this process start no more threads. Raise the limit on threads (ulimit -u, TasksMax of a"
    " systemd unit, --pids-limit of a container) or that on memory."
)
"""What a person is told of `is_of_threads`."""


class ExitCode(IntEnum):
    """What the program's exit code says."""

    OK = 0
    FATAL = 1
    FOUND = 1
    USAGE = 2
    UNCOVERED = 3
    NOT_PUBLISHED = 4
    LOCKED = 11
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.OK: "Success: of collect, published and every target covered.",
    ExitCode.FATAL: (
        "An error: of collect, nothing was published. verify or diff --exit-code found something;"
        " query --all or export --all could not read a snapshot; prune could not remove one. Without a"
        " message: whoever reads standard output closed it before its end."
    ),
    ExitCode.USAGE: "Wrong usage or settings: nothing was called.",
    ExitCode.UNCOVERED: "Published, and some targets failed. Of doctor: a collect would not cover all.",
    ExitCode.NOT_PUBLISHED: "Not published, because of --strict or --max-failed; the ledger is kept.",
    ExitCode.LOCKED: "Another run holds the lock of the destination.",
    ExitCode.HUNG_UP: "Hung up: nothing was published.",
    ExitCode.INTERRUPTED: "Interrupted: nothing was published.",
    ExitCode.TERMINATED: "Terminated: nothing was published.",
}
"""Each exit code in words, for the manual."""


class StoppedError(BaseException):
    """A signal ended the run. Nothing was published.

    As KeyboardInterrupt, it passes through what catches every `Exception`, as libraries do.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class ExitStatus:
    """What the program ends with."""

    __slots__ = ("code",)

    def __init__(self) -> None:
        self.code: int = ExitCode.FATAL


def code_of(error: BaseException) -> int:
    """Return the exit code that an exception ends the program with."""
    from poolcensus import errors

    match error:
        case errors.ScopeError():
            # Of the settings too, but calls were made to know it.
            code = ExitCode.FATAL
        case errors.SettingsError() | errors.QueryError() | click.UsageError():
            code = ExitCode.USAGE
        case errors.NotPublishedError():
            code = ExitCode.NOT_PUBLISHED
        case errors.IncompleteError():
            code = ExitCode.UNCOVERED
        case errors.DestinationLockedError():
            code = ExitCode.LOCKED
        case StoppedError():
            return 128 + error.signal_number
        case KeyboardInterrupt() | click.Abort():
            code = ExitCode.INTERRUPTED
        case _:
            code = ExitCode.FATAL
    return code


def is_of_threads(error: BaseException) -> bool:
    """Whether it says, alone or in a group, that no thread could be started.

    Python has no exception of its own for that.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_threads, error.exceptions))
    return isinstance(error, RuntimeError) and str(error) == "can't start new thread"


def is_bug(error: Exception) -> bool:
    """Whether it is a defect of the program: nothing that a person or the machine has caused."""
    caused = (click.ClickException, click.Abort, OSError, _census_error())
    return not (isinstance(error, caused) or is_of_threads(error))


@contextmanager
def report() -> Iterator[ExitStatus]:
    """End what a person or the machine caused with a few lines and a code; a bug keeps its traceback.

    Where the log is JSON, its last line is then an `exit_error`, but not where a snapshot was published.
    """
    outcome = ExitStatus()
    try:
        yield outcome
    except (KeyboardInterrupt, StoppedError) as error:
        _end_with(error, outcome)
    except Exception as error:
        from poolcensus.cli import logs

        # A program reads the log: it gets the traceback of a bug in a line, too.
        if is_bug(error) and not logs.bug(error):
            raise
        _end_with(error, outcome)


def _end_with(error: BaseException, outcome: ExitStatus) -> None:
    from poolcensus.cli import logs
    from poolcensus.cli.trouble import complain, details_of, notice, with_options, without_passwords

    outcome.code = code_of(error)
    words = without_passwords(_words(error))
    complain(*_lines(error, words))
    match error:
        case click.UsageError(ctx=click.Context(command_path=path)):
            complain(f"see '{path} --help'")
        case Exception():
            complain(*details_of(error))
    notice(*getattr(error, "__notes__", ()))
    if outcome.code != ExitCode.UNCOVERED:
        with suppress(OSError):
            logs.exit_error(outcome.code, with_options(words) or "standard output was closed")


def _lines(error: BaseException, words: str) -> list[str]:
    """Return what is said in lines: one a problem, however many the name of a file in it has."""
    from poolcensus.cli.trouble import with_options
    from poolcensus.errors import QueryError, SettingsError

    match error:
        case SettingsError() if words:
            return [with_options(each, error.organization) for each in error.lines]
        case QueryError():
            # DuckDB shows below its words where in the SQL the mistake is.
            return words.splitlines()
    return [words] if words else []


def _words(error: BaseException) -> str:
    """Return what ended the program. Nothing where its reader has seen enough."""
    if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
        drop_output()
        return ""
    match error:
        case click.ClickException():
            from poolcensus.cli.usage import words_of

            return words_of(error)
        case StoppedError() | KeyboardInterrupt() | click.Abort():
            return ENDING[signal.Signals(code_of(error) - 128)]
        case OSError():
            name = f"{error.filename}: " if error.filename is not None else ""
            return f"{name}{error.strerror or error}"
    if isinstance(error, _census_error()):
        from poolcensus.cli.trouble import message_of

        return message_of(error)
    return NO_THREADS if is_of_threads(error) else f"unexpected {type(error).__name__}"


def drop_output() -> None:
    """Drop what is still buffered, for whoever reads has seen enough: it would raise again at the exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end(code: int) -> NoReturn:
    """End the process with this code, whatever its threads are doing.

    Python would wait for them without a limit: for one that hangs in a file system that is gone, or for a
    program that never ends.
    """
    for each in ENDING:
        # The code is known, and little is left to wait for.
        signal.signal(each, signal.SIG_IGN)
    background.settle()
    last = time.monotonic() + _LAST_THREADS
    for thread in threading.enumerate():
        if thread is threading.current_thread() or thread.daemon:
            continue
        thread.join(max(last - time.monotonic(), 0.0))
        if thread.is_alive():
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            remove_all()
            os._exit(code)
    _settle_output()
    sys.exit(code)


def _settle_output() -> None:
    """Give up on what can't be written to, of standard output and error: Python would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            # What is still buffered goes nowhere.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _census_error() -> type[CensusError]:
    # An except clause's expression runs only when an exception comes by: --version never pays for this.
    from poolcensus.errors import CensusError

    return CensusError

"""All exit codes, and the one place that turns exceptions into exit codes and messages."""

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
    from typing import TextIO

    from poolcensus.errors import CensusError


# Seconds that the exit waits for threads.
_LAST_THREADS = 1.0

NO_THREADS = (
    "The system lets this process start no more threads. Raise the limit on threads (ulimit -u, TasksMax of a"
    " systemd unit, --pids-limit of a container) or that on memory."
)
"""The message for an error of which `is_of_threads` is true."""


class ExitCode(IntEnum):
    """The exit codes of the program."""

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
"""The meaning of each exit code, for the manual page."""


class StoppedError(BaseException):
    """A signal ended the run, and nothing was published.

    A BaseException like KeyboardInterrupt, so that libraries that catch every `Exception` let it pass.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class ExitStatus:
    """The code that the program ends with."""

    __slots__ = ("code",)

    def __init__(self) -> None:
        self.code: int = ExitCode.FATAL


def code_of(error: BaseException) -> int:
    """Return the exit code for an exception that ends the program."""
    from poolcensus import errors

    match error:
        case errors.ScopeError():
            # A kind of SettingsError, but found only after calls were made.
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
    """Return whether the error, or each error of the group, says that no thread could be started.

    Python has no exception type for that.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_threads, error.exceptions))
    return isinstance(error, RuntimeError) and str(error) == "can't start new thread"


def is_bug(error: Exception) -> bool:
    """Return whether the error is a defect of the program, caused neither by the user nor by the machine."""
    caused = (click.ClickException, click.Abort, OSError, _census_error())
    return not (isinstance(error, caused) or is_of_threads(error))


@contextmanager
def report() -> Iterator[ExitStatus]:
    """Turn an error in the block into a few lines and an exit code. A bug keeps its traceback.

    If the log is JSON, its last line is then an `exit_error`, unless a snapshot was published.
    """
    outcome = ExitStatus()
    try:
        yield outcome
    except (KeyboardInterrupt, StoppedError) as error:
        _end_with(error, outcome)
    except Exception as error:
        from poolcensus.cli import logs

        # A JSON log is read by programs, so the traceback of a bug is one of its lines.
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
    """Return the message in lines, one for each problem, even if a file name in it contains line breaks."""
    from poolcensus.cli.trouble import with_options
    from poolcensus.errors import QueryError, SettingsError

    match error:
        case SettingsError() if words:
            return [with_options(each, error.organization) for each in error.lines]
        case QueryError():
            # Below its message, DuckDB shows where in the SQL the mistake is.
            return words.splitlines()
    return [words] if words else []


def _words(error: BaseException) -> str:
    """Return the message of the error. Empty if the reader of standard output closed it."""
    if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
        drop_output(sys.stdout)
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


def drop_output(stream: TextIO) -> None:
    """Discard the buffer of a stream that can't be written to. Flushing it at exit would raise again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def end(code: int) -> NoReturn:
    """Exit with `code`, even if threads are still running.

    Python would wait for them without a limit, such as for one that hangs in a file system that is gone.
    """
    for each in ENDING:
        # The exit code is decided, and only a few seconds remain.
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
    """Flush standard output and error, and discard what can't be written. Python would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            drop_output(stream)


def _census_error() -> type[CensusError]:
    # Imported only when an error is handled: --version should not pay for it.
    from poolcensus.errors import CensusError

    return CensusError

"""Logging to standard error, as text for people or as JSON for programs."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from poolcensus.exit_error import MESSAGE_TYPE
from poolcensus.format.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from poolcensus.config import Settings

# Loggers whose level stays at WARNING or above. At DEBUG, botocore logs secret keys, session tokens and
# external IDs; the others log requests.
PINNED = ("aioboto3", "aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "s3transfer", "urllib3")

_logger = logging.getLogger("poolcensus")


class StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, which the progress display replaces while it runs.

    A record with the attribute `once` is written only the first time. Two such records are the same if their
    `once` is the same string; if it is True, if their messages are the same.
    """

    def __init__(self, formatter: logging.Formatter, *, as_json: bool) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(formatter)
        self.as_json = as_json
        self.run_id: Callable[[], str | None] = lambda: None
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if once := record.__dict__.pop("once", False):
            told = once if isinstance(once, str) else record.getMessage()
            if told in self._told:
                return
            self._told.add(told)
        self.stream = sys.stderr
        # Only JSON needs the ID of the run: its lines are collected from many runs.
        if self.as_json and (run_id := self.run_id()) is not None:
            record.run_id = run_id
        super().emit(record)


class TextFormatter(logging.Formatter):
    """Formats a message as one line, with control characters escaped."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)


def configure(settings: Settings, file: Path | None = None) -> None:
    """Configure logging for the process, and log which settings file was read.

    A later call replaces the configuration.
    """
    from poolcensus.config import LogFormat

    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    _set_up(level, as_json=settings.log_format is LogFormat.JSON)
    if file is not None:
        _logger.info("settings were read from %s", file.absolute())


def configure_json() -> None:
    """Configure logging as JSON before the settings are read, so that errors about them are JSON too."""
    _set_up(logging.WARNING, as_json=True)


def _set_up(level: int, *, as_json: bool) -> None:
    handler = StandardErrorHandler(_json_formatter() if as_json else TextFormatter(), as_json=as_json)
    root = logging.getLogger()
    for old in _handlers():
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in PINNED:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def is_json() -> bool:
    """Return whether the log is JSON."""
    return any(each.as_json for each in _handlers())


def of_run(run_id: Callable[[], str | None]) -> None:
    """Add the ID of the run to each JSON line from now on. `run_id` returns None while it is not known."""
    for each in _handlers():
        each.run_id = run_id


def message(line: str, *, is_error: bool) -> bool:
    """If the log is JSON, log the line, as an error or a warning. Return whether the log is JSON."""
    if is_json():
        _logger.log(logging.ERROR if is_error else logging.WARNING, line)
        return True
    return False


def info(message: str, *values: object) -> None:
    """Log what is of interest only to those who ask for it."""
    _logger.info(message, *values)


def warning(message: str, *values: object) -> None:
    """Log what should be looked after, and change nothing in what is done."""
    _logger.warning(message, *values)


def status(line: str) -> bool:
    """If the log is JSON, log the progress of a run, whatever the level. Return whether the log is JSON."""
    if is_json():
        extra = {"message_type": "status"}
        _logger.handle(_logger.makeRecord(_logger.name, logging.INFO, "", 0, line, (), None, extra=extra))
        return True
    return False


def exit_error(code: int, message: str) -> None:
    """If the log is JSON, log the line that says how the program ended."""
    if is_json():
        _logger.error(message, extra={"message_type": MESSAGE_TYPE, "code": code})


def bug(error: Exception) -> bool:
    """If the log is JSON, log a bug with its traceback. Return whether the log is JSON."""
    if is_json():
        _logger.critical("unexpected %s: please report it", type(error).__name__, exc_info=error)
        return True
    return False


def _handlers() -> list[StandardErrorHandler]:
    return [each for each in logging.getLogger().handlers if isinstance(each, StandardErrorHandler)]


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        timestamp=True,
        rename_fields={"levelname": "level", "name": "logger"},
    )

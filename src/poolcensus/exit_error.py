"""The last line of a JSON log. Signal handlers can write it before anything else is imported."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MESSAGE_TYPE = "exit_error"
_OPTION = "--log-format"
_VARIABLE = "POOLCENSUS_LOG_FORMAT"


def asks_for_json(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether the command line, or else the environment, asks for a log in JSON.

    Settings in files are not considered: they may not be read yet, or may be wrong.
    """
    asked = environment.get(_VARIABLE, "")
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == _OPTION and at + 1 < len(arguments):
            asked = arguments[at + 1]
        elif argument.startswith(f"{_OPTION}="):
            asked = argument.partition("=")[2]
    return asked.lower() == "json"


def exit_error(code: int, words: str) -> bytes:
    """Return the line for an exit code. `words` must not contain characters that JSON escapes."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    return (
        f'{{"level": "ERROR", "logger": "poolcensus", "message": "{words}", "message_type": "{MESSAGE_TYPE}",'
        f' "code": {code}, "timestamp": "{now}"}}\n'
    ).encode("ascii")

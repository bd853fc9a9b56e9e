"""Shared code of the commands that read snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.cli import logs
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import read_settings
from poolcensus.cli.trouble import complain
from poolcensus.config.sources import settings_file
from poolcensus.errors import SettingsError
from poolcensus.format.text import counted, listed
from poolcensus.storage.naming import STANDARD_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from poolcensus.config import Settings

KEYS = ("dest", "profile", "endpoint_url", "log_format", "log_level", "json")

# If the clock of this machine is slow, every snapshot may be dated in the future. A line has room for a few.
_IDS_SHOWN = 3


def reading_settings(config: Path | None, given: Mapping[str, object]) -> Settings:
    """Return the settings of a command that reads snapshots, and configure logging.

    Raises SettingsError for a destination of -, which keeps no snapshots.
    """
    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    if settings.dest == STANDARD_OUTPUT:
        message = "a destination of - keeps no snapshots: name a folder or a bucket with --dest"
        raise SettingsError(message)
    return settings


def dated_ahead(found: Sequence[str], *, left_out: bool = False) -> Iterator[str]:
    """Yield a line about snapshots that are dated in the future. `found` is their IDs.

    `left_out` says that the command has not read them.
    """
    if not found:
        return
    dated = f"dated in the future{' and left out' if left_out else ''}"
    advice = "Check the clock of this machine and of the one that took"
    if len(found) == 1:
        yield (
            f"Snapshot {found[0]} is {dated}: it is never the latest, and prune leaves it alone. {advice} it."
        )
        return
    yield (
        f"{len(found):,} snapshots are {dated}: none of them is the latest, and prune leaves them alone:"
        f" {listed(found, _IDS_SHOWN)}. {advice} them."
    )


def code_of_reading(unreadable: Mapping[str, str]) -> ExitCode:
    """Report the snapshots that can't be read. Return the exit code of a command that has read the others."""
    for line in unreadable_lines(unreadable):
        complain(line)
        logs.exit_error(ExitCode.FATAL, line)
        return ExitCode.FATAL
    return ExitCode.OK


def unreadable_lines(unreadable: Mapping[str, str]) -> Iterator[str]:
    """Yield a line about snapshots that can't be read, with the reason for the first of them."""
    ids = sorted(unreadable)
    if not ids:
        return
    why = unreadable[ids[0]].removesuffix(".")
    yield f"Can't read {counted(len(ids), 'snapshot')}: {listed(ids, _IDS_SHOWN)}. {why}."

"""What the commands that read snapshots have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.cli import logs
from poolcensus.cli.options import read_settings
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poolcensus.settings import Settings

KEYS = ("dest", "log_format", "log_level", "json")


def reading_settings(config: Path | None, given: Mapping[str, object]) -> Settings:
    """The settings of a command that reads, its logging set up. The destination is a folder."""
    settings = read_settings(config, given)
    logs.configure(settings)
    if settings.dest == "-":
        message = "a destination of - keeps no snapshots: name a folder with --dest"
        raise SettingsError(message)
    if settings.dest.startswith("s3://"):
        message = f"snapshots in {settings.dest} can't be read by this version: name a folder with --dest"
        raise SettingsError(message)
    return settings

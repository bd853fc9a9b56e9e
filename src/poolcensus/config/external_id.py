"""The external ID of a run, which may be in a separate file."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.config.readers import EntryError, external_id
from poolcensus.errors import SettingsError, reason_of

if TYPE_CHECKING:
    from poolcensus.config.settings import Settings

_log = logging.getLogger("poolcensus")

# The folder in which systemd puts the credentials of LoadCredential= and LoadCredentialEncrypted=:
# https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#Credentials
_CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
_CREDENTIAL: Final = "external-id"
# Bytes to read at most. An external ID has at most 1,224 characters; a longer file is a wrong one or endless.
_LONGEST_FILE: Final = 4096


def with_external_id(settings: Settings) -> Settings:
    """Read the file with the external ID, and return the settings with the external ID in its place.

    If neither is set, the file `external-id` in systemd's credentials directory is read, if it exists. Raises
    SettingsError if a file contains no external ID. Blocks.
    """
    file = settings.external_id_file
    place = "`external_id_file`"
    if file is None:
        folder = os.environ.get(_CREDENTIALS_DIRECTORY)
        if settings.external_id is not None or not folder:
            return settings
        file, place = Path(folder, _CREDENTIAL), f"${_CREDENTIALS_DIRECTORY}"
    # The whole path, not shortened, so that the user can find the file.
    name = f'"{file}"'
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            raw = opened.read(_LONGEST_FILE + 1)
    except OSError as error:
        if settings.external_id_file is None and isinstance(error, FileNotFoundError | NotADirectoryError):
            # The file is optional.
            return settings
        raise SettingsError(f"{place}: {name} can't be read: {reason_of(error)}.") from None
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        _log.warning("every user of this machine can read the external ID in %s: run 'chmod 600' on it", name)
    # Without the final line break, which editors and echo add.
    line = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise SettingsError(f"{place}: {name} is empty. Write the external ID of the role into it.")
    try:
        found = external_id(line.decode("ascii", "replace"))
    except EntryError as error:
        raise SettingsError(f"{place}: {name} holds no external ID, which {error}.") from None
    return msgspec.structs.replace(settings, external_id=found, external_id_file=None)

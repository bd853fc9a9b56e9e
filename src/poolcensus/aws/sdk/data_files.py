"""The SDK's own data, found and read as it does it itself, in a fraction of the time."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from botocore.loaders import JSONFileLoader, Loader

if TYPE_CHECKING:
    from botocore.session import Session


class DataFiles(JSONFileLoader):  # type: ignore[misc] # botocore has no types
    """The SDK's own data, read in a quarter of the time: models are megabytes, and hold up other threads."""

    def load_file(self, file_path: str) -> object:
        for path, read in ((f"{file_path}.json", open), (f"{file_path}.json.gz", gzip.open)):
            with suppress(FileNotFoundError), read(path, "rb") as file:
                return orjson.loads(file.read())
        return None


class Data(Loader):  # type: ignore[misc] # botocore has no types
    """The SDK's loader of its data, in the same places, without a look into the folder of every service."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - see below
        # The SDK asks whether it knows one service, and says of itself that it has data of this type for
        # hundreds: a service that lacks them is refused in the next step.
        found: set[str] = set()
        for path in self.search_paths:
            # One that can't be read for want of a descriptor is no folder without services.
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                found.update(each.name for each in Path(path).iterdir())
        return sorted(found)


def read_fast(session: Session) -> None:
    """Let a session of the SDK, synchronous or not, find and read its data in these ways."""
    paths = session.get_component("data_loader").search_paths
    session.register_component("data_loader", Data(paths, DataFiles(), include_default_search_paths=False))

"""A part of a run: some accounts, of which a worker takes the census into a snapshot of its own."""

from __future__ import annotations

import pickle
from typing import Final

import msgspec

from poolcensus.config import Settings
from poolcensus.config.secrets import without_secrets
from poolcensus.errors import CredentialsError, FatalError, OrganizationError, SettingsError
from poolcensus.model import Account, Compression
from poolcensus.scope.account_choice import ORGANIZATION, paths_among
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.info import read_manifest
from poolcensus.storage.memory import MemoryFolder

# An error of a worker is raised again as what it was, so that the run ends with the exit code that it means.
_ERRORS: Final = {each.__name__: each for each in (SettingsError, CredentialsError, OrganizationError)}


class PartTask(msgspec.Struct, frozen=True):
    """What a worker is told: accounts of one Organization, and how they are asked. Holds no secret.

    `operation` is named by its IAM action. `secrets` names those that the worker has to have itself. `parts`
    is how many parts of all shards go on side by side as the same caller.
    """

    snapshot_id: str
    settings: Settings
    secrets: tuple[str, ...]
    operation: str
    organization: str | None
    accounts: tuple[Account, ...]
    parts: int
    log_level: int


class PartResult(msgspec.Struct, frozen=True):
    """What a worker hands back: the files of a snapshot, or the error that ended it, and what it logged."""

    files: dict[str, bytes]
    error: tuple[str, str] | None
    messages: tuple[tuple[int, str], ...]


_PLAIN: Final = Settings()
_OF_THE_WHOLE: Final = (
    "accounts",
    "exclude_accounts",
    "ous",
    "exclude_ous",
    "account_tags",
    "account_names",
    "exclude_account_names",
    "accounts_snapshot",
    "strict",
    "max_failed",
    "known_gaps",
    "resume",
    "shard",
    "engine",
    "scheduler",
    "workers",
    "allow_plaintext_scheduler",
    "metrics_file",
    "notify_command",
    "organization",
)


def settings_of_parts(settings: Settings, *, with_files: bool) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings of one Organization as its parts have them, and the names of their secrets.

    Which accounts are asked has been decided, and what a snapshot is published for is the whole run's.
    `with_files` says that the workers have to read the files of accounts themselves, for the roles and
    profiles in them.
    """
    bare, secrets = without_secrets(settings)
    files = paths_among(settings.accounts_from) if with_files else ()
    return msgspec.structs.replace(
        bare,
        accounts_from=(ORGANIZATION, *files),
        **{name: getattr(_PLAIN, name) for name in _OF_THE_WHOLE},
        compress=Compression.ZSTD,
    ), tuple(secrets)


def encode_task(task: PartTask) -> bytes:
    """Return a task as a worker takes it."""
    return pickle.dumps(task)


def decode_task(data: bytes) -> PartTask:
    """Return the task that a worker is given."""
    # Whoever can hand a task to a worker can have it run any function: a pickle opens no further door.
    task: PartTask = pickle.loads(data)  # noqa: S301
    return task


def decode_result(data: bytes) -> PartResult:
    """Return what a worker has handed back. Raises the FatalError that ended its part."""
    result = msgspec.msgpack.decode(data, type=PartResult)
    if result.error is not None:
        kind, message = result.error
        raise _ERRORS.get(kind, FatalError)(message)
    return result


def snapshot_of(result: PartResult, name: str) -> Snapshot:
    """Return the snapshot that a worker has handed back; `name` is what messages call it.

    Raises SnapshotError.
    """
    folder = MemoryFolder(result.files, name)
    return Snapshot(folder, read_manifest(folder.manifest(), name))

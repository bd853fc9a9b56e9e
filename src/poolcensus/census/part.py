"""A part of a run: some accounts, of which a worker takes the census into a snapshot of its own."""

from __future__ import annotations

import os
import pickle
import platform
import threading
from typing import Final, Literal

import msgspec

from poolcensus.config import Settings
from poolcensus.config.narrowing import NARROWING
from poolcensus.config.secrets import without_secrets
from poolcensus.errors import CensusError, CredentialsError, DeadlineError, DestinationError, FatalError
from poolcensus.flow.breaker import Endpoint  # noqa: TC001 - msgspec reads the annotation
from poolcensus.model import Account, Compression, FailedCall
from poolcensus.scope.account_choice import ORGANIZATION, paths_among
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.info import read_manifest
from poolcensus.storage.memory import MemoryFiles

# A part sends back so many, and a run logs so many of all its parts: one that warns of each account would
# have as many as it has accounts.
MOST_MESSAGES: Final = 100


class PartTask(msgspec.Struct, frozen=True):
    """What a worker is told: accounts of one Organization, and how they are asked. Holds no secret.

    `operation` is named by its IAM action. `secrets` names those that the worker has to have itself.
    `concurrent_runs` is how many go on as the same caller, of all shards and workers. `answered` is what has
    answered in parts that are back.
    """

    snapshot_id: str
    settings: Settings
    secrets: tuple[str, ...]
    operation: str
    organization: str | None
    accounts: tuple[Account, ...]
    concurrent_runs: int
    log_level: int
    answered: frozenset[Endpoint]


class PartFailure(msgspec.Struct, frozen=True):
    """What ended a part, and of which kind it is.

    `credentials`: the worker has none, or AWS does not accept them. `deadline`: its time was over before it
    could ask an account. `other`: all else. `worker` names the thread that the part ran in, among those of
    all workers, and `seconds` is how long it ran. `failed_call` is as in FatalError.
    """

    message: str
    kind: Literal["credentials", "deadline", "other"]
    worker: str
    seconds: float
    failed_call: FailedCall | None = None


class PartMessage(msgspec.Struct, frozen=True):
    """What a worker has logged. Another one with the same `once`, where there is one, says the same."""

    level: int
    text: str
    once: str | None = None


class PartResult(msgspec.Struct, frozen=True):
    """What a worker hands back: the files of a snapshot, or the error that ended it, and what it logged.

    `answered` is what has answered in the part and the task did not tell of. `silent` is what the task told
    of and is silent at the end of the part.
    """

    files: dict[str, bytes]
    error: PartFailure | None
    messages: tuple[PartMessage, ...]
    answered: frozenset[Endpoint] = frozenset()
    silent: frozenset[Endpoint] = frozenset()


_PLAIN: Final = Settings()
_OF_THE_WHOLE: Final = (
    *NARROWING,
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


def this_worker() -> str:
    """Return what messages call the worker that this is, by its host."""
    return f"A worker on {platform.node() or 'a host without a name'}"


def part_failure(error: CensusError | OSError, seconds: float) -> PartFailure:
    """Return what a worker hands back of the error that ended its part, `seconds` after its begin."""
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else reason
    if isinstance(error, DestinationError | OSError):
        reason += " (TMPDIR says where a worker has its temporary files)"
    message = f"{this_worker()} failed: {reason}"
    failed_call = error.failed_call if isinstance(error, FatalError) else None
    return PartFailure(message, _kind_of(error), _this_thread(), seconds, failed_call)


def _kind_of(error: CensusError | OSError) -> Literal["credentials", "deadline", "other"]:
    match error:
        case CredentialsError():
            return "credentials"
        case DeadlineError():
            return "deadline"
        case _:
            return "other"


def _this_thread() -> str:
    # A worker runs as many parts at a time as it has threads, and each of these is one of the slots.
    return f"{platform.node()} {os.getpid()} {threading.get_ident()}"


def decode_result(data: bytes) -> PartResult:
    """Return what a worker has handed back."""
    return msgspec.msgpack.decode(data, type=PartResult)


def error_of(failure: PartFailure) -> FatalError:
    """Return the error that ends a run whose part has failed.

    Wrong settings of a worker are none of the caller's, whose run has made calls.
    """
    error = (CredentialsError if failure.kind == "credentials" else FatalError)(failure.message)
    error.failed_call = failure.failed_call
    return error


def snapshot_of(result: PartResult, name: str) -> Snapshot:
    """Return the snapshot that a worker has handed back; `name` is what messages call it.

    Raises SnapshotError.
    """
    files = MemoryFiles(result.files, name)
    return Snapshot(files, read_manifest(files.manifest(), name))

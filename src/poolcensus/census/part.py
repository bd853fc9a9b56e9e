"""A part of a run: some accounts whose census a worker takes, into a separate snapshot."""

from __future__ import annotations

import os
import pickle
import platform
import threading
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from poolcensus.aws.call import CallCounts  # noqa: TC001 - msgspec reads the annotation
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

if TYPE_CHECKING:
    from collections.abc import Iterable

# The most messages that a part returns, and that a run logs of all its parts. A part that warns about each
# account would otherwise send one for each.
MOST_MESSAGES: Final = 100


class PartTask(msgspec.Struct, frozen=True):
    """The task of a worker: accounts of one Organization, and how to query them. Contains no secret.

    `operation` is the IAM action. `secrets` names the secrets that the worker has to have itself.
    `concurrent_runs` is how many runs share the caller, over all shards and workers. `answered` is the
    endpoints that have answered in the parts that have returned.
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
    """The error that ended a part.

    `kind` is `credentials` if the worker has none that AWS accepts, `deadline` if its time was over before it
    could query an account, else `other`. `worker` identifies the worker's thread that ran the part, and
    `seconds` is how long it ran. `failed_call` is as in FatalError. `calls` counts the calls that the part
    made.
    """

    message: str
    kind: Literal["credentials", "deadline", "other"]
    worker: str
    seconds: float
    failed_call: FailedCall | None = None
    calls: tuple[CallCounts, ...] = ()


class PartMessage(msgspec.Struct, frozen=True):
    """A message that a worker logged.

    Messages with the same `once`, unless it is None, are logged only once.
    """

    level: int
    text: str
    once: str | None = None


class PartResult(msgspec.Struct, frozen=True):
    """The result of a worker: the files of a snapshot or the error that ended it, and its log messages.

    `answered` is the endpoints that answered in this part and that the task did not name. `silent` is those
    that the task named and that are silent at the end of the part.
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
    """Return the settings for the parts of one Organization, and the names of the secrets they lack.

    Settings that choose accounts or that concern the whole run, such as `strict`, get their defaults. With
    `with_files`, the workers read the files of accounts themselves, for the roles and profiles in them.
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
    """Return a task as the bytes that are sent to a worker."""
    return pickle.dumps(task)


def decode_task(data: bytes) -> PartTask:
    """Return the task that a worker has received."""
    # Anyone who can send a task to a worker can have it run any function, so unpickling adds no risk.
    task: PartTask = pickle.loads(data)  # noqa: S301
    return task


def this_worker() -> str:
    """Return how messages name this worker, by its host."""
    return f"A worker on {platform.node() or 'a host without a name'}"


def part_failure(
    error: CensusError | OSError, seconds: float, calls: Iterable[CallCounts] = ()
) -> PartFailure:
    """Return the error that ended a part in the form that a worker returns.

    `seconds` is how long the part ran, and `calls` counts the calls that it made.
    """
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else reason
    if isinstance(error, DestinationError | OSError):
        reason += " (TMPDIR says where a worker has its temporary files)"
    message = f"{this_worker()} failed: {reason}"
    failed_call = error.failed_call if isinstance(error, FatalError) else None
    return PartFailure(message, _kind_of(error), _this_thread(), seconds, failed_call, tuple(calls))


def _kind_of(error: CensusError | OSError) -> Literal["credentials", "deadline", "other"]:
    match error:
        case CredentialsError():
            return "credentials"
        case DeadlineError():
            return "deadline"
        case _:
            return "other"


def _this_thread() -> str:
    # A worker runs one part in each of its threads, and each thread is one slot.
    return f"{platform.node()} {os.getpid()} {threading.get_ident()}"


def decode_result(data: bytes) -> PartResult:
    """Return the result that a worker has sent."""
    return msgspec.msgpack.decode(data, type=PartResult)


def error_of(failure: PartFailure) -> FatalError:
    """Return the error that ends a run whose part has failed.

    It is never a SettingsError: the settings that are wrong are the worker's, and calls have been made.
    """
    error = (CredentialsError if failure.kind == "credentials" else FatalError)(failure.message)
    error.failed_call = failure.failed_call
    return error


def snapshot_of(result: PartResult, name: str) -> Snapshot:
    """Return the snapshot in a worker's result. Messages call it `name`. Raises SnapshotError."""
    files = MemoryFiles(result.files, name)
    return Snapshot(files, read_manifest(files.manifest(), name))

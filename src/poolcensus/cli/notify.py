"""Run the command that is notified of the end of a run. It gets a summary as JSON on its standard input."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import IO, TYPE_CHECKING

from poolcensus.analysis.hidden import accounts_with
from poolcensus.cli import logs
from poolcensus.cli.exits import ExitCode, StoppedError
from poolcensus.cli.trouble import complain, message_of
from poolcensus.errors import reason_of
from poolcensus.format.text import LONGEST_NAME, MOST_NAMED, counted
from poolcensus.format.times import rfc3339, utc_now
from poolcensus.signals import ENDING, handled, handlers
from poolcensus.storage.naming import STANDARD_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

    from poolcensus.census import Census
    from poolcensus.config import Settings
    from poolcensus.model import FailedAccount, FailureGroup, Manifest, Outcome, TargetResult

# A mail server or an API answers within seconds, or half a minute with a retry. The exit of the program waits
# for it.
TIME_LIMIT = 60.0
_BETWEEN_LOOKS = 0.02
# SIGKILL takes effect at once, even on a busy machine, unless the process hangs in the system.
_KILLED_WITHIN = 2.0
# The summary is a short message, since the ledger has every failure. SNS accepts 256 KiB.
_GROUPS = 10
_LONGEST_MESSAGE = 2000
# Bytes of output. They are kept in a temporary file, and an endless output would fill the disk.
_MOST_OUTPUT = 16 << 20
# Only the end of the output is shown: there a command says why it failed.
_LAST_BYTES = 4000
_LAST_LINES = 10


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: with the manifest of a snapshot, or with an error. A bug has neither.

    `stopped` says whether a signal arrived, possibly after the snapshot was published.
    """

    code: int
    manifest: Manifest | None
    error: BaseException | None
    stopped: bool


def notify(command: str, settings: Settings, census: Census, ending: Ending) -> None:
    """Run a command with the summary of a run on its standard input, and wait for it.

    If it fails, its output is shown; the exit code of the program stays the same. After a signal, the command
    is started but not waited for.
    """
    arguments = shlex.split(command)
    content = json.dumps(summary(settings, census, ending)).encode() + b"\n"
    try:
        # Files instead of pipes: the command may not read its input, and its children may keep its output
        # open.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(content)
            given.seek(0)
            failure = _run(arguments, given, output, wait=not ending.stopped)
            said = _last_lines(output)
    except OSError as error:
        failure, said = f"could not be started: {reason_of(error)}", []
    if failure is not None:
        name = shlex.quote(arguments[0])
        complain(f"The notify command {name} {failure}. The run itself is not affected.", *said)
        return
    for line in said:
        logs.info("the notify command said: %s", line)


def _run(arguments: list[str], given: IO[bytes], output: IO[bytes], *, wait: bool) -> str | None:
    """Run a command to its end. Return a description of what went wrong, or None."""
    with (
        _signals() as received,
        # In its own session, so that its children can be killed with it.
        subprocess.Popen(  # noqa: S603 - the command that the settings name, without a shell
            arguments, stdin=given, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        if not wait:
            # A stopped run has only a few seconds. With a return code, Popen neither waits nor warns.
            process.returncode = 0
            return None
        if (reason := _wait(process, output, received)) is not None:
            return f"{'was ended' if _end(process) else 'still runs and could not be ended'}: {reason}"
    code = process.returncode
    if code < 0:
        return f"was ended by signal {-code}"
    return f"exited with status {code}" if code else None


def _wait(process: subprocess.Popen[bytes], output: IO[bytes], received: list[int]) -> str | None:
    """Wait until a command ends. Return None, or the reason why it has to be killed."""
    until = time.monotonic() + TIME_LIMIT
    while process.poll() is None:
        if received:
            return signal.Signals(received[0]).name
        if time.monotonic() >= until:
            return f"took more than {TIME_LIMIT:g} s"
        if os.fstat(output.fileno()).st_size > _MOST_OUTPUT:
            return f"printed more than {_MOST_OUTPUT >> 20} MB"
        time.sleep(_BETWEEN_LOOKS)
    return None


def _end(process: subprocess.Popen[bytes]) -> bool:
    """Kill a command and its children. Return whether it has ended."""
    # It may run as another user, by sudo. A process that hangs on a disk does not react.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_KILLED_WITHIN)
    except subprocess.TimeoutExpired:
        # Without a return code, Popen would wait for it without a limit.
        process.returncode = 0
        return False
    return True


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that arrive in the block. They end only the wait for the command, not the program.

    The command itself handles signals as usual, even those that this process ignores.
    """
    received: list[int] = []
    heeded = handlers()

    def stop(number: int, _: FrameType | None) -> None:
        if number in heeded:
            received.append(number)

    with handled(stop, ENDING):
        yield received


def _last_lines(output: IO[bytes]) -> list[str]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(size - _LAST_BYTES, 0))
    return [line for line in output.read().decode(errors="replace").splitlines() if line.strip()][
        -_LAST_LINES:
    ]


def summary(settings: Settings, census: Census, ending: Ending) -> dict[str, object]:
    """Return the summary that the command gets, as a JSON object."""
    manifest = ending.manifest
    totals = census.progress().totals if manifest is None else manifest.totals
    outcomes = census.outcomes if manifest is None else manifest.outcomes
    snapshot = census.published if manifest is not None else None
    ended, seconds = utc_now(), census.progress().elapsed
    began = ended - timedelta(seconds=seconds)
    return {
        "message_type": "summary",
        "status": _status(ending),
        "message": _message(ending, census)[:_LONGEST_MESSAGE],
        "exit_code": int(ending.code),
        "run_id": census.run_id,
        "snapshot_id": None if manifest is None else manifest.snapshot_id,
        "dest": settings.dest,
        "location": None if snapshot is None or settings.dest == STANDARD_OUTPUT else snapshot.location,
        "started_at": rfc3339(began if manifest is None else manifest.started_at),
        "finished_at": rfc3339(ended if manifest is None else manifest.finished_at),
        "seconds": round(seconds, 3),
        "totals": asdict(totals),
        "outcomes": {outcome.value: count for outcome, count in outcomes.items() if count},
        "known_gaps": 0 if manifest is None else sum(each.targets for each in manifest.known_gaps),
        "failures": [_failure(each) for each in census.failures[:_GROUPS]],
        "hidden": [
            _hidden(outcome, name, of_one)
            for outcome, targets in census.hidden.items()
            for name, of_one in _by_organization(targets).items()
        ][:_GROUPS],
    }


def _status(ending: Ending) -> str:
    if ending.manifest is not None:
        return ending.manifest.status.value
    if isinstance(ending.error, StoppedError):
        return "interrupted"
    return "not_published" if ending.code == ExitCode.NOT_PUBLISHED else "failed"


def _message(ending: Ending, census: Census) -> str:
    if ending.manifest is not None:
        totals = ending.manifest.totals
        hidden = sum(each.pools for targets in census.hidden.values() for each in targets)
        item, items = census.operation.item, census.operation.items
        more = f" {counted(hidden, item, items)} of earlier snapshots can't be listed now." if hidden else ""
        covered = f"{totals.covered:,} of {counted(totals.targets, 'target')} covered"
        return f"{covered}, {counted(totals.pools, item, items)}.{more}"
    if ending.error is None:
        return "An unexpected error: standard error has its traceback."
    if isinstance(ending.error, StoppedError):
        return ENDING[signal.Signals(ending.code - 128)]
    return message_of(ending.error)


def _failure(group: FailureGroup) -> dict[str, object]:
    denial = group.denial
    return {
        **_named(group.organization),
        "outcome": group.outcome.value,
        "error_code": group.code,
        "policy": None if denial is None else denial.policy,
        "region": group.region,
        "targets": group.targets,
        "accounts": group.accounts,
        "examples": [_example(each) for each in group.examples],
    }


def _by_organization(targets: Iterable[TargetResult]) -> dict[str | None, list[TargetResult]]:
    found: dict[str | None, list[TargetResult]] = {}
    for each in targets:
        found.setdefault(each.organization, []).append(each)
    return found


def _hidden(outcome: Outcome, organization: str | None, targets: Sequence[TargetResult]) -> dict[str, object]:
    """Return the targets that hide pools of an earlier snapshot, in the form of a failure."""
    accounts = accounts_with(targets)
    return {
        **_named(organization),
        "outcome": outcome.value,
        "pools": sum(each.pools for each in targets),
        "targets": len(targets),
        "accounts": len(accounts),
        "examples": [_example(each) for each in accounts[:MOST_NAMED]],
    }


def _named(organization: str | None) -> dict[str, object]:
    """Return the key that names the Organization, if the run has several."""
    return {} if organization is None else {"organization": organization}


def _example(account: FailedAccount) -> dict[str, object]:
    return {
        "account_id": account.id,
        "account_name": None if account.name is None else account.name[:LONGEST_NAME],
        "region": account.region,
        "regions": account.regions,
    }

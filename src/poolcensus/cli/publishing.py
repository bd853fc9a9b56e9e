"""Shared code of the commands that publish a snapshot. After the commit, no error changes the exit code."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from poolcensus.cli import logs
from poolcensus.cli.exits import ExitCode, StoppedError, drop_output, is_bug
from poolcensus.cli.running import ending_with, run
from poolcensus.cli.trouble import complain, on_terminal
from poolcensus.errors import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from poolcensus.config import Settings
    from poolcensus.model import Manifest
    from poolcensus.snapshot import Snapshot, SnapshotInfo


def code_of_snapshot(manifest: Manifest) -> int:
    """Return the exit code of a run that has published this manifest."""
    return ExitCode.UNCOVERED if manifest.failed else ExitCode.OK


def run_to_publish(
    body: Callable[[], Coroutine[None, None, Snapshot]], published: Callable[[], Snapshot | None]
) -> tuple[Snapshot, bool]:
    """Run `body`. Return the snapshot that it published, and whether a signal arrived after that.

    `published` returns the snapshot, or None before it is published. An error after that is only reported.
    """

    def decided() -> int | None:
        snapshot = published()
        return None if snapshot is None else code_of_snapshot(snapshot.manifest)

    try:
        return run(body, decided), False
    except StoppedError:
        snapshot = published()
        if snapshot is None:
            raise
        complain(_stopped_after(snapshot.manifest))
        return snapshot, True
    except Exception as error:
        # Even a bug: a user who is not told of the snapshot would take the census again.
        snapshot = published()
        if snapshot is None:
            raise
        _tell_of(error, snapshot.manifest)
        return snapshot, False


@contextmanager
def standing(manifest: Manifest | None) -> Iterator[None]:
    """Keep the exit code of a published snapshot, whatever signal or exception occurs in the block.

    With a `manifest` of None, nothing was published, and signals and exceptions act as usual.
    """
    if manifest is None:
        yield
        return
    with ending_with(code_of_snapshot(manifest), _stopped_after(manifest)):
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a defect, too: as where the run itself raises it
            _tell_of(error, manifest)


def _stopped_after(manifest: Manifest) -> str:
    return f"snapshot {manifest.snapshot_id} was published when the signal came"


def _tell_of(error: Exception, manifest: Manifest) -> None:
    """Report an error that occurred after the snapshot was published, a bug with its traceback."""
    is_defect = is_bug(error)
    words = f"unexpected {type(error).__name__}" if is_defect else str(error) or type(error).__name__
    complain(f"snapshot {manifest.snapshot_id} was published before this: {words}")
    if is_defect and not logs.bug(error):
        sys.excepthook(type(error), error, error.__traceback__)


def scope_lines(published: Snapshot | None, before: SnapshotInfo | None, settings: Settings) -> Iterator[str]:
    """Yield a line if the published snapshot has another scope than the snapshots before it."""
    from poolcensus.snapshot.scope_news import scope_change

    change = scope_change(published, before, settings.dest, settings=settings) if published else None
    if change is not None:
        yield change


def show_summary(manifest: Manifest, where: str | None) -> None:
    """Print a summary of the published snapshot, if standard error is a terminal."""
    if on_terminal(sys.stderr) and not logs.is_json():
        from poolcensus.cli.summaries import manifest_summary
        from poolcensus.cli.tables import console, put

        with suppress(OSError):
            put(console(stderr=True), *manifest_summary(manifest, where))


def write_manifest(manifest: Manifest) -> None:
    """Print the manifest as JSON. A failure to print is reported, and changes no exit code."""
    from poolcensus.cli.output import write_line
    from poolcensus.format.manifest import manifest_object

    try:
        write_line(manifest_object(manifest))
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        drop_output(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            complain(f"Could not write to standard output: {reason_of(error)}.")

"""What the commands that read snapshots have in common."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from poolcensus.cli import logs
from poolcensus.cli.options import read_settings
from poolcensus.cli.running import run
from poolcensus.config.sources import settings_file
from poolcensus.errors import SettingsError, SnapshotError
from poolcensus.format.schema import REFUSED_NAME
from poolcensus.snapshot import RefusedRun, Snapshot, is_snapshot_id, list_snapshots, refused_run
from poolcensus.snapshot.reader import is_looked_up
from poolcensus.snapshot.temporary import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from poolcensus.config import Settings
    from poolcensus.snapshot import SnapshotInfo

KEYS = ("dest", "profile", "endpoint_url", "log_format", "log_level", "json")
S3 = "s3://"

# Where the clock of this machine is behind, every snapshot is from the future: a line has room for a few.
_IDS_SHOWN = 3


def reading_settings(config: Path | None, given: Mapping[str, object]) -> Settings:
    """The settings of a command that reads, its logging set up. The destination is a folder or a bucket."""
    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    if settings.dest == "-":
        message = "a destination of - keeps no snapshots: name a folder or a bucket with --dest"
        raise SettingsError(message)
    return settings


@contextmanager
def opened(settings: Settings, ref: str, *, pools: bool = True) -> Iterator[tuple[Snapshot, str]]:
    """The snapshot that `ref` names, and where it is.

    One on S3 is copied into a temporary folder first, without its records where `pools` says so.
    """
    place = settings.dest
    if ref.startswith(S3):
        place, _, ref = ref.rstrip("/").rpartition("/")
    elif not is_looked_up(ref) or not place.startswith(S3):
        snapshot = Snapshot.open(ref, dest=place)
        yield snapshot, str(snapshot.path)
        return
    if not is_looked_up(ref) or not place.startswith(S3):
        message = f"{place}/{ref} is not a snapshot: name one as s3://BUCKET/PREFIX/ID"
        raise SnapshotError(message)
    from poolcensus.remote import fetch_remote

    with temporary_folder() as folder:
        snapshot = run(partial(fetch_remote, settings, place, ref, folder, pools=pools))
        yield snapshot, f"{place}/{snapshot.id}"


@contextmanager
def refused(settings: Settings, ref: str | None) -> Iterator[RefusedRun | None]:
    """The run that `ref` names and that was not published, its ledger copied from S3. None for all others.

    Without a `ref`, the newest such run, if it is newer than every snapshot.
    """
    place = settings.dest
    if ref is not None and ref.startswith(S3):
        place, _, ref = ref.rstrip("/").rpartition("/")
    if ref is not None and not is_snapshot_id(ref):
        path = Path(ref)
        yield RefusedRun.open(path) if (path / REFUSED_NAME).is_file() else None
        return
    if not place.startswith(S3):
        yield refused_run(Path(place), ref)
        return
    from poolcensus.remote import fetch_refused_remote

    with temporary_folder() as folder:
        yield run(partial(fetch_refused_remote, settings, place, ref, folder))


def dated_ahead(found: Sequence[str]) -> Iterator[str]:
    """Yield a line where there are snapshots from the future: these ids."""
    if not found:
        return
    advice = "Check the clock of this machine and of the one that took"
    if len(found) == 1:
        yield (
            f"Snapshot {found[0]} is dated in the future: it is never the latest, and prune leaves it alone."
            f" {advice} it."
        )
        return
    names = ", ".join(found[:_IDS_SHOWN])
    more = f", and {len(found) - _IDS_SHOWN:,} more" if len(found) > _IDS_SHOWN else ""
    yield (
        f"{len(found):,} snapshots are dated in the future: none of them is the latest, and prune leaves them"
        f" alone: {names}{more}. {advice} them."
    )


def listed(settings: Settings) -> tuple[SnapshotInfo, ...]:
    """The snapshots at the destination, the one that was published last at the end."""
    if not settings.dest.startswith(S3):
        return list_snapshots(settings.dest)
    from poolcensus.remote import list_remote

    return run(partial(list_remote, settings, settings.dest))

"""`poolcensus demo`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolcensus.analysis.listing import records_in_order
from poolcensus.cli import logs
from poolcensus.cli.collect import collect
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import LOGGING, read_settings, settings_options
from poolcensus.cli.summaries import manifest_summary, sentences
from poolcensus.cli.tables import console, put, record_table
from poolcensus.cli.trouble import failures, with_options
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.paths import exists
from poolcensus.snapshot import Snapshot
from poolcensus.storage.advice import temporary_error
from poolcensus.storage.naming import is_local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from poolcensus.model import FailureGroup

POOLS_SHOWN = 8

# Like a real Organization since 31 July 2026: accounts that never used Pools, to which AWS has closed the
# service; accounts that deny access; suspended accounts; disabled regions; throttling and server errors.
SIMULATOR = (
    "--accounts=60",
    "--seed=11",
    "--latency=uniform:20-60",
    "--suspended=0.05",
    "--scp-denied=0.035",
    "--access-denied=0.02",
    "--no-role=0.02",
    "--opt-in-disabled=0.3",
    "--not-entitled=0.34",
    "--mean-pools=3",
    "--fault=throttle:0.05",
    "--fault=5xx:0.01",
    "--fault=reset:0.005",
)


@click.command(
    name="demo",
    cls=Command,
    examples=(
        ("See it in a minute", "poolcensus demo"),
        ("Keep its snapshot", "poolcensus demo --dest demo-snapshots"),
    ),
)
@click.option(
    "--dest",
    metavar="DEST",
    help="The folder for the snapshot.  [default: one of your own among the temporary files]",
)
@settings_options("progress", *LOGGING, config=False)
def command(**given: object) -> int:
    """Take a census of a simulated Organization; needs no AWS account.

    Starts the simulator, collects with progress, and shows the summary and some pools. The default
    destination is a folder of your own among the temporary files. Neither a configuration file nor
    the caller's AWS configuration is looked at.
    """
    dest = given.pop("dest") or str(own_folder())
    if not is_local(str(dest)):
        message = "the demo shows a snapshot: its destination must be a folder"
        raise click.UsageError(message)
    with simulator_process() as service:
        _use(service)
        settings = read_settings(
            None, {**given, "dest": dest, "endpoint_url": service["AWS_ENDPOINT_URL"]}, ambient=False
        )
        logs.configure(settings)
        published, groups = collect(settings, can_resume=False)
    _show(Snapshot.open(published.manifest.snapshot_id, dest=settings.dest), groups, settings.dest)
    return ExitCode.OK


def own_folder() -> Path:
    """Return a temporary folder that only this user can write to, if possible always the same."""
    try:
        usual = Path(tempfile.gettempdir()) / f"poolcensus-demo-{os.getuid()}"
    except OSError as error:
        raise temporary_error("make a temporary folder", error) from error
    with suppress(FileExistsError):
        usual.mkdir(mode=0o700)
    found = usual.lstat()
    # The name can be guessed, so another user may have created the folder first, or put a link there.
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return usual
    return Path(tempfile.mkdtemp(prefix="poolcensus-demo-"))


@contextmanager
def simulator_process() -> Iterator[Mapping[str, str]]:
    """Start the simulator in its own process, and yield the environment in which an AWS SDK finds it."""
    arguments = [sys.executable, "-P", "-m", "poolcensus", "simulate", "--json", "--until-eof", *SIMULATOR]
    # It stops at the end of its standard input, so that it ends with this process even if this one is killed.
    # It has its own session, so that Ctrl-C reaches only this process, which can then end the census
    # properly.
    with subprocess.Popen(  # noqa: S603 - arguments of our own
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            said = process.stdout.readline() if process.stdout else b""
            if not said:
                message = "the simulator did not start"
                raise click.ClickException(message)
            found = json.loads(said)
            yield {
                "AWS_ENDPOINT_URL": found["endpoint_url"],
                "AWS_ACCESS_KEY_ID": found["access_key_id"],
                "AWS_SECRET_ACCESS_KEY": found["secret_access_key"],
                "AWS_REGION": "us-east-1",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": "127.0.0.1",
            }
        finally:
            process.terminate()


def _use(service: Mapping[str, str]) -> None:
    """Make the simulator the only AWS that this process can find."""
    for variable in [*os.environ]:
        if variable.startswith("AWS_") or variable.upper() == "NO_PROXY":
            del os.environ[variable]
    os.environ.update(service)


def _show(snapshot: Snapshot, groups: tuple[FailureGroup, ...], dest: str) -> None:
    screen = console()
    put(screen, *manifest_summary(snapshot.manifest, snapshot.location))
    put(screen, f"\nSome of its {snapshot.manifest.totals.pools:,} pools:")
    put(screen, record_table(islice(records_in_order(snapshot), POOLS_SHOWN), WORKSPACES_POOLS.columns))
    put(screen, "\nNot covered, as in a real Organization (collect would exit with 3):")
    put(screen, sentences(map(with_options, failures(groups))))
    program, where = _program(), shlex.quote(dest)
    put(screen, "\nTry next:")
    for example in ("show --failures", "show --pools --json", "snapshots", "verify"):
        put(screen, f"  {program} {example} --dest {where}")


def _program() -> str:
    """Return how to call this program from a shell: its name, its path, or the interpreter with -m."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "poolcensus"])
    found = shutil.which(called.name)
    is_found = found is not None and exists(called) and called.samefile(found)
    return called.name if is_found else shlex.quote(sys.argv[0])

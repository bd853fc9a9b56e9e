"""`poolcensus verify`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from poolcensus.cli.command import Command
from poolcensus.cli.completing import snapshots
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, reading_settings
from poolcensus.cli.trouble import complain, on_terminal, with_options
from poolcensus.format.text import counted, printable
from poolcensus.snapshot.verification import Problem, ProblemKind, verify_named
from poolcensus.storage.naming import LATEST

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = {
    ProblemKind.DAMAGED: "the snapshot is damaged",
    ProblemKind.UNREADABLE: "the snapshot can't be read",
}


@click.command(
    name="verify",
    cls=Command,
    examples=(
        ("The newest snapshot", "poolcensus verify"),
        ("Two of them", "poolcensus verify latest latest~1 --dest s3://bucket/prefix"),
    ),
)
@click.argument("refs", nargs=-1, metavar="[SNAPSHOT]...", shell_complete=snapshots)
@settings_options(*KEYS)
def command(refs: tuple[str, ...], config: Path | None, **given: object) -> int:
    """Check snapshots: digests, counts, one ledger line per target, every line valid JSON.

    SNAPSHOT is a path, a snapshot ID, latest (the default) or latest~N. Exits with 1 where a snapshot is
    damaged or can't be read, and says which.
    """
    settings = reading_settings(config, given)
    found = {ref: verify_named(ref, settings.dest, settings=settings) for ref in refs or (LATEST,)}
    if settings.json_output:
        from poolcensus.cli.output import write_line

        for ref, (snapshot_id, problems) in found.items():
            write_line(
                {
                    "snapshot": ref,
                    "snapshot_id": snapshot_id,
                    "ok": not problems,
                    "status": _status(problems) or "ok",
                    "problems": [
                        {**asdict(each), "message": with_options(each.message)} for each in problems
                    ],
                }
            )
    else:
        for ref, (snapshot_id, problems) in found.items():
            _print(ref, snapshot_id, problems)
    return ExitCode.FOUND if any(problems for _, problems in found.values()) else ExitCode.OK


def _status(problems: tuple[Problem, ...]) -> ProblemKind | None:
    """Return the gravest kind of problem, or None if there are none."""
    kinds = {each.kind for each in problems}
    return next((kind for kind in ProblemKind if kind in kinds), None)


def _print(ref: str, snapshot_id: str | None, problems: tuple[Problem, ...]) -> None:
    # Add the ID, since `latest` may name another snapshot later.
    called = (ref or '""') if snapshot_id is None or snapshot_id in ref else f"{ref} ({snapshot_id})"
    for each in problems:
        place = ", ".join(part for part in (each.file, each.line and f"line {each.line:,}") if part)
        # The message about a wrong name itself says which snapshot it names.
        which = ref if each.kind is ProblemKind.MISNAMED else called
        complain(": ".join(part for part in (which, place, each.message) if part))
    status = _status(problems)
    # A wrong name does not mean that the snapshot is damaged.
    if status in _WORDS:
        count = sum(each.count for each in problems if each.kind in _WORDS)
        complain(f"{called}: {_WORDS[status]} ({counted(count, 'problem')})")
    elif status is None and on_terminal(sys.stdout):
        click.echo(f"{printable(called)}: OK")

"""`poolcensus help`."""

from __future__ import annotations

import click

from poolcensus.cli import COMMANDS, CONTEXT_SETTINGS, group
from poolcensus.cli.command import Command
from poolcensus.cli.completing import words
from poolcensus.cli.exits import ExitCode


@click.command(
    name="help",
    cls=Command,
    examples=(
        ("All commands", "poolcensus help"),
        ("The options of one, with examples", "poolcensus help show"),
    ),
)
@click.argument("name", required=False, metavar="[COMMAND]", shell_complete=words(COMMANDS))
def command(name: str | None) -> int:
    """Print the help of poolcensus, or of one of its commands."""
    with click.Context(group, info_name="poolcensus", **CONTEXT_SETTINGS) as outer:
        if name is None:
            click.echo(group.get_help(outer))
            return ExitCode.OK
        _, found, _ = group.resolve_command(outer, [name])
        assert found is not None  # noqa: S101 - it is there, or `resolve_command` has raised
        with click.Context(found, info_name=name, parent=outer, **CONTEXT_SETTINGS) as ctx:
            click.echo(found.get_help(ctx))
    return ExitCode.OK

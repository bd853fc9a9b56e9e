"""The command line: each command parses, calls one function of the library, and prints.

A command's module is imported when the command is used, so that `--help` and `--version` stay quick.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, TypedDict

import click

from poolcensus.cli import exits, standard_output
from poolcensus.cli.exits import ExitCode
from poolcensus.exit_error import asks_for_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

# Written out here, because each command's own help is in a module that listing the commands must not import.
COMMANDS = {
    "collect": "Take the census and publish a snapshot.",
    "plan": "Print what collect would do: accounts, regions, targets and calls.",
    "doctor": "Try each permission that a census needs, and say which grant is missing.",
    "snapshots": "List the snapshots at a destination.",
    "show": "Print one snapshot: summary, failures, pools.",
    "verify": "Check snapshots: digests, counts, one ledger line per target.",
    "diff": "Compare two snapshots: pools added, removed, changed, and targets where it is unknown.",
    "query": "Run SQL over one snapshot or all of them.",
    "export": "Write snapshots as Parquet files, partitioned by date.",
    "report": "Write an HTML page about a snapshot and those before it.",
    "merge": "Join the shards of one run into one snapshot.",
    "prune": "Remove the snapshots that no rule keeps.",
    "unlock": "Remove the lock of a run that is known to be dead.",
    "simulate": "Serve the local AWS simulator.",
    "demo": "Take a census of a simulated Organization; needs no AWS account.",
    "completion": "Print the script that makes a shell complete commands, options and snapshot IDs.",
    "man": "Print the manual page, for man(1).",
    "help": "Print the help of poolcensus, or of one of its commands.",
}

# The environment variable that a shell's completion script sets when it asks for completions.
COMPLETE_VARIABLE = "_POOLCENSUS_COMPLETE"

_WIDEST_HELP = 110


class _ContextSettings(TypedDict):
    help_option_names: list[str]
    max_content_width: int


CONTEXT_SETTINGS = _ContextSettings(help_option_names=["-h", "--help"], max_content_width=_WIDEST_HELP)


# The imports create some 50,000 objects that live until the end. Searching them for garbage would take a
# tenth of the start-up time.
_COLLECT_AFTER = (20_000, 50, 100)


_DELETING = ("prune", "unlock")
_IN_OTHER_PROGRAMS = {
    "run": "collect",
    "backup": "collect",
    "list": "snapshots",
    "ls": "snapshots",
    "check": "verify",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - Click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"poolcensus.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        # While a shell completes a line, the name may be unfinished.
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from poolcensus.format.text import did_you_mean, nearest

            # Never suggest a command that deletes something.
            harmless = [each for each in COMMANDS if each not in _DELETING]
            hint = did_you_mean(_IN_OTHER_PROGRAMS.get(name) or nearest(name, harmless))
            ctx.fail(f'Unknown command "{ascii(name)[1:-1]}".{hint}')
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands without importing them, and the options of the program."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - Click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001 - Click's signature
    if not value or ctx.resilient_parsing:
        return
    from poolcensus.version import __version__

    click.echo(f"poolcensus {__version__}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    context_settings=dict(CONTEXT_SETTINGS),
    epilog="Run 'poolcensus help COMMAND' for the options of a command, with examples.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
def group() -> None:
    """A census of Amazon WorkSpaces Pools over every account and region of an AWS Organization."""  # noqa: D401 - what the program is


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code. `arguments` defaults to those of the process."""
    gc.set_threshold(*_COLLECT_AFTER)
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    if as_json := asks_for_json(given, os.environ):
        from poolcensus.cli import logs

        logs.configure_json()
    if not given and COMPLETE_VARIABLE not in os.environ:
        if as_json:
            logs.exit_error(ExitCode.USAGE, "no command was given: see 'poolcensus --help'")
            return ExitCode.USAGE
        with click.Context(group, info_name="poolcensus", **CONTEXT_SETTINGS) as ctx:
            click.echo(group.get_help(ctx), err=True)
        return ExitCode.USAGE
    standard_output.prepare()
    # Called through its module: once the command `report` is imported, that name in this package is its
    # module.
    with exits.report() as outcome:
        outcome.code = (
            group.main(given, prog_name="poolcensus", complete_var=COMPLETE_VARIABLE, standalone_mode=False)
            or ExitCode.OK
        )
        sys.stdout.flush()
    return outcome.code

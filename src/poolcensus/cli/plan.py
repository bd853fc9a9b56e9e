"""`poolcensus plan`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.completing import words
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import EVERYTHING, check_output_file, read_settings, settings_options
from poolcensus.cli.places import both_on_standard_output
from poolcensus.cli.running import run
from poolcensus.config.sources import settings_file
from poolcensus.storage.naming import STANDARD_OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.planned import Plan


@click.command(
    name="plan",
    cls=Command,
    examples=(
        ("What collect would do", "poolcensus plan"),
        ("The same, of one account, for programs", "poolcensus plan --accounts 111122223333 --json"),
        (
            "One list of accounts for all shards of a census",
            "poolcensus plan --output accounts.json && poolcensus collect --accounts-snapshot accounts.json",
        ),
    ),
)
@settings_options(*EVERYTHING)
@click.option(
    "--output",
    metavar="FILE",
    shell_complete=words((), "file"),
    help="Write the list of accounts to this file, for --accounts-snapshot; - is standard output.",
)
def command(config: Path | None, *, output: str | None, **given: object) -> int:
    """Print what collect would do: accounts, regions, targets and calls.

    Estimates how long that takes: from the rates that services allow, and from the newest snapshot at the
    destination, where that is of the same kind.

    Calls a member account only for the status of its regions. Takes every option of collect, so that one word
    turns the one into the other; those that say how to call change the estimate alone, --deadline ends a plan
    that takes longer with an error, and --strict, --progress, --metrics-file and their like change nothing.
    """
    from poolcensus.scope.account_list_writing import encode_account_list, write_account_list

    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    if output is not None:
        _check_list_output(output, settings)
    plan = run(partial(_plan, settings))
    if output == STANDARD_OUTPUT:
        from poolcensus.cli.output import json_text

        click.echo(json_text(encode_account_list(plan)[0]).encode())
        return ExitCode.OK
    digest = write_account_list(plan, output) if output is not None else None
    if settings.json_output:
        from poolcensus.cli.output import plan_object, write_line

        write_line({**plan_object(plan), **({} if digest is None else {"accounts_digest": digest})})
    else:
        from poolcensus.cli.summaries import plan_summary
        from poolcensus.cli.tables import console, put

        put(console(), *plan_summary(plan))
    return ExitCode.OK


def _check_list_output(output: str, settings: Settings) -> None:
    """Raise UsageError if the list can't be written, before any call is made."""
    if settings.shard is not None:
        raise click.UsageError("--output writes the list that all shards share: leave out --shard")
    if settings.organization:
        raise click.UsageError("--output writes the list of one Organization, and there are several")
    if output != STANDARD_OUTPUT:
        check_output_file(output)
    elif settings.json_output:
        raise click.UsageError(both_on_standard_output("--output -"))


async def _plan(settings: Settings) -> Plan:
    from poolcensus.census import Census

    async with Census(settings) as census:
        return await census.plan()

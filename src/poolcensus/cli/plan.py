"""`poolcensus plan`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import EVERYTHING, read_settings, settings_options
from poolcensus.cli.running import run
from poolcensus.config.sources import settings_file

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.model import Plan


@click.command(
    name="plan",
    cls=Command,
    examples=(
        ("What collect would do", "poolcensus plan"),
        ("The same, of one account, for programs", "poolcensus plan --accounts 111122223333 --json"),
    ),
)
@settings_options(*EVERYTHING)
def command(config: Path | None, **given: object) -> int:
    """Print what collect would do: accounts, regions, targets and calls.

    Calls no member account, unless the status of its regions can't be learned in another way. Takes every
    option of collect, so that one word turns the one into the other; those that say how to call, what to
    publish and what to show change nothing here.
    """
    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    plan = run(partial(_plan, settings))
    if settings.json_output:
        from poolcensus.cli.output import plan_object, write_line

        write_line(plan_object(plan))
    else:
        from poolcensus.cli.summaries import plan_summary
        from poolcensus.cli.tables import console, put

        put(console(), *plan_summary(plan))
    return ExitCode.OK


async def _plan(settings: Settings) -> Plan:
    from poolcensus.census import Census

    async with Census(settings) as census:
        return await census.plan()

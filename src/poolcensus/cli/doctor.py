"""`poolcensus doctor`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import EVERYTHING, comma_list, read_settings, settings_options
from poolcensus.cli.running import run
from poolcensus.cli.trouble import with_options
from poolcensus.config.sources import settings_file
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.doctor import Finding
    from poolcensus.model import JsonObject


@click.command(
    name="doctor",
    cls=Command,
    examples=(
        ("Try what collect needs, in a sample of the accounts", "poolcensus doctor --dest snapshots"),
        ("Try every account", "poolcensus doctor --all"),
        (
            "The statement that is missing, for programs",
            "poolcensus doctor --account 111122223333 --json | jq 'select(.policy) | .policy'",
        ),
    ),
)
@settings_options(*EVERYTHING)
@click.option("--all", "every_account", is_flag=True, help="Try every account, and not a sample of them.")
@comma_list("--account", "ID,...", "Try only these account IDs, of those that collect would ask.")
def command(config: Path | None, *, every_account: bool, account: tuple[str, ...], **given: object) -> int:
    """Try each permission that a census needs, and say which grant is missing.

    Goes the way of a collect, with its options, and publishes nothing: the caller's credentials, the list of
    accounts, the role and the operation in each region of each account tried, region status, and the
    destination, which is left as it was. Tries the caller's account and five others unless --all or --account
    says which. Exits with 3 where a collect would leave something out of what was tried, or publish nothing.
    """
    from poolcensus.doctor.choice import ChoiceNames, check_choice

    try:
        check_choice(account, every_account=every_account, names=ChoiceNames("--all", "--account"))
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    findings = run(partial(_findings, settings, account, every_account=every_account))
    if settings.json_output:
        from poolcensus.cli.output import json_text, write_lines
        from poolcensus.format.codec import dumps

        write_lines(json_text(dumps(_object(each))) for each in findings)
    else:
        from poolcensus.cli.diagnoses import diagnoses
        from poolcensus.cli.tables import console, put

        put(console(), *diagnoses(findings))
    return ExitCode.UNCOVERED if any(each.is_problem for each in findings) else ExitCode.OK


async def _findings(
    settings: Settings, accounts: tuple[str, ...], *, every_account: bool
) -> tuple[Finding, ...]:
    from poolcensus.doctor import diagnose

    async with diagnose(settings, accounts=accounts, every_account=every_account) as findings:
        return tuple([each async for each in findings])


def _object(finding: Finding) -> JsonObject:
    """Return a finding as JSON. Settings are named as options, or as in the table of the Organization."""
    message, remedy = (
        None if each is None else with_options(each, finding.organization)
        for each in (finding.message, finding.remedy)
    )
    return {
        "check": finding.check.value,
        **({} if finding.organization is None else {"organization": finding.organization}),
        "account_id": finding.account_id,
        "region": finding.region,
        "status": finding.status.value,
        "action": finding.action,
        "code": finding.code,
        "cause": finding.cause.value if finding.cause is not None else None,
        "message": message,
        "remedy": remedy,
        "policy": finding.policy,
    }

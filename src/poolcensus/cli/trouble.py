"""Messages on standard error: what went wrong, and in which accounts."""

from __future__ import annotations

import re
import select
import shlex
from contextlib import suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING, TextIO

import click

from poolcensus.format.text import MOST_NAMED, account_named, counted, listed, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poolcensus.model import FailedAccount, FailureGroup, KnownGap, Manifest, OperationInfo, OutdatedGap
    from poolcensus.snapshot.hidden import Hidden

_SETTING = re.compile(r"`([a-z0-9_]+)`")
# The password in a URL, or in a path made from a URL by mistake.
_PASSWORD = re.compile(r"(?<=:/)(/?)[^\s/@]*:[^\s/@]*@")
_SET_TO_FALSE = re.compile(r"`([a-z0-9_]+)` to false\b")
# Parameters of library functions that are not settings.
_PARAMETERS = {"every": "--all", "every_account": "--all", "path": "--config"}


def on_terminal(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal."""
    return stream is not None and stream.isatty()


def is_writable(stream: IO[str]) -> bool:
    """Return whether the stream takes bytes now. A terminal stopped by Ctrl-S and a full pipe do not."""
    # select.select() would fail for a descriptor of 1024 or more.
    ready = select.poll()
    with suppress(OSError, ValueError):
        ready.register(stream.fileno(), select.POLLOUT)
        return bool(ready.poll(0))
    # A stream without a descriptor does not block. For a closed one, the write raises the error.
    return True


def with_options(text: str, organization: str | None = None) -> str:
    """Replace each setting that the library names, such as `strict`, with its option, such as --strict.

    For one of several Organizations, a setting that its table may have keeps its name: an option would
    override the tables of all Organizations.
    """
    if "`" not in text:
        return text
    from poolcensus.cli.options import FLAGS

    flags = {**FLAGS, **_PARAMETERS}
    if organization is not None:
        from poolcensus.config.organizations import KEYS

        flags |= {key: key for key in KEYS}

    def switched_off(found: re.Match[str]) -> str:
        flag = flags.get(found[1])
        return f"--no-{flag.removeprefix('--')}" if flag is not None and flag != found[1] else found[0]

    return _SETTING.sub(lambda found: flags.get(found[1], found[0]), _SET_TO_FALSE.sub(switched_off, text))


def without_passwords(text: str) -> str:
    """Return the text without the passwords of URLs. The error about a wrong URL may quote it."""
    return _PASSWORD.sub(r"\1…@", text)


def complain(*lines: str) -> None:
    """Write each line to standard error, or as an error to the log if that is JSON."""
    _tell(lines, is_error=True)


def notice(*lines: str) -> None:
    """Write each line as `complain` does, but as a warning: nothing failed, and the user should know."""
    _tell(lines, is_error=False)


def _tell(lines: Iterable[str], *, is_error: bool) -> None:
    from poolcensus.cli import logs

    for line in map(without_passwords, map(with_options, lines)):
        # If standard error is gone, go on: the result and its exit code stay the same.
        with suppress(OSError):
            if not logs.message(line, is_error=is_error):
                click.echo(f"poolcensus: {printable(line)}", err=True)


def message_of(error: BaseException) -> str:
    """Return the message of an exception, with options in place of settings."""
    from poolcensus.errors import FatalError

    return with_options(str(error), error.organization if isinstance(error, FatalError) else None)


def details_of(error: Exception) -> Iterator[str]:
    """Yield the details of an exception beyond its message."""
    from poolcensus.errors import NotPublishedError

    if isinstance(error, NotPublishedError):
        yield from failures(error.failures)
        if error.dest is not None:
            yield f"Run 'poolcensus show --failures --dest {shlex.quote(error.dest)}' to list them."


def failures(groups: Iterable[FailureGroup]) -> Iterator[str]:
    """Yield a line for each group of failures: its cause, its first accounts, and how to fix it."""
    from poolcensus.analysis.causes import cause_of, remedy_of

    for group in groups:
        where = f" ({group.region})" if group.region is not None and group.accounts > 1 else ""
        names = [_account(each, with_region=not where) for each in group.examples]
        code = f" ({group.code})" if group.code is not None else ""
        whose, remedy = "", remedy_of(group)
        if group.organization is not None:
            whose, remedy = f"{group.organization}: ", with_options(remedy, group.organization)
        accounts = f"{counted(group.accounts, 'account')}{where}: {listed(names, total=group.accounts)}"
        yield f"{whose}{cause_of(group)} in {accounts}{code}. {remedy}"


def partial_snapshot(manifest: Manifest, location: str | None, dest: str) -> str:
    """Return the line about a partial snapshot. `location` is None if it can't be read again."""
    covered = f"{manifest.totals.covered:,} of {counted(manifest.totals.targets, 'target')} covered"
    if location is None:
        return f"Published partial snapshot {manifest.snapshot_id}: {covered}."
    return (
        f"Published partial snapshot {manifest.snapshot_id} at {location}: {covered}. Run 'poolcensus show"
        f" --failures {manifest.snapshot_id} --dest {shlex.quote(dest)}' to list the others."
    )


def hidden_items(hidden: Hidden, operation: OperationInfo) -> Iterator[str]:
    """Yield a line for each outcome that now hides items which an earlier snapshot saw."""
    if hidden:
        from poolcensus.analysis.hidden import now_hidden

        yield from now_hidden(hidden, operation)


def outdated_gaps(outdated: Iterable[OutdatedGap]) -> Iterator[str]:
    """Yield a line for each known gap that no longer holds."""
    for each in outdated:
        found = "none of its targets failed" if each.targets else "the Organization has none of its accounts"
        if each.example is not None:
            name = account_named(each.example.account_id, each.example.account_name, each.example.region, 1)
            more = f" and {each.allowed - 1:,} more" if each.allowed > 1 else ""
            found = f"{counted(each.allowed, 'target')} allowed: {name}{more}"
        yield (
            f"Known gap {_shortened(each.gap)} no longer holds: {found}. Narrow it or remove it from"
            " `known_gaps`."
        )


def _shortened(gap: KnownGap) -> str:
    """Return a known gap as text. If it has many accounts, only the first are named."""
    more = len(gap.accounts) - MOST_NAMED
    if more <= 0:
        return str(gap)
    first = replace(gap, accounts=gap.accounts[:MOST_NAMED])
    return f"{first} (and {more:,} more accounts)"


def _account(account: FailedAccount, *, with_region: bool) -> str:
    return account_named(account.id, account.name, account.region, account.regions if with_region else 0)

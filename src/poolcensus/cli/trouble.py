"""The lines on standard error that say what went wrong, and in which accounts."""

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
# In a URL that was meant for something else, or in a path that was made of one.
_PASSWORD = re.compile(r"(?<=:/)(/?)[^\s/@]*:[^\s/@]*@")
_SET_TO_FALSE = re.compile(r"`([a-z0-9_]+)` to false\b")
# Parameters of functions of the library that are no settings.
_PARAMETERS = {"every": "--all", "every_account": "--all", "path": "--config"}


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a person is likely to see it now. Doesn't load what draws on terminals."""
    return stream is not None and stream.isatty()


def is_writable(stream: IO[str]) -> bool:
    """Whether the stream takes bytes now: not so a terminal stopped by Ctrl-S, or a pipe that is full."""
    # Not select.select(), which fails with a descriptor of 1024 or more.
    ready = select.poll()
    with suppress(OSError, ValueError):
        ready.register(stream.fileno(), select.POLLOUT)
        return bool(ready.poll(0))
    # What is no file of the system never waits, or has its own error.
    return True


def with_options(text: str, organization: str | None = None) -> str:
    """Return the text with options in place of the settings that the library names, such as `strict`.

    Of one of several Organizations, what its table may set is called as it stands there: an option would
    take the place of what all tables say.
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
    """Return the text without the passwords of URLs, which it may name because they are refused."""
    return _PASSWORD.sub(r"\1…@", text)


def complain(*lines: str) -> None:
    """Write each line to standard error, or to the log where that is JSON, for programs to read."""
    _tell(lines, is_error=True)


def notice(*lines: str) -> None:
    """Write each line as `complain` does, of what went well and should be known: a program gets a warning."""
    _tell(lines, is_error=False)


def _tell(lines: Iterable[str], *, is_error: bool) -> None:
    from poolcensus.cli import logs

    for line in map(without_passwords, map(with_options, lines)):
        # Where standard error is gone, what has been done stands all the same, and so does its exit code.
        with suppress(OSError):
            if not logs.message(line, is_error=is_error):
                click.echo(f"poolcensus: {printable(line)}", err=True)


def message_of(error: BaseException) -> str:
    """Return the message of an exception in the words of the command line."""
    from poolcensus.errors import FatalError

    return with_options(str(error), error.organization if isinstance(error, FatalError) else None)


def details_of(error: Exception) -> Iterator[str]:
    """Yield what an exception knows beyond its message."""
    from poolcensus.errors import NotPublishedError

    if isinstance(error, NotPublishedError):
        yield from failures(error.failures)
        if error.dest is not None:
            yield f"Run 'poolcensus show --failures --dest {shlex.quote(error.dest)}' to list them."


def failures(groups: Iterable[FailureGroup]) -> Iterator[str]:
    """Yield a line for each way in which targets failed: its first accounts, and what would mend it."""
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
    """Return the line for a snapshot that lacks targets; `location` is None where it can't be read again."""
    covered = f"{manifest.totals.covered:,} of {counted(manifest.totals.targets, 'target')} covered"
    if location is None:
        return f"Published partial snapshot {manifest.snapshot_id}: {covered}."
    return (
        f"Published partial snapshot {manifest.snapshot_id} at {location}: {covered}. Run 'poolcensus show"
        f" --failures {manifest.snapshot_id} --dest {shlex.quote(dest)}' to list the others."
    )


def hidden_items(hidden: Hidden, operation: OperationInfo) -> Iterator[str]:
    """Yield a line for each outcome that hides items now, which an earlier snapshot saw."""
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
    """Return a gap in words, with its first accounts where it has many."""
    more = len(gap.accounts) - MOST_NAMED
    if more <= 0:
        return str(gap)
    first = replace(gap, accounts=gap.accounts[:MOST_NAMED])
    return f"{first} (and {more:,} more accounts)"


def _account(account: FailedAccount, *, with_region: bool) -> str:
    return account_named(account.id, account.name, account.region, account.regions if with_region else 0)

"""The lines on standard error that say what went wrong, and in which accounts."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from poolcensus.model import Outcome, TargetResult

MAX_ACCOUNTS = 5

# Control, format (which reorders text), surrogate, private and unassigned characters, and line separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """The text with escapes for what a terminal would obey or hide. Names come from other people."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a person is likely to see it now. Doesn't load what draws on terminals."""
    return stream is not None and stream.isatty()


def complain(*lines: str) -> None:
    """Writes each line to standard error, or to the log where that is JSON, for programs to read."""
    from poolcensus.cli import logs

    for line in lines:
        # Where standard error is gone, what has been done stands all the same, and so does its exit code.
        with suppress(OSError):
            if not logs.complain(line):
                click.echo(f"poolcensus: {printable(line)}", err=True)


def details_of(error: Exception) -> Iterator[str]:
    """What an exception knows beyond its message."""
    from poolcensus.errors import NotPublishedError

    if isinstance(error, NotPublishedError):
        yield from failures(error.uncovered, error.count)


def failures(uncovered: Iterable[TargetResult], count: int | None = None) -> Iterator[str]:
    """A line for each way in which targets were not covered, with the first of its accounts.

    `count` is how many targets there are where `uncovered` holds only the first of them.
    """
    groups: dict[tuple[Outcome, str], dict[str, list[TargetResult]]] = {}
    seen = 0
    for target in uncovered:
        group = groups.setdefault((target.outcome, _what(target)), {})
        group.setdefault(target.account_id, []).append(target)
        seen += 1
    for (_, what), by_account in sorted(groups.items(), key=lambda item: -len(item[1])):
        yield _line(what, dict(sorted(by_account.items())))
    if count is not None and count > seen:
        yield f"and {count - seen:,} more targets"


def closures(closed: Iterable[TargetResult]) -> Iterator[str]:
    """A line where the service is closed now to accounts that had pools."""
    by_account: dict[str, list[TargetResult]] = {}
    for target in closed:
        by_account.setdefault(target.account_id, []).append(target)
    if by_account:
        pools = sum(target.pools for targets in by_account.values() for target in targets)
        yield (
            f"WorkSpaces Pools is closed now to {counted(len(by_account), 'account')} in which the snapshot"
            f" before saw {counted(pools, 'pool')}: {_accounts(dict(sorted(by_account.items())))}"
        )


def _what(target: TargetResult) -> str:
    """What went wrong, with the policy that refused where the service names it."""
    from poolcensus.aws.refusals import denial_in, is_unexplained
    from poolcensus.model import Outcome

    phrase = _phrases()[target.outcome]
    message = target.error_message or ""
    denial = denial_in(message)
    if denial is not None and target.outcome is not Outcome.SCP_DENIED:
        why = f"explicit deny in a {denial.policy}" if denial.explicit else f"no {denial.policy} allows it"
        return f"{phrase} ({why})"
    if target.outcome is Outcome.ACCESS_DENIED and is_unexplained(message):
        return f"{phrase} (WorkSpaces does not say why: a missing permission, or a region without Pools)"
    return phrase


def _line(what: str, by_account: Mapping[str, list[TargetResult]]) -> str:
    regions = {target.region for targets in by_account.values() for target in targets}
    where = f" in {next(iter(regions))}" if len(regions) == 1 and len(by_account) > 1 else ""
    names = _accounts(by_account, with_region=not where)
    return f"{counted(len(by_account), 'account')} {what}{where}: {names}{_cause(by_account)}"


def _accounts(by_account: Mapping[str, list[TargetResult]], *, with_region: bool = True) -> str:
    names = [_account(targets, with_region=with_region) for targets in [*by_account.values()][:MAX_ACCOUNTS]]
    if len(by_account) > MAX_ACCOUNTS:
        names.append(f"and {len(by_account) - MAX_ACCOUNTS:,} more")
    return ", ".join(names)


def _account(targets: list[TargetResult], *, with_region: bool) -> str:
    first = targets[0]
    name = f" {first.account_name}" if first.account_name else ""
    if not with_region:
        return f"{first.account_id}{name}"
    where = first.region if len(targets) == 1 else counted(len(targets), "region")
    return f"{first.account_id}{name} ({where})"


def _cause(by_account: Mapping[str, list[TargetResult]]) -> str:
    """The error code, where all have the same."""
    codes = {target.error_code for targets in by_account.values() for target in targets}
    return f" [{code}]" if len(codes) == 1 and (code := codes.pop()) else ""


def counted(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _phrases() -> Mapping[Outcome, str]:
    from poolcensus.model import Outcome

    return {
        Outcome.ACCESS_DENIED: "refused the call",
        Outcome.SCP_DENIED: "refused by a service control policy",
        Outcome.ASSUME_ROLE_FAILED: "whose role could not be assumed",
        Outcome.THROTTLED: "still throttled after the last attempt",
        Outcome.UNREACHABLE: "not reached",
        Outcome.TIMED_OUT: "timed out",
        Outcome.BAD_RESPONSE: "answered with something that is not the operation's result",
        Outcome.EXPIRED: "whose credentials expired and could not be renewed",
        Outcome.ERROR: "answered with an error",
        Outcome.CANCELLED: "not asked before the run ended",
    }


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 12 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

"""The findings of `doctor` as text: a row for each check and cause, then how to fix each problem."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from poolcensus.cli.columns import Column, Grid
from poolcensus.cli.summaries import sentences
from poolcensus.cli.trouble import with_options
from poolcensus.doctor import Cause, Check, CheckStatus, Finding
from poolcensus.format import codec
from poolcensus.format.text import counted, listed, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from rich.console import RenderableType

_STYLES = {
    CheckStatus.OK: "green",
    CheckStatus.FAILED: "red",
    CheckStatus.NOT_MENDABLE: "yellow",
    CheckStatus.SKIPPED: "",
}


class _Group(NamedTuple):
    """Findings of one check that say the same about one or more accounts."""

    findings: list[Finding]

    @property
    def first(self) -> Finding:
        return self.findings[0]

    @property
    def accounts(self) -> list[str]:
        return list(dict.fromkeys(each.account_id for each in self.findings if each.account_id is not None))

    @property
    def regions(self) -> list[str]:
        return sorted({each.region for each in self.findings if each.region is not None})


def diagnoses(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Yield a table of the checks, then a paragraph for each cause, then a verdict."""
    groups = _grouped(findings)
    several = any(each.organization is not None for each in findings)
    yield Grid(
        (
            *((Column("Organization"),) if several else ()),
            Column("Check"),
            Column("Result", style=_style),
            Column("Cause"),
            Column("Action", rank=2),
            Column("Accounts", is_number=True),
            Column("Regions", rank=1, is_number=True),
        ),
        (
            (
                *((each.first.organization or "",) if several else ()),
                each.first.check,
                each.first.status,
                each.first.cause or "",
                (each.first.action or "") if each.first.cause is not None else "",
                f"{len(each.accounts):,}" if each.accounts else "",
                f"{len(each.regions):,}" if each.regions else "",
            )
            for each in groups
        ),
    )
    for each in groups:
        if each.first.cause is not None:
            yield ""
            yield from _paragraph(each)
    yield ""
    yield sentences(map(with_options, _verdict(findings)))


def _style(status: str) -> str:
    return _STYLES[CheckStatus(status)]


def _grouped(findings: Sequence[Finding]) -> list[_Group]:
    """Group findings that say the same. Sort by Organization and check, those without a cause first."""
    organizations = list(dict.fromkeys(each.organization for each in findings))
    groups: dict[tuple[object, ...], _Group] = {}
    for each in findings:
        policy = codec.dumps(each.policy) if each.policy is not None else None
        action = each.action if each.cause is not None else None
        key = (each.organization, each.check, each.status, each.cause, action, each.remedy, policy)
        groups.setdefault(key, _Group([])).findings.append(each)
    checks, statuses = list(Check), list(CheckStatus)
    return sorted(
        groups.values(),
        key=lambda group: (
            organizations.index(group.first.organization),
            checks.index(group.first.check),
            group.first.cause is not None,
            statuses.index(group.first.status),
            -len(group.accounts),
        ),
    )


def _paragraph(group: _Group) -> Iterator[RenderableType]:
    first = group.first
    accounts, regions = group.accounts, group.regions
    where = ""
    if accounts:
        in_regions = f" ({', '.join(regions) if len(regions) <= 2 else counted(len(regions), 'region')})"
        where = f" in {counted(len(accounts), 'account')}{in_regions if regions else ''}: {listed(accounts)}"
    message = first.message or ""
    code = f" ({first.code})" if first.code is not None and first.code not in message else ""
    whose = f"{first.organization}: " if first.organization is not None else ""
    lines = (f"{whose}{first.check}: {first.cause}{where}", f"{message}{code}", first.remedy or "")
    yield sentences(with_options(each, first.organization) for each in lines if each)
    if first.policy is not None:
        # Not wrapped, so that the policy can be copied.
        yield Text(printable_lines(json.dumps(first.policy, indent=2)), no_wrap=True, overflow="ignore")


def printable_lines(text: str) -> str:
    """Return a text of several lines, with control characters escaped."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _verdict(findings: Sequence[Finding]) -> Iterator[str]:
    targets = [each for each in findings if each.check is Check.OPERATION and each.region is not None]
    tried = {each.account_id for each in targets}
    regions = {each.region for each in targets}
    problems = [each for each in findings if each.is_problem]
    scope = f"{counted(len(tried), 'account')} and {counted(len(regions), 'region')}"
    if not problems and not tried:
        yield "Nothing was tried of what a collect would ask."
    elif not problems:
        aside = ", known gaps aside" if any(each.cause is Cause.KNOWN_GAP for each in findings) else ""
        yield f"A collect would cover everything that was tried{aside}: {scope}."
    else:
        failed = {each.check for each in problems}
        names = ", ".join(each for each in Check if each in failed)
        yield f"A collect would not cover everything that was tried. What fails: {names}."
    yield from _reasons_to_skip(findings, tried)
    for each in findings:
        if each.check is Check.ORGANIZATION and each.cause is None and each.remedy is not None:
            whose = f"{each.organization}: " if each.organization is not None else ""
            yield f"{whose}{with_options(f'{each.message} {each.remedy}', each.organization)}"


def _reasons_to_skip(findings: Sequence[Finding], tried: AbstractSet[str | None]) -> Iterator[str]:
    """Yield why accounts were not tried, then each reason why a check was skipped."""
    left: dict[str, list[str]] = {}
    skipped: dict[str, None] = {}
    for each in findings:
        if each.status is not CheckStatus.SKIPPED or each.cause is not None:
            continue
        if each.check is Check.ROLE and each.account_id not in tried:
            left.setdefault(each.message or "", []).extend(filter(None, (each.account_id,)))
        # A message with a remedy is printed together with that remedy, in the verdict.
        elif each.message is not None and each.remedy is None:
            whose = f"{each.organization}: " if each.organization is not None else ""
            skipped[with_options(f"{whose}{each.check} skipped: {each.message}", each.organization)] = None
    for message, accounts in left.items():
        yield f"{listed(accounts)}: {message}" if accounts else message
    yield from skipped

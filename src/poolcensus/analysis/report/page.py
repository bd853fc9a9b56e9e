"""Renders the page from its template. Everything from a snapshot is escaped as text."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.report import commands, figures, lists, wording
from poolcensus.analysis.report.extra import loading_jinja2
from poolcensus.analysis.report.tables import sentence, short
from poolcensus.format.text import counted
from poolcensus.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

    from poolcensus.analysis.report.facts import Facts

# The reasons are whole sentences, so the page shows only a few.
_UNREAD_SHOWN: Final = 20


def render_page(facts: Facts) -> str:
    """Return the page as HTML. Raises `MissingExtraError` if the extra `report` is not installed."""
    environment = _environment()
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    history, comparison = facts.history, facts.comparison
    return environment.get_template("report.html").render(
        facts=facts,
        items=facts.operation.items,
        style=style,
        script=script,
        policy=content_policy(style, script),
        version=__version__,
        verdict=wording.verdict(facts),
        outcomes=figures.outcomes(facts),
        causes=lists.causes(facts),
        skipped=lists.skipped(facts),
        contents=[*figures.contents(facts)],
        trend=figures.trend(facts),
        trend_table=figures.trend_table(facts),
        period=wording.period(history),
        unread=history.unread[:_UNREAD_SHOWN],
        more_unread=len(history.unread[_UNREAD_SHOWN:]),
        snapshots_command=commands.snapshots(facts),
        changes=lists.changes(facts, comparison) if comparison is not None else None,
        worklist=lists.worklist(facts),
    )


def content_policy(style: str, script: str) -> str:
    """Return a content security policy under which the page loads nothing, and runs only this script.

    It allows images from `data:` for the page's empty icon. Without that icon, a browser asks the server for
    one.
    """
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    # Cached with its compiled template. Compiling takes a third of the time of a page.
    with loading_jinja2():
        import jinja2  # noqa: PLC0415 - an extra
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        short=short,
        sentence=sentence,
        number=wording.number,
        day=wording.day,
        minute=wording.minute,
        counted=counted,
        time_left=wording.time_left,
    )
    return environment


def _asset(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""`poolcensus man`: the manual page, generated from the commands."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from poolcensus.cli import COMMANDS, CONTEXT_SETTINGS, group
from poolcensus.cli.command import Command
from poolcensus.cli.exits import MEANINGS, ExitCode
from poolcensus.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLES = (
    (
        "POOLCENSUS_KEY",
        "An option of collect, such as POOLCENSUS_DEST for --dest, which goes over it. Empty: not set.",
    ),
    ("POOLCENSUS_CONFIG", "The TOML file with settings."),
    ("NO_COLOR", "If it is set and not empty, nothing is coloured."),
    (
        "AWS_PROFILE, AWS_ENDPOINT_URL, HTTPS_PROXY, ...",
        "What the AWS SDK reads is honoured.",
    ),
)
_FILES = (
    ("./poolcensus.toml", "Settings, if no file is named."),
    ("~/.config/poolcensus/config.toml", "Settings, if there is no such file either."),
)


@click.command(
    name="man",
    cls=Command,
    examples=(
        ("Read it", "poolcensus man | man -l -"),
        ("Install it", "poolcensus man > ~/.local/share/man/man1/poolcensus.1"),
    ),
)
def command() -> int:
    """Print the manual page, for man(1)."""
    click.echo("\n".join(page()))
    return ExitCode.OK


def page() -> Iterator[str]:
    """Yield the lines of the manual page, with the macros of man(7)."""
    yield f'.TH POOLCENSUS 1 "" "poolcensus {_escaped(__version__)}" "User Commands"'
    about = (group.help or "").rstrip(".")
    yield from (".SH NAME", f"poolcensus \\- {_escaped(about[0].lower() + about[1:])}")
    yield from (".SH SYNOPSIS", r".B poolcensus", r".I COMMAND", r"[\fIOPTION\fR]...")
    yield from (".SH COMMANDS",)
    with click.Context(group, info_name="poolcensus", **CONTEXT_SETTINGS) as outer:
        for name in COMMANDS:
            found = group.get_command(outer, name)
            if found is not None:
                yield from _command(name, found, outer)
    yield ".SH EXIT STATUS"
    for code, meaning in MEANINGS.items():
        yield from _entry(str(int(code)), meaning)
    yield ".SH ENVIRONMENT"
    for variable, meaning in _VARIABLES:
        yield from _entry(variable, meaning)
    yield ".SH FILES"
    for file, meaning in _FILES:
        yield from _entry(file, meaning)


def _command(name: str, found: click.Command, outer: click.Context) -> Iterator[str]:
    with click.Context(found, info_name=name, parent=outer) as ctx:
        pieces = " ".join(found.collect_usage_pieces(ctx))
        yield from (f".SS {_escaped(name)}", f".B poolcensus {_escaped(name)}", f"{_escaped(pieces)}")
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(found.help or "")):
            yield from (".PP", _escaped(" ".join(paragraph.split())))
        for parameter in found.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                yield from _entry(*record)
    if isinstance(found, Command):
        if found.closing is not None:
            yield from (".PP", _escaped(found.closing))
        for example in found.examples:
            yield from (".PP", _escaped(f"{example.purpose}:"), ".PP", ".RS 4", ".nf")
            yield from (_escaped(example.line), ".fi", ".RE")


def _entry(name: str, text: str) -> Iterator[str]:
    yield from (".TP", f".B {_escaped(name)}", _escaped(" ".join(text.split())))


def _escaped(text: str) -> str:
    """Return the text escaped for roff: hyphens stay ASCII hyphens, and no line is taken for a request."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe

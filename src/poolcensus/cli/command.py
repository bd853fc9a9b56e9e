"""The click class of all commands: it adds examples to their help."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, NamedTuple

import click

from poolcensus.cli.places import name_place
from poolcensus.errors import SettingsError
from poolcensus.extras import need

if TYPE_CHECKING:
    from collections.abc import Sequence

_EMPTY_VALUES = (
    "An empty value for a setting, such as --profile '', takes back what the file or the environment sets;"
    " --dest has to name something."
)


class Example(NamedTuple):
    """A command line, and what it is for."""

    purpose: str
    line: str


class Command(click.Command):
    """A command with examples, which its help and the manual page show.

    `extra` names the extra of the distribution that it needs. Its help then says how to install that.
    """

    def __init__(
        self,
        *args: object,
        examples: Sequence[tuple[str, str]],
        extra: str | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type] # click's own, checked by it
        if extra is not None:
            self.help = f"{inspect.cleandoc(self.help or '')}\n\n{need(extra)}"
        self.examples = tuple(Example(*each) for each in examples)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. An error about a setting names the place where that setting was given."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            name_place(error, ctx)
            raise

    @property
    def closing(self) -> str | None:
        """A note about all options of a command that has settings, or None."""
        return _EMPTY_VALUES if any(each.name == "config" for each in self.params) else None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - Click's signature
        """Write the note about the options, and the examples, which are not wrapped so as to be copied."""
        if self.closing is not None:
            formatter.write_paragraph()
            formatter.write_text(self.closing)
        formatter.write_paragraph()
        formatter.write_heading("Examples")
        for each in self.examples:
            formatter.write(f"  # {each.purpose}\n  {each.line}\n")

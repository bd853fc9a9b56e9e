"""Messages about wrong command lines, and parsers for option values that are not settings."""

from __future__ import annotations

import click

# Options are short words, some of whose letters match by chance. The cutoff is therefore high.
_CLOSE = 0.7


def words_of(error: click.ClickException) -> str:
    """Return the message of a Click error in this program's style."""
    match error:
        case click.NoSuchOption(option_name=name, ctx=ctx):
            hint = "" if ctx is None else _hint(name, ctx)
            return f'Unknown option "{ascii(name)[1:-1]}".{hint}'
        case click.MissingParameter():
            # Click puts each choice on its own line, after a tab.
            return error.format_message().replace("\n\t", " ")
        case click.BadParameter(param=click.Option(opts=[flag, *_]), message=message):
            return f"{flag}: {message}"
        case click.BadParameter(param=click.Argument(human_readable_name=name), message=message):
            return f"{name}: {message}"
    return error.format_message()


def _hint(name: str, ctx: click.Context) -> str:
    from poolcensus.format.text import did_you_mean, nearest

    options = (each for each in ctx.command.get_params(ctx) if isinstance(each, click.Option))
    flags = [flag for each in options if not each.hidden for flag in (*each.opts, *each.secondary_opts)]
    # Compared without the leading dashes, which all have in common.
    known = {flag.removeprefix("--"): flag for flag in flags}
    near = nearest(name.removeprefix("--").lower().replace("_", "-"), known, cutoff=_CLOSE)
    return did_you_mean(None if near is None else known[near])


def integer(value: str) -> int:
    """Return the value as an integer. Raises ValueError, whose message Click prints."""
    try:
        return int(value)
    except ValueError:
        raise _refused(value, "a whole number") from None


def count(value: str) -> int:
    """Return the value as an integer of at least 1. Raises ValueError, whose message Click prints."""
    try:
        found = int(value)
    except ValueError:
        found = 0
    if found < 1:
        raise _refused(value, "a whole number from 1")
    return found


def number(value: str | float) -> float:
    """Return the value as a float. Raises ValueError, whose message Click prints."""
    try:
        return float(value)
    except ValueError:
        raise _refused(value, "a number") from None


def _refused(value: object, wanted: str) -> ValueError:
    from poolcensus.config.readers import shown

    return ValueError(f"{shown(value)} must be {wanted}")

"""What is said of a command line that is wrong, and what reads the values that are no setting's."""

from __future__ import annotations

import click

# Of so few letters, some agree in words that have nothing to do with each other.
_CLOSE = 0.7


def words_of(error: click.ClickException) -> str:
    """Return the message of an error of Click in the words of the program."""
    match error:
        case click.NoSuchOption(option_name=name, ctx=ctx):
            hint = "" if ctx is None else _hint(name, ctx)
            return f'Unknown option "{ascii(name)[1:-1]}".{hint}'
        case click.MissingParameter():
            # It lists choices a line each, indented by tabs.
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
    # Without the dashes, which all of them begin with.
    known = {flag.removeprefix("--"): flag for flag in flags}
    near = nearest(name.removeprefix("--").lower().replace("_", "-"), known, cutoff=_CLOSE)
    return did_you_mean(None if near is None else known[near])


def integer(value: str) -> int:
    """Return a whole number. Raises ValueError, for Click to say."""
    try:
        return int(value)
    except ValueError:
        raise _refused(value, "a whole number") from None


def count(value: str) -> int:
    """Return how many there are to be, one at least. Raises ValueError, for Click to say."""
    try:
        found = int(value)
    except ValueError:
        found = 0
    if found < 1:
        raise _refused(value, "a whole number from 1")
    return found


def number(value: str | float) -> float:
    """Return a number. Raises ValueError, for Click to say."""
    try:
        return float(value)
    except ValueError:
        raise _refused(value, "a number") from None


def _refused(value: object, wanted: str) -> ValueError:
    from poolcensus.config.readers import shown

    return ValueError(f"{shown(value)} must be {wanted}")

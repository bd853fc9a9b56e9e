"""`poolcensus completion`."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from poolcensus.cli import COMPLETE_VARIABLE, group
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode

_SHELLS = ("bash", "zsh", "fish")

# Click's script for fish splits each line at every comma, but values and descriptions contain commas too.
_SPLIT = 'string split "," $completion'
_SPLIT_ONCE = 'string split --max 1 "," $completion'


@click.command(
    name="completion",
    cls=Command,
    examples=(
        (
            "bash, with bash-completion",
            "poolcensus completion bash > ~/.local/share/bash-completion/completions/poolcensus",
        ),
        ("zsh, in a folder of $fpath", "poolcensus completion zsh > ~/.zfunc/_poolcensus"),
        ("fish", "poolcensus completion fish > ~/.config/fish/completions/poolcensus.fish"),
    ),
)
@click.argument("shell", metavar="SHELL", type=click.Choice(_SHELLS))
def command(shell: str) -> int:
    """Print the script that makes a shell complete commands, options and snapshot IDs.

    SHELL is bash (4.4 or newer), zsh or fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - Click has the three
    # The base class's `source`: the one for bash first runs the bash that is on the PATH.
    script = ShellComplete.source(kind(group, {}, "poolcensus", COMPLETE_VARIABLE))
    click.echo(script.replace(_SPLIT, _SPLIT_ONCE))
    return ExitCode.OK

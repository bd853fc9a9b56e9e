"""The extras of the distribution: what some commands need besides, and how it is had."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from poolcensus.paths import exists, is_folder

# The file that each leaves in the environment of a program, the name of the tool, the variable that
# says where such environments are, and which of the environment's parents it names.
_TOOLS: Final = (
    ("pipx_metadata.json", "pipx", "PIPX_HOME", 1),
    ("uv-receipt.toml", "uv tool", "UV_TOOL_DIR", 0),
)


def need(extra: str) -> str:
    """Return the sentence for a command that needs an extra."""
    return f'Needs the extra "{extra}": see "Install" in the README.'


def installation(extra: str) -> str:
    """Return the order to install an extra where this program is installed.

    The package is on no index, so that no one command has it. Blocks.
    """
    tool = _tool()
    if tool is None:
        command = f"{_python()} -m pip install '.[{extra}]'"
        return f"Install poolcensus with its extra {extra}, in a checkout: {command}"
    return f"Install poolcensus with its extra {extra}, in a checkout: {tool} install --force '.[{extra}]'"


def _tool() -> str | None:
    """Return what a shell calls the tool by that made this environment; None where none did."""
    environment = Path(sys.prefix)
    for mark, tool, variable, level in _TOOLS:
        if exists(environment / mark):
            folder = environment.parents[level]
            # In the user's home, the tool finds its environments by itself.
            in_home = folder.is_relative_to(os.environ.get("HOME", ""))
            return tool if in_home else f"{variable}={shlex.quote(str(folder))} {tool}"
    return None


def _python() -> str:
    """Return what a shell in a checkout finds this interpreter by."""
    python = Path(sys.executable)
    if shutil.which(python.name) == sys.executable:
        return python.name
    # In a folder that can't be looked into, the whole path does.
    with suppress(OSError):
        here = Path.cwd()
        if is_folder(here / "src" / "poolcensus") and python.is_relative_to(here):
            python = python.relative_to(here)
    return shlex.quote(str(python))

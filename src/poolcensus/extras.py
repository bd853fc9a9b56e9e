"""The extras of the distribution: what some commands need besides, and how it is had."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poolcensus.errors import FatalError, MissingExtraError
from poolcensus.paths import exists, is_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# The file that each leaves in the environment of a program, the name of the tool, the variable that
# says where such environments are, which of the environment's parents it names, and where that is without
# it in the user's folder of data.
_TOOLS: Final = (
    ("pipx_metadata.json", "pipx", "PIPX_HOME", 1, "pipx"),
    ("uv-receipt.toml", "uv tool", "UV_TOOL_DIR", 0, "uv/tools"),
)
# Where pipx looks, too: https://pipx.pypa.io/latest/how-to/configure-paths/
_OTHER_FOLDERS: Final = (".local/pipx", "Library/Application Support/pipx")


def need(extra: str) -> str:
    """Return the sentence for a command that needs an extra."""
    return f'Needs the extra "{extra}": see "Install" in the README.'


def installation(extra: str) -> str:
    """Return the order to install an extra where this program is installed.

    The package is on no index, so that no one command has it. Blocks.
    """
    tool = _tool()
    if tool is not None:
        return (
            f"Install poolcensus with its extra {extra}, in a checkout: {tool} install --force '.[{extra}]'"
        )
    python = _python()
    if find_spec("pip") is not None:
        return (
            f"Install poolcensus with its extra {extra}, in a checkout: {python} -m pip install '.[{extra}]'"
        )
    # uv makes environments without pip.
    return (
        f"Install poolcensus with its extra {extra}, in a checkout: uv pip install --python {python}"
        f" '.[{extra}]'"
    )


@contextmanager
def loading(library: str, *modules: str, extra: str) -> Iterator[None]:
    """Make what `not_loaded` returns of an import that fails in the block. Blocks."""
    try:
        yield
    except ImportError as error:
        raise not_loaded(error, library, modules, extra) from error


def not_loaded(error: ImportError, library: str, modules: Collection[str], extra: str) -> FatalError:
    """Return what a person is told of an import of a library of an extra that has failed. Blocks.

    That is a `MissingExtraError` where one of its top-level `modules` is not there. What is there may not be
    loaded either: the system lacks memory or another library for it.
    """
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in modules:
        return MissingExtraError(f"{library} is not installed. {installation(extra)}")
    return FatalError(f"{library} can't be loaded: {error}")


def _tool() -> str | None:
    """Return what a shell calls the tool by that made this environment; None where none did."""
    environment = Path(sys.prefix)
    for mark, tool, variable, level, usual in _TOOLS:
        if exists(environment / mark):
            folder = environment.parents[level]
            home, data = os.environ.get("HOME", ""), os.environ.get("XDG_DATA_HOME") or ".local/share"
            # Where the tool finds its environments by itself.
            own = {Path(home, data, usual), *(Path(home, each) for each in _OTHER_FOLDERS)}
            return tool if folder in own else f"{variable}={shlex.quote(str(folder))} {tool}"
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

"""The extras of the distribution, which some commands need, and how to install them."""

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

# For each tool that installs programs: the file that it leaves in the environment of a program, its name, the
# variable with the folder of such environments, which parent of the environment that folder is, and the
# default folder, relative to the user's data folder.
_TOOLS: Final = (
    ("pipx_metadata.json", "pipx", "PIPX_HOME", 1, "pipx"),
    ("uv-receipt.toml", "uv tool", "UV_TOOL_DIR", 0, "uv/tools"),
)
# Further folders of pipx: https://pipx.pypa.io/latest/how-to/configure-paths/
_OTHER_FOLDERS: Final = (".local/pipx", "Library/Application Support/pipx")


def need(extra: str) -> str:
    """Return the sentence for a command that needs an extra."""
    return f'Needs the extra "{extra}": see "Install" in the README.'


def installation(extra: str) -> str:
    """Return a sentence that tells how to install an extra into the environment of this program.

    The package is on no package index, so it is installed from a checkout. This function blocks.
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
    """Raise the error that `not_loaded` returns if an import in the block fails. This function blocks."""
    try:
        yield
    except ImportError as error:
        raise not_loaded(error, library, modules, extra) from error


def not_loaded(error: ImportError, library: str, modules: Collection[str], extra: str) -> FatalError:
    """Return the error for a failed import of the library of an extra. This function blocks.

    It is a `MissingExtraError` if one of the library's top-level `modules` is not installed. The import of an
    installed library may fail, too, if memory or a library of the system is missing.
    """
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in modules:
        return MissingExtraError(f"{library} is not installed. {installation(extra)}")
    return FatalError(f"{library} can't be loaded: {error}")


def _tool() -> str | None:
    """Return the command of the tool that made this environment, or None if no tool made it."""
    environment = Path(sys.prefix)
    for mark, tool, variable, level, usual in _TOOLS:
        if exists(environment / mark):
            folder = environment.parents[level]
            home, data = os.environ.get("HOME", ""), os.environ.get("XDG_DATA_HOME") or ".local/share"
            # The folders in which the tool finds its environments without the variable.
            own = {Path(home, data, usual), *(Path(home, each) for each in _OTHER_FOLDERS)}
            return tool if folder in own else f"{variable}={shlex.quote(str(folder))} {tool}"
    return None


def _python() -> str:
    """Return the shortest command for this interpreter that works in the current folder."""
    python = Path(sys.executable)
    if shutil.which(python.name) == sys.executable:
        return python.name
    # If the current folder can't be read, use the absolute path.
    with suppress(OSError):
        here = Path.cwd()
        if is_folder(here / "src" / "poolcensus") and python.is_relative_to(here):
            python = python.relative_to(here)
    return shlex.quote(str(python))

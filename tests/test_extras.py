"""An extra is installed with the tool that has installed the program, and into the same environment.

A library that is installed but can't be loaded is not reported as missing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.analysis.database import Database
from poolcensus.analysis.report.extra import check_extra
from poolcensus.errors import FatalError, MissingExtraError
from poolcensus.extras import installation
from poolcensus.workers.dask import dask_workers
from workers import tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGINS = "Install poolcensus with its extra query, in a checkout: "


async def _open_workers() -> None:
    async with dask_workers(tasks.backward, count=1):
        pass


_NOT_LOADED = "libstdc++.so.6: cannot open shared object file"
_OTHER_VERSION = "cannot import name 'x' from '{module}'"
_PLACES: dict[str, tuple[Callable[[], object], str, str]] = {
    "duckdb": (Database, "DuckDB", "query"),
    "jinja2": (check_extra, "Jinja2", "report"),
    "vl_convert": (check_extra, "vl-convert-python", "report"),
    "distributed": (lambda: anyio.run(_open_workers), "Dask", "dask"),
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of this interpreter. The current folder is not a checkout."""
    found = tmp_path / "a user" / "tools" / "venvs" / "poolcensus"
    (found / "bin").mkdir(parents=True)
    python = found / "bin" / "python3"
    python.touch(mode=0o755)
    monkeypatch.setattr(sys, "prefix", str(found))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("HOME", str(tmp_path / "a user"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "pip.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.chdir(tmp_path)
    return found


@pytest.mark.parametrize(
    ("mark", "command", "place"),
    [
        ("pipx_metadata.json", "pipx install --force '.[query]'", "PIPX_HOME='{home}/tools'"),
        ("uv-receipt.toml", "uv tool install --force '.[query]'", "UV_TOOL_DIR='{home}/tools/venvs'"),
    ],
)
def test_an_environment_of_a_tool_is_made_again_by_the_tool_where_it_is(
    environment: Path, monkeypatch: pytest.MonkeyPatch, mark: str, command: str, place: str
) -> None:
    (environment / mark).touch()
    # With the installation of step 8 in the README, the user's own tool would look elsewhere.
    home = environment.parents[2]
    for other in (str(home), str(home.parent / "root"), "/", ""):
        monkeypatch.setenv("HOME", other)
        assert installation("query") == f"{BEGINS}{place.format(home=home)} {command}"


@pytest.mark.parametrize(
    ("folder", "data"),
    [
        (".local/share/pipx/venvs", ""),
        (".local/pipx/venvs", ""),
        ("Library/Application Support/pipx/venvs", ""),
        ("data/pipx/venvs", "data"),
        (".local/share/uv/tools", ""),
        ("data/uv/tools", "data"),
    ],
)
def test_a_tool_finds_its_usual_folders_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, data: str
) -> None:
    mark, tool = ("uv-receipt.toml", "uv tool") if "/uv/" in folder else ("pipx_metadata.json", "pipx")
    found = tmp_path / folder / "poolcensus"
    found.mkdir(parents=True)
    (found / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(found))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / data) if data else "")
    assert installation("query") == f"{BEGINS}{tool} install --force '.[query]'"


def test_another_environment_takes_it_by_its_own_pip(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = f"'{environment / 'bin' / 'python3'}'"
    pip = "-m pip install '.[query]'"
    # An active environment is first in PATH.
    monkeypatch.setenv("PATH", str(environment / "bin"))
    assert installation("query") == f"{BEGINS}python3 {pip}"
    monkeypatch.setenv("PATH", str(environment.parent))
    monkeypatch.chdir(environment.parent)
    assert installation("query") == f"{BEGINS}{whole} {pip}"
    (environment.parent / "src" / "poolcensus").mkdir(parents=True)
    assert installation("query") == f"{BEGINS}poolcensus/bin/python3 {pip}"
    monkeypatch.setitem(sys.modules, "pip", None)
    uv = "uv pip install --python poolcensus/bin/python3 '.[query]'"
    assert installation("query") == f"{BEGINS}{uv}"


@pytest.mark.parametrize("module", _PLACES)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"raise ImportError({_NOT_LOADED!r})", _NOT_LOADED),
        # The error of "from it import x" has the name of the module.
        (f'raise ImportError("{_OTHER_VERSION}", name="{{module}}")', _OTHER_VERSION),
        ("import a_module_that_is_nowhere", "No module named 'a_module_that_is_nowhere'"),
        ("import {module}.a_part", None),
    ],
)
def test_what_is_there_and_can_not_be_loaded_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, line: str, said: str | None
) -> None:
    (tmp_path / f"{module}.py").write_text(line.format(module=module))
    monkeypatch.syspath_prepend(tmp_path)
    # Kept to restore them, since the libraries can be loaded only once.
    kept = {name: each for name, each in sys.modules.items() if name.partition(".")[0] == module}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    call, library, extra = _PLACES[module]
    with pytest.raises(FatalError) as caught:
        call()
    if said is None:
        assert isinstance(caught.value, MissingExtraError)
        assert str(caught.value) == f"{library} is not installed. {installation(extra)}"
    else:
        assert not isinstance(caught.value, MissingExtraError)
        assert str(caught.value) == f"{library} can't be loaded: {said.format(module=module)}"

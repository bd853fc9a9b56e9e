"""An extra is installed by what has installed the program, and where that has put it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from poolcensus.extras import installation

if TYPE_CHECKING:
    from pathlib import Path

BEGINS = "Install poolcensus with its extra query, in a checkout: "


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment that this interpreter is in, and a folder that is no checkout to work in."""
    found = tmp_path / "a user" / "tools" / "venvs" / "poolcensus"
    (found / "bin").mkdir(parents=True)
    python = found / "bin" / "python3"
    python.touch(mode=0o755)
    monkeypatch.setattr(sys, "prefix", str(found))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("HOME", str(tmp_path / "a user"))
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
    assert installation("query") == f"{BEGINS}{command}"
    # As step 8 of the README has it, the tool of whoever types this would look elsewhere.
    home = environment.parents[2]
    for other in (str(home.parent / "root"), ""):
        monkeypatch.setenv("HOME", other)
        assert installation("query") == f"{BEGINS}{place.format(home=home)} {command}"


def test_another_environment_takes_it_by_its_own_pip(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = f"'{environment / 'bin' / 'python3'}'"
    pip = "-m pip install '.[query]'"
    # An environment that is active comes first in PATH.
    monkeypatch.setenv("PATH", str(environment / "bin"))
    assert installation("query") == f"{BEGINS}python3 {pip}"
    monkeypatch.setenv("PATH", str(environment.parent))
    monkeypatch.chdir(environment.parent)
    assert installation("query") == f"{BEGINS}{whole} {pip}"
    (environment.parent / "src" / "poolcensus").mkdir(parents=True)
    assert installation("query") == f"{BEGINS}poolcensus/bin/python3 {pip}"

"""The package declares the dependencies that it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIRED = PROJECT["dependencies"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_TESTS = EXTRAS["test"]
OPTIONAL = [entry for name, entries in EXTRAS.items() if name not in {"all", "test"} for entry in entries]


def _imported(*folders: str) -> set[str]:
    """Return the distributions of everything that the code in these folders imports, except its own modules.

    If several distributions share a package, it is the one that the package needs, or else that of the tests.
    """
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    own = {"poolcensus", *(path.stem for path in files), *(path.parent.name for path in files)}
    names: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                names.add(node.module)
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - own
    distributions = packages_distributions()
    needed = _declared(REQUIRED + OPTIONAL)
    found = [[*map(_normal, distributions[name])] for name in foreign]
    return {next((each for each in names if each in needed), names[0]) for names in found}


def _declared(entries: list[str]) -> set[str]:
    return {_normal(re.split(r"[^\w.-]", entry)[0]) for entry in entries}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    assert _imported("src") == _declared(REQUIRED + OPTIONAL)


def test_the_readme_names_each_extra_where_it_says_how_to_install() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.search(r"Extras\s+are named(.*?)\n\n", page, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`\sfor", named[1])) == {*EXTRAS} - {"test"}


def test_what_an_extra_has_is_there_for_the_tests_and_in_all_of_them() -> None:
    assert set(OPTIONAL) <= set(FOR_TESTS)
    assert EXTRAS["all"] == [f"poolcensus[{','.join(sorted(EXTRAS.keys() - {'all', 'test'}))}]"]


def test_what_the_tests_import_is_declared() -> None:
    assert _imported("tests", "benches") <= _declared(REQUIRED + OPTIONAL + FOR_TESTS)


@pytest.mark.parametrize("entry", REQUIRED + OPTIONAL)
def test_a_dependency_has_both_bounds(entry: str) -> None:
    assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", entry)


# Reports show commands, and the last line of a log may be written before the options are read.
_AT_THE_COMMAND_LINE = ("cli/", "simulator/", "analysis/report/", "exit_error.py", "__main__.py")
_IN_A_COMMAND = re.compile(r"\b(poolcensus|aws|plan) [^']*")


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module without its docstrings, with a letter for each formatted value."""
    passed_over: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            passed_over.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            passed_over.update(node.values)
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "x" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in passed_over:
            yield node.value


def test_the_library_names_settings_and_not_options() -> None:
    package = ROOT / "src" / "poolcensus"
    options = [
        (name, each)
        for path in package.rglob("*.py")
        if not (name := path.relative_to(package).as_posix()).startswith(_AT_THE_COMMAND_LINE)
        for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        for each in re.findall(r"--[a-z][a-z-]+", _IN_A_COMMAND.sub("", text))
    ]
    assert not options

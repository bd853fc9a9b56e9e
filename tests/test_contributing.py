"""The pages for contributors are right: links lead somewhere, scripts exist, drawings match the contracts."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
_FOLDERS = (".github", "src", "tests", "config", "benches")
PAGES = sorted([*ROOT.glob("*.md"), *(page for each in _FOLDERS for page in (ROOT / each).rglob("*.md"))])
CHANGES = sorted((ROOT / ".github" / "changelog" / "unreleased").iterdir())
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
DESIGN = ROOT / "src" / "poolcensus" / "README.md"
SCRIPTS = sorted((ROOT / ".ci").iterdir())


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _dead_links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link


def test_relative_links_lead_somewhere() -> None:
    assert PAGES
    assert not [(_name(page), link) for page in PAGES for link in _dead_links(page)]


def test_the_files_of_tests_that_a_page_names_are_there() -> None:
    known = {path.name for path in (ROOT / "tests").rglob("*.py")}
    named = [
        (_name(page), path)
        for page in PAGES
        for path in re.findall(r"`([\w/]*\btest_\w+\.py)`", page.read_text(encoding="utf-8"))
    ]
    assert named
    assert not [
        (page, path)
        for page, path in named
        if not ((ROOT / path).is_file() if "/" in path else path in known)
    ]


@pytest.mark.parametrize(
    ("title", "container"), [("layers", "poolcensus"), ("layers of aws", "poolcensus.aws")]
)
def test_the_layers_of_the_design_page_are_those_of_the_contract(title: str, container: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == [container]]
    drawing = re.search(rf"<!-- {title} -->\n```\n(.*?)```", DESIGN.read_text(encoding="utf-8"), re.DOTALL)
    assert drawing is not None
    drawn = [re.split(r"\s{2,}", line)[0] for line in drawing[1].splitlines()]
    assert [set(each.split(" | ")) for each in drawn] == [set(each.split(" | ")) for each in layers]


def test_the_design_page_names_each_place_that_alone_may_import_something() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    importers = {
        ignored.partition(" -> ")[0].removeprefix("poolcensus.").removesuffix(".**").replace(".", "/")
        for contract in project["tool"]["importlinter"]["contracts"]
        for ignored in contract.get("ignore_imports", [])
    }
    named = re.search(r"imported in (`aws`.*?)\n\n", DESIGN.read_text(encoding="utf-8"), re.DOTALL)
    assert named is not None
    places = {each.removesuffix(".py") for each in re.findall(r"`([\w./]+)`", named[1])}
    assert places - {"poolcensus"} == importers


def test_each_term_of_the_design_page_stands_once() -> None:
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)
    terms = terms[terms.index("term") + 1 : terms.index("what goes wrong")]
    assert {"target", "covered", "ledger", "draft"} <= {*terms}
    assert len(terms) == len({*terms})


def _wrong_in_its_form(change: Path) -> list[str]:
    text = change.read_text(encoding="utf-8")
    first, _, rest = text.removesuffix("\n").partition("\n")
    empty, *body = rest.split("\n")
    held = {
        "name": re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*\.md", change.name),
        "first line": re.fullmatch(r"(Bugfix|Change|Enhancement|Security): [A-Z].{,79}[^.]", first),
        "empty second line": not empty,
        "end": body and body[-1].endswith(".") and text.endswith(".\n"),
        "length of the lines": all(len(line) <= 120 for line in body),
    }
    return [name for name, holds in held.items() if not holds]


def test_each_change_of_the_log_has_its_form() -> None:
    assert CHANGES
    wrong = {change.name: _wrong_in_its_form(change) for change in CHANGES}
    assert not {name: found for name, found in wrong.items() if found}


def test_the_form_of_the_change_log_is_the_one_that_its_page_shows(tmp_path: Path) -> None:
    page = (ROOT / ".github" / "changelog" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    shown = tmp_path / "shown.md"
    shown.write_text(example, encoding="utf-8")
    assert not _wrong_in_its_form(shown)


def _yaml(*path: str) -> Any:
    return yaml.safe_load((ROOT / Path(*path)).read_text(encoding="utf-8"))


def _workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = _yaml(".github", "workflows", "ci.yml")
    return loaded


def test_the_workflow_runs_scripts_that_are_there() -> None:
    commands = [step["run"] for job in _workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    assert {".ci/run", ".ci/lowest"} <= {*commands}
    for path in re.findall(r"\.ci/\w+", "\n".join(commands)):
        assert os.access(ROOT / path, os.X_OK), path


def test_the_workflow_has_each_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if ":: 3." in each]
    (set_up,) = [
        step["with"]["python-version"].split()
        for step in _workflow()["jobs"]["gate"]["steps"]
        if step.get("uses", "").startswith("actions/setup-python@")
    ]
    assert set_up == named
    loop = re.search(
        r"^for other in (.*); do$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert loop is not None
    assert loop[1].split() == named


def test_the_workflow_runs_the_line_of_the_readme_on_macos() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"<!-- tests -->\n```sh\n(.*)\n```", page)
    (job,) = [each for each in _workflow()["jobs"].values() if each["runs-on"].startswith("macos-")]
    assert line in [step.get("run") for step in job["steps"]]


def test_the_workflow_may_write_nothing() -> None:
    assert _workflow()["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in _workflow()["jobs"].values())


def test_the_hooks_run_what_the_gate_runs() -> None:
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (repository,) = _yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program, *arguments = shlex.split(hook["entry"])
        words = [f'"$bin/{Path(program).name}"', *(each for each in arguments if not each.startswith("-"))]
        assert " ".join(words) in gate


@pytest.mark.parametrize("script", SCRIPTS, ids=_name)
def test_a_script_says_what_it_is_and_stops_at_the_first_error(script: Path) -> None:
    assert os.access(script, os.X_OK)
    first, second, third, *_ = script.read_text(encoding="utf-8").split("\n")
    assert first == "#!/usr/bin/env bash"
    assert second.startswith("# ")
    assert third == "set -euo pipefail"


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", CONTRIBUTING, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def test_the_commands_for_contributors_name_what_is_there() -> None:
    commands = _commands()
    assert [".ci/run"] in commands
    assert [".ci/lowest"] in commands
    for program, *arguments in commands:
        if program.startswith(".ci/"):
            assert (ROOT / program) in SCRIPTS
        for path in (each for each in arguments if each.startswith("tests/")):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "page", [CONTRIBUTING, DESIGN.read_text(encoding="utf-8")], ids=["contributing", "design"]
)
def test_the_places_of_the_code_that_a_page_names_are_there(page: str) -> None:
    package = ROOT / "src" / "poolcensus"
    for path in re.findall(
        r"`((?:src|tests|config|benches|\.github)/[\w./-]+|(?:cli|flow|aws|config)/[\w./]+)`", page
    ):
        assert (ROOT / path).exists() or (package / path).exists(), path


def test_tests_run_without_xdist() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:xdist",
        "--collect-only",
        "-q",
        "tests/oracle/test_moto.py",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout

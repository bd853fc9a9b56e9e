"""Public names are documented, and the examples of the README work."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import poolcensus
from poolcensus.aws.credentials.roles import session_policy
from poolcensus.aws.region_status.calls import IAM_ACTIONS
from poolcensus.cli import group, main
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import OPTIONS
from poolcensus.model import Outcome
from poolcensus.operations import WORKSPACES_POOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIBRARY = (ROOT / ".github" / "LIBRARY.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / ".github" / "COMMANDS.md").read_text(encoding="utf-8")
WATCHING = (ROOT / ".github" / "WATCHING.md").read_text(encoding="utf-8")
# The pages for users.
PAGES = f"{README}\n{LIBRARY}\n{COMMANDS}\n{WATCHING}"


def _commands() -> dict[str, click.Command]:
    context = click.Context(group)
    names = group.list_commands(context)
    return {name: group.get_command(context, name) or pytest.fail(name) for name in names}


def test_each_public_name_is_documented_and_has_a_docstring() -> None:
    documented = {*re.findall(r"`(?:await |poolcensus\.)?(\w+)(?=[`(.])", LIBRARY)}
    assert {*poolcensus.__all__} <= documented
    values = {name: getattr(poolcensus, name) for name in poolcensus.__all__}
    assert not [name for name, each in values.items() if not isinstance(each, str) and not each.__doc__]


def test_each_public_name_is_used_where_types_are_checked() -> None:
    uses = ast.walk(ast.parse((ROOT / "tests" / "typing" / "api.py").read_text(encoding="utf-8")))
    assert {*poolcensus.__all__} <= {getattr(each, "id", getattr(each, "attr", "")) for each in uses}


def test_the_public_names_are_those_that_are_exported() -> None:
    assert set(dir(poolcensus)) == set(poolcensus.__all__)
    for name in poolcensus.__all__:
        assert hasattr(poolcensus, name)
    with pytest.raises(AttributeError):
        getattr(poolcensus, "Nothing")  # noqa: B009 - mypy would refuse the plain form


def test_each_command_is_in_the_readme_and_has_help() -> None:
    assert not [name for name in _commands() if f"`poolcensus {name}`" not in README]
    assert not [name for name, command in _commands().items() if not command.help]


def _options() -> Iterator[tuple[str, click.Option]]:
    """Yield each option with the name of its command."""
    for name, command in _commands().items():
        yield from ((name, each) for each in command.params if isinstance(each, click.Option))


def test_each_option_is_documented() -> None:
    options = {
        option
        for name, each in _options()
        if name in {"collect", "show", "prune"}
        for option in each.opts
        if option.startswith("--") and option != "--help"
    }
    assert options
    assert not sorted(each for each in options if not re.search(rf"`{each}[` ]", PAGES))


def test_each_option_has_help() -> None:
    assert not [(name, each.opts) for name, each in _options() if not each.help]


def test_the_permissions_of_the_readme_are_those_of_the_sessions() -> None:
    _, _, after = README.partition("\n| the role in each member account |")
    role, _, _ = after.partition("\n| the caller |")
    sessions = json.loads(session_policy((WORKSPACES_POOLS.iam_action, *IAM_ACTIONS)))
    (statement,) = sessions["Statement"]
    assert {*re.findall(r"`(\w+:\w+)`", role)} == {*statement["Action"]}


def test_the_python_that_is_shown_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGES, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)


def _marked(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```[a-z]+\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"the README has no {marker}"
    return found[1]


def test_the_readme_names_its_commands() -> None:
    for marker, word in (("demo", "poolcensus demo"), ("tests", "pytest"), ("install", "install .")):
        assert word in _marked(marker)


def test_the_readme_s_python_is_any_that_the_package_takes() -> None:
    assert not re.findall(r"python3\.\d+", README)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in README


def _invocations() -> list[str]:
    """Yield the commands of this program in the shell and cron lines of the pages."""
    blocks = "".join(re.findall(r"```(?:sh|cron)\n(.*?)```", PAGES, re.DOTALL)).replace("\\\n", " ")
    found = re.findall(r"(?:(?<![\w/.])|/usr/local/bin/)poolcensus( [a-z][^|&>\n#]*)", blocks)
    return sorted({" ".join(each.split()) for each in found})


def test_a_line_of_a_user_s_crontab_names_its_program_by_the_whole_path() -> None:
    lines = [
        each for block in re.findall(r"```cron\n(.*?)```", PAGES, re.DOTALL) for each in block.splitlines()
    ]
    assert lines
    assert not [each for each in lines if not each.split()[5].startswith("/")]


def test_the_keys_that_are_not_called_like_their_options_are_told() -> None:
    others = [each.key for each in OPTIONS if each.key != each.flag.removeprefix("--").replace("-", "_")]
    told = re.search(r"A key is called like its\noption.*?\n\n", README, re.DOTALL)
    assert told is not None
    assert re.findall(r"`(\w\w+)`", told[0]) == others


def test_each_line_that_is_shown_is_one_that_the_program_takes() -> None:
    assert _invocations()
    refused = {}
    for line in _invocations():
        name, *arguments = shlex.split(line)
        try:
            _commands()[name].make_context(name, arguments, parent=click.Context(group))
        except (KeyError, click.ClickException) as error:
            refused[line] = repr(error)
    assert not refused


def test_the_contents_name_each_section_of_the_readme() -> None:
    _, _, after = README.partition("\n## Contents\n")
    contents, _, _ = after.partition("\n## ")
    linked = re.findall(r"\]\(#([\w-]+)\)", contents)
    sections = re.findall(r"^## (.+)$", README, re.MULTILINE)
    assert len(linked) == len({*linked})
    assert {each.lower().replace(" ", "-") for each in sections} - {"contents"} <= {*linked}


def test_the_page_of_the_commands_lists_its_sections_in_their_order() -> None:
    linked = re.findall(r"^- \[.*\]\(#([\w-]+)\)$", COMMANDS, re.MULTILINE)
    sections = re.findall(r"^## (.+)$", COMMANDS, re.MULTILINE)
    assert linked == [each.lower().replace(" ", "-").replace(",", "") for each in sections]


def test_the_outcomes_of_the_readme_are_all_with_what_is_covered() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| .* \| (yes|no) \|$", README, re.MULTILINE)
    told = {name: covered == "yes" for names, covered in rows for name in re.findall(r"\w+", names)}
    assert told == {str(each): each.covered for each in Outcome}


def test_the_exit_codes_of_the_readme_are_all() -> None:
    told = re.findall(r"^\| ([\d, ]+) \| .* \|$", README, re.MULTILINE)
    assert {int(each) for row in told for each in row.split(", ")} == {*ExitCode}


def test_the_steps_of_the_readme_are_ten_in_order() -> None:
    assert re.findall(r"^### (\d+)\. ", README, re.MULTILINE) == [str(each) for each in range(1, 11)]


def test_the_files_of_config_that_are_named_are_there_and_each_is_named() -> None:
    for path in re.findall(r"\b(config/[\w./-]*\w)", README):
        assert (ROOT / path).exists(), path
    folder = ROOT / "config"
    links = re.findall(r"\]\(([\w./-]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert {each.partition("/")[0] for each in links} == {each.name for each in folder.iterdir()} - {
        "README.md"
    }


def _parameters_with_an_external_id(folder: Path) -> str:
    """Run step 4 in a folder, and return what it writes for `--parameters`."""
    # The arguments of a shell's own commands can't be seen by other users of the machine.
    kinds = "\n".join(f"type -t {name}" for name in ("printf", "umask"))
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{_marked('external id')}\n{kinds}"],
        check=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert told.stdout.split() == ["builtin", "builtin"]
    files = [folder / name for name in ("external-id", "parameters.json")]
    assert [each.stat().st_mode & 0o777 for each in files] == [0o600, 0o600]
    made, parameters = (each.read_text(encoding="ascii") for each in files)
    assert {"ParameterKey": "ExternalId", "ParameterValue": made.strip()} in json.loads(parameters)
    return parameters


@pytest.mark.parametrize(
    ("template", "option", "pattern"),
    [
        ("stackset", "--parameters", r"ParameterKey=(\w+),"),
        ("single-account", "--parameter-overrides", r" ([A-Z]\w+)="),
    ],
)
def test_the_parameters_that_are_shown_are_those_of_the_template(
    template: str, option: str, pattern: str, tmp_path: Path
) -> None:
    lines = [each for each in README.splitlines() if f"{option} " in each]
    named = {name for line in lines for name in re.findall(pattern, line)}
    assert named
    named |= {each["ParameterKey"] for each in json.loads(_parameters_with_an_external_id(tmp_path))}
    assert {"CallerPrincipal", "ExternalId"} <= named
    text = (ROOT / "config" / "cloudformation" / f"{template}.yaml").read_text(encoding="utf-8")
    _, _, parameters = text.partition("\nParameters:\n")
    parameters, _, _ = parameters.partition("\nResources:\n")
    assert named <= {*re.findall(r"^  (\w+):$", parameters, re.MULTILINE)}


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGES, re.DOTALL))
def test_the_settings_that_are_shown_are_taken(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("external-id").write_text("census-4711\n", encoding="ascii")
    Path("poolcensus.toml").write_text(block, encoding="utf-8")
    assert poolcensus.Settings.load() != poolcensus.Settings()


def test_the_first_census_of_the_readme_is_taken_by_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _parameters_with_an_external_id(tmp_path)
    external_id = Path("external-id").read_text(encoding="ascii").strip()
    Path("poolcensus.toml").write_text(_marked("settings"), encoding="utf-8")
    regions = "--regions=us-east-1,eu-west-1,af-south-1"
    world = (
        "--accounts=12",
        f"--external-id={external_id}",
        "--not-entitled=0.5",
        "--suspended=0.2",
        regions,
    )
    with subprocess.Popen(
        [sys.executable, "-m", "poolcensus", "simulate", "--json", *world], stdout=subprocess.PIPE
    ) as simulator:
        try:
            assert simulator.stdout is not None
            for name, value in json.loads(simulator.stdout.readline()).items():
                monkeypatch.setenv(f"AWS_{name.upper()}", value)
            lines = [
                shlex.split(each, comments=True)
                for marker in ("try it", "first run")
                for each in _marked(marker).splitlines()
            ]
            assert [each[1] for each in lines] == [*["doctor"] * 2, "plan", "collect", *["show"] * 3]
            for program, *arguments in lines:
                assert program == "poolcensus"
                # A few regions only, for speed.
                chosen = [] if arguments[0] == "show" else [regions]
                assert main([*arguments, *chosen]) == 0, capfd.readouterr().err
                assert not capfd.readouterr().err
        finally:
            simulator.terminate()
    snapshot = poolcensus.Snapshot.open("latest", "snapshots")
    assert poolcensus.verify(snapshot) == ()
    assert snapshot.manifest.status == "complete"
    assert snapshot.manifest.totals.pools


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files from which a package is built."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def _run(command: str, checkout: Path, tmp_path: Path) -> str:
    """Run a command of the README with this Python as `python3`, and return its output."""
    programs = tmp_path / "bin"
    programs.mkdir()
    python = programs / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=checkout,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "HOME": str(tmp_path),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.long
def test_the_demo_of_the_readme_runs(checkout: Path, tmp_path: Path) -> None:
    assert "poolcensus show" in _run(_marked("demo"), checkout, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("command", _marked("install").splitlines())
def test_a_way_to_install_of_the_readme_works(command: str, checkout: Path, tmp_path: Path) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{command.split(maxsplit=1)[0]} is not there")
    _run(command, checkout, tmp_path)
    program = tmp_path / ".local" / "bin" / "poolcensus"
    assert subprocess.run([program, "--version"], capture_output=True, check=True).stdout

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from poolcensus.cli import COMMANDS, group, main
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.config.entries import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {"aioboto3", "aiobotocore", "aiohttp", "boto3", "botocore", "rich"}

# The contract's options of collect, less those of parts that are not built yet.
# fmt: off
COLLECT = [
    "--config", "--dest", "--accounts", "--exclude-accounts", "--ou", "--exclude-ou", "--account-tag",
    "--accounts-from", "--regions", "--exclude-regions", "--profile", "--role-name", "--external-id",
    "--endpoint-url", "--transport", "--pool-id", "--filter", "--page-size", "--concurrency",
    "--per-account", "--per-region", "--compress", "--strict", "--max-failed", "--deadline", "--shard",
    "--progress", "--log-format", "--log-level", "--metrics-file", "--notify-command", "--json",
]

OPTIONS = {
    "collect": COLLECT,
    "plan": COLLECT,
    "doctor": [*COLLECT, "--all", "--account"],
    "snapshots": ["--config", "--dest", "--json"],
    "show": [
        "--config", "--dest", "--failures", "--pools", "--json", "--account", "--region", "--state",
        "--outcome", "--sort",
    ],
    "verify": ["--config", "--dest", "--json"],
    "diff": ["--config", "--dest", "--ignore", "--exit-code", "--json"],
    "query": [
        "--config", "--dest", "--snapshot", "--all", "--named", "--list", "--schema", "--format", "--output",
    ],
    "export": ["--config", "--dest", "--all", "--output", "--json"],
    "report": ["--config", "--dest", "--output"],
    "merge": ["--config", "--dest", "--compress", "--json"],
    "prune": [
        "--config", "--dest", "--keep-last", "--keep-daily", "--keep-monthly", "--dry-run", "--json",
    ],
    "unlock": ["--config", "--dest", "--json"],
    "simulate": ["--port", "--accounts", "--seed", "--latency", "--fault", "--json"],
    "demo": ["--dest", "--progress"],
    "completion": [],
    "man": [],
    "help": [],
}
# fmt: on
# What a line is not one without.
NEEDED = {
    "query": ["select 1"],
    "export": ["--output", "parquet"],
    "report": ["--output", "page.html"],
    "merge": ["part"],
    "prune": ["--keep-last", "1"],
}


def loaded(name: str) -> click.Command:
    command: click.Command = import_module(f"poolcensus.cli.{name}").command
    return command


def test_the_help_lists_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert COMMANDS.keys() == OPTIONS.keys()
    for name, text in COMMANDS.items():
        assert f"{name} {text}" in said


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_line_in_the_list_is_the_first_line_of_the_commands_own_help(name: str) -> None:
    own = (loaded(name).help or "").partition("\n")[0]
    assert own.startswith(COMMANDS[name].rstrip("."))


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_of_the_contract_is_there_and_every_option_has_a_help_text(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [each for each in loaded(name).params if isinstance(each, click.Option)]
    offered = {flag for each in options for flag in each.opts}
    assert set(OPTIONS[name]) <= offered
    assert all(each.help for each in options)
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    for each in options:
        assert each.hidden or each.opts[0] in said


def test_the_help_of_an_option_is_the_description_of_its_setting() -> None:
    for option in loaded("collect").params:
        assert isinstance(option, click.Option)
        if option.name in SETTINGS:
            assert (option.help or "").startswith(SETTINGS[option.name].description or "?")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_command_offers_standard_output_as_a_destination_only_where_it_takes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (help_text,) = [each.help for each in loaded(name).params if each.name == "dest"] or [""]
    if not help_text or name in {"collect", "plan", "doctor", "demo"}:
        return
    monkeypatch.chdir(tmp_path)
    assert " - " not in help_text
    assert main([name, *NEEDED.get(name, ()), "--dest", "-"]) == ExitCode.USAGE
    assert "a destination of - keeps no snapshots" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(COMMANDS))
def test_what_the_help_says_of_empty_values_is_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {each.opts[0] for each in loaded(name).params}
    assert main([name, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    rule = "for a setting, such as --profile '', takes back what the file or the environment sets; --dest has"
    assert (rule in said) is ("--config" in options)
    if "--config" not in options:
        return
    assert "--profile" in options
    for option in ("--dest", "--config"):
        assert main([name, *NEEDED.get(name, ()), option, ""]) == ExitCode.USAGE
        assert option in capsys.readouterr().err


@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_organization_is_written_as_aws_writes_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    # The word that the option takes is not the thing.
    for value in ("organization|self", "organization (the caller's)", "default: organization]"):
        said = said.replace(value, "")
    assert not re.findall(r"(?<![-\w])organizations?\b", said)


def test_the_help_of_an_option_is_a_sentence() -> None:
    texts = [
        each.help or "" for name in COMMANDS for each in loaded(name).params if isinstance(each, click.Option)
    ]
    assert [each for each in texts if not re.fullmatch(r"[A-Z].*[.)](  \[.*\])?", each)] == []


def test_the_simulator_tells_its_choices_and_its_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "--partition aws|aws-us-gov|aws-cn Partition of ",
        "--caller management|delegated|member Whose ",
        "--states State|Status|both What ",
        "0: any free one. [default: 0]",
        "50, exponential:50, uniform:20-200 or none. [default: none]",
    ):
        assert words in said


def test_the_default_of_a_switch_is_told_in_words() -> None:
    help_texts = [each.help or "" for name in COMMANDS for each in loaded(name).params if each.name]
    assert not [each for each in help_texts if "default: True" in each]
    assert any("[default: on]" in each for each in help_texts)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_a_command_ends_with_examples_that_it_takes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = loaded(name)
    assert isinstance(command, Command)
    assert main([name, "--help"]) == 0
    _, _, said = capsys.readouterr().out.partition("\nExamples:\n")
    assert said.splitlines() == [
        line for each in command.examples for line in (f"  # {each.purpose}", f"  {each.line}")
    ]
    for each in command.examples:
        (line,) = re.findall(rf"poolcensus ({name}\b[^|>&]*)", each.line) or [pytest.fail(each.line)]
        _, *arguments = shlex.split(line)
        command.make_context(name, arguments, parent=click.Context(group))


def test_help_prints_what_the_option_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for given, asked in ((["help"], ["--help"]), (["help", "show"], ["show", "--help"])):
        assert main(given) == 0
        said = capsys.readouterr()
        assert main(asked) == 0
        assert said == capsys.readouterr()
        assert said.err == ""
    assert main(["help", "shw"]) == 2
    assert "Did you mean show?" in capsys.readouterr().err


def test_the_manual_has_every_command_option_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man"]) == 0
    said = capsys.readouterr().out
    plain = said.replace("\\-", "-")
    for name in COMMANDS:
        _, _, section = plain.partition(f"\n.SS {name}\n")
        section, _, _ = section.partition("\n.S")
        for each in loaded(name).params:
            if isinstance(each, click.Option) and not each.hidden:
                assert f"\n.B {each.opts[0]}" in section
    for code in ExitCode:
        assert f"\n.B {int(code)}\n" in plain
    assert not [line for line in said.splitlines() if line.startswith("'")]
    requests = {line.split()[0] for line in said.splitlines() if line.startswith(".")}
    assert requests == {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".RS", ".RE", ".nf", ".fi"}
    if groff := shutil.which("groff"):
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z"], input=said, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_import_nothing_heavy(argument: str) -> None:
    script = (
        "import sys; from poolcensus.cli import main; code = main(sys.argv[1:]);"
        f"found = {HEAVY!r} & sys.modules.keys(); sys.exit(f'imported: {{found}}' if found else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, argument], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "poolcensus" in done.stdout


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "poolcensus", "colect"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        'poolcensus: Unknown command "colect". Did you mean collect?',
        "poolcensus: see 'poolcensus --help'",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("run", "collect"),
        ("ls", "snapshots"),
        ("verfiy", "verify"),
        ("comp", "completion"),
        ("prun", None),
        ("unlok", None),
    ],
)
def test_what_deletes_is_never_a_guess(
    name: str, meant: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    said = capsys.readouterr().err
    assert (f"Did you mean {meant}?" in said) if meant is not None else ("Did you mean" not in said)


def test_no_command_at_all_is_wrong_usage_with_the_help_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "collect" in said.err

"""What shells are offered, how quickly it loads, and that a shell takes the script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import click
import pytest
from click.shell_completion import BashComplete

from poolcensus.cli import COMMANDS, COMPLETE_VARIABLE, group, main
from snapshot.making import ID, LATER_ID, make

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def offered(*typed: str) -> list[str]:
    """What is offered for the last word, after the others."""
    complete = BashComplete(group, {}, "poolcensus", COMPLETE_VARIABLE)
    return [each.value for each in complete.get_completions([*typed[:-1]], typed[-1])]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["s"], ["snapshots", "show", "simulate"]),
        (["--ver"], ["--version"]),
        (["show", "--fa"], ["--failures"]),
        (["collect", "--compress", ""], ["none", "gzip", "zstd"]),
        (["collect", "--transport", "s"], ["sdk"]),
        (["plan", "--regions", "eu-north"], ["eu-north-1"]),
        # Others are offered where none fits that is asked by default.
        (["plan", "--regions", "us-w"], ["us-west-2"]),
        (["plan", "--regions", "us-west-1"], ["us-west-1"]),
        (["show", "--region", "eu-w"], ["eu-west-1", "eu-west-2", "eu-west-3"]),
        (["show", "--region", "us-east-1,eu-south"], ["us-east-1,eu-south-1", "us-east-1,eu-south-2"]),
        (["show", "--state", "RUNNING,STOPP"], ["RUNNING,STOPPED", "RUNNING,STOPPING"]),
        (["show", "--outcome", "t"], ["throttled", "timed_out"]),
        (["show", "--sort", "s"], ["state", "sessions"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["query", "--named", "idle"], ["idle-pools"]),
        (["help", "un"], ["unlock"]),
        (["nothing", ""], []),
        (["collect", "--metrics-file", "x"], ["x"]),
    ],
)
def test_commands_options_and_values_are_offered(typed: list[str], expected: list[str]) -> None:
    found = offered(*typed)
    assert found[: len(expected)] == expected
    assert len(found) == len(expected) or typed == ["nothing", ""]


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    for snapshot_id in (ID, LATER_ID):
        anyio.run(make, tmp_path / "kept", snapshot_id)
    return tmp_path / "kept"


def test_snapshots_of_the_destination_are_offered_the_newest_first(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("show", "verify"):
        assert offered(command, "--dest", str(dest), "") == ["", "latest", LATER_ID, ID]
        assert offered(command, "--dest", str(dest), "20261123") == ["20261123", ID]
    monkeypatch.setenv("POOLCENSUS_DEST", str(dest))
    assert offered("show", "2") == ["2", LATER_ID, ID]


@pytest.mark.parametrize("given", ["nowhere", "s3://bucket/prefix", "-", "file:x"])
def test_a_destination_that_cannot_be_read_offers_none(given: str) -> None:
    assert offered("show", "--dest", given, "") == ["", "latest"]


def test_settings_that_are_wrong_offer_none(
    dest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POOLCENSUS_NONSENSE", "1")
    assert offered("show", "--dest", str(dest), "") == ["", "latest"]
    assert capsys.readouterr() == ("", "")


def asked(words: str, position: int, *modules: str) -> list[str]:
    """Run the program as bash does, and fail if it has loaded one of these modules."""
    script = (
        "import atexit, sys; from poolcensus.cli import main;"
        f" atexit.register(lambda: print('loaded', *({set(modules)!r} & sys.modules.keys())));"
        " sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            COMPLETE_VARIABLE: "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "loaded"
    return lines


def test_a_command_is_completed_without_loading_any() -> None:
    names = {f"poolcensus.cli.{name}" for name in COMMANDS}
    heavy = ("aioboto3", "botocore", "rich", "poolcensus.config", "poolcensus.snapshot")
    assert asked("poolcensus ver", 1, *names, *heavy) == ["plain,verify"]


def test_an_option_is_completed_without_the_sdk() -> None:
    assert asked("poolcensus show --sta", 2, "aioboto3", "botocore", "rich", "aiohttp") == ["plain,--state"]


SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_script(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert COMPLETE_VARIABLE in script.read_text()
    if program := shutil.which(shell):
        subprocess.run([program, "-n", str(script)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("show --pools --st", ["--state"]),
        ("show --dest kept 20261123", [ID]),
        ("collect --accounts-from org", ["organization"]),
    ],
)
def test_bash_completes_with_it(
    capsys: pytest.CaptureFixture[str], dest: Path, tmp_path: Path, typed: str, completed: list[str]
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    assert main(["completion", "bash"]) == 0
    program = tmp_path / "poolcensus"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m poolcensus "$@"\n')
    program.chmod(0o755)
    asks = (
        f"{capsys.readouterr().out}\n"
        # That of bash works while a key is pressed only.
        f"compopt() {{ :; }}\n"
        f"COMP_WORDS=(poolcensus {typed}) COMP_CWORD={len(typed.split())}\n"
        f'_poolcensus_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        [bash, "-c", asks], cwd=dest.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == completed


def test_fish_completes_what_has_commas(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish")
    assert main(["completion", "fish"]) == 0
    program = tmp_path / "poolcensus"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m poolcensus "$@"\n')
    program.chmod(0o755)
    asks = (
        f"{capsys.readouterr().out}\n"
        "complete -C 'poolcensus show --region eu-west-1,eu-north'\ncomplete -C 'poolcensus show'"
    )
    done = subprocess.run(
        [fish, "--no-config", "-c", asks],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "eu-west-1,eu-north-1",
        "show\tPrint one snapshot: summary, failures, pools.",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["completion"], "Choose from: bash, zsh, fish"), (["completion", "tcsh"], "'tcsh'")],
)
def test_another_shell_is_wrong_usage(
    arguments: Sequence[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("poolcensus: ")
    assert says in first
    assert second == "poolcensus: see 'poolcensus completion --help'"


def test_every_setting_with_a_file_or_a_folder_completes_one() -> None:
    loaded = group.get_command(click.Context(group), "collect")
    assert loaded is not None
    ctx = click.Context(loaded)
    kinds = {
        each.opts[0]: {item.type for item in each.shell_complete(ctx, "")} - {"plain"}
        for each in loaded.params
    }
    assert {name for name, found in kinds.items() if found} == {
        "--config", "--dest", "--accounts-from", "--accounts-snapshot", "--external-id-file",
        "--metrics-file",
    }  # fmt: skip

"""Cron and the container file are taken by the tools of their own fields, and run what there is."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
from crontab import CronItem, CronTab

from config.deployment import CONFIG, nightly_settings, ran, tool
from poolcensus.cli import COMMANDS, group

ROOT = Path(__file__).parents[2]
CRON = CONFIG / "poolcensus.cron"
CONTAINER = CONFIG / "Containerfile"


def test_cron_runs_lines_that_the_program_takes() -> None:
    text = CRON.read_text(encoding="utf-8")
    cron = CronTab(tab=text, user=False)
    jobs = [*cron]
    # What it can't read it keeps as it is.
    assert len(jobs) == sum(1 for each in text.splitlines() if re.match(r"[\d*]", each)) == 2
    assert {*cron.env} == {"SHELL", "PATH", "MAILTO", "HOME", "POOLCENSUS_CONFIG"}
    contexts: dict[str, dict[str, Any]] = {}
    for each in jobs:
        assert isinstance(each, CronItem)
        assert each.is_valid()
        assert each.is_enabled()
        assert each.user == "poolcensus"
        assert "%" not in each.command
        program_name, name, *arguments = shlex.split(each.command)
        assert program_name == "poolcensus"
        command = group.get_command(click.Context(group), name)
        assert command is not None
        contexts[name] = command.make_context(name, arguments, parent=click.Context(click.Group())).params
    assert contexts["collect"]["dest"] is contexts["prune"]["dest"] is contexts["collect"]["deadline"] is None
    # Retention runs when the census has ended.
    start = {shlex.split(each.command)[1]: int(str(each.hour)) for each in jobs}
    deadline = nightly_settings().deadline
    assert deadline is not None
    assert deadline < (start["prune"] - start["collect"]) * 3600


def test_the_user_of_the_census_has_a_home_that_cron_can_start_in() -> None:
    home = dict(CronTab(tab=CRON.read_text(encoding="utf-8"), user=False).env)["HOME"]
    assert home == nightly_settings().dest
    made = f"sudo useradd --system --home-dir {home} poolcensus\n"
    for file in (CRON, ROOT / "README.md"):
        assert made in file.read_text(encoding="utf-8")
    assert f"sudo install -d -o poolcensus -m 700 {home}\n" in CRON.read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", CONTAINER.read_text(encoding="utf-8")))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_hadolint_takes_the_container_file() -> None:
    assert ran(tool("hadolint"), "--failure-threshold", "info", CONTAINER) == (0, "")


def test_the_container_has_the_wheel_and_runs_it_as_nobody_special() -> None:
    found = instructions()
    bases = [rest.split(" AS ")[0] for word, rest in found if word == "FROM"]
    (base,) = {*bases}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = re.fullmatch(r"docker\.io/library/python:(3\.\d+)-slim", base)
    assert version is not None
    assert f"Programming Language :: Python :: {version[1]}" in project["project"]["classifiers"]
    copied = [
        each for word, rest in found if word == "COPY" and "--from" not in rest for each in rest.split()[:-1]
    ]
    assert all((ROOT / each).exists() for each in copied)
    # What building a wheel reads.
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for each in (
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *wheel,
    ):
        assert each.split("/")[0] in copied
    last = dict(found)
    assert int(last["USER"]) > 0
    assert f"--uid {last['USER']} " in last["RUN"]
    entry, command = json.loads(last["ENTRYPOINT"]), json.loads(last["CMD"])
    assert entry == ["poolcensus"]
    assert command[0] in COMMANDS
    assert last["ENV"] == f"POOLCENSUS_DEST={last['VOLUME']}"

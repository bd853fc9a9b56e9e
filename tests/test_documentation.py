"""What is public is documented, and what the README shows works."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import click
import pytest

import poolcensus
from poolcensus.aws.credentials import session_policy
from poolcensus.aws.region_status import PERMISSIONS
from poolcensus.cli import group
from poolcensus.operations import WORKSPACES_POOLS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def _commands() -> dict[str, click.Command]:
    context = click.Context(group)
    names = group.list_commands(context)
    return {name: group.get_command(context, name) or pytest.fail(name) for name in names}


@pytest.mark.parametrize("name", sorted(poolcensus.__all__))
def test_a_public_name_is_in_the_readme_and_has_a_docstring(name: str) -> None:
    assert re.search(rf"`(poolcensus\.)?{name}[`(.]", README), f"{name} is not in the README"
    value = getattr(poolcensus, name)
    assert isinstance(value, str) or value.__doc__, f"{name} has no docstring"


def test_the_public_names_are_those_that_are_exported() -> None:
    assert set(dir(poolcensus)) == set(poolcensus.__all__)
    for name in poolcensus.__all__:
        assert hasattr(poolcensus, name)
    with pytest.raises(AttributeError):
        getattr(poolcensus, "Nothing")  # noqa: B009 - mypy would refuse the plain form


@pytest.mark.parametrize("name", sorted(_commands()))
def test_a_command_is_in_the_readme_and_has_help(name: str) -> None:
    assert f"`poolcensus {name}`" in README
    assert _commands()[name].help


@pytest.mark.parametrize(
    "option",
    sorted(
        option
        for name in ("collect", "show", "prune")
        for parameter in _commands()[name].params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    ),
)
def test_an_option_is_in_the_readme(option: str) -> None:
    assert re.search(rf"`{option}[` ]", README), f"{option} is not in the README"


@pytest.mark.parametrize("name", sorted(_commands()))
def test_every_option_has_help(name: str) -> None:
    for parameter in _commands()[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


def test_the_permissions_of_the_readme_are_those_of_the_sessions() -> None:
    (policy,) = [json.loads(each) for each in re.findall(r"```json\n(\{\n.*?)```", README, re.DOTALL)]
    sessions = json.loads(session_policy((WORKSPACES_POOLS.permission, *PERMISSIONS)))
    assert policy["Statement"] == sessions["Statement"]


def test_the_python_of_the_readme_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_the_readme_names_the_two_commands() -> None:
    for marker, word in (("demo", "poolcensus demo"), ("tests", "pytest")):
        found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)```", README, re.DOTALL)
        assert found is not None
        assert word in found[1]

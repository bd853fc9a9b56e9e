"""Reads what config/ has to set up AWS with: policies, CloudFormation templates and the Terraform module."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import hcl2
import yaml
from hcl2 import SerializationOptions

from poolcensus.config import Settings

CONFIG: Final = Path(__file__).parents[2] / "config"
STACK_SET: Final = CONFIG / "cloudformation" / "stackset.yaml"
SINGLE_ACCOUNT: Final = CONFIG / "cloudformation" / "single-account.yaml"
TERRAFORM: Final = CONFIG / "terraform"
# In which a template is deployed.
ACCOUNT: Final = "444455556666"
_NO_VALUE: Final = object()


def nightly_settings() -> Settings:
    """The settings that the README gives to the service and to cron."""
    readme = (CONFIG.parent / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- nightly settings -->\n```toml\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    return Settings(**tomllib.loads(found[1]))


def ran(*command: str | Path) -> tuple[int, str]:
    """Exit code and output of a tool, without what it asks on standard input."""
    ended = subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def tool(name: str) -> Path:
    """The program of a distribution that is installed for the tests."""
    return Path(sys.executable).with_name(name)


def policy(name: str) -> dict[str, Any]:
    """A policy of config/iam."""
    found: dict[str, Any] = json.loads((CONFIG / "iam" / f"{name}-policy.json").read_text(encoding="utf-8"))
    return found


def actions(document: dict[str, Any]) -> set[str]:
    """The actions that a policy allows."""
    found: set[str] = set()
    for each in document["Statement"]:
        assert each["Effect"] == "Allow"
        found.update([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    return found


def without(document: dict[str, Any], *removed: str) -> dict[str, Any]:
    """The policy without some of its actions; what is left of a statement without any allows nothing."""
    statements = [
        {**each, "Action": sorted(actions({"Statement": [each]}) - {*removed})}
        for each in document["Statement"]
    ]
    return {**document, "Statement": [each for each in statements if each["Action"]]}


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """Reads a template with the short forms of intrinsic functions."""


def _intrinsic(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: object
    value = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value
    return {name if name == "Ref" else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _intrinsic)


@cache
def template(file: Path) -> dict[str, Any]:
    """A template, with its intrinsic functions in their long forms, which nobody may change."""
    found: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    return found


class Stack:
    """What CloudFormation makes of a template: `resources` by name, and whether all rules hold."""

    def __init__(self, file: Path, *, partition: str = "aws", **given: str) -> None:
        self._template = template(file)
        self._values: dict[str, object] = {
            "AWS::Partition": partition,
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": _NO_VALUE,
        }
        for name, parameter in self._template["Parameters"].items():
            value = given.pop(name, None)
            if value is None:
                value = str(parameter["Default"])
            if not is_taken(parameter, value):
                raise ValueError(f"{name} does not take {value!r}")
            self._values[name] = value
        assert not given, f"no such parameters: {given}"
        self.resources: dict[str, Any] = {
            name: self._resolved(each["Properties"])
            for name, each in self._template["Resources"].items()
            if "Condition" not in each or self._holds(each["Condition"])
        }
        self.rules_hold = all(
            self._resolved(each["Assert"])
            for rule in self._template.get("Rules", {}).values()
            for each in rule["Assertions"]
        )

    def _holds(self, condition: str) -> bool:
        return bool(self._resolved(self._template["Conditions"][condition]))

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [found for each in value if (found := self._resolved(each)) is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._values[argument]
            if name.startswith("Fn::"):
                return self._call(name, argument)
        found = {key: self._resolved(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each is not _NO_VALUE}

    def _call(self, name: str, argument: Any) -> Any:
        match name:
            case "Fn::If":
                condition, then, otherwise = argument
                return self._resolved(then if self._holds(condition) else otherwise)
            case "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._values[found[1]]), argument)
            case "Fn::Not":
                return not self._resolved(argument[0])
            case "Fn::And":
                return all(map(self._resolved, argument))
            case "Fn::Equals":
                left, right = map(self._resolved, argument)
                return left == right
        raise NotImplementedError(name)


def is_taken(parameter: dict[str, Any], value: str) -> bool:
    """Whether a parameter of a template takes a value."""
    if parameter["Type"] == "Number":
        return bool(parameter["MinValue"] <= float(value) <= parameter["MaxValue"])
    return re.fullmatch(parameter["AllowedPattern"], value) is not None


@cache
def terraform() -> dict[str, dict[str, Any]]:
    """The blocks of the module: of each kind all, by type and name or by name."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(TERRAFORM.glob("*.tf")):
        with file.open(encoding="utf-8") as text:
            parsed = hcl2.load(
                text,
                serialization_options=SerializationOptions(
                    with_comments=False, explicit_blocks=False, strip_string_quotes=True
                ),
            )
        for kind, blocks in parsed.items():
            for block in blocks:
                for label, body in block.items():
                    kept = found.setdefault(kind, {})
                    if kind in {"resource", "data"}:
                        for name, inner in body.items():
                            kept[f"{label}.{name}"] = inner
                    else:
                        kept[label] = body
    return found

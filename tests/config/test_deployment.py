"""Policies, templates and the module are taken by the tools of their own fields, and say the same."""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import TYPE_CHECKING

import botocore.session
import pytest
from botocore import xform_name

from config.deployment import (
    ACCOUNT,
    CONFIG,
    SINGLE_ACCOUNT,
    STACK_SET,
    TERRAFORM,
    Stack,
    is_taken,
    policy,
    ran,
    template,
    terraform,
    tool,
)
from poolcensus.config.readers import EntryError, external_id

if TYPE_CHECKING:
    from pathlib import Path

PRINCIPAL = "arn:aws:iam::111122223333:role/PoolCensus"
TEMPLATES = (STACK_SET, SINGLE_ACCOUNT)


def test_cfn_lint_takes_the_templates_and_the_policies(tmp_path: Path) -> None:
    # The policies as a template has them, for cfn-lint's rules about IAM; parliament knows no trust policies.
    managed = {
        name.replace("-", ""): {
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": {"PolicyDocument": policy(name)},
        }
        for name in ("caller", "member", "s3-destination")
    }
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": policy("trust")}}
    policies = tmp_path / "policies.json"
    policies.write_text(
        json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Role": role, **managed}})
    )
    assert ran(tool("cfn-lint"), "--non-zero-exit-code", "informational", "--include-checks", "I", "--",
               *TEMPLATES, policies) == (0, "")  # fmt: skip


def test_parliament_takes_the_policies(tmp_path: Path) -> None:
    for name in ("caller", "member", "s3-destination"):
        (tmp_path / f"{name}.json").write_text(json.dumps(policy(name)))
    # It imports what is deprecated, which is for its makers to know.
    python = (sys.executable, "-W", "ignore::UserWarning")
    assert ran(*python, tool("parliament"), "--directory", tmp_path, "--json") == (0, "")


def test_the_templates_make_the_policies() -> None:
    given = {"CallerPrincipal": PRINCIPAL, "ExternalId": "EXTERNAL-ID"}
    role = Stack(STACK_SET, **given).resources["Role"]
    (inline,) = role["Policies"]
    assert inline["PolicyDocument"] == policy("member")
    assert role["AssumeRolePolicyDocument"] == policy("trust")
    single = Stack(SINGLE_ACCOUNT, CallerPolicyName="PoolCensusCaller", **given).resources
    assert single["Role"] == role
    assert single["CallerPolicy"]["PolicyDocument"] == policy("caller")
    assert "Roles" not in single["CallerPolicy"]


@pytest.mark.parametrize("file", TEMPLATES)
def test_a_role_without_an_external_id_has_no_condition(file: Path) -> None:
    role = Stack(file, CallerPrincipal=PRINCIPAL).resources["Role"]
    assert all("Condition" not in each for each in role["AssumeRolePolicyDocument"]["Statement"])


@pytest.mark.parametrize("file", TEMPLATES)
def test_a_boundary_is_the_policy_of_its_name_in_each_account(file: Path) -> None:
    def boundary(**given: str) -> object:
        role = Stack(file, CallerPrincipal=PRINCIPAL, **given).resources["Role"]
        return role.get("PermissionsBoundary")

    assert boundary() is None
    found = boundary(partition="aws-us-gov", PermissionsBoundary="teams/Boundary")
    assert found == f"arn:aws-us-gov:iam::{ACCOUNT}:policy/teams/Boundary"
    with pytest.raises(ValueError, match="does not take"):
        boundary(PermissionsBoundary=f"arn:aws:iam::{ACCOUNT}:policy/Boundary")


def test_the_template_of_a_single_account_makes_what_is_asked_for() -> None:
    nothing = Stack(SINGLE_ACCOUNT)
    assert not nothing.resources
    assert not nothing.rules_hold
    role = Stack(SINGLE_ACCOUNT, CallerPrincipal=PRINCIPAL)
    caller = Stack(SINGLE_ACCOUNT, CallerPolicyName="PoolCensusCaller", CallerRoleName="PoolCensus",
                   RoleName="Reader", partition="aws-us-gov")  # fmt: skip
    assert ({*role.resources}, role.rules_hold) == ({"Role"}, True)
    assert ({*caller.resources}, caller.rules_hold) == ({"CallerPolicy"}, True)
    made = caller.resources["CallerPolicy"]
    assert made["Roles"] == ["PoolCensus"]
    assert "arn:aws-us-gov:iam::*:role/Reader" in json.dumps(made)


def test_the_stack_set_is_one_that_service_managed_permissions_take() -> None:
    found = template(STACK_SET)
    assert "Transform" not in found
    # What has no default has to be given for accounts that join later, too.
    assert [name for name, each in found["Parameters"].items() if "Default" not in each] == [
        "CallerPrincipal"
    ]
    assert found["Parameters"]["ExternalId"]["NoEcho"] is True
    both = template(SINGLE_ACCOUNT)["Parameters"]
    for name in found["Parameters"].keys() - {"CallerPrincipal"}:
        assert both[name] == found["Parameters"][name]
    assert both["ExternalId"]["NoEcho"] is True
    for file in TEMPLATES:
        assert "ExternalId" not in json.dumps(template(file).get("Outputs"))


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (PRINCIPAL, True),
        ("111122223333", True),
        ("arn:aws-us-gov:iam::111122223333:root", True),
        ("arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Audit_01", True),
        ("arn:aws:iam::111122223333:user/census", True),
        ("arn:aws:sts::111122223333:assumed-role/PoolCensus/me", False),
        ("arn:aws:iam::111122223333:role/", False),
        ("*", False),
        ("PoolCensus", False),
    ],
)  # fmt: skip
def test_the_caller_is_a_principal_of_iam(value: str, taken: bool) -> None:
    for file in TEMPLATES:
        assert is_taken(template(file)["Parameters"]["CallerPrincipal"], value) is taken
    (validation,) = terraform()["variable"]["caller_principal"]["validation"]
    pattern = re.search(r'regex\("(.*)", var\.', validation["condition"])
    assert pattern is not None
    assert (re.search(pattern[1], value) is not None) is taken


@pytest.mark.parametrize("value", ["ab", "a" * 1224, "A-Z_0+=,.@:/-", "long-random-text"])
def test_an_external_id_that_the_program_takes_the_templates_take(value: str) -> None:
    external_id(value)
    for file in TEMPLATES:
        assert is_taken(template(file)["Parameters"]["ExternalId"], value)
        assert not is_taken(template(file)["Parameters"]["ExternalId"], f"{value} !")
    assert is_taken_by_the_module(value)


@pytest.mark.parametrize("value", ["", "a", "abc\n", "a b", "é" * 4, "a" * 1225])
def test_an_external_id_that_can_never_match_is_taken_nowhere(value: str) -> None:
    with pytest.raises(EntryError):
        external_id(value)
    for file in TEMPLATES:
        # In a template an empty one stands for none.
        assert is_taken(template(file)["Parameters"]["ExternalId"], value) is (not value)
    assert not is_taken_by_the_module(value)


def is_taken_by_the_module(value: str) -> bool:
    """Whether the Terraform module takes an external ID, by its validation."""
    (validation,) = terraform()["variable"]["external_id"]["validation"]
    found = re.search(
        r'regex\("(.*)", var\.external_id\)\) && length\(\S+\) <= (\d+)', validation["condition"]
    )
    assert found is not None
    pattern, longest = found[1], int(found[2])
    # Terraform's regular expressions, in which $ is the very end, fail with a count above 1000.
    assert all(int(each) <= 1000 for each in re.findall(r"\d{3,}", pattern))
    return re.search(pattern.replace("$", r"\Z"), value) is not None and len(value) <= longest


def text_of(value: object) -> str:
    return json.dumps(value).replace('\\"', '"')


def test_the_module_refers_to_what_it_has() -> None:
    module = terraform()
    text = "".join(each.read_text(encoding="utf-8") for each in sorted(TERRAFORM.glob("*.tf")))
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    assert set(re.findall(r"\bvar\.(\w+)", code)) == module["variable"].keys()
    data = {f"{kind}.{name}" for kind, name in re.findall(r"\bdata\.(aws_\w+)\.(\w+)", code)}
    assert data == module["data"].keys()
    named = {f"{kind}.{name}" for kind, name in re.findall(r"(?<!data\.)\b(aws_\w+)\.(\w+)", code)}
    assert named <= module["resource"].keys()
    files = re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', code)
    assert len(files) == 3
    for each in files:
        assert (TERRAFORM / each).is_file()
    assert all(each["description"] for each in module["variable"].values())
    assert module["variable"]["external_id"]["sensitive"] is True


def test_the_module_makes_the_policies() -> None:
    module = terraform()
    assert module["resource"]["aws_iam_role_policy.census"]["policy"] == (
        '${file("${path.module}/../iam/member-policy.json")}'
    )
    caller = module["resource"]["aws_iam_policy.caller"]["policy"]
    assert 'file("${path.module}/../iam/caller-policy.json")' in caller
    (replaced,) = re.findall(r'"(arn:aws:[^"]+)"', caller)
    assert replaced in json.dumps(policy("caller"))
    made = module["data"]["aws_iam_policy_document.trust"]["statement"]
    expected = policy("trust")["Statement"]
    for found, statement in zip(made, expected, strict=True):
        wanted = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert (found["sid"], found["effect"], found["actions"]) == (statement["Sid"], "Allow", wanted)
        assert found["principals"] == [{"type": "AWS", "identifiers": ["${var.caller_principal}"]}]
    (dynamic,) = made[0]["dynamic"]
    (condition,) = dynamic["condition"]["content"]
    assert {condition["test"]: {condition["variable"]: condition["values"]}} == {
        "StringEquals": {"sts:ExternalId": ["${var.external_id}"]}
    }
    assert "dynamic" not in made[1]


def test_the_stack_set_of_the_module_is_that_of_the_template() -> None:
    resources = terraform()["resource"]
    stack_set = resources["aws_cloudformation_stack_set.reader"]
    assert stack_set["permission_model"] == "SERVICE_MANAGED"
    # Of a parameter that is not echoed the provider reads asterisks, and sends them with the next change:
    # https://github.com/hashicorp/terraform-provider-aws/issues/29405
    echoed = '"NoEcho: true", "NoEcho: false"'
    file = f'file("${{path.module}}/../cloudformation/{STACK_SET.name}")'
    assert stack_set["template_body"] == f"${{replace({file}, {echoed})}}"
    assert STACK_SET.read_text(encoding="utf-8").count("NoEcho: true") == 1
    # The provider sees a difference in every parameter that is left out.
    assert stack_set["parameters"].keys() == template(STACK_SET)["Parameters"].keys()
    assert "lifecycle" not in stack_set
    instance = resources["aws_cloudformation_stack_set_instance.members"]
    assert stack_set["call_as"] == instance["call_as"] == "${var.call_as}"
    assert "roots[0].id" in text_of(instance["deployment_targets"])
    # Each has its own: what a change of the StackSet does is not what a change of its instances does.
    preferences = [{"failure_tolerance_percentage": 100, "max_concurrent_percentage": 100}]
    assert stack_set["operation_preferences"] == instance["operation_preferences"] == preferences
    assert stack_set["timeouts"] == [{"update": "6h"}]
    assert instance["timeouts"] == [dict.fromkeys(("create", "update", "delete"), "6h")]


def lines_of_the_aws_cli() -> list[str]:
    """What the pages and the header of the template run of CloudFormation by the AWS CLI."""
    pages = [(CONFIG.parent / "README.md"), CONFIG / "README.md"]
    text = "".join(
        block
        for page in pages
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
    text += re.sub(r"(?m)^#", "", STACK_SET.read_text(encoding="utf-8").partition("\nParameters:")[0])
    found = re.findall(r"(?m)^ *aws (cloudformation .*)$", text.replace("\\\n", " "))
    return [line for each in found if not (line := each).startswith("cloudformation deploy ")]


@pytest.mark.parametrize("line", sorted({*lines_of_the_aws_cli()}))
def test_the_aws_cli_has_each_command_that_is_shown_with_its_options(line: str) -> None:
    service, name, *rest = shlex.split(line, comments=True)
    model = botocore.session.Session().get_service_model(service)
    names = {xform_name(each, "-"): each for each in model.operation_names}
    members = model.operation_model(names[name]).input_shape.members
    options = {each.partition("=")[0] for each in rest if each.startswith("--")} - {"--query", "--output"}
    known = {f"--{xform_name(each, '-')}" for each in members}
    known |= {f"--no-{each[2:]}" for each in known}
    assert options <= known
    required = model.operation_model(names[name]).input_shape.required_members
    for each in required:
        option = f"--{xform_name(each, '-')}"
        assert {option, f"--no-{option[2:]}"} & options


def test_an_update_of_the_stack_set_keeps_every_parameter() -> None:
    text = (CONFIG / "README.md").read_text(encoding="utf-8")
    _, _, block = text.partition("<!-- stack set again -->")
    kept = re.findall(r"ParameterKey=(\w+),UsePreviousValue=true", block.partition("\n\n")[0])
    assert {*kept} == template(STACK_SET)["Parameters"].keys()


def test_the_readme_leads_to_sections_that_are_there() -> None:
    sections = re.findall(r"(?m)^## (.+)$", (CONFIG / "README.md").read_text(encoding="utf-8"))
    linked = re.findall(
        r"\]\(config/README\.md#([\w-]+)\)", (CONFIG.parent / "README.md").read_text(encoding="utf-8")
    )
    assert linked
    assert {*linked} <= {each.lower().replace(" ", "-") for each in sections}


def test_each_file_is_in_the_index() -> None:
    index = (CONFIG / "README.md").read_text(encoding="utf-8")
    for file in CONFIG.rglob("*"):
        if file.is_file() and file.parent != TERRAFORM and file.name != "README.md":
            assert f"]({file.relative_to(CONFIG)})" in index
    assert "](terraform)" in index

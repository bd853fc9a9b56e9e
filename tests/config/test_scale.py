"""The files for schedulers are what their own fields take, and run lines that the program takes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from config.deployment import CONFIG, ran, tool
from poolcensus.cli import COMMANDS, group
from poolcensus.cli.exits import ExitCode
from poolcensus.config.readers import shard

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES = CONFIG / "kubernetes"
STEPS = CONFIG / "step-functions"
JOBS = ("plan", "shards", "merge")


def job(name: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((KUBERNETES / f"{name}.yaml").read_text(encoding="utf-8"))
    (found,) = [each for each in documents if each["kind"] == "Job"]
    assert found["apiVersion"] == "batch/v1"
    return dict(found["spec"])


def script(name: str) -> str:
    (container,) = job(name)["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-ec"]
    (text,) = container["args"]
    return str(text)


def steps() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STEPS / "census.asl.json").read_text(encoding="utf-8"))
    return found


def commands_of_steps() -> list[str]:
    """The lines of the state machine, with what it puts in."""
    text = (STEPS / "census.asl.json").read_text(encoding="utf-8").replace('\\"', '"')
    found = re.findall(r"States\.Array\(States\.Format\('([^']*)', ([^)]*)\)\)", text)
    values = {"$.index": "3", "$.count": "8", "$.folder": "/census/run"}
    lines = []
    for line, names in found:
        for name in names.split(", "):
            line = line.replace("{}", values[name], 1)  # noqa: PLW2901 - one value after the other
        assert "{}" not in line
        # A signal reaches the program: in place of the shell, or handed on by it.
        assert "exec poolcensus" in line or "trap " in line
        lines.append(line)
    return lines


def lines() -> list[str]:
    text = "\n".join([*map(script, JOBS), *commands_of_steps()])
    for name, value in (("$shard", "3"), ("$SHARDS", "8")):
        text = text.replace(name, value)
    return [line.strip() for line in re.findall(r"poolcensus ([^|&\n]*)", text)]


def test_there_is_a_line_of_each_job_and_of_each_task() -> None:
    assert [line.split()[0] for line in lines()] == ["plan", "collect", "merge"] * 2


@pytest.mark.parametrize("line", lines())
def test_each_line_is_one_that_the_program_takes(line: str) -> None:
    name, *arguments = shlex.split(line)
    assert name in COMMANDS
    command: click.Command = import_module(f"poolcensus.cli.{name}").command
    context = command.make_context(name, arguments, parent=click.Context(group))
    if name == "plan":
        assert context.params["region_status"] == "off"
    if name == "collect":
        assert shard(context.params["shard"]).count == 8
        # Each night's is in another folder, and snapshots of lists at other paths are not compared.
        assert "run" not in context.params["accounts_snapshot"]
        assert context.params["resume"] is True


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a `poolcensus` that prints its arguments and exits with $CODE."""
    file = tmp_path / "bin" / "poolcensus"
    file.parent.mkdir()
    file.write_text('#!/bin/sh\necho "$@"\nexit $CODE\n')
    file.chmod(0o755)
    return file.parent


def ended(text: str, program: Path, code: int, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{program}:/usr/bin:/bin", "CODE": str(code), **variables}
    return subprocess.run(["/bin/sh", "-ec", text], check=False, capture_output=True, text=True, env=env)


@pytest.mark.parametrize("index", range(8))
def test_each_pod_is_another_shard_with_a_destination_of_its_own(program: Path, index: int) -> None:
    spec = job("shards")
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 8
    done = ended(script("shards"), program, 0, JOB_COMPLETION_INDEX=str(index), SHARDS="8")
    assert done.returncode == 0
    assert f"--shard {index + 1}/8 " in done.stdout
    assert f"--dest /census/shards/{index + 1} " in done.stdout


@pytest.mark.parametrize("code", [*ExitCode])
def test_a_shard_ends_as_the_program_does_but_where_it_is_published_in_part(
    tmp_path: Path, program: Path, code: ExitCode
) -> None:
    expected = 0 if code == ExitCode.UNCOVERED else code
    pod = ended(script("shards"), program, code, JOB_COMPLETION_INDEX="0", SHARDS="8")
    assert pod.returncode == expected
    _, collect, _ = commands_of_steps()
    assert ended(collect.replace("/census/run", str(tmp_path)), program, code).returncode == expected


@pytest.mark.parametrize("code", [ExitCode.OK, ExitCode.UNCOVERED, ExitCode.TERMINATED])
@pytest.mark.parametrize("line", ["pod", "collect", "merge"])
def test_the_program_is_told_to_end_and_its_code_is_what_counts(
    tmp_path: Path, line: str, code: ExitCode
) -> None:
    _, collect, merge = commands_of_steps()
    text = {"pod": script("shards"), "collect": collect, "merge": merge}[line]
    file = tmp_path / "poolcensus"
    file.write_text(
        "#!/bin/sh\n"
        "trap 'sleep 0.3; echo told; exit $CODE' TERM\n"
        # The shell is as far as its trap by then.
        "sleep 0.5; echo up\n"
        "for _ in $(seq 200); do sleep 0.1; done\n"
    )
    file.chmod(0o755)
    (tmp_path / "run").mkdir()
    path, index = f"{tmp_path}:/usr/bin:/bin", {"JOB_COMPLETION_INDEX": "0", "SHARDS": "8"}
    command = ["/bin/sh", "-ec", text.replace("/census/run", str(tmp_path / "run"))]
    env = {"PATH": path, "CODE": str(int(code)), **index}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "up\n"
        shell.terminate()
        assert shell.stdout.read() == "told\n"
    expected = 0 if line != "merge" and code == ExitCode.UNCOVERED else code
    assert shell.returncode == expected


@pytest.mark.parametrize("code", [*ExitCode])
def test_the_shards_of_a_task_go_once_they_are_joined(tmp_path: Path, program: Path, code: ExitCode) -> None:
    run = tmp_path / "run"
    (run / "shards" / "1").mkdir(parents=True)
    _, _, merge = commands_of_steps()
    assert ended(merge.replace("/census/run", str(run)), program, code).returncode == code
    assert run.exists() is (code not in {ExitCode.OK, ExitCode.UNCOVERED})


@pytest.mark.parametrize("failing", [None, *JOBS])
def test_a_job_begins_when_the_one_before_has_succeeded(tmp_path: Path, failing: str | None) -> None:
    text = (CONFIG.parent / ".github" / "SCALE.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- kubernetes -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None
    stand_ins = {
        # Once it says nothing of a job, and then how it has ended.
        "kubectl": 'case "$1" in apply) echo "$3" >> applied;; get) [ -e "$3" ] || { : > "$3"; exit; }\n'
        f'case "$3" in poolcensus-{failing}) echo FailureTarget Failed;;'
        " *) echo SuccessCriteriaMet Complete;; esac;; esac",
        "sleep": "",
    }
    for name, body in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", found[1]], check=False, cwd=tmp_path, env=env, timeout=60)
    applied = [*JOBS] if failing is None else [*JOBS[: JOBS.index(failing) + 1]]
    assert (tmp_path / "applied").read_text().split() == [
        f"config/kubernetes/{each}.yaml" for each in applied
    ]
    assert (done.returncode == 0) is (failing is None)


def test_a_new_list_leaves_no_shard_of_the_list_before(tmp_path: Path, program: Path) -> None:
    (tmp_path / "shards" / "9").mkdir(parents=True)
    done = ended(script("plan").replace("/census", str(tmp_path)), program, ExitCode.FATAL)
    assert (done.returncode, done.stdout) == (
        ExitCode.FATAL,
        f"plan --region-status off --output {tmp_path}/accounts.json\n",
    )
    assert not (tmp_path / "shards").exists()


# The first in which all fields of the jobs are stable, and the newest of the package:
# https://kubernetes.io/blog/2025/05/13/kubernetes-v1-33-jobs-backoff-limit-per-index-goes-ga
@pytest.mark.parametrize("version", [["--kubernetes-version", "1.33"], []], ids=["1.33", "newest"])
def test_kubernetes_takes_the_jobs(version: list[str]) -> None:
    files = sorted(KUBERNETES.glob("*.yaml"))
    assert ran(tool("kubernetes-validate"), "--strict", "--quiet", *version, *files) == (0, "")


def test_the_number_of_shards_stands_in_both_places() -> None:
    spec = job("shards")
    (container,) = spec["template"]["spec"]["containers"]
    values = {each["name"]: each["value"] for each in container["env"]}
    assert values["SHARDS"] == str(spec["completions"])
    first = steps()["States"]["Shards"]["Parameters"]
    assert first["indexes.$"] == f"States.ArrayRange(1, {first['count']}, 1)"


@pytest.mark.parametrize("name", JOBS)
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    pod = job(name)["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {each["name"] for each in pod["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} == volumes


def test_an_external_id_comes_as_a_file_that_need_not_be_there() -> None:
    pod = job("shards")["template"]["spec"]
    (container,) = pod["containers"]
    (folder,) = [each["value"] for each in container["env"] if each["name"] == "CREDENTIALS_DIRECTORY"]
    (name,) = [each["name"] for each in container["volumeMounts"] if each["mountPath"] == folder]
    (secret,) = [each["secret"] for each in pod["volumes"] if each["name"] == name]
    assert secret["optional"] is True
    # The program warns of one that others can read.
    assert secret["defaultMode"] == 0o440


def test_the_rules_of_failure_name_exit_codes_as_they_are() -> None:
    def codes(name: str) -> list[int]:
        rules = job(name)["podFailurePolicy"]["rules"]
        return [code for each in rules for code in each.get("onExitCodes", {}).get("values", [])]

    assert codes("shards") == [ExitCode.USAGE]
    assert codes("merge") == [ExitCode.FATAL, ExitCode.USAGE, ExitCode.UNCOVERED]


def test_a_shard_ends_in_good_order_before_it_is_ended() -> None:
    seconds = 90 * 60
    assert "--deadline 90m" in script("shards")
    assert job("shards")["activeDeadlineSeconds"] > seconds
    shard_step = steps()["States"]["Collect"]["ItemProcessor"]["States"]["Shard"]
    assert shard_step["TimeoutSeconds"] > seconds


def test_cfn_lint_takes_the_state_machine_the_task_and_the_policy(tmp_path: Path) -> None:
    task = json.loads((STEPS / "task-definition.json").read_text(encoding="utf-8"))
    policy = json.loads((STEPS / "state-machine-policy.json").read_text(encoding="utf-8"))
    names = ("Cluster", "TaskDefinition", "Subnet", "SecurityGroup")
    resources = {
        "Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": policy}},
        "Task": {"Type": "AWS::ECS::TaskDefinition", "Properties": _in_pascal_case(task)},
        "Machine": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": "arn:aws:iam::111122223333:role/StateMachine",
                "Definition": steps(),
                "DefinitionSubstitutions": {name: f"{name}-of-yours" for name in names},
            },
        },
    }
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}))
    assert ran(tool("cfn-lint"), "--non-zero-exit-code", "warning", "--", template) == (0, "")


def test_each_state_leads_to_one_that_is_there() -> None:
    machine = steps()
    states = machine["States"]
    way = [machine["StartAt"]]
    while "End" not in states[way[-1]]:
        way.append(states[way[-1]]["Next"])
    assert way == [*states]


def test_the_policy_names_what_the_state_machine_runs() -> None:
    policy = (STEPS / "state-machine-policy.json").read_text(encoding="utf-8")
    task = json.loads((STEPS / "task-definition.json").read_text(encoding="utf-8"))
    assert f"task-definition/{task['family']}:*" in policy
    assert task["taskRoleArn"] in policy
    assert task["executionRoleArn"] in policy
    (container,) = task["containerDefinitions"]
    text = (STEPS / "census.asl.json").read_text(encoding="utf-8")
    assert set(re.findall(r'"Name": "(\w+)"', text)) == {container["name"]}
    assert container["entryPoint"] == ["sh", "-ec"]


def test_a_task_writes_to_its_volumes_alone() -> None:
    task = json.loads((STEPS / "task-definition.json").read_text(encoding="utf-8"))
    (container,) = task["containerDefinitions"]
    assert container["readonlyRootFilesystem"] is True
    mounted = {each["containerPath"]: each["sourceVolume"] for each in container["mountPoints"]}
    assert {*mounted.values()} == {each["name"] for each in task["volumes"]}
    (temporary,) = [each["value"] for each in container["environment"] if each["name"] == "TMPDIR"]
    # Fargate gives a volume the owner and mode of a folder of the image only where that is its VOLUME:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
    image = (CONFIG / "Containerfile").read_text(encoding="utf-8")
    assert f"VOLUME {temporary}\n" in image
    assert f"install --directory --owner poolcensus --mode 0700 {temporary}\n" in image
    assert mounted[temporary] == "temporary"


# What CloudFormation calls otherwise than ECS itself.
_NAMES = {"efsVolumeConfiguration": "EFSVolumeConfiguration", "fileSystemId": "FilesystemId", "iam": "IAM"}


def _in_pascal_case(value: object) -> object:
    if isinstance(value, dict):
        return {
            # Names of a log driver's options are its own.
            key if key.startswith("awslogs") else _NAMES.get(key, key[0].upper() + key[1:]): _in_pascal_case(
                each
            )
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_in_pascal_case(each) for each in value]
    return value

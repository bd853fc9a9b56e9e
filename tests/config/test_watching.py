"""The examples for Prometheus, Grafana and systemd are valid, and use what the program writes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from config.deployment import nightly_settings
from ended_census import metric_names
from poolcensus.cli.collect import command
from poolcensus.model import Outcome

NAMES = metric_names()
CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus-rules.example.yml"
DASHBOARD = CONFIG / "grafana-dashboard.example.json"
SERVICE = CONFIG / "poolcensus.service"
TIMER = CONFIG / "poolcensus.timer"


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    """Every expression of PromQL in the examples, with a host in place of the dashboard's variable."""
    board = dashboard()
    found = [each["expr"] for each in rules()]
    found += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [each["expr"] for each in board["annotations"]["list"]]
    return [each.replace("$instance", "host") for each in found]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_uses_metrics_and_outcomes_that_there_are(expression: str) -> None:
    assert set(re.findall(r"poolcensus_\w+", expression)) <= NAMES
    assert "poolcensus_" in expression
    for names in re.findall(r'outcome[!=]?[=~]"([^"]*)"', expression):
        assert {*names.split("|")} <= {*map(str, Outcome)}
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    assert expression.count('"') % 2 == 0


def test_the_outcomes_that_the_dashboard_calls_covered_are_those_that_are() -> None:
    chosen = [each for each in expressions() if re.search(r'outcome[!=]~"', each)]
    assert len(chosen) == 2
    for each in chosen:
        (names,) = re.findall(r'outcome[!=]~"([^"]*)"', each)
        assert {*names.split("|")} == {outcome.value for outcome in Outcome if outcome.covered}


def test_every_metric_of_the_newest_snapshot_and_of_the_run_is_used_somewhere() -> None:
    used = {name for each in expressions() for name in re.findall(r"poolcensus_\w+", each)}
    assert {"poolcensus_run_complete", "poolcensus_pages"} == NAMES - used


def test_an_alert_has_a_name_a_severity_and_says_what_it_means() -> None:
    names = [each["alert"] for each in rules()]
    assert len({*names}) == len(names)
    for each in rules():
        assert re.fullmatch(r"Poolcensus[A-Z]\w+", each["alert"])
        assert each["labels"]["severity"] in {"info", "warning", "critical"}
        assert each["annotations"]["summary"]
        assert each["annotations"]["description"]


def test_a_dashboard_has_panels_that_lie_side_by_side_and_takes_any_data_source() -> None:
    board = dashboard()
    panels = board["panels"]
    assert [each["id"] for each in panels] == list(range(1, len(panels) + 1))
    cells = [
        (x, y)
        for place in (each["gridPos"] for each in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len({*cells}) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        refs = [each["refId"] for each in panel["targets"]]
        assert len({*refs}) == len(refs)
        for each in (panel, *panel["targets"]):
            assert each["datasource"]["uid"] == "${datasource}"
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "instance"]


# What an alert says of a host with these series; the others of that file are at zero.
CASES = {
    "PoolcensusStale": {"last_success_timestamp_seconds": 0},
    "PoolcensusRunFailed": {"run_exit_code": 1, "run_success": 0},
    "PoolcensusNeverWhole": {"last_complete_timestamp_seconds": 0},
    "PoolcensusNeverWhole, after one that was": {"last_complete_timestamp_seconds": 60},
    "PoolcensusCoverageLow": {"covered": 90},
    "PoolcensusRoleMissing": {'outcomes{outcome="assume_role_failed"}': 1},
}
HEALTHY = {
    "last_success_timestamp_seconds": 1_000_000,
    "last_complete_timestamp_seconds": 1_000_000,
    "run_finished_timestamp_seconds": 1_000_000,
    "run_success": 1,
    "run_exit_code": 0,
    "targets": 100,
    "covered": 100,
    "targets_uncovered": 0,
    "targets_known_gaps": 0,
    "pools": 7,
    'outcomes{outcome="assume_role_failed"}': 0,
    'outcomes{outcome="not_entitled"}': 0,
}


# The time of a test begins at 0, which is before every time that is healthy, and these alerts wait for days.
LATE = {name for name in CASES if name.startswith(("PoolcensusStale", "PoolcensusNeverWhole"))}


def test_a_host_whose_first_week_it_is_has_that_week_to_be_whole() -> None:
    """As promtool tests it, where there is one."""
    (whole,) = (" ".join(each["expr"].split()) for each in rules() if each["alert"] == "PoolcensusNeverWhole")
    metric = "poolcensus_last_complete_timestamp_seconds"
    assert f"time() - {metric} > 7 * 86400 " in whole
    assert whole.endswith(f" and ({metric} > 0 or {metric} offset 7d)")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there")
def test_promtool_takes_every_expression_and_each_alert_fires_for_its_reason_alone(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES.read_text(encoding="utf-8"))
    records = [{"record": f"r{number}", "expr": each} for number, each in enumerate(expressions())]
    (tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    tests = []
    # The host of a first night that was partial has had metrics for less than a week.
    new = {**HEALTHY, "last_complete_timestamp_seconds": 0}
    hosts: list[tuple[str | None, dict[str, int], int, int]]
    hosts = [(None, HEALTHY, 0, 1), (None, new, 11_000, 12_000)]
    hosts += [(name, {**HEALTHY, **CASES[name]}, 0, 12_000 if name in LATE else 1) for name in CASES]
    for name, series, begins, at in hosts:
        alerts = [] if name is None else [name.partition(",")[0]]
        inputs = [
            {"series": f"poolcensus_{key}", "values": f"_x{begins} {value}+0x20000"}
            for key, value in series.items()
        ]
        tests.append(
            {
                "interval": "1m",
                "input_series": inputs,
                "promql_expr_test": [
                    {
                        "expr": "group by (alertname) (ALERTS)",
                        "eval_time": f"{at}m",
                        "exp_samples": [{"labels": f'{{alertname="{each}"}}', "value": 1} for each in alerts],
                    }
                ],
            }
        )
    suite = {"rule_files": ["rules.yml"], "evaluation_interval": "1h", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(suite))
    for arguments in ("check rules all.yml rules.yml", "test rules tests.yml"):
        ended = subprocess.run(
            ["promtool", *arguments.split()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there")
def test_an_alert_names_no_age_where_no_snapshot_has_ever_been(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path / "rules.yml")
    (stale,) = (each for each in rules() if each["alert"] == "PoolcensusStale")
    metric = "poolcensus_last_success_timestamp_seconds"
    # The time of a test begins at 0, and its days of data end long before today.
    now = 60 * 60 * 24 * 365 * 50
    alerts = [
        {
            "exp_labels": {"severity": "critical", "instance": instance},
            "exp_annotations": {"summary": stale["annotations"]["summary"], "description": description},
        }
        for instance, description in (
            ("new", "None has been published on new yet. Look at the log of the last run."),
            ("old", "The last one on old is 1d 3h 0m 0s old. Look at the log of the last run."),
        )
    ]
    test = {
        "interval": f"{now}s",
        "input_series": [
            {"series": f'{metric}{{instance="new"}}', "values": "0 0"},
            {"series": f'{metric}{{instance="old"}}', "values": f"0 {now - 27 * 3600}"},
        ],
        "alert_rule_test": [{"eval_time": f"{now}s", "alertname": "PoolcensusStale", "exp_alerts": alerts}],
    }
    suite = {"rule_files": ["rules.yml"], "evaluation_interval": f"{now}s", "tests": [test]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(suite))
    arguments = ["promtool", "test", "rules", "tests.yml"]
    ended = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def unit(file: Path) -> ConfigParser:
    # Some settings of systemd add up where they are repeated.
    parser = ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation has it
    parser.read_string(re.sub(r" \\\n +", " ", file.read_text(encoding="utf-8")))
    return parser


def test_the_service_runs_a_line_that_the_program_takes_and_gives_it_its_time() -> None:
    service = unit(SERVICE)["Service"]
    program, name, *arguments = shlex.split(service["ExecStart"])
    assert (Path(program).name, name) == ("poolcensus", "collect")
    given = command.make_context("collect", arguments, parent=click.Context(click.Group())).params
    settings = nightly_settings()
    assert settings.deadline is not None
    assert float(service["TimeoutStartSec"]) > settings.deadline + 60
    assert given["metrics_file"].endswith(".prom")
    assert Path(given["metrics_file"]).parent == Path(service["ReadWritePaths"].removeprefix("-"))
    # What the settings say of the destination and the deadline, nothing goes over.
    assert given["dest"] is given["deadline"] is None
    assert settings.dest == f"/var/lib/{service['StateDirectory']}"
    # The settings are no secret; the external ID is one, and has the name that the program looks for.
    assert service["LoadCredential"].partition(":")[0] == "external-id"
    assert given["external_id"] is None
    assert given["config"].parent == Path(service["LoadCredential"].partition(":")[2]).parent
    assert service["CacheDirectory"] == service["StateDirectory"] == "poolcensus"
    assert service["Type"] == "oneshot"


def test_the_timer_makes_up_for_what_was_missed_and_spreads_hosts() -> None:
    timer = unit(TIMER)
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Timer"]["RandomizedDelaySec"]
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not there")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    # It looks whether the program is there.
    text = SERVICE.read_text(encoding="utf-8").replace("/usr/local/bin/poolcensus", "/bin/true")
    (tmp_path / SERVICE.name).write_text(text)
    shutil.copy(TIMER, tmp_path)
    ended = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / SERVICE.name, tmp_path / TIMER.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not there")
def test_the_service_may_do_little() -> None:
    # Of 100, in tenths of what systemd shows: what is left is the network, and the file system to read.
    ended = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", SERVICE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr

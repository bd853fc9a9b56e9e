from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poolcensus import errors
from poolcensus.cli import main, running
from poolcensus.cli.collect import collect
from poolcensus.cli.exits import StoppedError
from poolcensus.config import ProgressMode, Settings
from poolcensus.model import Outcome, Shard, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally
from poolcensus.signals import ENDING
from poolcensus.snapshot.info import info_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ended_census import FakeLibrary


def test_a_run_without_trouble_and_without_a_terminal_prints_nothing(
    library: FakeLibrary, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect"]) == 0
    assert capfd.readouterr() == ("", "")


def test_every_option_reaches_its_setting(library: FakeLibrary) -> None:
    line = (
        "collect --dest d --accounts 000000000001,000000000002 --accounts 000000000003"
        " --exclude-accounts 000000000004 --ou ou-ab12-34cd56ef --exclude-ou r-ab12 --account-tag a=b"
        " --account-tag c=d,e --accounts-from list.txt --regions eu-* --exclude-regions eu-west-1"
        " --profile p --role-name R --external-id secret --endpoint-url http://127.0.0.1:1"
        " --pool-id wspool-0123456ab --filter PoolName:EQUALS:a,b --page-size 5 --concurrency 6"
        " --per-account 7 --per-region 8 --compress gzip --strict --max-failed 2% --deadline 9"
        " --shard 1/2 --progress never --log-format json --log-level error --metrics-file m.prom"
        " --notify-command true --json"
    )
    assert main(line.split()) == 0
    (settings,) = library.asked
    assert settings.dest == "d"
    assert settings.accounts == ("000000000001", "000000000002", "000000000003")
    assert settings.exclude_accounts == ("000000000004",)
    assert (settings.ous, settings.exclude_ous) == (("ou-ab12-34cd56ef",), ("r-ab12",))
    assert settings.account_tags == (("a", "b"), ("c", "d,e"))
    assert settings.accounts_from == ("list.txt",)
    assert (settings.regions, settings.exclude_regions) == (("eu-*",), ("eu-west-1",))
    assert (settings.profile, settings.role_name) == ("p", "R")
    assert settings.external_id is not None
    assert settings.external_id.get_secret_value() == "secret"
    assert settings.endpoint_url == "http://127.0.0.1:1"
    assert settings.pool_ids == ("wspool-0123456ab",)
    assert [str(each) for each in settings.filters] == ["PoolName:EQUALS:a,b"]
    assert (settings.page_size, settings.concurrency) == (5, 6)
    assert (settings.per_account, settings.per_region) == (7, 8)
    assert settings.compress == "gzip"
    assert settings.strict
    assert str(settings.max_failed) == "2%"
    assert settings.deadline == 9
    assert settings.shard == Shard(1, 2)
    assert settings.progress is ProgressMode.NEVER
    assert (settings.log_format, settings.log_level) == ("json", "error")
    assert settings.metrics_file == Path("m.prom")
    assert settings.notify_command == "true"
    assert settings.json_output


def test_the_command_line_wins_over_the_environment_over_the_file(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("concurrency = 1\nper_account = 1\nper_region = 1\nstrict = true")
    monkeypatch.setenv("POOLCENSUS_CONCURRENCY", "2")
    monkeypatch.setenv("POOLCENSUS_PER_ACCOUNT", "2")
    assert main(["collect", "--config", str(file), "--concurrency", "3"]) == 0
    (settings,) = library.asked
    assert (settings.concurrency, settings.per_account, settings.per_region) == (3, 2, 1)
    assert settings.strict


def test_every_wrong_setting_is_a_line_and_nothing_is_called(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POOLCENSUS_REGION", "x")
    assert main(["collect", "--page-size", "26", "--shard", "x"]) == 2
    assert library.asked == []
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(each.startswith("poolcensus: ") for each in lines)
    assert any("--page-size: " in each for each in lines)


def test_json_on_standard_output_is_the_manifest_in_one_line(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 1
    assert json.loads(said.out)["totals"]["pools"] == 7


def test_json_and_pools_do_not_share_standard_output(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--json", "--dest", "-"]) == 2
    assert library.asked == []
    assert "--json" in capsys.readouterr().err


def test_a_partial_snapshot_exits_with_3_and_names_the_accounts(
    library: FakeLibrary, result: Callable[..., TargetResult], capsys: pytest.CaptureFixture[str]
) -> None:
    library.partial(result(4, outcome=Outcome.SCP_DENIED), result(5, outcome=Outcome.TIMED_OUT))
    assert main(["collect"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        (
            "poolcensus: Denied by a service control policy in 1 account: 000000000004 acct-3 (eu-west-1)."
            " No change to the role helps: change the policy, leave the accounts or the regions out with"
            " --exclude-accounts or --exclude-regions, or expect it with --known-gap."
        ),
        (
            "poolcensus: Timed out in 1 account: 000000000005 acct-4 (eu-west-1)."
            " Run it again, with a longer `target_timeout` if it stays."
        ),
        (
            "poolcensus: Published partial snapshot 20261123T020000Z-3f9a1c at"
            " snapshots/20261123T020000Z-3f9a1c: 2 of 4 targets covered. Run 'poolcensus show --failures"
            " 20261123T020000Z-3f9a1c --dest snapshots' to list the others."
        ),
    ]


def test_what_was_not_published_says_which_accounts_were_the_reason(
    library: FakeLibrary, result: Callable[..., TargetResult], capsys: pytest.CaptureFixture[str]
) -> None:
    uncovered = (result(4, outcome=Outcome.ERROR), result(4, "us-east-1", outcome=Outcome.ERROR))
    library.error = errors.NotPublishedError(
        "Snapshot not published: 2 of 4 targets failed and --strict is set.",
        uncovered=uncovered[:1],
        count=2,
        failures=FailureTally(WORKSPACES_POOLS, uncovered).groups(),
    )
    assert main(["collect", "--strict"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "poolcensus: Snapshot not published: 2 of 4 targets failed and --strict is set.",
        (
            "poolcensus: The service returned an error in 1 account: 000000000004 acct-3 (2 regions)."
            " Run it again. If it stays, AWS Support can look up the request IDs in the ledger."
        ),
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.CredentialsError("no credentials"), 1),
        (errors.DestinationLockedError("another run"), 11),
    ],
)
def test_a_fatal_error_is_a_line_and_a_code(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str], error: errors.CensusError, code: int
) -> None:
    library.error = error
    assert main(["collect"]) == code
    assert capsys.readouterr().err == f"poolcensus: {error}\n"


def test_a_run_that_can_be_gone_on_with_says_how(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    library.error = errors.CredentialsError("the credentials have ended")
    library.resumable = True
    assert main(["collect"]) == 1
    assert capsys.readouterr().err == (
        "poolcensus: the credentials have ended\n"
        "poolcensus: Progress saved. Run the same command with --resume to continue.\n"
    )


def test_a_command_that_takes_no_resume_does_not_advise_it(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    library.error = StoppedError(15)
    library.resumable = True
    with pytest.raises(StoppedError):
        collect(Settings.load(), can_resume=False)
    assert capsys.readouterr().err == ""


def test_a_signal_after_the_snapshot_was_published_changes_nothing(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    library.error = StoppedError(15)
    library.published = library.snapshot
    assert main(["collect"]) == 0
    assert capsys.readouterr().err == (
        f"poolcensus: snapshot {library.snapshot.manifest.snapshot_id} was published when the signal came\n"
    )


@pytest.mark.parametrize(("step", "code"), [("_write_metrics", 0), ("_notify", 3), ("_report", 3)])
def test_a_signal_in_a_step_after_that_ends_it_with_the_code_of_the_snapshot(
    library: FakeLibrary,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
    code: int,
) -> None:
    if code:
        library.partial(TargetResult("000000000004", None, "eu-west-1", Outcome.ERROR))
    before = [signal.getsignal(each) for each in ENDING]
    left: list[int] = []
    monkeypatch.setattr(running, "_leave", left.append)
    monkeypatch.setattr(
        f"poolcensus.cli.collect.{step}", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
    )
    main(["collect"])
    assert left == [code]
    assert (
        f"poolcensus: snapshot {library.snapshot.manifest.snapshot_id} was published when the signal came\n"
        in capsys.readouterr().err
    )
    assert [signal.getsignal(each) for each in ENDING] == before


@pytest.mark.parametrize("step", ["hidden_items", "_write_metrics", "_notify", "show_summary"])
def test_a_defect_in_a_step_after_that_costs_no_other_step(
    library: FakeLibrary,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    step: str,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise LookupError(step)

    monkeypatch.setattr(f"poolcensus.cli.collect.{step}", fails)
    metrics_file, notified = tmp_path / "m.prom", tmp_path / "notified"
    options = ("--metrics-file", str(metrics_file), "--notify-command", f"touch {notified}", "--json")
    assert main(["collect", *options]) == 0
    told = capsys.readouterr()
    assert "was published before this: unexpected LookupError" in told.err
    assert metrics_file.exists() == (step != "_write_metrics")
    assert notified.exists() == (step != "_notify")
    assert json.loads(told.out)["snapshot_id"] == library.snapshot.manifest.snapshot_id


def test_what_the_machine_causes_after_that_is_no_defect_in_a_log_in_json(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "gone")

    monkeypatch.setattr("poolcensus.cli.collect.show_summary", fails)
    assert main(["collect", "--log-format", "json"]) == 0
    (said,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert said["message"].endswith("was published before this: [Errno 5] gone")
    assert said["level"] == "ERROR"


def test_a_terminal_gets_a_summary_on_standard_error(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["collect"]) == 0
    assert "4 of 4 covered" in stream.getvalue()
    assert capsys.readouterr().out == ""
    stream.truncate(0)
    assert main(["collect", "--log-format", "json"]) == 0
    assert stream.getvalue() == ""


def metrics(file: Path) -> dict[str, float]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_of_a_good_run(library: FakeLibrary, tmp_path: Path) -> None:
    file = tmp_path / "m.prom"
    assert main(["collect", "--metrics-file", str(file)]) == 0
    found = metrics(file)
    assert found["poolcensus_run_success"] == found["poolcensus_run_complete"] == 1
    assert found["poolcensus_pools"] == 7
    assert found['poolcensus_outcomes{outcome="ok"}'] == 3
    assert not any("python" in name for name in found)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("m.")] == ["m.prom"]


def test_metrics_of_a_partial_run(
    library: FakeLibrary, tmp_path: Path, result: Callable[..., TargetResult]
) -> None:
    library.partial(result(4, outcome=Outcome.ERROR))
    file = tmp_path / "m.prom"
    assert main(["collect", "--metrics-file", str(file)]) == 3
    found = metrics(file)
    assert (found["poolcensus_run_success"], found["poolcensus_run_complete"]) == (1, 0)
    assert found["poolcensus_run_exit_code"] == 3


def test_metrics_of_a_failed_run(library: FakeLibrary, tmp_path: Path) -> None:
    library.error = errors.DestinationLockedError("another run")
    file = tmp_path / "m.prom"
    file.write_text("poolcensus_run_success 1\n")
    assert main(["collect", "--metrics-file", str(file)]) == 11
    found = metrics(file)
    assert found["poolcensus_run_success"] == 0
    assert found["poolcensus_run_exit_code"] == 11
    assert found["poolcensus_requests"] == 9


def test_metrics_that_cannot_be_written_are_a_line_and_the_code_stays(
    library: FakeLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--metrics-file", str(tmp_path / "no" / "m.prom")]) == 0
    assert "Could not write the metrics" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "warned"), [("m.prom", False), ("m.txt", True), ("prom", True)])
def test_a_file_that_node_exporter_does_not_read_has_a_warning_and_is_written(
    library: FakeLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, warned: bool
) -> None:
    assert main(["collect", "--metrics-file", str(tmp_path / name)]) == 0
    assert ("textfile collector" in capsys.readouterr().err) is warned
    assert metrics(tmp_path / name)["poolcensus_run_success"] == 1
    assert main(["collect", "--metrics-file", str(tmp_path / name), "--log-level", "error"]) == 0
    assert capsys.readouterr().err == ""


def test_metrics_for_the_null_device_are_no_warning(
    library: FakeLibrary, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--metrics-file", "/dev/null"]) == 0
    assert capfd.readouterr() == ("", "")
    assert Path("/dev/null").is_char_device()


def test_plan_prints_a_table_or_json(library: FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 0
    said = capsys.readouterr()
    assert "workspaces:DescribeWorkspacesPools" in said.out
    assert said.err == ""
    assert main(["plan", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["targets"] == 2
    assert found["accounts"]["skipped"][0]["reason"] == "SUSPENDED"
    assert found["calls"] == {"workspaces:DescribeWorkspacesPools": 2}


@pytest.mark.parametrize("switch", ["strict", "resume", "json"])
def test_each_switch_has_an_opposite_that_undoes_what_a_file_or_the_environment_sets(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    Path("poolcensus.toml").write_text(f"{switch} = true\n")
    name = "json_output" if switch == "json" else switch
    assert main(["collect"]) == 0
    assert getattr(library.asked[-1], name)
    assert main(["collect", f"--no-{switch}"]) == 0
    assert not getattr(library.asked[-1], name)
    monkeypatch.setenv(f"POOLCENSUS_{switch.upper()}", "yes")
    assert main(["collect", f"--no-{switch}"]) == 0
    assert not getattr(library.asked[-1], name)


def test_an_empty_value_empties_each_list(library: FakeLibrary) -> None:
    lists = {
        "accounts": ("--accounts", "000000000001"),
        "exclude_accounts": ("--exclude-accounts", "000000000002"),
        "ous": ("--ou", "ou-ab12-34cd56ef"),
        "exclude_ous": ("--exclude-ou", "ou-ab12-34cd56ee"),
        "account_tags": ("--account-tag", "env=prod"),
        "regions": ("--regions", "eu-*"),
        "exclude_regions": ("--exclude-regions", "eu-west-2"),
        "pool_ids": ("--pool-id", "wspool-a1b2c3d4e"),
        "filters": ("--filter", "PoolName:EQUALS:a"),
    }
    Path("poolcensus.toml").write_text("".join(f'{key} = ["{value}"]\n' for key, (_, value) in lists.items()))
    assert main(["collect"]) == 0
    assert all(getattr(library.asked[-1], key) for key in lists)
    for key, (option, _) in lists.items():
        assert main(["collect", option, ""]) == 0
        assert [each for each in lists if not getattr(library.asked[-1], each)] == [key]


@pytest.mark.parametrize("partial", [False, True])
def test_a_run_that_covers_something_else_than_the_snapshot_before_says_so_in_one_line(
    library: FakeLibrary,
    result: Callable[..., TargetResult],
    capsys: pytest.CaptureFixture[str],
    partial: bool,
) -> None:
    library.before = info_of(library.snapshot.manifest)
    assert main(["collect"]) == 0
    assert capsys.readouterr() == ("", "")
    if partial:
        library.partial(result(4, outcome=Outcome.SCP_DENIED))
    narrow = replace(library.snapshot.manifest, request={"accounts": ["000000000001"]})
    library.snapshot = replace(library.snapshot, manifest=narrow)
    assert main(["collect"]) == (3 if partial else 0)
    said = capsys.readouterr()
    line = "poolcensus: This run covers 1 account; the snapshot before covers the whole organization."
    assert said.err.splitlines().count(line) == 1
    assert said.out == ""
    assert len(said.err.splitlines()) == (3 if partial else 1)


def test_a_run_that_published_nothing_compares_nothing(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = replace(library.snapshot.manifest, request={"accounts": ["000000000001"]})
    library.before = info_of(narrow)
    library.error = errors.DestinationError("the disk is full")
    assert main(["collect"]) == 1
    assert capsys.readouterr().err == "poolcensus: the disk is full\n"

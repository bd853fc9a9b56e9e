"""What is wrong in settings, files and tables: a sentence that says what and where, and exit code 2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from faults.conftest import assert_one_sentence
from poolcensus.model import Outcome
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Bench, Run, Served

COMMANDS = ("collect", "plan", "doctor")
HUB, OTHER_HUB = (f"arn:aws:iam::{number:012}:role/Hub" for number in (2, 3))
TABLES = '[[organization]]\nname = "one"\n[[organization]]\nname = "two"\n'


class Wrong(NamedTuple):
    """Arguments, files and a configuration, what is said of them, and the calls that come before that."""

    words: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    config: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    calls: tuple[str, ...] = ()


IDENTITY = ("sts.GetCallerIdentity",)
CASES = {
    "csv": Wrong(
        ("a.csv: line 3, column 1", "'12' is not a 12-digit account id"),
        ("--accounts-from", "a.csv"),
        files=(("a.csv", "account_id,role\n111122223333,R\n12,R\n"),),
    ),
    "csv region": Wrong(
        ("a.csv: line 2, column 2", '"eu-wset-1"'),
        ("--accounts-from", "a.csv"),
        files=(("a.csv", "account_id,regions\n111122223333,eu-wset-1\n"),),
    ),
    "json": Wrong(
        ("a.json: line 2, column 16",),
        ("--accounts-from", "a.json"),
        files=(("a.json", '{"accounts": [\n"111122223333",,\n]}'),),
    ),
    "toml": Wrong(
        ("a.toml", "line 2, column 16"),
        ("--accounts-from", "a.toml"),
        files=(("a.toml", 'accounts = [\n"111122223333" "2"\n]'),),
    ),
    "contradiction": Wrong(
        ("b.csv: account 000000000003 is also in a.csv", "role"),
        ("--accounts-from", "a.csv,b.csv"),
        files=tuple((f"{each}.csv", f"account_id,role\n000000000003,{each}\n") for each in "ab"),
    ),
    "loop": Wrong(
        ("--role-chain", f'names "{HUB}" twice'), ("--role-chain", f"{HUB},{OTHER_HUB},{HUB}")
    ),
    "session name": Wrong(("--session-name", '"a b"'), ("--session-name", "a b")),
    "duration": Wrong(("--session-duration", "900 to 43200"), ("--session-duration", "60")),
    "partition": Wrong(
        ("--role-arn", "is in partition aws-us-gov, and the caller's credentials are of aws"),
        ("--role-arn", "arn:aws-us-gov:iam::{account_id}:role/R"),
        calls=IDENTITY,
    ),
    "partition of a hub": Wrong(
        ("--role-chain", "is in partition aws-cn"),
        ("--role-chain", HUB.replace("aws", "aws-cn", 1)),
        calls=IDENTITY,
    ),
    "unit": Wrong(
        ("no root or organizational unit ou-ab12-deadbeef", "--ou"),
        ("--ou", "ou-ab12-deadbeef"),
        calls=(*IDENTITY, "organizations.ListAccountsForParent"),
    ),
    "excluded unit": Wrong(
        ("no root or organizational unit ou-ab12-deadbeef", "--exclude-ou"),
        ("--exclude-ou", "ou-ab12-deadbeef"),
        calls=(*IDENTITY, "organizations.ListAccountsForParent"),
    ),
    "organization key": Wrong(
        ("poolcensus.toml", "organization", '"x"', '"profil"', "Did you mean profile?"),
        config='[[organization]]\nname = "x"\nprofil = "y"\n',
    ),
    "organization's own": Wrong(
        ("poolcensus.toml", '"x": concurrency is set for the whole run'),
        config='[[organization]]\nname = "x"\nconcurrency = 3\n',
    ),
    "organization twice": Wrong(
        ("poolcensus.toml", 'two tables have the name "one"'), config=TABLES.replace("two", "one")
    ),
    "organization in one table": Wrong(
        ("poolcensus.toml", "[[organization]]"), config='[organization]\nname = "x"\n'
    ),
    "gap key": Wrong(
        ("poolcensus.toml", "known_gaps", '"outcome"', "outcomes"),
        config='[[known_gaps]]\naccounts = "000000000002"\noutcome = "scp_denied"\n',
    ),
    "gap outcome": Wrong(
        ("poolcensus.toml", "known_gaps", '"empty" is covered and no gap'),
        config='[[known_gaps]]\naccounts = "000000000002"\noutcomes = "empty"\n',
    ),
    "list of several": Wrong(
        ("--accounts-snapshot takes the list of one Organization",),
        ("--accounts-snapshot", "list.json"),
        config=TABLES,
    ),
    "external ID": Wrong(
        ('--external-id-file: "missing" can\'t be read',), ("--external-id-file", "missing")
    ),
    "external ID of the file": Wrong(
        ('poolcensus.toml: external_id_file: "missing" can\'t be read',),
        config='external_id_file = "missing"\n',
    ),
    "external ID of a table": Wrong(
        ('poolcensus.toml: organization: "two": external_id_file: "missing" can\'t be read',),
        config=f'{TABLES}external_id_file = "missing"\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_a_sentence_of_every_command_and_no_traceback_at_any_level(
    simulator: Served, run: Run, bench: Bench, case: Wrong
) -> None:
    for name, content in case.files:
        (bench.folder / name).write_text(content)
    before = {each.name for each in bench.folder.iterdir()}
    said = set()
    code = 1 if case.calls else 2
    for command in COMMANDS:
        ended = run(command, *case.arguments, config=case.config, **simulator.environment)
        assert_one_sentence(ended, code, *case.words)
        said.add(ended.err)
        ended = run(
            command, *case.arguments, "--log-level", "debug", config=case.config, **simulator.environment
        )
        assert (ended.code, ended.out) == (code, "")
        assert "Traceback" not in ended.err
        assert ended.err.splitlines(keepends=True)[-1] in said
    # Whichever command it is, the same is said.
    assert len(said) == 1
    assert simulator.calls == dict.fromkeys(case.calls, 2 * len(COMMANDS))
    left = {each.name for each in bench.folder.rglob("*")} - before
    # What only AWS knows is told once the destination is locked.
    locked = ["snapshots", ".lock"] if case.calls else []
    assert left == {*(["poolcensus.toml"] if case.config else []), *locked}


def test_a_list_of_accounts_that_was_changed(simulator: Served, run: Run, bench: Bench) -> None:
    ended = run("plan", "--regions", "us-east-1", "--output", "list.json", **simulator.environment)
    assert ended.code == 0
    written = bench.folder / "list.json"
    written.write_text(written.read_text().replace("acct-1", "acct-x"))
    simulator.ask("reset", "POST")
    for command in COMMANDS:
        ended = run(command, "--accounts-snapshot", "list.json", **simulator.environment)
        assert_one_sentence(ended, 2, "list.json", "it was changed or cut off", "poolcensus plan --output")
    assert simulator.calls == {}


def test_several_organizations_have_no_one_list(simulator: Served, run: Run, bench: Bench) -> None:
    ended = run("plan", "--output", "list.json", config=TABLES, **simulator.environment)
    assert (ended.code, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first == ("poolcensus: --output writes the list of one Organization, and there are several")
    assert second == "poolcensus: see 'poolcensus plan --help'"
    assert not (bench.folder / "list.json").exists()
    assert simulator.calls == {}


@pytest.mark.parametrize("dest", ["-", "s3://bucket/prefix"])
def test_a_run_can_t_go_on_where_nothing_is_kept(
    simulator: Served, run: Run, bench: Bench, dest: str
) -> None:
    for command in ("collect", "doctor"):
        ended = run(command, "--resume", "--dest", dest, **simulator.environment)
        assert_one_sentence(ended, 2, "--resume needs a directory", dest)
        ended = run(command, "--dest", dest, POOLCENSUS_RESUME="1", **simulator.environment)
        assert_one_sentence(ended, 2, "POOLCENSUS_RESUME needs a directory", "Set --no-resume.", dest)
        ended = run(command, "--dest", dest, config="resume = true", **simulator.environment)
        assert_one_sentence(ended, 2, "poolcensus.toml: resume needs a directory", dest)
        (bench.folder / "poolcensus.toml").unlink()
    assert simulator.calls == {}


@pytest.mark.parametrize("level", ["warning", "debug"])
def test_a_duration_over_the_role_s_maximum_is_of_the_accounts_that_have_the_role(
    simulator: Served, run: Run, tmp_path: Path, level: str
) -> None:
    asked = (
        "--accounts", "000000000001,000000000002", "--regions", "us-east-1", "--session-duration", "2h",
        "--log-level", level,
    )  # fmt: skip
    ended = run("collect", *asked, "--dest", tmp_path / "snapshots", **simulator.environment)
    assert (ended.code, ended.out) == (3, "")
    assert "Traceback" not in ended.err
    assert "Check that --session-duration is at most" in ended.err
    snapshot = Snapshot.open("latest", tmp_path / "snapshots")
    outcomes = {each.account_id: each.outcome for each in snapshot.targets()}
    assert outcomes["000000000002"] is Outcome.ASSUME_ROLE_FAILED
    assert outcomes["000000000001"].covered
    ended = run("doctor", *asked, "--json", **simulator.environment)
    assert ended.code == 3
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [
        (each["check"], each["account_id"], each["cause"]) for each in found if each["status"] == "failed"
    ] == [("role", "000000000002", "duration")]

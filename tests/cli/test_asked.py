"""`show` of accounts and regions that refused, or that were not asked: they never look like empty ones."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.cli import main
from poolcensus.model import KnownGap, Outcome, PublishingRule, SkippedAccount, Totals
from poolcensus.snapshot import RunDescription, Snapshot, SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import CALLER, FINISHED, ID, LATER_ID, POOLS, STARTED, fill, target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from poolcensus.model import Target, TargetResult

    Content = Mapping[Target, Sequence[str] | Outcome]

EU, US = "eu-west-1", "us-east-1"
SKIPPED = (
    SkippedAccount("000000000008", "gone-8", "SUSPENDED"),
    SkippedAccount("000000000009", "gone-9", "excluded"),
)
GAP = KnownGap(("000000000004",), (), (Outcome.SCP_DENIED,), targets=2)
MIXED: Content = {
    target(1, EU): ["wspool-000000001"],
    target(1, US): Outcome.EMPTY,
    target(2, EU): Outcome.ACCESS_DENIED,
    target(2, US): Outcome.ACCESS_DENIED,
    target(3, EU): Outcome.THROTTLED,
    target(3, US): Outcome.NOT_ENTITLED,
    target(4, EU): Outcome.SCP_DENIED,
    target(4, US): Outcome.SCP_DENIED,
}
COMPLETE: Content = {target(1, EU): ["wspool-000000001"], target(2, EU): Outcome.EMPTY}


async def census(dest: Path, snapshot_id: str, content: Content, refused_by: PublishingRule | None) -> None:
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(await store.draft(snapshot_id), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, content)
        run = RunDescription(
            started_at=STARTED,
            finished_at=FINISHED,
            tool="poolcensus test",
            caller=CALLER,
            organization_id=None,
            request={},
            accounts_planned=4,
            accounts_skipped=SKIPPED,
            totals=Totals(),
            known_gaps=(GAP,) if target(4, EU) in content else (),
        )
        await writer.publish(run, refused_by=refused_by)


class Shown:
    """Takes censuses, and shows the last."""

    def __init__(self, dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.dest = dest
        self._capsys = capsys

    def take(self, content: Content, snapshot_id: str = ID, refused_by: PublishingRule | None = None) -> None:
        anyio.run(census, self.dest, snapshot_id, content, refused_by)

    def __call__(self, line: str) -> tuple[list[str], list[str]]:
        """The lines of standard output and of standard error."""
        assert main(["show", *shlex.split(line), "--dest", str(self.dest)]) == 0
        captured = self._capsys.readouterr()
        return captured.out.splitlines(), captured.err.splitlines()

    def why(self, options: str = "", ref: str = "latest") -> str:
        """The advice that lists failures."""
        return f"Run 'poolcensus show {ref} --failures {options}--dest {self.dest}' to see why."


@pytest.fixture
def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(tmp_path / "dest", capsys)


def test_a_census_that_covers_nothing_is_not_without_pools(shown: Shown) -> None:
    shown.take({target(1, EU): Outcome.ACCESS_DENIED})
    note = f"1 of 1 target is not covered: access_denied (1). {shown.why()}"
    assert shown("--pools") == (["No pools.", note], [])
    assert shown("--pools --errors") == (["No pools match.", note], [])
    assert shown("--pools --json") == ([], [f"poolcensus: {note}"])


def test_what_is_not_covered_stands_below_the_pools(shown: Shown) -> None:
    shown.take(MIXED)
    note = f"5 of 8 targets are not covered: access_denied (2), scp_denied (2), throttled (1). {shown.why()}"
    out, err = shown("--pools")
    assert ("wspool-000000001" in out[1], out[2:], err) == (True, ["", note], [])
    assert shown(f"{ID[:8]} --pools")[0][-1] == note.replace("latest", ID[:8])
    at = shown.dest / ID
    assert f"Run 'poolcensus show {at} --failures' to see why." in shown(f"{at} --pools")[0][-1]


@pytest.mark.parametrize(
    ("choice", "note", "again"),
    [
        ("--account 000000000002", "2 of 2 targets chosen are not covered: access_denied (2)", None),
        (
            "--account ACCT-2 --region us-*",
            "1 of 1 target chosen is not covered: access_denied (1)",
            "--account ACCT-2 --region 'us-*'",
        ),
        (
            "--account 'acct-[34]'",
            "3 of 4 targets chosen are not covered: scp_denied (2), throttled (1)",
            None,
        ),
        ("--account acct-4", "2 of 2 targets chosen are not covered: scp_denied (2)", None),
        (
            "--account acct-2 --account acct-3 --region us-*,eu-*",
            "3 of 4 targets chosen are not covered: access_denied (2), throttled (1)",
            "--account acct-2,acct-3 --region 'us-*,eu-*'",
        ),
    ],
)
def test_an_account_that_refuses_is_not_without_pools(
    shown: Shown, choice: str, note: str, again: str | None
) -> None:
    shown.take(MIXED)
    said = [f"{note}. {shown.why(f'{again or choice} ')}"]
    if "of 4" in note:
        said.append("1 of 4 targets chosen may have pools that AWS does not list: not_entitled (1).")
    assert shown(f"--pools {choice}") == (["No pools match.", *said], [])
    # It is not known which states they have.
    assert shown(f"--pools {choice} --state RUNNING") == (["No pools match.", *said], [])
    assert shown(f"--pools {choice} --json") == ([], [f"poolcensus: {each}" for each in said])
    # The command lists as many.
    listed, _ = shown(f"latest --failures {again or choice} --json")
    assert note.startswith(f"{len(listed)} of ")


def test_what_is_covered_has_no_note(shown: Shown) -> None:
    shown.take(MIXED)
    out, err = shown("--pools --account acct-1")
    assert (len(out), err) == (2, [])
    assert len(shown("--pools --account acct-1 --json")[0]) == 1
    assert shown("--pools --account acct-1 --region us-east-1 --state RUNNING") == (
        ["No pools match.", "None match in any other state either."],
        [],
    )


def test_what_a_disabled_region_or_a_closed_service_may_have_is_unknown(shown: Shown) -> None:
    shown.take({target(1, EU): Outcome.REGION_DISABLED, target(1, US): Outcome.NOT_ENTITLED})
    note = (
        "2 of 2 targets chosen may have pools that AWS does not list: region_disabled (1), not_entitled (1)."
    )
    assert shown("--pools --account acct-1 --state RUNNING") == (["No pools match.", note], [])
    assert shown("--pools --account acct-1 --json") == ([], [f"poolcensus: {note}"])


def test_a_command_that_would_be_cut_lists_all_failures(shown: Shown) -> None:
    shown.take({target(each, EU): Outcome.ACCESS_DENIED for each in range(1, 30)})
    ids = ",".join(f"{each:012}" for each in range(1, 30))
    note = f"29 of 29 targets chosen are not covered: access_denied (29). {shown.why()}"
    assert shown(f"--pools --account {ids}") == (["No pools match.", note], [])


def test_an_account_and_a_region_that_were_asked_but_not_together_are_named(shown: Shown) -> None:
    shown.take({target(1, EU): Outcome.EMPTY, target(2, US): Outcome.EMPTY})
    for choice, where in (
        ("--account acct-1 --region us-*", 'account "acct-1" in region "us-*"'),
        ("--account acct-1 --region us-*,eu-*", 'account "acct-1" in region "us-*"'),
        ("--account acct-* --region us-*,xx-*", 'region "xx-*"'),
    ):
        assert shown(f"--pools {choice}")[0][-1] == f"Not asked: no target matches {where}."


def test_a_pattern_that_names_a_skipped_account_too_hides_no_region(shown: Shown) -> None:
    shown.take(COMPLETE)
    assert shown("--pools --account *-? --region eu-wset-1") == (
        ['Not asked: no target matches region "eu-wset-1".'],
        [],
    )


def test_known_gaps_are_told_to_programs_only_where_there_is_nothing_else(shown: Shown) -> None:
    shown.take({each: has for each, has in MIXED.items() if each.account.id[-1] in "14"})
    counts = "2 of 4 targets are not covered: scp_denied (2)."
    assert shown("--pools")[0][-1].startswith(counts)
    assert shown("--pools --json")[1] == []
    assert shown("--pools --json --account acct-1,acct-4")[1] == []
    assert shown("--pools --json --errors")[1] == [f"poolcensus: {counts} {shown.why()}"]


@pytest.mark.parametrize(
    ("choice", "notes"),
    [
        ("--account nonexist", ['Not asked: no target matches account "nonexist".']),
        ("--region sa-*", ['Not asked: no target matches region "sa-*".']),
        ("--account \x1b[2J", [r'Not asked: no target matches account "\x1b[2J".']),
        (
            "--account acct-1,x --region us-east-1",
            [
                'Not asked: no target matches account "x".',
                'Not asked: no target matches region "us-east-1".',
            ],
        ),
        ("--account 000000000009", ["Account 000000000009 gone-9 was not asked: it is excluded."]),
        (
            "--account Gone-9 --region us-*",
            [
                "Account 000000000009 gone-9 was not asked: it is excluded.",
                'Not asked: no target matches region "us-*".',
            ],
        ),
        (
            "--account gone-*,x,000000000008",
            [
                "2 accounts were not asked: 000000000008 gone-8 (SUSPENDED), 000000000009 gone-9 (excluded).",
                'Not asked: no target matches account "x".',
            ],
        ),
        (
            f"--account {','.join('abcdefg')}",
            ['Not asked: no target matches accounts "a", "b", "c", "d", "e", and 2 more.'],
        ),
    ],
)
def test_who_was_not_asked_is_not_without_pools(shown: Shown, choice: str, notes: list[str]) -> None:
    shown.take(COMPLETE)
    for kind in ("--pools", "--failures", "--pools --failures", "--pools --state RUNNING"):
        assert shown(f"{kind} {choice}") == (notes, [])
    for kind in ("--pools", "--failures"):
        assert shown(f"{kind} --json {choice}") == ([], [f"poolcensus: {each}" for each in notes])


@pytest.mark.parametrize(
    ("choice", "note"),
    [
        ("--account acct-*,nobody", 'Not asked: no target matches account "nobody".'),
        (
            "--account acct-1 --region eu-*,us-*",
            'Not asked: no target matches region "us-*".',
        ),
        ("--account acct-1,gone-9", "Account 000000000009 gone-9 was not asked: it is excluded."),
    ],
)
def test_who_was_not_asked_is_named_beside_the_others(shown: Shown, choice: str, note: str) -> None:
    shown.take(COMPLETE)
    out, err = shown(f"--pools {choice}")
    assert ("wspool-000000001" in out[1], out[2:], err) == (True, ["", note], [])
    out, err = shown(f"--pools --json {choice}")
    assert (len(out), err) == (1, [f"poolcensus: {note}"])
    assert shown(f"--failures {choice}") == (["No failures match.", note], [])
    assert shown(f"--failures --json {choice}") == ([], [f"poolcensus: {note}"])


def test_who_was_not_asked_is_named_below_failures(shown: Shown) -> None:
    shown.take(MIXED)
    out, _ = shown("--failures --account acct-2,nobody")
    assert "access_denied" in out[1]
    assert out[-2:] == ["", 'Not asked: no target matches account "nobody".']
    out, _ = shown("--failures --pools --account acct-2,nobody")
    assert out[-4:] == [
        'Not asked: no target matches account "nobody".',
        "",
        "No pools match.",
        # The failures are above.
        "2 of 2 targets chosen are not covered: access_denied (2).",
    ]
    out, _ = shown("--failures --pools --account acct-2 --outcome throttled")
    assert out == [
        "No failures match.",
        "",
        "No pools match.",
        f"2 of 2 targets chosen are not covered: access_denied (2). {shown.why('--account acct-2 ')}",
    ]


def test_who_was_not_asked_by_a_run_that_was_not_published(shown: Shown) -> None:
    shown.take(COMPLETE)
    shown.take(MIXED, LATER_ID, PublishingRule("strict"))
    out, err = shown("--failures --account nobody")
    assert out == ['Not asked: no target matches account "nobody".']
    assert "was not published" in err[0]
    out, err = shown("--failures --account nobody --json")
    assert (out, err[1:]) == ([], ['poolcensus: Not asked: no target matches account "nobody".'])


def test_programs_get_the_notes_as_warnings(shown: Shown) -> None:
    shown.take(MIXED)
    _, err = shown("--pools --json --account acct-2,nobody --log-format json")
    found = [json.loads(each) for each in err]
    assert [each["level"] for each in found] == ["WARNING", "WARNING"]
    assert 'no target matches account "nobody"' in found[0]["message"]
    assert "access_denied (2)" in found[1]["message"]


def test_the_ledger_is_read_once_and_only_where_it_is_needed(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    targets = Snapshot.targets

    def counted(snapshot: Snapshot) -> Iterator[TargetResult]:
        reads.append(snapshot.id)
        return targets(snapshot)

    def times(line: str) -> int:
        reads.clear()
        shown(line)
        return len(reads)

    monkeypatch.setattr(Snapshot, "targets", counted)
    shown.take(MIXED)
    assert times("--pools") == 0
    assert times("--pools --state STOPPED --json") == 0
    assert times("--pools --account acct-1") == 1
    assert times("--pools --failures --account acct-1") == 1
    assert times("--failures --json --account acct-1") == 1
    shown.take(COMPLETE, LATER_ID)
    assert times(f"{LATER_ID} --pools --account acct-1 --region eu-*") == 0
    assert times(f"{LATER_ID} --pools --account acct-2") == 1
    assert times(f"{LATER_ID} --pools --region eu-*,us-*") == 1

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
import termios
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from poolcensus.analysis.account_failures import failures_by_account
from poolcensus.cli import background, logs, summaries, tables
from poolcensus.cli.display import display, live
from poolcensus.cli.pace import Pace, Pacer
from poolcensus.cli.progress import line, shown
from poolcensus.cli.wording import duration
from poolcensus.config import ProgressMode, Settings
from poolcensus.model import Account, KnownGap, Outcome, PoolRecord, Progress, Target, Totals
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot.info import info_of
from virtual_time import on_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from poolcensus.cli.columns import Grid
    from poolcensus.model import Manifest, TargetResult
    from poolcensus.planned import Plan

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
EVIL = "[red]\x1b[2J\x1b]0;owned\x07\u202eevil\nname :boom:"


def rendered(*what: RenderableType, width: int = 100) -> str:
    screen = Console(file=io.StringIO(), width=width, markup=True, emoji=True)
    screen.print(*what, sep="\n")
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def pool(name: str) -> PoolRecord:
    return PoolRecord(
        collected_at=datetime(2026, 11, 23, 2, 0, 3, 123_000, tzinfo=UTC),
        partition="aws",
        account_id="000000000001",
        account_name=name,
        region="us-east-1",
        pool={
            "PoolId": "wspool-0123456ab",
            "PoolName": name,
            "State": 7,
            "CapacityStatus": {"ActiveUserSessions": 3, "ActualUserSessions": 9},
            "CreatedAt": "2025-03-04T05:06:07.123Z",
        },
    )


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_progress_says_how_far_it_is_and_that_the_end_is_open(progress: Progress) -> None:
    assert line(progress) == "12 s: 3 of 4+ targets, 7 pools, 9 calls, 1 throttle, 1 failed"
    said = rendered(display(progress))
    for expected in ("3 of 4+ targets", "2 accounts so far", "7 pools", "9 calls", "1 throttle,", "12 s"):
        assert expected in said
    assert "slow: acct-0 eu-west-1 7.0 s" in " ".join(said.split())
    closed = replace(progress, listing=False)
    assert "3 of 4 targets" in rendered(display(closed))


def test_what_fails_as_is_expected_is_no_failure_in_the_progress(progress: Progress) -> None:
    expected = replace(progress, expected=progress.uncovered)
    assert "0 failed" in line(expected)
    assert "failed" not in rendered(display(expected))


def test_what_the_run_waits_for_before_it_begins_is_all_that_is_shown(progress: Progress) -> None:
    words = "STS in us-east-1 can't be reached yet: refused. Trying for a minute."
    waits = replace(progress, waits_for=words)
    assert line(waits) == words
    assert rendered(display(waits)).strip() == words
    evil = replace(progress, waits_for=f"no answer from {EVIL}")
    assert "\x1b" not in line(evil) + rendered(display(evil))


def test_the_first_seconds_promise_nothing(progress: Progress) -> None:
    pacer = Pacer()
    for tenths in range(50):
        early = replace(progress, listing=False, elapsed=tenths / 10, done=tenths)
        assert pacer.pace(early) == Pace()


def test_a_rate_and_the_time_left_are_those_of_the_last_half_minute(progress: Progress) -> None:
    pacer = Pacer()

    def at(seconds: int, done: int, calls: int, *, listing: bool = False) -> Pace:
        totals = replace(progress.totals, targets=1000, requests=calls)
        return pacer.pace(replace(progress, elapsed=seconds, listing=listing, done=done, totals=totals))

    at(0, 0, 0)
    assert at(10, 100, 250, listing=True) == Pace(25.0, None)
    assert at(20, 200, 500) == Pace(25.0, 80.0)
    for seconds in range(21, 61):
        at(seconds, 200 + (seconds - 20), 500 + (seconds - 20) * 2)
    assert at(61, 241, 582) == Pace(2.0, 759.0)
    # Nothing moves: nobody knows for how long.
    for seconds in range(62, 95):
        stalled = at(seconds, 241, 582)
    assert stalled == Pace(0.0, None)
    assert at(125, 1000, 1600).left is None


def test_the_pace_is_said_in_words(progress: Progress) -> None:
    pace = Pace(1234.5, 125.2)
    assert line(progress, pace) == (
        "12 s: 3 of 4+ targets, 7 pools, 9 calls (1,234/s), 1 throttle, 1 failed, about 2 min 05 s left"
    )
    assert Pace(0.5, 0.2).rate_words == " (0.5/s)"
    assert [Pace(1.0, left).left_words for left in (0.2, 8.6, 59.4)] == [
        "about 1 s left", "about 9 s left", "about 59 s left",
    ]  # fmt: skip
    shown_words = " ".join(rendered(display(progress, pace)).split())
    assert "12 s, about 2 min 05 s left" in shown_words
    assert "9 calls (1,234/s), 1 throttle, 5 in flight, 1 failed" in shown_words


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 99), st.booleans()), min_size=1))
def test_the_time_left_is_never_nonsense(steps: list[tuple[int, int, bool]]) -> None:
    pacer, elapsed, done = Pacer(), 0, 0
    for seconds, more, listing in steps:
        elapsed, done = elapsed + seconds, min(done + more, 1000)
        totals = Totals(targets=1000, requests=done)
        pace = pacer.pace(Progress(elapsed, listing, 1, 0, totals, done, 0, 0, ()))
        assert pace.calls is None or pace.calls >= 0
        if pace.left is not None:
            assert pace.left > 0
            assert not listing
            assert done < 1000


@pytest.mark.parametrize("width", [20, 40, 200])
def test_progress_fits_the_terminal(progress: Progress, width: int) -> None:
    slow = ((Target(Account("000000000001", EVIL), "eu-west-1"), 7.0),)
    said = rendered(display(replace(progress, slowest=slow)), width=width)
    assert all(len(row) <= width for row in said.splitlines())
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("mode", "terminal", "expected"),
    [
        (ProgressMode.AUTO, False, False),
        (ProgressMode.NEVER, True, False),
        (ProgressMode.NEVER, False, False),
        (ProgressMode.ALWAYS, False, True),
        (ProgressMode.AUTO, True, True),
    ],
)
async def test_progress_is_shown_where_it_was_asked_for(
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
    *,
    mode: ProgressMode,
    terminal: bool,
    expected: bool,
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    async with shown(lambda: progress, mode):
        await anyio.sleep(0.4)
    assert ("3 of 4+ targets" in stream.getvalue()) == expected


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(("mode", "lines"), [(ProgressMode.AUTO, 0), (ProgressMode.ALWAYS, 1)])
async def test_progress_is_lines_of_a_log_that_is_json(
    progress: Progress, monkeypatch: pytest.MonkeyPatch, *, mode: ProgressMode, lines: int, terminal: bool
) -> None:
    logs.configure(Settings.load(log_format="json"))
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    async with shown(lambda: progress, mode):
        await anyio.sleep(0.4)
    found = [json.loads(each) for each in stream.getvalue().splitlines()]
    expected = [("INFO", "status", line(progress))] * lines
    assert [(each["level"], each["message_type"], each["message"]) for each in found] == expected


class PseudoTerminal:
    """The other end of the terminal that is standard error."""

    def __init__(self) -> None:
        self._outside, self.inside = pty.openpty()
        self._is_open = True

    def stop(self) -> None:
        """Take no bytes any more, as after Ctrl-S."""
        termios.tcflow(self.inside, termios.TCOOFF)

    def go_on(self) -> None:
        """Take bytes again, as after Ctrl-Q."""
        termios.tcflow(self.inside, termios.TCOON)

    def read_until(self, *marks: bytes) -> bytes:
        """Return what was written up to all of the marks, and perhaps some more."""
        said = b""
        while not all(each in said for each in marks):
            said += os.read(self._outside, 4096)
        return said

    def hang_up(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._outside)


@contextmanager
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[PseudoTerminal]:
    """Make a terminal standard error during the block. A fixture can't: pytest sets it again for the test."""
    opened = PseudoTerminal()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(opened.inside, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.configure(Settings())
        try:
            yield opened
        finally:
            opened.hang_up()


def test_a_terminal_that_is_stopped_holds_up_nothing(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:
        stderr = sys.stderr

        async def stopped() -> None:
            refreshed = anyio.Event()

            def read() -> Progress:
                refreshed.set()
                return progress

            async with shown(read, ProgressMode.ALWAYS):
                await refreshed.wait()
                terminal.stop()
                await anyio.sleep(60)

        on_virtual_time(stopped)
        assert sys.stderr is stderr
        terminal.go_on()
        # The cursor is hidden no longer than the display is there.
        said = terminal.read_until(SHOW_CURSOR)
        assert said.count(HIDE_CURSOR) == 1
        assert b"3 of 4+ targets" in said


def test_a_terminal_that_is_stopped_before_the_run_holds_up_nothing(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:

        async def whole() -> None:
            async with shown(lambda: progress, ProgressMode.ALWAYS):
                await anyio.sleep(60)

        terminal.stop()
        on_virtual_time(whole)
        terminal.go_on()
        terminal.read_until(HIDE_CURSOR, SHOW_CURSOR)


def test_a_terminal_that_nobody_reads_holds_up_neither_the_run_nor_its_log(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:
        texts = [f"something is odd: {number}" for number in range(600)]

        async def whole() -> None:
            async with shown(lambda: progress, ProgressMode.ALWAYS):
                for each in texts:
                    await anyio.sleep(0.2)
                    logs.warning(each)

        on_virtual_time(whole)
        said = terminal.read_until(SHOW_CURSOR)
        assert background.settle()
        assert re.findall(r"something is odd: \d+", said.decode()) == texts


def test_frames_are_left_out_while_one_is_written(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:
        terminal.stop()
        with live(lambda: progress) as refresh:
            for _ in range(99):
                refresh()
        terminal.go_on()
        said = terminal.read_until(SHOW_CURSOR)
        assert background.settle()
        assert b"3 of 4+ targets" not in said


def test_a_terminal_that_is_read_has_everything_when_the_display_ends(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:

        async def whole() -> None:
            async with shown(lambda: progress, ProgressMode.ALWAYS):
                logs.warning("the last word")
            os.write(terminal.inside, b"after the display")

        anyio.run(whole)
        said = terminal.read_until(b"after the display")
        assert b"the last word" in said.partition(SHOW_CURSOR)[0]
        assert said.endswith(b"after the display")


def test_a_stopped_terminal_that_hangs_up_takes_only_the_display_with_it(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:

        async def whole() -> None:
            async with shown(lambda: progress, ProgressMode.ALWAYS):
                await anyio.sleep(1)
                terminal.hang_up()
                await anyio.sleep(60)

        terminal.stop()
        on_virtual_time(whole)
        assert background.settle()


def test_characters_that_a_terminal_can_not_show_are_escaped_as_on_standard_error(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_terminal(monkeypatch) as terminal:

        async def whole() -> None:
            async with shown(lambda: progress, ProgressMode.ALWAYS):
                logs.warning("account Z\u00fcrich")

        with os.fdopen(os.dup(terminal.inside), "w", encoding="ascii", errors="backslashreplace") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            logs.configure(Settings())
            anyio.run(whole)
            assert rb"account Z\xfcrich" in terminal.read_until(SHOW_CURSOR)


def test_a_pipe_that_nobody_reads_holds_up_nothing(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)

    class Pipe(io.StringIO):
        def fileno(self) -> int:
            return writing

    stream = Pipe()
    monkeypatch.setattr(sys, "stderr", stream)

    async def whole() -> None:
        async with shown(lambda: progress, ProgressMode.ALWAYS):
            await anyio.sleep(60)
            assert stream.getvalue() == ""

    with os.fdopen(writing, "w"), os.fdopen(reading):
        on_virtual_time(whole)
    assert stream.getvalue() == f"poolcensus: {line(progress)}\n"


async def test_what_ends_the_run_ends_the_progress(progress: Progress) -> None:
    with pytest.raises(LookupError, match="as it is"):
        async with shown(lambda: progress, ProgressMode.ALWAYS):
            raise LookupError("as it is")


def test_names_of_others_are_neither_markup_nor_control(
    manifest: Manifest, result: Callable[..., TargetResult]
) -> None:
    failed = replace(result(1, outcome=Outcome.ERROR), account_name=EVIL, error_message=EVIL)
    said = rendered(
        pool_table([pool(EVIL)]),
        tables.failure_table(failures_by_account([failed], WORKSPACES_POOLS)),
        *summaries.manifest_summary(manifest, EVIL),
        width=400,
    )
    assert said.count(r"[red]\x1b[2J\x1b]0;owned\x07\u202eevil\nname :boom:") == 5
    assert said.replace("\n", "").isprintable()


def pool_table(records: list[PoolRecord]) -> Grid:
    return tables.record_table(records, WORKSPACES_POOLS.columns)


def test_a_pool_row_takes_fields_of_any_kind() -> None:
    said = rendered(pool_table([pool("p"), replace(pool("q"), pool={"CapacityStatus": 3})]))
    assert "3/9" in said
    assert "2025-03-04" in said


def test_the_summary_says_what_is_there_and_what_is_not(manifest: Manifest) -> None:
    said = " ".join(rendered(*summaries.manifest_summary(manifest, "here")).split())
    for expected in (
        "Snapshot 20261123T020000Z-3f9a1c",
        "Scope whole organization",
        "Where here",
        "took 1 min 05 s",
        "2 asked, 1 skipped (1 SUSPENDED)",
        "4 of 4 covered",
        "9 (1 retry, 1 throttled, 2 AssumeRole)",
        "ok 3",
        "empty 1",
    ):
        assert expected in said


@pytest.mark.parametrize(("targets", "said"), [(1, "in a known gap"), (1200, "in known gaps")])
def test_the_summary_counts_the_targets_of_known_gaps(manifest: Manifest, targets: int, said: str) -> None:
    gap = KnownGap((), (), outcomes=(Outcome.SCP_DENIED,), targets=targets)
    shown = " ".join(
        rendered(*summaries.manifest_summary(replace(manifest, known_gaps=(gap,)), None)).split()
    )
    assert f"4 of 4 covered, {targets:,} {said}" in shown


def test_a_plan_says_what_would_be_called(plan: Plan) -> None:
    said = " ".join(rendered(*summaries.plan_summary(plan)).split())
    assert "2: eu-west-1, us-east-1" in said
    assert "workspaces:DescribeWorkspacesPools 2" in said


def test_a_pipe_gets_every_row_on_one_line_and_no_colours(
    capsys: pytest.CaptureFixture[str], manifest: Manifest
) -> None:
    info = replace(info_of(manifest), pools=7, targets=4, covered=3, bytes=1234, failed=1)
    tables.put(tables.console(), tables.snapshot_table([info]), pool_table([pool("n" * 150)]))
    said = capsys.readouterr().out
    assert "n" * 150 in said
    assert "20261123T020000Z-3f9a1c complete 4 1 7 1 min 05 s 1.2 kB whole organization" in " ".join(
        said.split()
    )
    assert len(said.splitlines()) == 4
    assert all(line == line.rstrip() for line in said.splitlines())
    assert "\x1b" not in said


def test_colours_stay_away_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, manifest: Manifest
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    tables.put(tables.console(), *summaries.manifest_summary(manifest, None))
    assert "\x1b[32mcomplete" in stream.getvalue()
    for variable, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as changed:
            changed.setenv(variable, value)
            stream.truncate(0)
            tables.put(tables.console(), *summaries.manifest_summary(manifest, None))
            assert "complete" in stream.getvalue()
            assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said

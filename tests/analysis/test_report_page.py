"""The page of a report: what it says in which case, and that names in it are text."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, time, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.days import NOW, facts_of, manifest_of, used, write_days
from analysis.two_snapshots import key, pool, write
from poolcensus import Report, report
from poolcensus.analysis.report import commands, gather, lists, tables
from poolcensus.analysis.report.charts import Bar, Line, bar_chart, line_chart, spread
from poolcensus.analysis.report.tables import Cell, Row, short, size_of
from poolcensus.model import HIDING, KnownGap, OperationInfo, Outcome, SkippedAccount

if TYPE_CHECKING:
    from analysis.two_snapshots import Content

pytestmark = pytest.mark.usefixtures("renderer")

HOSTILE = [
    "<script>alert(1)</script>",
    "</style></script><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "' || x; DROP TABLE pools; --",
    "\u202egnp.exe\x00\x1b[31m",
    "&lt;b&gt; &amp;",
    "]]>--><!--",
]


class Page(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, its text, and the rows of its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self._table = ""
        self._in = ""
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "table":
            self._table = dict(attrs).get("id") or ""
            self.rows[self._table] = []
        elif tag == "tr":
            self.rows[self._table].append([])
        elif tag in {"td", "th"}:
            self.rows[self._table][-1].append("")
        elif tag == "small":
            self.rows[self._table][-1][-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in {"style", "script"}:
            self.raw[self._in] = data
            return
        self.texts.append(data)
        if self._table and self.rows[self._table]:
            self.rows[self._table][-1][-1] += data.rstrip("\n")


def page_of(dest: Path, ref: str = "latest") -> Page:
    return Page(report(ref, dest, now=NOW).html)


def test_the_worklist_has_every_pool_with_all_that_there_is_to_know(tmp_path: Path) -> None:
    more = {
        "BundleId": "wsb-1", "DirectoryId": "wsd-1", "ApplicationSettings": {"S3BucketName": "bucket-1"},
    }  # fmt: skip
    write_days(
        tmp_path,
        {key(1): [used(1, 2, **more), used(2, 0)], key(2): [used(3, 0)]},
        {key(1): [used(1, 0, **more), used(2, 0)], key(2): Outcome.ACCESS_DENIED},
    )
    page = page_of(tmp_path)
    assert page.rows["worklist"] == [
        ["Pool", "Account", "Region", "State", "Bundle", "Directory", "S3 bucket", "Last use seen",
         "Days left"],
        ["desk-1 | wspool-000000001", "acct-1 | 000000000001", "us-east-1", "RUNNING", "wsb-1", "wsd-1",
         "bucket-1", "2026-11-01", "398"],
        ["desk-2 | wspool-000000002", "acct-1 | 000000000001", "us-east-1", "RUNNING", "", "", "",
         "never | in 2 snapshots from 2026-11-01", "398"],
        ["desk-3 | wspool-000000003", "acct-2 | 000000000002", "us-east-1",
         "RUNNING | not seen since 2026-11-01: access_denied", "", "", "",
         "never | in 1 snapshot, 2026-11-01", "398"],
    ]  # fmt: skip
    assert "AWS ends support for WorkSpaces Pools on 2027-12-31 (announcement): 398 days left." in page.text
    assert "0 in use in this snapshot, 1 in an earlier one, 2 never seen in use." in page.text
    assert "in no snapshot that lists it, of 2 snapshots from 2026-11-01 to 2026-11-02" in page.text
    assert (
        "1 of them can't be listed now, for the reason in the table; earlier snapshots saw it." in page.text
    )
    assert "1 target unknown, since one of the two can't list its pools." in page.text


def test_accounts_that_could_not_be_read_stand_under_their_cause_with_the_remedy(tmp_path: Path) -> None:
    denied: Content = {key(account): Outcome.ASSUME_ROLE_FAILED for account in range(1, 9)}
    write_days(tmp_path, {**denied, key(9, "eu-west-1"): Outcome.SCP_DENIED, key(10): []})
    page = page_of(tmp_path)
    assert (
        "No. 9 of 10 targets are not covered, in 9 accounts. How many pools there are is unknown."
        in page.text
    )
    assert "Could not assume the role in 8 accounts, 8 targets" in page.text
    assert "check role_name, external_id and the role's trust policy." in page.text
    assert len(page.rows["cause-0"]) == 9
    assert page.rows["cause-1"] == [["Account", "Regions"], ["acct-9 | 000000000009", "eu-west-1"]]
    assert page.rows["outcomes"][1:] == [
        ["assume_role_failed", "no", "8", "the role could not be assumed"],
        ["scp_denied", "no", "1", "refused by a service control policy"],
        ["empty", "yes", "1", "all pages were read, and nothing is there"],
    ]


def test_known_gaps_are_counted_and_are_no_failures(tmp_path: Path) -> None:
    gap = KnownGap(("000000000001",), (), (Outcome.SCP_DENIED,), targets=2)
    refused: Content = {key(1): Outcome.SCP_DENIED, key(1, "eu-west-1"): Outcome.SCP_DENIED, key(2): []}
    for day in (0, 1):
        write(tmp_path, refused, manifest_of(day, known_gaps=(gap,)))
    page = page_of(tmp_path)
    assert "Yes, but for known gaps. 1 of 3 targets is covered." in page.text
    assert "2 targets failed as known_gaps expects." in page.text
    assert "0 unchanged; 2 targets refused as both runs expect." in page.text
    assert "or expect it with" not in page.text
    assert not {"cause-0", "changes"} & page.rows.keys()

    write(tmp_path, {**refused, key(2): Outcome.SCP_DENIED, key(3): []}, manifest_of(2, known_gaps=(gap,)))
    page = page_of(tmp_path)
    assert "No. 3 of 4 targets are not covered, 1 of them unexpectedly, in 1 account." in page.text
    assert "2 targets failed as known_gaps expects." in page.text
    assert page.rows["cause-0"][1:] == [["acct-2 | 000000000002", "us-east-1"]]
    assert [row[2] for row in page.rows["changes"][1:]] == ["acct-2 | 000000000002"]

    everything: Content = {key(1): Outcome.SCP_DENIED, key(1, "eu-west-1"): Outcome.SCP_DENIED}
    write(tmp_path, everything, manifest_of(3, known_gaps=(gap,)))
    assert "No. None of 2 targets is covered. That this page has no pools" in page_of(tmp_path).text


def test_the_trend_and_the_changes_have_their_values(tmp_path: Path) -> None:
    write_days(
        tmp_path,
        {key(1): [used(1, 2)], key(2): Outcome.THROTTLED},
        {key(1): [used(1, 3, State="STOPPED"), used(2, 1)], key(2): []},
    )
    page = page_of(tmp_path)
    first, second = (manifest_of(day).snapshot_id for day in (0, 1))
    assert page.rows["trend"][1:] == [
        [f"2026-11-02 02:00 UTC | {second}", "complete", "2", "2", "2", "4", "20"],
        [f"2026-11-01 02:00 UTC | {first}", "partial", "1", "2", "1", "2", "10"],
    ]
    assert page.rows["changes"][1:] == [
        [
            "changed",
            "desk-1 | wspool-000000001",
            "acct-1 | 000000000001",
            "us-east-1",
            "State: RUNNING → STOPPED",
        ],
        ["added", "desk-2 | wspool-000000002", "acct-1 | 000000000001", "us-east-1", "RUNNING"],
        ["unknown", "", "acct-2 | 000000000002", "us-east-1", "throttled in A"],
    ]
    assert "Diamond: a partial snapshot." in page.text


def test_sessions_of_the_trend_have_their_values_after_a_night_that_failed(tmp_path: Path) -> None:
    write_days(tmp_path, {key(1): [used(1, 2)]}, {key(1): Outcome.THROTTLED})
    page = page_of(tmp_path)
    assert "Solid: in use. Dashed: capacity." in page.text
    assert [row[4:] for row in page.rows["trend"]] == [
        ["Pools", "In use", "Capacity"],
        ["0", "", ""],
        ["1", "2", "10"],
    ]


def test_sessions_are_a_share_of_those_of_the_same_pools_only(tmp_path: Path) -> None:
    says_no_capacity = pool(1, CapacityStatus={"ActiveUserSessions": 10})
    says_both = pool(2, CapacityStatus={"ActiveUserSessions": 1, "ActualUserSessions": 4})
    says_no_use = pool(3, CapacityStatus={"ActualUserSessions": 5})
    write_days(tmp_path, {key(1): [says_no_capacity, says_both], key(2): [says_both, says_no_use]})
    page = page_of(tmp_path)
    assert page.rows["account"] == [
        ["Account", "Pools", "In use", "Capacity", "Used"],
        ["acct-2 | 000000000002", "2", "1", "9", "25%"],
        ["acct-1 | 000000000001", "2", "11", "4", "25%"],
    ]
    assert page.rows["region"][1:] == [["us-east-1", "4", "12", "13", "25%"]]
    assert "12 sessions in use" in page.text
    # What the charts say.
    assert "1 of 4" in page.texts
    assert not {"11 of 4", "1 of 9", "12 of 13"} & {*page.texts}
    assert "Used is of pools that state both; where others are in use, there is no outline." in page.text


def test_the_numbers_at_a_glance_count_one_as_one(tmp_path: Path) -> None:
    write_days(tmp_path, {key(1): [pool(1, CapacityStatus={"ActiveUserSessions": 1})]})
    end = facts_of(tmp_path).end_of_support
    assert end is not None
    eve = datetime.combine(end.day, time(), UTC) - timedelta(days=1)
    page = Page(report(dest=tmp_path, now=eve).html)
    for each in ("1 pool found", "1 session in use", "1 day to the end of support"):
        assert each in page.text


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ({key(1): []}, ["Yes. The only target is covered.", "The snapshot has no pools.", "no pools are"]),
        ({key(1): Outcome.ERROR}, ["No. None of 1 target is covered, in 1 account."]),
        ({}, ["No. No account and no region was asked."]),
        ({key(1): [used(1, 0)], key(2): []}, ["Yes. All 2 targets are covered.", "There is one snapshot of"]),
        ({key(1): [used(1, None)]}, ["1 pool."]),
    ],
)  # fmt: skip
def test_each_case_has_its_sentence(tmp_path: Path, content: Content, sentences: list[str]) -> None:
    write_days(tmp_path, content)
    page = page_of(tmp_path)
    for each in sentences:
        assert each in page.text


@pytest.mark.parametrize("outcome", sorted(HIDING))
def test_a_census_that_is_whole_names_the_pools_that_are_hidden(tmp_path: Path, outcome: Outcome) -> None:
    write_days(
        tmp_path,
        {key(1): [used(1, 0)], key(2): [used(2, 0)], key(3): [used(3, 0), used(4, 0)]},
        {key(1): [used(1, 0)], key(2): [], key(3): outcome},
    )
    page = page_of(tmp_path)
    assert (
        "Yes. All 3 targets are covered. But 2 pools of earlier snapshots can't be listed now, and may still"
        " be there."
    ) in page.text
    assert (
        "2 of them can't be listed now, for the reason in the table; earlier snapshots saw them." in page.text
    )
    assert f"not seen since 2026-11-01: {outcome}" in page.rows["worklist"][2][3]
    assert "1 target unknown, since one of the two can't list its pools." in page.text
    assert "not covered" not in page.text


def test_sentences_end_with_what_they_are_about(tmp_path: Path) -> None:
    dest = tmp_path / ("d" * 200)
    accounts = range(1, 9)
    write_days(
        dest,
        {key(1): []},
        {key(each): [used(each, 0)] for each in accounts},
        {key(each): Outcome.NOT_ENTITLED for each in accounts},
    )
    (dest / manifest_of(0).snapshot_id / "manifest.json").write_text('{"schema_version": 99}')
    page = page_of(dest)
    assert "and 3 more. A closed service lists no pools; whether these are gone is unknown." in page.text
    assert "schema_version is 99, and this version reads 1 to 2; upgrade to read it" in page.text


@pytest.mark.parametrize(
    ("now", "sentence", "days"),
    [
        (datetime(2027, 12, 30, 23, tzinfo=UTC), "AWS ends support for {}: 1 day left.", "1"),
        (datetime(2027, 12, 31, tzinfo=UTC), "AWS ends support for {}, which is today.", "0"),
        (datetime(2028, 1, 2, tzinfo=UTC), "AWS ended support for {}, 2 days ago.", "0"),
    ],
)  # fmt: skip
def test_the_end_of_support_comes_and_goes(tmp_path: Path, now: datetime, sentence: str, days: str) -> None:
    write_days(tmp_path, {key(1): [used(1, 0)]})
    page = Page(report("latest", tmp_path, now=now).html)
    assert sentence.format("WorkSpaces Pools on 2027-12-31 (announcement)") in page.text
    assert page.rows["worklist"][1][-1] == days


@pytest.mark.parametrize("form", ["path", "dot", "latest"])
def test_a_snapshot_by_its_path_has_those_beside_it_as_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    days = write_days(tmp_path, {key(1): []}, {key(1): [used(1, 0)]})
    assert days[1].path is not None
    (tmp_path / "latest").symlink_to(days[1].path.name)
    ref = {"path": days[1].path, "dot": Path(), "latest": tmp_path / "latest"}[form]
    monkeypatch.chdir(days[1].path)
    assert f"Since {days[0].id}" in Page(report(ref, now=NOW).html).text


def test_snapshots_that_can_not_be_read_are_named(tmp_path: Path) -> None:
    days = write_days(tmp_path, {key(1): []}, {key(1): []})
    assert days[0].path is not None
    (days[0].path / "manifest.json").write_text('{"schema_version": 99}')
    made = report("latest", tmp_path)
    assert [*made.unread] == [days[0].id]
    assert "1 snapshot can't be read" in Page(made.html).text
    assert "was written by a newer poolcensus: schema_version is 99" in Page(made.html).text


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    names = dict(enumerate(HOSTILE, 1))
    fields = ("PoolName", "State", "BundleId", "DirectoryId")
    content: Content = {
        key(at): [
            used(at, 1, Errors=[{"ErrorCode": name}], ApplicationSettings={"S3BucketName": name})
            | dict.fromkeys(fields, name)
        ]
        for at, name in names.items()
    }
    before: Content = {each: [used(int(each[0]), 0)] for each in content}
    skipped = tuple(SkippedAccount(f"{at:012}", name, name) for at, name in names.items())
    for day, has in enumerate((before, {**content, ("000000000099", "<b>"): Outcome.ERROR})):
        manifest = manifest_of(day, accounts_skipped=skipped, organization_id=HOSTILE[0])
        write(tmp_path, has, manifest, named=lambda each: names.get(int(each), HOSTILE[0]))
    made = report("latest", tmp_path, now=NOW)
    page = Page(made.html)
    plain = report("latest", _plain(tmp_path / "plain"), now=NOW)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(plain.html).tags}
    assert page.raw == Page(plain.html).raw
    assert not [
        attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)
    ]
    shown = [row[0] for row in page.rows["worklist"][1:]]
    assert shown == [f"{short(name)} | wspool-{at:09}" for at, name in names.items()]
    assert "\\u202egnp.exe\\x00\\x1b[31m" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", made.html)
    # In the charts as well.
    svg = "".join(re.findall(r"<svg.*?</svg>", made.html, re.DOTALL))
    assert "&lt;script&gt;alert" in svg
    assert "<script" not in svg


def _plain(dest: Path) -> Path:
    content: Content = {key(1): [used(1, 1, Errors=[{"ErrorCode": "E"}])], key(2): Outcome.ERROR}
    for day in range(2):
        skipped = (SkippedAccount("000000000009", "x", "y"),)
        write(
            dest,
            {**content, **({key(3): [used(3, day)]} if day else {})},
            manifest_of(day, accounts_skipped=skipped),
        )
    return dest


def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    made = report("latest", _plain(tmp_path))
    page = Page(made.html)
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    for name, directive in (("style", "style-src"), ("script", "script-src")):
        digest = base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert "src" not in attributes, tag
        assert tag not in {"img", "iframe", "object", "embed", "base"}
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
        if tag == "a":
            assert (attributes["href"] or "").startswith(("#", "https://docs.aws.amazon.com/"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_an_unknown_operation_has_a_page_of_its_ids(tmp_path: Path) -> None:
    unknown = OperationInfo("other:ListThings", "pool", "pools", "PoolId")
    write(tmp_path, {key(1): [used(1, 4)]}, manifest_of(0, operation=unknown))
    page = page_of(tmp_path)
    assert page.rows["worklist"] == [
        ["Pool", "Account", "Region", "Seen"],
        ["wspool-000000001", "acct-1 | 000000000001", "us-east-1", "in 1 snapshot, 2026-11-01"],
    ]
    assert "support" not in page.text


def test_a_page_of_any_names_stays_below_five_megabytes_and_counts_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MOST_CHANGES", 300)
    name = "<&>\"'" * 100
    content: Content = {
        key(account): [
            used(
                number, 1, PoolName=name, BundleId=name, State=name, Errors=[{"ErrorCode": f"{number}{name}"}]
            )
            for number in range(account * 2, account * 2 + 2)
        ]
        for account in range(1, 200)
    }
    failed: Content = {key(1000 + number): Outcome.ERROR for number in range(400)}
    for day, has in enumerate(({}, {**content, **failed})):
        write(tmp_path, has, manifest_of(day), named=lambda _: name)
    # Limits a hundredth as large leave out rows of these snapshots, too.
    for limit in [each for each in dir(tables) if each.endswith("_BYTES") and not each.startswith("_")]:
        small = getattr(tables, limit) // 100
        for module in (tables, lists):
            if hasattr(module, limit):
                monkeypatch.setattr(module, limit, small)
    made = report("latest", tmp_path, now=NOW)
    page = Page(made.html)
    rows = len(page.rows["worklist"]) - 1
    assert 0 < rows < 398
    assert f"{398 - rows} more rows have no room on this page." in page.text
    assert f"poolcensus show {made.snapshot_id} --pools --json --dest {tmp_path}" in page.text
    assert f"poolcensus diff {manifest_of(0).snapshot_id} {made.snapshot_id} --dest" in page.text
    left = [int(each.replace(",", "")) for each in re.findall(r"([\d,]+) more rows? ha", page.text)]
    assert len(left) >= 3


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=4), st.booleans())
def test_a_row_is_no_larger_than_it_is_taken_for(texts: list[tuple[str, str]], is_odd: bool) -> None:
    cells = tuple(Cell(short(text), short(small)) for text, small in texts)
    wanted = Row(cells, "missing never" if is_odd else "")
    kinds = f' data-is="{wanted.kinds}"' if wanted.kinds else ""
    written = f"\n<tr{kinds}>" + "".join(
        f'<th scope="row">{_escaped(cell.text)}'
        + (f"<small>{_escaped(cell.small)}</small>" if cell.small else "")
        for cell in cells
    )
    assert len(written.encode()) <= size_of(wanted)


_TEXT = jinja2.Environment(autoescape=True).from_string("{{ text }}")


def _escaped(text: str) -> str:
    return _TEXT.render(text=text)


def test_all_limits_together_leave_room_below_five_megabytes() -> None:
    limits = {each: getattr(tables, each) for each in dir(tables) if re.fullmatch("[A-Z]+_BYTES", each)}
    # Outcomes, regions, OUs, states and errors have the same.
    assert sum(limits.values()) + 4 * limits["FEW_BYTES"] < 4_600_000


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**9)), min_size=1, max_size=9))
# Many labels in a chart: a chart takes 25 ms, a label none.
@settings(max_examples=14, deadline=None)
def test_any_label_is_drawn_as_text(bars: list[tuple[str, int]]) -> None:
    svg = bar_chart([Bar(short(label), value, value + 1) for label, value in bars])
    assert svg.startswith("<svg ")
    assert set(re.findall(r"<(\w+)", svg)) <= {"svg", "g", "path", "text", "line", "rect"}
    names = {name for each in ET.fromstring(svg).iter() for name in each.attrib}
    # No style, which the policy forbids, no link, no role, no event.
    assert not [name for name in names if name.startswith("on") or ":" in name]
    assert not names & {"style", "class", "href", "role", "font-family", "aria-roledescription", "aria-label"}


def test_a_name_that_is_cut_says_how_long_it_is(tmp_path: Path) -> None:
    write(tmp_path, {key(1): [used(1, 1, State="s" * 1000)]}, manifest_of(0), named=lambda _: "n" * 5000)
    rows = page_of(tmp_path).rows
    assert rows["account"][1][0] == f"{'n' * 160}… (5,000 characters) | 000000000001"
    assert rows["state"][1][0] == f"{'s' * 160}… (1,000 characters)"


def test_labels_leave_the_chart_its_width() -> None:
    def width(label: str) -> float:
        return float(ET.fromstring(bar_chart([Bar(label, 5, 10)])).get("width", "0"))

    assert width("本番環境" * 20) <= 1.3 * width("W" * 80)
    assert "本番環境" * 2 + "…" not in bar_chart([Bar("本番環境" * 2, 1)])


def test_a_command_names_a_destination_that_is_long(tmp_path: Path) -> None:
    dest = tmp_path / ("it's " + "d" * 200)
    write_days(dest, {key(1): []})
    words = shlex.split(commands.snapshots(facts_of(dest)))
    assert words == ["poolcensus", "snapshots", "--dest", str(dest)]


def test_equal_labels_have_a_bar_each() -> None:
    svg = bar_chart([Bar("x" * 50, 1), Bar("x" * 60, 2), Bar("y", 3)])
    assert len(re.findall('fill="var\\(--use\\)"', svg)) == 3


def test_a_long_trend_is_thinned_and_keeps_its_ends() -> None:
    assert spread(3, 400) == [0, 1, 2]
    chosen = spread(10_000, 400)
    assert (len(chosen), chosen[0], chosen[-1]) == (400, 0, 9_999)
    moments = [manifest_of(day).started_at for day in range(1000)]
    svg = line_chart(moments, [Line("a", [*range(1000)])], [False] * 1000)
    assert len(svg) < 12_000


def test_a_report_is_a_value_that_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    made = Report("id", "<html>")
    assert "html" not in repr(made)
    made.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "<html>"
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import example as at_least
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from analysis.reading_lab import day_id, in_memory, written
from documented import example
from poolcensus.cli import main
from poolcensus.cli.uncut import uncut_table
from poolcensus.extras import installation
from poolcensus.model import Outcome
from snapshot.making import target

if TYPE_CHECKING:
    from poolcensus.model import JsonObject

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SQL = "SELECT pool_id, pool_name, created_at, active_user_sessions AS n, pool FROM pools ORDER BY pool_id"
POOLS: list[JsonObject] = [
    {"PoolId": "wspool-1", "PoolName": '=a,"b"\n\x1b[2J', "State": "RUNNING"},
    {
        "PoolId": "wspool-2",
        "State": "STOPPED",
        "CreatedAt": "2025-03-04T05:06:07.123Z",
        "CapacityStatus": {"ActiveUserSessions": 7},
    },
]


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots"
    written(folder, day_id(22), {target(1): []})
    written(folder, day_id(23), {target(1): POOLS, target(2): Outcome.ACCESS_DENIED})
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["query", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int) -> str:
    assert main(["query", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_the_json_of_other_commands_is_named_as_query_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("--json", SQL), (SQL, "--json"), ("--list", "--json")):
        assert "query has no --json: give --format json" in refused(capsys, *arguments, code=2)
    assert main(["query", "--help"]) == 0
    assert "--json" not in capsys.readouterr().out


def test_the_json_of_the_settings_is_the_default_of_what_is_printed(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLCENSUS_JSON", "true")
    count = ("SELECT count(*) AS n FROM pools", "--dest", dest)
    assert run(capsys, *count) == '{"n":2}\n'
    assert run(capsys, *count, "--format", "csv") == "n\n2\n"
    assert run(capsys, *count, "--format", "CSV") == "n\n2\n"
    assert all("name" in json.loads(line) for line in run(capsys, "--list").splitlines())
    for name, first in (("n.csv", "n"), ("n.txt", "n")):
        assert run(capsys, *count, "--output", tmp_path / name) == ""
        assert (tmp_path / name).read_text().split()[0] == first


def test_json_is_a_line_a_row_with_numbers_times_and_json(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, SQL, "--dest", dest, "--format", "json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "pool_id": "wspool-1",
            "pool_name": POOLS[0]["PoolName"],
            "created_at": None,
            "n": None,
            "pool": POOLS[0],
        },
        {
            "pool_id": "wspool-2",
            "pool_name": None,
            "created_at": "2025-03-04T05:06:07.123Z",
            "n": 7,
            "pool": POOLS[1],
        },
    ]


@pytest.mark.parametrize("number", [7, 2**126])
def test_json_has_every_value_beside_numbers_of_any_size(
    dest: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = f"""
        SELECT {number}::HUGEINT AS n, DATE '2026-11-23' AS day, TIMESTAMP '2026-11-23' AS t,
            'NaN'::DOUBLE AS x, '-inf'::FLOAT AS y, 1.5 AS z, NULL AS e, true AS b, [DATE '2026-11-23'] AS l
    """
    out = run(capsys, sql, "--dest", dest, "--format", "json")
    assert out == (
        f'{{"n":{number},"day":"2026-11-23","t":"2026-11-23T00:00:00.000Z","x":null,"y":null,"z":1.5,"e":null,'
        '"b":true,"l":["2026-11-23"]}\n'
    )


def test_csv_has_the_data_as_it_is(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, SQL, "--dest", dest, "--format", "csv")
    assert [*csv.reader(io.StringIO(out, newline=""))] == [
        ["pool_id", "pool_name", "created_at", "n", "pool"],
        ["wspool-1", str(POOLS[0]["PoolName"]), "", "", json.dumps(POOLS[0], separators=(",", ":"))],
        ["wspool-2", "", "2025-03-04T05:06:07.123Z", "7", json.dumps(POOLS[1], separators=(",", ":"))],
    ]
    assert run(capsys, "SELECT 1 AS a WHERE false", "--dest", dest, "--format", "csv") == "a\n"


def test_a_row_of_csv_is_a_row_whatever_is_in_it(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ["a\rb", "\r\n", "\n", '"', ",", "", " ", "\0"]
    texts = ", ".join("'" + each.replace("\0", "' || chr(0) || '") + "'" for each in values)
    out = run(capsys, f"SELECT unnest([{texts}]) AS text, 1 AS one", "--dest", dest, "--format", "csv")
    assert [*csv.reader(io.StringIO(out, newline=""))] == [["text", "one"], *([each, "1"] for each in values)]


def test_csv_on_a_terminal_is_printable_and_a_row_is_a_line(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    sql = "SELECT pool_id, pool_name FROM pools ORDER BY ALL LIMIT 1"
    out = run(capsys, sql, "--dest", dest, "--format", "csv")
    assert out == 'pool_id,pool_name\nwspool-1,"=a,""b""\\n\\x1b[2J"\n'


def test_json_on_a_terminal_is_printable_and_says_the_same(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT concat(chr(155), '31m', chr(8238), chr(127), chr(917505), 'ä€') AS text"
    piped = run(capsys, sql, "--dest", dest, "--format", "json")
    assert piped == '{"text":"\x9b31m\u202e\x7f\U000e0001ä€"}\n'
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = run(capsys, sql, "--dest", dest, "--format", "json")
    assert shown == r'{"text":"\u009b31m\u202e\u007f\udb40\udc01ä€"}' + "\n"
    assert json.loads(shown) == json.loads(piped)


def test_a_table_is_printable_and_a_row_is_a_line(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, first, second = run(capsys, SQL, "--dest", dest).splitlines()
    assert header.split() == ["pool_id", "pool_name", "created_at", "n", "pool"]
    assert r'=a,"b"\n\x1b[2J' in first
    assert "\x1b" not in first
    assert second.split()[:3] == ["wspool-2", "2025-03-04T05:06:07.123Z", "7"]


def test_parquet_is_a_file(dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.parquet"
    assert run(capsys, SQL, "--dest", dest, "--output", out) == ""
    table = pq.read_table(in_memory(out))
    assert table.column("n").to_pylist() == [None, 7]
    assert [str(each) for each in table.schema.types[:4]] == ["string", "string", "timestamp[us]", "int64"]
    assert "needs --output" in refused(capsys, SQL, "--dest", dest, "--format", "parquet", code=2)


def test_parquet_goes_to_standard_output_where_it_is_asked_for(
    dest: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["query", SQL, "--dest", str(dest), "--format", "parquet", "--output", "-"]
    assert main(given) == 0
    captured = capfdbinary.readouterr()
    assert captured.err == b""
    table = pq.read_table(io.BytesIO(captured.out))
    assert table.column("n").to_pylist() == [None, 7]
    monkeypatch.setattr("poolcensus.cli.query.on_terminal", lambda _: True)
    assert main(given) == 2
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert b"--format parquet can't go to a terminal: name a file with --output" in captured.err


@pytest.mark.parametrize("name", ["rows.json", "rows.ndjson", "rows.csv", "rows.txt"])
def test_a_file_has_what_would_be_printed(
    dest: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    form = {"json": "json", "ndjson": "json", "csv": "csv", "txt": "table"}[name.partition(".")[2]]
    printed = run(capsys, SQL, "--dest", dest, "--format", form)
    out = tmp_path / name
    out.write_text("before")
    assert run(capsys, SQL, "--dest", dest, "--output", out) == ""
    with out.open(newline="", encoding="utf-8") as file:
        assert file.read() == printed
    assert out.stat().st_mode & 0o777 == 0o600
    before = sorted(tmp_path.iterdir())
    refused(capsys, "SELECT error('x')", "--dest", dest, "--output", out, code=2)
    assert sorted(tmp_path.iterdir()) == before
    assert out.read_text() == printed


def test_what_is_no_regular_file_is_written_to_and_not_replaced(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, SQL, "--dest", dest, "--output", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_a_file_that_is_open_already_is_written_to_by_its_descriptor(
    dest: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # As a shell has it: `query … --output /dev/stdout > file`.
    with (tmp_path / "file").open("wb") as file:
        place = f"/dev/fd/{file.fileno()}"
        run(capsys, "SELECT 1 AS a", "--dest", dest, "--format", "csv", "--output", place)
    assert (tmp_path / "file").read_bytes() == b"a\n1\n"


def test_a_pipe_that_has_no_name_is_written_to(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    try:
        run(capsys, "SELECT 1 AS a", "--dest", dest, "--format", "csv", "--output", f"/dev/fd/{writer}")
        assert os.read(reader, 100) == b"a\n1\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_link_that_leads_nowhere_is_replaced(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    out.symlink_to(out)
    run(capsys, "SELECT 1 AS a", "--dest", dest, "--output", out)
    assert out.read_text() == "a\n1\n"


def test_a_dash_is_standard_output(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    out = run(capsys, "SELECT 1 AS a", "--dest", dest, "--format", "csv", "--output", "-")
    assert (out, sorted(tmp_path.iterdir())) == ("a\n1\n", before)


def test_a_link_is_followed(dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    run(capsys, "SELECT 1 AS a", "--dest", dest, "--output", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "a\n1\n"


@pytest.mark.parametrize(
    ("mode", "is_foreign", "is_followed"),
    [(0o1777, True, False), (0o777, True, False), (0o755, True, True), (0o1777, False, True)],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_of_another_user_in_a_folder_of_all_is_not_followed(  # noqa: PLR0917 - pytest gives them by name
    dest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    is_foreign: bool,
    is_followed: bool,
    there: bool,
) -> None:
    real, link, outer = tmp_path / "real.csv", tmp_path / "all" / "link.csv", tmp_path / "outer.csv"
    if there:
        real.write_text("precious\n")
    link.parent.mkdir()
    link.symlink_to(real)
    outer.symlink_to(link)
    link.parent.chmod(mode)
    if is_foreign and os.geteuid() == 0:
        for each in (link, outer):
            os.chown(each, 12345, -1, follow_symlinks=False)
    elif is_foreign:
        monkeypatch.setattr("os.geteuid", lambda: 12345)
    code = main(["query", "SELECT 1 AS a", "--dest", str(dest), "--output", str(outer)])
    said = capsys.readouterr().err
    if is_followed:
        assert (code, said, real.read_text()) == (0, "", "a\n1\n")
    else:
        assert code == 1
        assert f"Could not write {outer}: {link} is a link of another user, in a folder that" in said
        assert [*tmp_path.glob("real.csv")] == [real] * there
        assert not there or real.read_text() == "precious\n"
    assert link.is_symlink()


def test_one_snapshot_or_all(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = ("SELECT count(*) AS n FROM targets", "--format", "csv", "--dest", dest)
    assert run(capsys, *sql) == "n\n2\n"
    assert run(capsys, *sql, "--snapshot", "latest~1") == "n\n1\n"
    assert run(capsys, *sql, "--snapshot", dest / day_id(22)) == "n\n1\n"
    assert run(capsys, *sql, "--all") == "n\n3\n"


def test_sql_may_come_from_standard_input(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 7 AS a"))
    assert run(capsys, "-", "--dest", dest, "--format", "csv") == "a\n7\n"


@pytest.mark.parametrize(("data", "says"), [(None, "closed"), (b"SELECT '\xff'", "not text in UTF-8")])
def test_standard_input_without_text_is_wrong_usage(
    dest: Path,
    data: bytes | None,
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin = None if data is None else io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert says in refused(capsys, "-", "--dest", dest, code=2)


def test_queries_by_name(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--named", "coverage-by-outcome", "--dest", dest, "--format", "csv")
    assert out.splitlines()[1:] == ["access_denied,false,1,1,", "ok,true,1,1,2"]
    # Over all snapshots, unless one is asked for.
    idle = ("--named", "accounts-never-covered", "--dest", dest, "--format", "csv")
    assert len(run(capsys, *idle).splitlines()) == 2
    assert len(run(capsys, *idle, "--snapshot", "latest~1").splitlines()) == 1
    assert "idle-pools" in run(capsys, "--list")
    assert "Did you mean idle-pools?" in refused(capsys, "--named", "idle-pols", "--dest", dest, code=2)


@pytest.mark.parametrize(
    ("option", "first"),
    [
        ("--list", {"name": "accounts-never-covered"}),
        ("--schema", {"view": "pools", "column": "snapshot_id", "type": "VARCHAR"}),
    ],
)
def test_what_is_listed_has_the_format_and_the_file_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, first: JsonObject
) -> None:
    line = json.loads(run(capsys, option, "--format", "json").splitlines()[0])
    assert first.items() <= line.items()
    for name, form in (("l.txt", "table"), ("l.csv", "csv"), ("l.json", "json")):
        assert run(capsys, option, "--output", tmp_path / name) == ""
        assert run(capsys, option, "--format", form) == (tmp_path / name).read_text(encoding="utf-8")
    for more, says in (
        (("SELECT 1",), "leave out SQL"),
        (("--all",), "leave out SQL"),
        (("--output", tmp_path / "l.parquet"), "not parquet"),
        (("--list", "--schema"), "exclude each other"),
    ):
        assert says in refused(capsys, option, *more, code=2)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_file_that_cannot_be_written_is_named(dest: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    limited = (
        "import resource, sys; from poolcensus.cli import main;"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); sys.exit(main())"
    )
    sql = "SELECT n, hash(n) AS h FROM range(2000) r(n)"
    for more, says in (
        (
            ("--output", str(file)),
            f"Could not write {'to the temporary folder' if name[-1] == 't' else file}",
        ),
        ((), "standard output: "),
    ):
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-c", limited, "query", sql, "--dest", str(dest), *more],
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr.startswith(f"poolcensus: {says}")
        assert "File too large" in done.stderr
        assert ".tmp" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_file_in_no_folder_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, says in (
        (tmp_path / "no" / "x.csv", f"--output: There is no folder {tmp_path}/no."),
        (tmp_path, f"--output: {tmp_path} is a folder, not a file"),
        (f"{tmp_path}/new/", f"--output: {tmp_path}/new/ names a folder, not a file"),
        (tmp_path / "x.xlsx", f'--output: "{tmp_path}/x.xlsx" ends in none of .json, .ndjson, .jsonl, .csv'),
    ):
        assert says in refused(capsys, "SELECT 1", "--dest", "nowhere", "--output", output, code=2)


def test_the_schema_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--schema")
    for name in ("pools", "targets", "snapshots", "changes"):
        assert re.search(rf"^{name}: ", out, re.MULTILINE)
    assert re.search(r"^desired_user_sessions +BIGINT +sessions", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Give the SQL, or --named NAME"),
        (("SELECT 1", "--named", "idle-pools"), "exclude each other"),
        (("SELECT 1", "--all", "--snapshot", "latest"), "exclude each other"),
        (
            ("--named", "pools-by-bundle", "--all"),
            "pools-by-bundle is over one snapshot: leave out --all",
        ),
        (("SELECT 1", "--format", "xml"), "'xml' is not one of"),
        (("COPY pools TO 'x'",), "query takes one SELECT statement"),
        (
            ("SELECT nothing FROM pools",),
            "poolcensus: LINE 1: SELECT nothing FROM pools\npoolcensus:                ^",
        ),
    ],
)
def test_a_mistake_is_wrong_usage(
    dest: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused(capsys, *arguments, "--dest", dest, code=2)


def test_damage_is_said_and_nothing_is_printed(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pools = dest / day_id(23) / "pools.ndjson"
    pools.write_bytes(pools.read_bytes()[:-1])
    for more in ((), ("--all",)):
        assert "is damaged" in refused(capsys, SQL, "--dest", dest, *more, code=1)


def test_what_cannot_be_read_of_all_is_named_beside_the_rows(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / day_id(22) / "manifest.json").write_text("{")
    sql = ("SELECT count(*) AS n FROM snapshots", "--dest", str(dest), "--format", "csv")
    assert main(["query", *sql, "--all"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "n\n1\n"
    place = dest / day_id(22) / "manifest.json"
    assert f"Can't read 1 snapshot: {day_id(22)}. {place} is not a manifest: not JSON: " in captured.err


def test_a_snapshot_of_another_operation_is_left_out_with_why(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = dest / day_id(22) / "manifest.json"
    manifest.write_text(manifest.read_text().replace("DescribeWorkspacesPools", "DescribeOthers"))
    assert main(["query", "SELECT count(*) AS n FROM pools", "--all", "--dest", str(dest)]) == 1
    said = capsys.readouterr().err
    assert f"{day_id(22)} is of workspaces:DescribeOthers and the newest snapshot of workspaces:" in said
    assert "verify" not in said


@pytest.mark.parametrize("command", [("query", SQL, "--format", "csv"), ("export", "--output", "out")])
def test_a_log_in_json_ends_with_what_could_not_be_read(
    dest: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (dest / day_id(22) / "manifest.json").write_text("{")
    assert main([*command, "--all", "--dest", str(dest), "--log-format", "json"]) == 1
    said, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (last["message_type"], last["code"]) == ("exit_error", 1)
    assert said["message"] == last["message"]
    assert last["message"].startswith(f"Can't read 1 snapshot: {day_id(22)}.")


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS take names in UTF-8 only")
def test_a_path_that_the_locale_has_no_letters_for_is_read(dest: Path) -> None:
    place = dest.rename(dest.with_name("ü"))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "poolcensus",
            "query",
            "SELECT count(*) AS n FROM pools",
            "--dest",
            str(place),
        ],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["n", "2"], "")


def test_no_snapshots_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No snapshots in" in refused(capsys, "SELECT 1", "--dest", tmp_path, code=1)


def test_without_duckdb_it_says_what_to_install(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert refused(capsys, "SELECT 1", "--dest", dest, code=1).splitlines() == [
        f"poolcensus: DuckDB is not installed. {installation('query')}"
    ]


def test_a_signal_ends_a_query_and_leaves_nothing(dest: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # Never done, and it has begun once what it reads is in its private folder.
    endless = "SELECT count(*) FROM pools, range(1000000000000) r(n) WHERE n % 7 = 3"
    with subprocess.Popen(
        [sys.executable, "-m", "poolcensus", "query", endless, "--dest", str(dest)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not [*temporary.glob("poolcensus-*/*/pools.ndjson")]:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "poolcensus: interrupted\n")
    assert not [*temporary.iterdir()]


def test_export_says_what_it_wrote(dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "parquet"
    assert main(["export", "--all", "--dest", str(dest), "--output", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    shown = example("Parquet for Athena and others")
    for line in captured.out.splitlines():
        assert [*json.loads(line)] == [*shown]
    assert {json.loads(line)["file"] for line in captured.out.splitlines()} == {
        str(each) for each in out.rglob("*.parquet")
    }
    assert main(["export", "--dest", str(dest), "--output", str(out)]) == 0
    assert capsys.readouterr().out == ""
    (dest / day_id(22) / "manifest.json").write_text("{")
    assert main(["export", "--all", "--dest", str(dest), "--output", str(out)]) == 1
    assert "Can't read 1 snapshot" in capsys.readouterr().err
    pools = dest / day_id(23) / "pools.ndjson"
    pools.write_bytes(pools.read_bytes()[:-1])
    assert main(["export", "--all", "--dest", str(dest), "--output", str(out)]) == 1
    assert f"Can't read 2 snapshots: {day_id(22)}, {day_id(23)}." in capsys.readouterr().err
    assert main(["export", "latest", "--all", "--dest", str(dest), "--output", str(out)]) == 2
    capsys.readouterr()
    assert main(["export", "--dest", str(dest), "--output", ""]) == 2
    assert capsys.readouterr().err.startswith("poolcensus: --output needs the name of a folder\n")
    assert main(["export", "--dest", str(dest), "--output", "/etc/hostname"]) == 2
    assert capsys.readouterr().err.startswith("poolcensus: --output: /etc/hostname is a file, not a folder\n")
    assert main(["query", "SELECT 1", "--dest", str(dest), "--output", ""]) == 2
    assert capsys.readouterr().err.startswith("poolcensus: --output needs the name of a file\n")


@pytest.mark.parametrize(
    ("command", "what", "copy"),
    [
        ("query --list", "file", "cp FILE"),
        ("plan", "file", "cp FILE"),
        ("report", "file", "cp FILE"),
        ("export", "folder", "sync FOLDER"),
    ],
)
def test_no_bucket_is_taken_for_a_path(
    capsys: pytest.CaptureFixture[str], command: str, what: str, copy: str
) -> None:
    for place in ("s3://bucket/x.json", "s3://b/x/"):
        assert main([*command.split(), "--output", place]) == 2
        assert capsys.readouterr().err.splitlines()[0] == (
            f"poolcensus: --output takes no bucket. Write it to a {what}, and afterwards run:"
            f" aws s3 {copy} {place}"
        )


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not there")
def test_the_lines_of_the_readme_agree(
    dest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = re.search(r"<!-- same answer -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert block is not None
    ours, of_jq, of_duckdb = block[1].splitlines()
    words = re.match(r"poolcensus query '([^']*)' (.*)", ours)
    assert words is not None
    expected = [{"state": "RUNNING", "pools": 1}, {"state": "STOPPED", "pools": 1}]
    out = run(capsys, words[1], *words[2].split(), "--dest", dest)
    assert [json.loads(line) for line in out.splitlines()] == expected
    jq = subprocess.run(["bash", "-c", of_jq], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in jq.stdout.splitlines()] == expected
    sql = re.fullmatch(r'duckdb -jsonlines -c "(.*)"', of_duckdb)
    assert sql is not None
    with duckdb.connect() as connection:
        found = connection.execute(sql[1]).fetchall()
    assert found == [tuple(each.values()) for each in expected]


WORD = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=30)
CELL = st.lists(WORD, max_size=4).map(" ".join)


@given(
    st.integers(40, 130).flatmap(
        lambda width: st.tuples(
            st.just(width),
            st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), max_size=4)),
        )
    )
)
def test_a_word_is_never_split_while_there_is_room_for_it(given: tuple[int, list[list[str]]]) -> None:
    width, rows = given
    names = [f"column_{n}" for n in range(len(rows[0]) if rows else 1)]
    text = uncut_table(names, [False] * len(names), rows, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    for row in rows:
        for cell in row:
            for word in cell.split():
                if cell_len(word) <= width - 12 and not word.startswith(("{", "[")):
                    assert word in text, (word, text)


# Wide and narrow, blanks beyond ASCII, marks without a width, and the sign that widens what is before it.
ANY_CELL = st.one_of(
    st.text(st.sampled_from("aZ09 .{\u00a0\u3000\u2003日한é\u0301\u0e31\ufe0f\u200d#☎😀\n\t\x1b\u2028")),
    st.text(),
)


@st.composite
def any_table(draw: st.DrawFn) -> tuple[list[str], list[bool], list[list[str]]]:
    columns = draw(st.integers(1, 12))
    row = st.lists(ANY_CELL, min_size=columns, max_size=columns)
    numbers = st.lists(st.booleans(), min_size=columns, max_size=columns)
    return draw(row), draw(numbers), draw(st.lists(row, max_size=4))


@given(any_table())
@at_least((["n"] * 300, [True, False, False] * 100, [["", "-1.5", "a b"] * 100]))
def test_no_terminal_gets_the_same_text_as_one_that_is_wide_enough(
    given: tuple[list[str], list[bool], list[list[str]]],
) -> None:
    assert uncut_table(*given, None) == uncut_table(*given, 10**6)


@pytest.mark.parametrize("width", [None, 80])
def test_columns_without_any_text_take_no_other_its_place(width: int | None) -> None:
    assert uncut_table([*[""] * 6, "0"], [False] * 7, [], width) == f"{' ' * 18}0\n"


def test_a_long_table_for_no_terminal_is_not_laid_out_by_a_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolcensus.cli.uncut.Console", None)
    rows = [["000000000001", "12"], ["000000000002", "1,200"]]
    assert uncut_table(["account_id", "pools"], [False, True], rows, None) == (
        "account_id    pools\n000000000001     12\n000000000002  1,200\n"
    )


def test_where_there_is_no_room_a_row_is_a_list() -> None:
    rows = [["000000000001", "wspool-0123456789"], ["000000000002", "wspool-9876543210"]]
    assert uncut_table(["account_id", "pool_id"], [False, False], rows, 31).splitlines() == [
        "account_id    pool_id",
        "000000000001  wspool-0123456789",
        "000000000002  wspool-9876543210",
    ]
    assert uncut_table(["account_id", "pool_id"], [False, False], rows, 30).splitlines() == [
        "account_id  000000000001",
        "pool_id     wspool-0123456789",
        "",
        "account_id  000000000002",
        "pool_id     wspool-9876543210",
        "",
    ]

"""How wide tables are: what the environment says of the terminal's size, where that is a size."""

from __future__ import annotations

import pytest

from poolcensus.cli.columns import Column, Grid
from poolcensus.cli.tables import console, put

CELLS = ("20261123T020000Z-3f9a1c", "complete", "1,234", "0", "5,678", "9", "1 h", "2 min", "12.3 kB")


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    put(console(), Grid([Column(f"column {number}") for number in range(len(CELLS))], [CELLS]))
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", ["0", "00", "", "-1", "wide", "²", "1e3", "9" * 5000])
def test_what_is_no_width_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    wide = shown(capsys)
    assert all(cell in wide.splitlines()[1] for cell in CELLS)
    monkeypatch.setenv("COLUMNS", columns)
    assert shown(capsys) == wide


@pytest.mark.parametrize("columns", ["1", "5", "20", "40"])
def test_a_narrow_table_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    wide = sorted("".join(shown(capsys).split()))
    monkeypatch.setenv("COLUMNS", columns)
    assert sorted("".join(shown(capsys).split())) == wide


def test_a_width_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert console().width == 60
    monkeypatch.setenv("LINES", "0")
    assert console().height > 0

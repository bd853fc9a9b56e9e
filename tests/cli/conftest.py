from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Self

import pytest

import poolcensus.cli
from ended_census import MANIFEST, PLAN, PROGRESS, FakeLibrary, FakeSnapshot, result
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.config import Settings
    from poolcensus.model import Manifest, Progress, TargetResult
    from poolcensus.planned import Plan


@pytest.fixture
def manifest() -> Manifest:
    return MANIFEST


@pytest.fixture
def progress() -> Progress:
    return PROGRESS


@pytest.fixture
def plan() -> Plan:
    return PLAN


@pytest.fixture(name="result")
def result_fixture() -> Callable[..., TargetResult]:
    return result


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary()

    class Census:
        def __init__(self, settings: Settings) -> None:
            fake.asked.append(settings)

        run_id = property(lambda _: fake.snapshot.manifest.snapshot_id)
        outcomes = property(lambda _: fake.snapshot.manifest.outcomes)
        resumable = property(lambda _: fake.resumable)
        hidden = property(lambda _: fake.hidden)
        failures = property(lambda _: FailureTally(WORKSPACES_POOLS, fake.snapshot.uncovered()).groups())
        published = property(lambda _: fake.published or (None if fake.error else fake.snapshot))
        before = property(lambda _: fake.before)
        outdated_gaps = ()
        operation = WORKSPACES_POOLS

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            return None

        async def collect(self) -> FakeSnapshot:
            if fake.error is not None:
                raise fake.error
            return fake.snapshot

        async def plan(self) -> Plan:
            if fake.error is not None:
                raise fake.error
            return PLAN

        def progress(self) -> Progress:
            return PROGRESS

    module = ModuleType("poolcensus.census")
    module.Census = Census  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "poolcensus.census", module)
    return fake


@pytest.fixture(autouse=True)
def nothing_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the user who runs the tests."""
    for variable in [*os.environ]:
        if variable.startswith("POOLCENSUS_"):
            monkeypatch.delenv(variable)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for variable in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    source = Path(poolcensus.cli.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(source))
    monkeypatch.chdir(home)

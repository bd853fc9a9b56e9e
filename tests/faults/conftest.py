"""Fixtures of the fault tests: a comparison without some targets, the program as a process, simulators."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.request import ProxyHandler, Request, build_opener

import pytest

import census_lab  # noqa: TC001 - before a test has a loop that importing would block
import poolcensus
from poolcensus.cli import main
from poolcensus.snapshot.verification import verify
from utf8_locale import UTF8_LOCALE

if TYPE_CHECKING:
    from poolcensus.snapshot import Snapshot

# The fixture `transport` sets the last one.
_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "POOLCENSUS_TRANSPORT")

Place = tuple[str, str]
Start = Callable[..., Coroutine[None, None, "census_lab.Lab"]]
ExactBut = Callable[["census_lab.Lab", "Snapshot", Iterable[Place]], None]


def _exact_but(here: census_lab.Lab, snapshot: Snapshot, bad: Iterable[Place]) -> None:
    left_out = set(bad)
    ledger = {(each.account_id, each.region): each for each in snapshot.targets()}
    records: dict[Place, dict[str, object]] = {}
    count = 0
    for record in snapshot.pools():
        count += 1
        created = str(record.pool["CreatedAt"])
        sent = {**record.pool, "CreatedAt": datetime.fromisoformat(created).timestamp()}
        records.setdefault((record.account_id, record.region), {})[str(record.pool["PoolId"])] = sent
    assert count == sum(len(each) for each in records.values()), "a pool is there twice"
    for truth in here.simulator.world.truth():
        place = (truth.account_id, truth.region)
        result = ledger.pop(place)
        if place in left_out:
            left_out.remove(place)
            assert not result.outcome.covered, result
            assert result.pools == 0
            assert place not in records, "pools of a target that failed"
        else:
            assert result.outcome is truth.outcome, result
            assert records.pop(place, {}) == {str(pool["PoolId"]): pool for pool in truth.pools}
    assert not ledger
    assert not records
    assert not left_out
    assert not verify(snapshot)


def assert_one_sentence(ended: Ended, code: int, *words: str) -> None:
    """Assert that the program printed one line on standard error without a traceback, and nothing else."""
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert re.fullmatch(r"poolcensus: \S.*\n", ended.err), ended.err
    for word in words:
        assert word in ended.err
    assert ended.code == code, ended.err


@pytest.fixture
def exact_but() -> ExactBut:
    """Check that all targets are exact, except the given ones, which the ledger must have as not covered."""
    return _exact_but


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs the program to its end, with these arguments."""

    def __call__(self, *arguments: str | Path, config: str | None = None, **environment: str) -> Ended: ...


@dataclass(slots=True)
class Served:
    """A simulator in a process of its own."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def ask(self, what: str, method: str = "GET") -> bytes:
        """Return the simulator's truth or its statistics."""
        opener = build_opener(ProxyHandler({}))
        with opener.open(
            Request(f"{self.endpoint_url}/_simulator/{what}", method=method), timeout=10
        ) as reply:
            body: bytes = reply.read()
        return body

    @property
    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ask("truth").splitlines()]

    @property
    def calls(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.ask("stats"))["calls"]
        return found


Serve = Callable[..., Served]


@contextmanager
def _served(*options: str) -> Iterator[Served]:
    with subprocess.Popen(
        [sys.executable, "-m", "poolcensus", "simulate", "--json", *options], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield Served(**json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a simulator with the options of `poolcensus simulate`. It ends with the test."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(_served(*options))


@pytest.fixture(scope="session")
def kept_simulator() -> Iterator[Served]:
    """A simulator for all tests that do not change it: 13 accounts, two regions, pools in half of them."""
    with _served("--accounts=13", "--regions=us-east-1,eu-west-1", "--mean-pools=3", "--empty=0.5") as served:
        yield served


@pytest.fixture
def simulator(kept_simulator: Served) -> Served:
    """The simulator that several tests share, with its statistics reset."""
    kept_simulator.ask("reset", "POST")
    return kept_simulator


@dataclass(slots=True)
class Bench:
    """Runs the program in an empty folder, with only the given environment."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def popen(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "poolcensus", *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sabotage(self, code: str) -> dict[str, str]:
        """Return an environment in which Python runs `code` before the program starts."""
        folder = self.folder.with_name("sabotage")
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": f"{folder}{os.pathsep}{self.environment['PYTHONPATH']}"}

    def run(self, *arguments: str | Path, config: str | None = None, **environment: str) -> Ended:
        if config is not None:
            (self.folder / "poolcensus.toml").write_text(config)
        with self.popen(*arguments, **environment) as process:
            out, err = process.communicate(timeout=60)
        return Ended(process.returncode, out, err)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A `Bench` with a folder of its own."""
    folder = tmp_path / "bench"
    folder.mkdir()
    source = Path(poolcensus.__file__).parents[1]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return Bench(
        folder, {**kept, **aws, "PYTHONPATH": str(source), "PYTHONWARNINGS": "error", "LC_ALL": UTF8_LOCALE}
    )


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program to its end in this process, which saves half a second for each start."""

    def run(*arguments: str | Path, config: str | None = None, **environment: str) -> Ended:
        if config is not None:
            (bench.folder / "poolcensus.toml").write_text(config)
        root = logging.getLogger()
        handlers, level = [*root.handlers], root.level
        with monkeypatch.context() as patch:
            patch.chdir(bench.folder)
            # A command assumes that all present objects stay to the end of the process.
            patch.setattr(gc, "freeze", lambda: None)
            for name in os.environ.keys() - bench.environment.keys():
                patch.delenv(name)
            for name, value in {**bench.environment, **environment}.items():
                patch.setenv(name, value)
            try:
                code = main([str(each) for each in arguments])
            finally:
                root.handlers[:] = handlers
                root.setLevel(level)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def run_alone(bench: Bench) -> Run:
    """Run the program to its end in a process of its own, for tests of streams, imports and the start."""
    return bench.run

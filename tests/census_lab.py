"""A simulator in the event loop of the test, a census of it, and a comparison of the two."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

from poolcensus.census import Census
from poolcensus.config import load_settings
from poolcensus.doctor import diagnose
from poolcensus.simulator.faults import Fault
from poolcensus.simulator.server import Simulator, SimulatorConfig
from poolcensus.simulator.world import WorldConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
    from pathlib import Path

    import pytest

    from poolcensus.config import Settings
    from poolcensus.doctor.findings import Finding
    from poolcensus.model import JsonObject, Outcome, PoolRecord, TargetResult
    from poolcensus.snapshot import Snapshot

FEW_REGIONS = ("us-east-1", "eu-west-1", "af-south-1")
_SERVER_OPTIONS = frozenset(each.name for each in fields(SimulatorConfig)) - {"world", "faults"}


@dataclass(frozen=True, slots=True)
class Lab:
    """A running simulator, and the destination for a census of it."""

    simulator: Simulator
    dest: Path

    def settings(self, **changes: object) -> Settings:
        """Return settings for a census of the simulator, in its regions."""
        given: dict[str, object] = {"regions": self.simulator.world.config.regions, "dest": str(self.dest)}
        return load_settings(None, {**given, **changes})

    async def collect(self, **changes: object) -> Snapshot:
        """Take a census of the simulator, and publish it in the folder of the lab."""
        async with Census(self.settings(**changes)) as census:
            return await census.collect()

    async def examine(self, **changes: object) -> list[Finding]:
        """Return the findings of doctor for every account."""
        async with diagnose(self.settings(**changes), every_account=True) as findings:
            return [each async for each in findings]

    def calls(self, name: str) -> int:
        """Return how many calls of `service.Operation` the simulator has received."""
        calls = self.simulator.stats.snapshot()["calls"]
        assert isinstance(calls, dict)
        count = calls.get(name, 0)
        assert isinstance(count, int)
        return count

    def assert_exact(
        self,
        snapshot: Snapshot,
        *,
        regions: Iterable[str] | None = None,
        accounts: Collection[str] | None = None,
    ) -> Counter[Outcome]:
        """Assert that the snapshot has the simulator's outcome for every target, and each pool once, as sent.

        If `regions` or `accounts` are given, only their targets are expected. Return the counts of outcomes.
        """
        ledger = {(each.account_id, each.region): each for each in snapshot.targets()}
        assert len(ledger) == sum(1 for _ in snapshot.targets())
        records: dict[tuple[str, str], list[PoolRecord]] = {}
        for record in snapshot.pools():
            records.setdefault((record.account_id, record.region), []).append(record)
        skipped = {each.id for each in snapshot.manifest.accounts_skipped}
        wanted = set(regions) if regions is not None else None
        for truth in self.simulator.world.truth():
            if truth.account_id in skipped or (wanted is not None and truth.region not in wanted):
                continue
            if accounts is not None and truth.account_id not in accounts:
                continue
            key = (truth.account_id, truth.region)
            result = ledger.pop(key)
            assert result.outcome == truth.outcome, result
            expected = {str(pool["PoolId"]): pool for pool in truth.pools}
            found = records.pop(key, [])
            assert len(found) == len(expected) == result.pools
            for record in found:
                assert _as_sent(record.pool) == expected[str(record.pool["PoolId"])]
        assert not ledger
        assert not records
        return Counter(each.outcome for each in snapshot.targets())


def _as_sent(pool: JsonObject) -> JsonObject:
    created = pool.get("CreatedAt")
    assert isinstance(created, str)
    assert created.endswith("Z")
    return {**pool, "CreatedAt": datetime.fromisoformat(created).timestamp()}


def result_of(snapshot: Snapshot, account_id: str, region: str) -> TargetResult:
    """Return the ledger line of one target."""
    return next(each for each in snapshot.targets() if (each.account_id, each.region) == (account_id, region))


@asynccontextmanager
async def open_labs(
    monkeypatch: pytest.MonkeyPatch, dest: Path
) -> AsyncIterator[Callable[..., Coroutine[None, None, Lab]]]:
    """Yield a function that starts a simulator and sets the environment to it. All end with the block."""
    async with AsyncExitStack() as stack:

        async def start(
            *, faults: Iterable[str] = (), regions: Iterable[str] = FEW_REGIONS, **options: object
        ) -> Lab:
            server = {name: options.pop(name) for name in list(options) if name in _SERVER_OPTIONS}
            # Texts that a census must not change are worth more to a test than texts that AWS accepts.
            given: dict[str, object] = {"odd_texts": True, **options}
            world = WorldConfig(regions=tuple(regions), **given)  # type: ignore[arg-type] # test's own words
            config = SimulatorConfig(
                world=world,
                faults=tuple(Fault.parse(each) for each in faults),
                **server,  # type: ignore[arg-type] # test's own words
            )
            simulator = await stack.enter_async_context(Simulator(config))
            monkeypatch.setenv("AWS_ENDPOINT_URL", simulator.endpoint_url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", simulator.access_key_id)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", simulator.secret_access_key)
            return Lab(simulator, dest / "snapshots")

        yield start

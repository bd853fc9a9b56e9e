"""Targets that are refused on purpose: in the ledger as they are, and no failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import poolcensus
from poolcensus.cli import main
from poolcensus.errors import IncompleteError, NotPublishedError
from poolcensus.model import KnownGap, Outcome, SnapshotStatus
from poolcensus.scope.account_choice import shard_of
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

ONE, TWO, THREE = "000000000001", "000000000002", "000000000003"
DENIED = (f"denied,policy=scp,account={TWO}", f"denied,policy=scp,account={THREE},region=eu-west-1")


async def test_they_stay_in_the_ledger_and_are_no_failures_to_strict(
    lab: Start,
) -> None:
    here = await lab(accounts=4, faults=DENIED)
    gaps = [f"{TWO}:*:scp_denied", {"accounts": [THREE], "regions": ["eu-*"], "outcomes": "scp_denied"}]
    async with poolcensus.Census(here.settings(strict=True, known_gaps=gaps)) as census:
        snapshot = await census.collect()
        assert (census.failures, census.outdated_gaps) == ((), ())
        assert len(census.uncovered) == 4
        progress = census.progress()
        assert (progress.uncovered, progress.expected, progress.failed) == (4, 4, 0)
    assert snapshot.path is not None
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    assert snapshot.manifest.outcomes[Outcome.SCP_DENIED] == 4
    assert snapshot.manifest.failed == 0
    assert poolcensus.Snapshot.open(snapshot.path).manifest.known_gaps == (
        KnownGap((TWO,), (), (Outcome.SCP_DENIED,), targets=3),
        KnownGap((THREE,), ("eu-*",), (Outcome.SCP_DENIED,), targets=1),
    )
    assert verify(snapshot) == ()


async def test_what_fails_in_another_way_or_elsewhere_is_a_failure(lab: Start) -> None:
    here = await lab(accounts=4, faults=DENIED)
    for gap in (f"{TWO},{THREE}:*:access_denied", f"{TWO}:*:scp_denied"):
        async with poolcensus.Census(here.settings(strict=True, known_gaps=[gap])) as census:
            with pytest.raises(NotPublishedError, match=r"of 12 targets failed and `strict` is set"):
                await census.collect()
        async with poolcensus.Census(here.settings(strict=True, known_gaps=[gap])) as census:
            with pytest.raises(IncompleteError):
                assert [each async for each in census.pages()]


async def test_a_gap_that_no_longer_holds_is_reported(lab: Start) -> None:
    here = await lab(accounts=4, faults=DENIED[:1])
    gaps = ["000000000009:*:scp_denied", f"{TWO},{THREE}:*:scp_denied"]
    async with poolcensus.Census(here.settings(known_gaps=gaps)) as census:
        await census.collect()
        gone, lifted = census.outdated_gaps
    assert (gone.gap.accounts, gone.allowed, gone.example) == (("000000000009",), 0, None)
    assert (gone.targets, lifted.targets, lifted.allowed) == (0, 6, 3)
    assert lifted.example is not None
    assert lifted.example.account_id == THREE


@pytest.mark.parametrize(
    "narrowed",
    [
        {"accounts": [ONE]},
        {"exclude_accounts": [TWO]},
        {"account_names": ["acct-0"]},
        {"regions": ["us-east-1"]},
        {"shard": f"{3 - shard_of(TWO, 2)}/2"},
        {"accounts_from": "self"},
    ],
)
async def test_a_gap_outside_of_what_a_run_asks_still_holds(lab: Start, narrowed: dict[str, object]) -> None:
    """Every shard of a census has the gaps of all of them, and a run of one account those of the others."""
    here = await lab(accounts=4, faults=DENIED)
    async with poolcensus.Census(
        here.settings(known_gaps=[f"{TWO}:eu-west-1:scp_denied"], **narrowed)
    ) as census:
        await census.collect()
        assert census.outdated_gaps == ()


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ("111122223333:eu-west-1:ok", '"ok" is covered and no gap.'),
        ("111122223333:eu-west-1:cancelled", '"cancelled" says that the run ended first.'),
        ("111122223333:eu-west-1:denied", '"denied" is not an outcome: access_denied'),
        ("*:*:scp_denied", "names neither an account nor a region"),
        ("111122223333:eu-west-1", "is not a known gap: ACCOUNT:REGION:OUTCOME"),
        ("1111:eu-west-1:scp_denied", '"1111" is not an account ID of 12 digits'),
        ("*:eu-west-9:scp_denied", '"eu-west-9" is not a region. Did you mean'),
        ("*:moon-*:scp_denied", '"moon-*" matches no region'),
    ],
)
def test_a_wrong_gap_is_refused_before_any_call(
    gap: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert main(["collect", "--known-gap", gap]) == 2
    assert words in capsys.readouterr().err

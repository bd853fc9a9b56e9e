"""A census over a line of 300 ms, to a name of eight addresses some of which are black holes."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trustme

from network_lab import EIGHT, listening, needs_loopback_network, note_connects, relay, resolve
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Start

pytestmark = needs_loopback_network

NAME = "aws.example.com"
ROUND_TRIP = 0.3


@pytest.mark.parametrize(
    ("accounts", "holes"),
    [
        pytest.param(4, EIGHT[:1] + EIGHT[3:5], id="few"),
        # As many connections at once as a census opens by itself.
        pytest.param(90, EIGHT[:2] + EIGHT[4:7], id="many", marks=pytest.mark.long),
    ],
)
async def test_a_census_reaches_every_target_past_black_holes_at_300_ms(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accounts: int, holes: tuple[str, ...]
) -> None:
    here = await lab(accounts=accounts, pools_per_target=2)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)
    resolve(monkeypatch, {NAME: EIGHT})
    async with (
        listening(relay(urlsplit(here.simulator.endpoint_url).port or 0), tls=tls) as inner,
        listening(relay(inner, ROUND_TRIP / 2), addresses=EIGHT, holes=holes) as port,
    ):
        tried = note_connects(monkeypatch, port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{NAME}:{port}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        # An eighth of it is one round trip, in which no handshake ends.
        snapshot = await here.collect(connect_timeout=8 * ROUND_TRIP)
    outcomes = here.assert_exact(snapshot)
    assert outcomes[Outcome.OK] == sum(outcomes.values()) - outcomes[Outcome.REGION_DISABLED]
    assert outcomes[Outcome.OK] > accounts
    assert snapshot.manifest.totals.retries == 0
    # The first connection found out for all others, which go to the address that answered.
    assert [each for each in tried if each in holes] == [each for each in holes if each < tried[-1]]

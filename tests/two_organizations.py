"""A commercial Organization and one in GovCloud, each a simulator, for a run of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import poolcensus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    import pytest

    from census_lab import Lab
    from poolcensus.config import Settings

    Start = Callable[..., Coroutine[None, None, Lab]]

ONE, TWO, THREE, FOUR, FIVE = (f"{number:012d}" for number in range(1, 6))


class Two:
    """A commercial Organization and one in GovCloud, and settings of a run of both."""

    def __init__(self, commercial: Lab, gov: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commercial, self.gov = commercial, gov
        config = folder / "aws-config"
        sections = (
            f"[profile {name}]\naws_access_key_id = {here.simulator.access_key_id}\n"
            f"aws_secret_access_key = {here.simulator.secret_access_key}\n"
            for name, here in (("commercial", commercial), ("gov", gov))
        )
        config.write_text("".join(sections), encoding="utf-8")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)

    def tables(self) -> list[dict[str, object]]:
        return [
            {
                "name": "commercial",
                "profile": "commercial",
                "endpoint_url": self.commercial.simulator.endpoint_url,
                "regions": ["us-east-1", "eu-west-1"],
                "accounts": [ONE, TWO, THREE],
            },
            {
                "name": "gov",
                "profile": "gov",
                "endpoint_url": self.gov.simulator.endpoint_url,
                "regions": ["us-gov-west-1"],
                "accounts": [FOUR, FIVE],
                "role_name": "GovReader",
            },
        ]

    def settings(self, **changes: object) -> Settings:
        given = {"organization": self.tables(), "dest": str(self.commercial.dest), **changes}
        return poolcensus.Settings.load(None, **given)


async def start_two(
    lab: Start,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    faults: tuple[str, ...] = (),
    commercial_faults: tuple[str, ...] = (),
    **gov_options: object,
) -> Two:
    """Start both. `faults` and other options are for the simulator of GovCloud."""
    commercial = await lab(
        accounts=3, pools_per_target=2, regions=("us-east-1", "eu-west-1"), faults=commercial_faults
    )
    gov = await lab(
        accounts=5,
        pools_per_target=1,
        partition="aws-us-gov",
        regions=("us-gov-west-1",),
        role_name="GovReader",
        seed=8,
        faults=faults,
        **gov_options,
    )
    return Two(commercial, gov, folder, monkeypatch)

"""What a census loads: what it needs, and nothing that another command or setting is for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from faults.conftest import Bench, Served

# Each of them takes a few milliseconds at least, and all of them 300.
_LOADED_WHERE_NEEDED = {
    *("aiobotocore", "aiohttp", "boto3", "botocore.compat", "botocore.session", "certifi", "urllib3"),
    *("csv", "distributed", "duckdb", "jinja2", "opentelemetry", "pickle", "rich", "tenacity", "tornado"),
    *("_strptime", "poolcensus.census.part", "poolcensus.census.spread", "poolcensus.cli.notify"),
    *("poolcensus.planned", "poolcensus.snapshot.retention", "poolcensus.snapshot.verification"),
}


@pytest.mark.parametrize(
    ("variables", "loaded"),
    [({}, set()), ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}, {"botocore.session"})],
)
def test_a_census_loads_what_it_needs(
    simulator: Served, bench: Bench, variables: dict[str, str], loaded: set[str]
) -> None:
    script = (
        "import sys; from poolcensus.cli import main; code = main(sys.argv[1:]);"
        f" print(*sorted({_LOADED_WHERE_NEEDED!r} & sys.modules.keys())); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "collect", "--dest", "snapshots", "--regions", "us-east-1"],
        cwd=bench.folder,
        env={
            **bench.environment,
            **simulator.environment,
            # With certifi, it is asked where the authorities are.
            "REQUESTS_CA_BUNDLE": "/none",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = set(done.stdout.split())
    assert found == set() if not loaded else loaded <= found

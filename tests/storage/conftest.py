"""An S3 service that a test controls, for all tests of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storage.scripted_s3 import Service, Simulated, scripted_s3

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Service, Simulated]]:
    with scripted_s3() as started:
        yield started


@pytest.fixture
def service(scripted: tuple[Service, Simulated]) -> Iterator[Service]:
    """The service, which is empty. No connection of the previous test is open."""
    found, simulator = scripted
    found.start_anew()
    yield found
    found.run(simulator.disconnect)

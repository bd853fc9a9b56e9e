"""Time that passes during a census, for the simulator and for the program."""

from __future__ import annotations

import time as real_time
from types import SimpleNamespace
from typing import TYPE_CHECKING

from poolcensus.aws import session
from poolcensus.aws.credentials import chain_credentials, role_credentials, sts
from poolcensus.aws.signing import Clock
from poolcensus.simulator.services.workspaces import WorkSpaces

if TYPE_CHECKING:
    import pytest

    from poolcensus.simulator import Simulator
    from poolcensus.simulator.http import Request, Response

STEP = 300.0


class PassingTime:
    """Lets five minutes pass after every `pages` pages. `passed` is their sum, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, simulator: Simulator, *, pages: int) -> None:
        self.passed = 0.0
        self._simulator = simulator
        self._pages = pages
        self._seen = 0
        answer = WorkSpaces.handle

        def handle(service: WorkSpaces, request: Request) -> Response:
            self._count()
            return answer(service, request)

        monkeypatch.setattr(WorkSpaces, "handle", handle)
        clock = SimpleNamespace(
            time=lambda: real_time.time() + self.passed,
            monotonic=lambda: real_time.monotonic() + self.passed,
        )
        for module in (role_credentials, chain_credentials, sts):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(session, "Clock", lambda: Clock(clock.time))

    def _count(self) -> None:
        self._seen += 1
        if self._seen == self._pages:
            self._seen = 0
            self.passed += STEP
            self._simulator.advance(STEP)

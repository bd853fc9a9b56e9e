"""A draft in memory, whose device a test can stop and break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import DestinationError
from poolcensus.storage.base import Draft, DraftFile
from snapshot.making import ID

if TYPE_CHECKING:
    from pathlib import Path


class MemoryFile(DraftFile):
    def __init__(self, draft: MemoryDraft) -> None:
        self.draft = draft
        self.data = bytearray()

    async def append(self, data: bytes) -> None:
        await self.draft.gate.wait()
        if self.draft.failure is not None:
            raise DestinationError(self.draft.failure)
        self.data += data


class MemoryDraft(Draft):
    """A draft whose device can be stopped and broken."""

    def __init__(self, scratch: Path | None = None) -> None:
        super().__init__(ID)
        self.scratch = scratch
        self.chunk_bytes = 4096
        self.files: dict[str, MemoryFile] = {}
        self.gate = anyio.Event()
        self.gate.set()
        self.failure: str | None = None
        self.ended: list[str] = []

    @property
    def published(self) -> bool:
        return self.ended[:1] == ["commit"]

    async def create(self, name: str) -> DraftFile:
        self.files[name] = MemoryFile(self)
        return self.files[name]

    async def commit(self, manifest: bytes, latest: object) -> None:
        self.ended.append("commit")

    async def abort(self) -> None:
        self.ended.append("abort")

    def lines(self, name: str = "pools.ndjson") -> list[str]:
        return bytes(self.files[name].data).decode().splitlines()

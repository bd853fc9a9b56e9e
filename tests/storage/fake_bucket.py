"""A bucket in memory and a loop whose time passes only when nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Self
from zlib import crc32

import anyio
from anyio.lowlevel import checkpoint

from poolcensus.errors import DestinationError
from poolcensus.storage.s3.objects import ObjectEntry, StoredObject, Upload, UploadedPart

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
    from types import TracebackType
    from typing import Any


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: where the loop would wait, time passes instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen"
            self.now += max(0.0, timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def virtually(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs `body` in a loop in which an hour takes no time. It may use no thread and no socket."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(body())


@dataclass
class _Object:
    body: bytes
    etag: str
    modified: float


@dataclass
class Service:
    """What the service holds. Its clock is the loop's."""

    objects: dict[str, _Object] = field(default_factory=dict)
    pending: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    heeds_conditions: bool = True
    tells_its_time: bool = True
    says_when_modified: bool = True
    numbers: count[int] = field(default_factory=lambda: count(1))

    def write(self, key: str, body: bytes) -> str:
        # As that of S3, it is the same for the same bytes.
        etag = f'"{crc32(body):08x}-{len(body)}"'
        self.objects[key] = _Object(body, etag, anyio.current_time())
        return etag


class FakeBucket:
    """One run's way to the service: it notes the calls, and fails or waits where a test wants it to.

    `trouble` is called with each call's number from 0 and its name. What it returns says what happens:
    None, the call works; "refused", it fails without an effect; "lost", it fails after its effect; "again",
    its first reply was lost and it was made a second time.
    """

    name = "census"

    def __init__(self, service: Service) -> None:
        self.service = service
        self.calls: list[str] = []
        self.trouble: Callable[[int, str], str | None] = lambda *_: None
        self.gates: dict[str, anyio.Event] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def _begin(self, name: str) -> str | None:
        """What happens to the reply."""
        number = len(self.calls)
        self.calls.append(name)
        trouble = self.trouble(number, name)
        await checkpoint()
        for start, gate in self.gates.items():
            if name.startswith(start):
                await gate.wait()
        if trouble == "refused":
            raise DestinationError(f"refused: {name}")
        return trouble

    async def _end(self, name: str, trouble: str | None) -> None:
        if trouble == "lost":
            raise DestinationError(f"no reply: {name}")
        await checkpoint()

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        trouble = await self._begin(f"get {key}")
        found = self.service.objects.get(key)
        await self._end(f"get {key}", trouble)
        if found is None:
            return None
        service = self.service
        age = anyio.current_time() - found.modified if service.tells_its_time else None
        modified = f"{found.modified}" if service.says_when_modified else ""
        return StoredObject(found.body[start : start + size], found.etag, age, modified)

    async def size_of(self, key: str) -> int | None:
        trouble = await self._begin(f"head {key}")
        found = self.service.objects.get(key)
        await self._end(f"head {key}", trouble)
        return None if found is None else len(found.body)

    async def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str | None:
        trouble = await self._begin(f"put {key}")
        found = self.service.objects.get(key)
        etag: str | None = None
        heeds = self.service.heeds_conditions
        if not heeds or not (
            (if_absent and found is not None)
            or (if_match is not None and (found is None or found.etag != if_match))
        ):
            etag = self.service.write(key, data)
        await self._end(f"put {key}", trouble)
        conditional = if_absent or if_match is not None
        return None if trouble == "again" and conditional else etag

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        trouble = await self._begin(f"delete {key}")
        found = self.service.objects.get(key)
        if found is not None and if_match in (None, found.etag):
            del self.service.objects[key]
        await self._end(f"delete {key}", trouble)

    async def entries(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectEntry, None]:
        trouble = await self._begin(f"list {prefix}")
        found = sorted((key, len(each.body)) for key, each in self.service.objects.items())
        await self._end(f"list {prefix}", trouble)
        for key, size in found:
            if key.startswith(prefix) and key > after:
                yield ObjectEntry(key, size)

    async def folders(
        self, prefix: str, *, after: str, before: str, of_uploads: bool = False
    ) -> AsyncGenerator[str, None]:
        name = f"{'folders of uploads' if of_uploads else 'folders'} {prefix}"
        trouble = await self._begin(name)
        keys = [key for key, _ in self.service.pending.values()] if of_uploads else self.service.objects
        found = sorted(
            {
                key.removeprefix(prefix).partition("/")[0]
                for key in keys
                if key.startswith(prefix) and "/" in key.removeprefix(prefix) and after < key < before
            }
        )
        await self._end(name, trouble)
        for each in found:
            yield each

    async def uploads(self, prefix: str) -> list[Upload]:
        trouble = await self._begin(f"uploads {prefix}")
        found = [Upload(key, each) for each, (key, _) in self.service.pending.items()]
        await self._end(f"uploads {prefix}", trouble)
        return [each for each in found if each.key.startswith(prefix)]

    async def begin(self, key: str) -> Upload:
        trouble = await self._begin(f"begin {key}")
        upload = Upload(key, f"upload-{next(self.service.numbers)}")
        self.service.pending[upload.id] = (key, {})
        await self._end(f"begin {key}", trouble)
        return upload

    async def send(self, upload: Upload, number: int, data: bytes) -> UploadedPart:
        trouble = await self._begin(f"send {upload.key}")
        pending = self.service.pending.get(upload.id)
        if pending is None:
            raise DestinationError("there is no such upload")
        pending[1][number] = data
        await self._end(f"send {upload.key}", trouble)
        return UploadedPart(number, f"{len(data)}", "")

    async def complete(
        self, upload: Upload, parts: Sequence[UploadedPart], *, if_absent: bool = False
    ) -> bool:
        trouble = await self._begin(f"complete {upload.key}")
        pending = self.service.pending.get(upload.id)
        done = pending is not None and not (if_absent and upload.key in self.service.objects)
        if pending is not None and done:
            del self.service.pending[upload.id]
            self.service.write(upload.key, b"".join(pending[1][part.number] for part in parts))
        await self._end(f"complete {upload.key}", trouble)
        return done and trouble != "again"

    async def abort(self, upload: Upload) -> None:
        trouble = await self._begin(f"abort {upload.key}")
        self.service.pending.pop(upload.id, None)
        await self._end(f"abort {upload.key}", trouble)

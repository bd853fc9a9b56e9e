"""Shares one computation between all callers that ask for it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from poolcensus.errors import copy_of_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs one computation at a time for each key, and shares its result with callers that come meanwhile.

    The computation runs in the task of the first caller. If that task is cancelled, one of the waiting
    callers starts it again. An exception is raised in all of them, each time as a copy. Nothing is kept after
    the computation has ended.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, compute: Callable[[], Awaitable[V]]) -> V:
        """Return the value of `compute`, or of the computation that is already running for the key."""
        while (flight := self._flights.get(key)) is not None:
            await flight.ended.wait()
            if flight.error is not None:
                raise copy_of_error(flight.error)
            if flight.values:
                return flight.values[0]
        flight = self._flights[key] = _Flight()
        try:
            value = await compute()
        except Exception as error:
            flight.error = error
            raise
        else:
            flight.values.append(value)
            return value
        finally:
            del self._flights[key]
            flight.ended.set()


class _Flight(Generic[V]):
    __slots__ = ("ended", "error", "values")

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.values: list[V] = []
        self.error: Exception | None = None

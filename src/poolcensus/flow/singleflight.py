"""One computation for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from poolcensus.errors import copy_of_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs one computation a key at a time, and lets everyone who asked meanwhile have its end.

    It runs in the task of the first who asked. Where that one is cancelled, the next of the waiters
    runs it anew; an exception goes to all of them, to each as a copy. Nothing is kept once it has
    ended.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, compute: Callable[[], Awaitable[V]]) -> V:
        """Return the value of `compute`, from the one that is running where there is one."""
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

"""One computation for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")
E = TypeVar("E", bound=Exception)


class SingleFlight(Generic[K, V]):
    """Runs one computation a key at a time, and lets everyone who asked meanwhile have its end.

    It runs in the task of the first who asked. Where that one is cancelled, the next of the waiters
    runs it anew; an exception goes to all of them, to each as a copy. Nothing is kept once it has
    ended.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        """Return the number of computations that are running."""
        return len(self._flights)

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


def copy_of_error(error: E) -> E:
    """Return a copy of an exception, to be raised in another task.

    One that is raised in several tasks collects the tracebacks and contexts of all of them.
    """
    # Not by its class, whose arguments are its own business.
    _, arguments, *state = cast("tuple[Any, ...]", error.__reduce__())
    copy = error.__new__(type(error), *arguments)
    for attributes in state:
        copy.__dict__.update(attributes)
    copy.__cause__ = error.__cause__
    return copy


class _Flight(Generic[V]):
    __slots__ = ("ended", "error", "values")

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.values: list[V] = []
        self.error: Exception | None = None

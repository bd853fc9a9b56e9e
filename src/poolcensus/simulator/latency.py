"""The latency of calls."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from poolcensus.simulator.bounds import Bounds, check_bounds

# A day: longer than any client waits.
_MILLISECONDS = Bounds(0, 86_400_000)
_FACTOR = Bounds(1, 10**6)


class LatencyKind(StrEnum):
    """The distribution of the latency."""

    NONE = "none"
    FIXED = "fixed"
    EXPONENTIAL = "exponential"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True)
class Latency:
    """The distribution of the latency of calls, in milliseconds."""

    kind: LatencyKind = field(
        default=LatencyKind.NONE, metadata={"help": "none, fixed, exponential or uniform"}
    )
    low: float = field(
        default=0.0, metadata={"bounds": _MILLISECONDS, "help": "the time, its mean, or its least value"}
    )
    high: float = field(
        default=0.0, metadata={"bounds": _MILLISECONDS, "help": "the largest value of `uniform`"}
    )
    slow_fraction: float = field(
        default=0.0, metadata={"bounds": Bounds(0, 1), "help": "fraction of the accounts that are slower"}
    )
    slow_factor: float = field(
        default=10.0, metadata={"bounds": _FACTOR, "help": "how many times slower they are"}
    )

    def __post_init__(self) -> None:
        """Validate the distribution.

        Raises ValueError if a value is out of bounds.
        """
        check_bounds(self)
        if self.kind is LatencyKind.UNIFORM and self.high < self.low:
            raise ValueError("a time can't end before it begins")

    @classmethod
    def parse(cls, text: str, *, slow_fraction: float = 0.0, slow_factor: float = 10.0) -> Latency:
        """Parse `50`, `fixed:50`, `exponential:50`, `uniform:20-200` or `none`.

        Raises ValueError if the text is none of these.
        """
        name, _, values = text.partition(":")
        if not values and name != LatencyKind.NONE:
            name, values = LatencyKind.FIXED, name
        kind = LatencyKind(name)
        low, _, high = values.partition("-") if kind is LatencyKind.UNIFORM else (values, "", "")
        return cls(kind, float(low or 0), float(high or 0), slow_fraction, slow_factor)


class Clockwork:
    """Draws the latency of each call."""

    def __init__(self, latency: Latency, seed: int) -> None:
        self._latency = latency
        self._seed = seed
        self._chance = random.Random(f"latency {seed}")

    def seconds(self, account: str) -> float:
        """Return the latency of the account's next call, in seconds."""
        latency = self._latency
        match latency.kind:
            case LatencyKind.NONE:
                return 0.0
            case LatencyKind.FIXED:
                milliseconds = latency.low
            case LatencyKind.EXPONENTIAL:
                milliseconds = self._chance.expovariate(1 / latency.low) if latency.low else 0.0
            case LatencyKind.UNIFORM:
                milliseconds = self._chance.uniform(latency.low, latency.high)
        if latency.slow_fraction and self._slow(account):
            milliseconds *= latency.slow_factor
        return milliseconds / 1000

    def reset(self) -> None:
        """Restart the sequence of draws."""
        self._chance = random.Random(f"latency {self._seed}")

    def _slow(self, account: str) -> bool:
        draw = int.from_bytes(sha256(f"slow/{self._seed}/{account}".encode()).digest()[:4])
        return draw < self._latency.slow_fraction * (1 << 32)

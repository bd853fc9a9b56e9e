"""Rate limits: token buckets for each account, region and service, and for all accounts of a region."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poolcensus.simulator.bounds import MANY, Bounds, check_bounds
from poolcensus.simulator.refusal import OTHERS, RefusalError, by_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.call import Call

_RATE = Bounds(0, MANY, above=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls a second an account may make in a region. None means no limit.

    `region_rate` is an additional limit on the calls of all accounts in a region together.
    """

    rate: float | None = field(default=None, metadata={"bounds": _RATE, "help": "WorkSpaces calls a second"})
    slow_account: str | None = field(
        default=None, metadata={"help": "id of an account whose WorkSpaces rate is a tenth of the others'"}
    )
    region_rate: float | None = field(
        default=None,
        metadata={"bounds": _RATE, "help": "WorkSpaces calls a second of all accounts of a region together"},
    )
    burst: float = field(
        default=5.0,
        metadata={"bounds": Bounds(1, MANY), "help": "calls that any limited service takes at once"},
    )
    sts_rate: float | None = field(default=None, metadata={"bounds": _RATE, "help": "STS calls a second"})
    organizations_rate: float | None = field(
        default=None, metadata={"bounds": _RATE, "help": "Organizations calls a second"}
    )
    account_rate: float | None = field(
        default=None, metadata={"bounds": _RATE, "help": "Account calls a second"}
    )
    organizations_concurrency: int | None = field(
        default=None,
        metadata={
            "bounds": Bounds(1, MANY),
            "help": "Organizations calls under way at once (it takes latency to see any)",
        },
    )

    def __post_init__(self) -> None:
        """Validate the limits. A rate must let calls through.

        Raises ValueError if a value is out of bounds.
        """
        check_bounds(self)


_THROTTLED = {
    "sts": (400, "Throttling", "Rate exceeded"),
    "ec2": (503, "RequestLimitExceeded", "Request limit exceeded."),
    "s3": (503, "SlowDown", "Please reduce your request rate."),
    "account": (429, "TooManyRequestsException", "Rate exceeded"),
    "organizations": (
        400,
        "TooManyRequestsException",
        "You have sent too many requests in too short a period.",
    ),
    OTHERS: (400, "ThrottlingException", "Rate exceeded"),
}


def throttled(service: str) -> RefusalError:
    """Return the refusal of a call that exceeds the rate."""
    return by_service(_THROTTLED, service)


class Limiter:
    """Applies the limits, those on rates with token buckets."""

    # The rate of the slow account is so many times lower.
    _SLOWER = 10.0
    # Stands for all accounts in the key of a bucket.
    _EVERYONE = ""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._burst = limits.burst
        self._clock = clock
        rates = {
            "workspaces": limits.rate,
            "sts": limits.sts_rate,
            "organizations": limits.organizations_rate,
            "account": limits.account_rate,
        }
        self._rates = {service: rate for service, rate in rates.items() if rate is not None}
        self._organizations_concurrency = limits.organizations_concurrency
        self._slow_account = limits.slow_account
        self._region_rate = limits.region_rate
        self._buckets: dict[tuple[str, str, str], tuple[float, float]] = {}

    def check_concurrency(self, call: Call, in_flight: int) -> None:
        """Check a call while the account has `in_flight` other calls to the service in the region.

        Raises RefusalError if they are too many. The message is from
        https://github.com/aws/aws-sdk-js/issues/2135
        """
        most = self._organizations_concurrency
        if call.service == "organizations" and most is not None and in_flight >= most:
            raise RefusalError(
                400,
                "TooManyRequestsException",
                "AWS Organizations can't complete your request because another request is already in "
                "progress. Try again later.",
            )

    def check(self, call: Call) -> None:
        """Take a token from the bucket of the account, and from that of the region, if they have a limit.

        Raises RefusalError if a bucket is empty. A refused call takes no token from either.
        """
        rates: dict[tuple[str, str, str], float] = {}
        if (rate := self._rates.get(call.service)) is not None:
            slow = call.service == "workspaces" and call.account == self._slow_account
            rates[call.account, call.region, call.service] = rate / self._SLOWER if slow else rate
        if call.service == "workspaces" and self._region_rate is not None:
            rates[self._EVERYONE, call.region, call.service] = self._region_rate
        if not rates:
            return
        now = self._clock()
        filled = {key: self._filled(key, rate, now) for key, rate in rates.items()}
        enough = all(tokens >= 1 for tokens in filled.values())
        for key, tokens in filled.items():
            self._buckets[key] = (tokens - 1 if enough else tokens, now)
        if not enough:
            raise throttled(call.service)

    def _filled(self, key: tuple[str, str, str], rate: float, now: float) -> float:
        tokens, seen = self._buckets.get(key, (self._burst, now))
        return min(self._burst, tokens + (now - seen) * rate)

    def reset(self) -> None:
        """Fill every bucket."""
        self._buckets.clear()

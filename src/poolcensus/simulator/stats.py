"""The statistics of the simulator."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.model import JsonObject

# The most entries of a list in the statistics: an Organization may have tens of thousands of roles.
_MOST = 20


class Stats:
    """Counts since the start or the last reset."""

    def __init__(self) -> None:
        self.open_connections = 0
        self.in_flight: Counter[tuple[str, str, str]] = Counter()
        self.roles_in_flight: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Reset the counts. Open connections and calls in flight stay counted."""
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.connections_accepted = 0
        self.connections_peak = self.open_connections
        self.bytes_received = 0
        self.bytes_sent = 0
        self.concurrency_peaks: dict[tuple[str, str, str], int] = {}
        self.role_calls: Counter[str] = Counter()
        self.role_peaks: dict[str, int] = {}

    def call_began(self, service: str, account: str, region: str, role: str = "") -> None:
        """Record that a call with a latency has begun. `role` is the ARN of the role that it assumes."""
        if role:
            self.roles_in_flight[role] += 1
            self.role_peaks[role] = max(self.role_peaks.get(role, 0), self.roles_in_flight[role])
        key = (service, account, region)
        self.in_flight[key] += 1
        if self.in_flight[key] > self.concurrency_peaks.get(key, 0):
            self.concurrency_peaks[key] = self.in_flight[key]

    def call_ended(self, service: str, account: str, region: str, role: str = "") -> None:
        """Record that a call with a latency has ended."""
        if role:
            self.roles_in_flight[role] -= 1
            if not self.roles_in_flight[role]:
                del self.roles_in_flight[role]
        key = (service, account, region)
        self.in_flight[key] -= 1
        if not self.in_flight[key]:
            del self.in_flight[key]

    @property
    def max_concurrent(self) -> int:
        """The most calls that one account had in flight at a time to one service in one region."""
        return max(self.concurrency_peaks.values(), default=1 if self.calls else 0)

    def snapshot(self) -> JsonObject:
        """Return the counts as JSON."""
        peaks = sorted(self.concurrency_peaks.items(), key=lambda item: -item[1])[:_MOST]
        return {
            "calls": dict(self.calls),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "codes": dict(self.codes),
            "faults": {str(kind): count for kind, count in self.faults.items()},
            "requests": self.calls.total(),
            "bytes_received": self.bytes_received,
            "bytes_sent": self.bytes_sent,
            "connections_accepted": self.connections_accepted,
            "connections_open": self.open_connections,
            "connections_peak": self.connections_peak,
            "in_flight": self.in_flight.total(),
            "max_concurrent": self.max_concurrent,
            "concurrency": [
                {"service": service, "account_id": account, "region": region, "peak": peak}
                for (service, account, region), peak in peaks
            ],
            "roles": [
                {"arn": arn, "calls": count, "peak": self.role_peaks.get(arn, 1)}
                for arn, count in self.role_calls.most_common(_MOST)
            ],
        }

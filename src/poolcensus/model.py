"""What passes between the layers: frozen data, no I/O.

The library hands these out, so they are dataclasses, which asdict, replace and msgspec know, and orjson with
OPT_NON_STR_KEYS, for the outcomes of a manifest. What stays inside is a msgspec.Struct, which costs a
fraction to define and to make.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

if TYPE_CHECKING:
    JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
else:
    # An alias that names itself ends in a RecursionError in pydantic, and msgspec knows none in any form.
    JsonValue = bool | int | float | str | list[Any] | dict[str, Any] | None
JsonObject: TypeAlias = dict[str, JsonValue]


class Outcome(StrEnum):
    """How a target ended. Every target has exactly one."""

    OK = "ok"
    EMPTY = "empty"
    REGION_DISABLED = "region_disabled"
    REGION_UNSUPPORTED = "region_unsupported"
    NOT_ENTITLED = "not_entitled"
    ACCESS_DENIED = "access_denied"
    SCP_DENIED = "scp_denied"
    ASSUME_ROLE_FAILED = "assume_role_failed"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    BAD_RESPONSE = "bad_response"
    EXPIRED = "expired"
    ERROR = "error"
    CANCELLED = "cancelled"

    # It equals its text. Enum's own would be that of the name, and is asked for with every target.
    __hash__ = str.__hash__

    @property
    def covered(self) -> bool:
        """Whether the census knows the target's pools: all of them, or that there can be none."""
        return self in _COVERED


_COVERED = frozenset(
    {
        Outcome.OK,
        Outcome.EMPTY,
        Outcome.REGION_DISABLED,
        Outcome.REGION_UNSUPPORTED,
        Outcome.NOT_ENTITLED,
    }
)


HIDING = frozenset({Outcome.REGION_DISABLED, Outcome.REGION_UNSUPPORTED, Outcome.NOT_ENTITLED})
"""Outcomes that are covered because no pool can be listed. Pools that were there before may run on."""


def count_covered(outcomes: Mapping[Outcome, int]) -> int:
    """Return how many targets were covered, of so many that ended in each way."""
    return sum(count for outcome, count in outcomes.items() if outcome.covered)


class SnapshotStatus(StrEnum):
    """Whether a published snapshot covers every planned target."""

    COMPLETE = "complete"
    PARTIAL = "partial"


class Compression(StrEnum):
    """How the data files of a snapshot are compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """What the name of a compressed file ends with."""
        return {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.value]


class ColumnType(StrEnum):
    """The type of a column of a query or of a Parquet file, by its name in SQL. Times are in UTC."""

    TEXT = "VARCHAR"
    INTEGER = "BIGINT"
    NUMBER = "DOUBLE"
    DECIMAL = "DECIMAL"
    BOOLEAN = "BOOLEAN"
    TIMESTAMP = "TIMESTAMP"
    DATE = "DATE"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Account:
    """An account that will be asked. What its source does not tell is None.

    `ou_path` is its place in the organization, `o-…/r-…/ou-…/ACCOUNT/`; `tags` are pairs of key and value.
    `organization` is what the settings call its Organization, where a run is of several.
    `regions` are those in which it is asked, where they are not the run's.
    """

    id: str
    name: str | None = None
    ou_path: str | None = None
    tags: tuple[tuple[str, str], ...] | None = None
    organization: str | None = None
    # An account is the same wherever it is asked; and a target is looked up by its account all the time.
    regions: tuple[str, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SkippedAccount:
    """An account of the organization that will not be asked, and why (`SUSPENDED`, `excluded`, …)."""

    id: str
    name: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """One account in one region: the unit of the census and of its ledger."""

    account: Account
    region: str


@dataclass(frozen=True, slots=True)
class OperationInfo:
    """What a snapshot is of: an operation by its IAM action, and what its items are called.

    `item` is the key under which a record holds one, `items` the key of their number and the name of their
    file, `identity` the field that tells one from the others of its target.
    """

    name: str
    item: str
    items: str
    identity: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of pools as the service answered it, checked, `CreatedAt` as RFC 3339 in UTC.

    `number` counts the pages of the target from 1. `received_at` is in UTC.
    """

    target: Target
    number: int
    received_at: datetime
    pools: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """One pool and where it was seen: a line of pools.ndjson, less the run's own fields."""

    collected_at: datetime
    partition: str
    account_id: str
    account_name: str | None
    region: str
    pool: JsonObject
    ou_path: str | None = None
    account_tags: tuple[tuple[str, str], ...] | None = None
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class TargetResult:
    """How one target ended: a line of the ledger.

    `attempts` counts the calls of the operation that were sent, `throttles` those of them that the
    service throttled, `pages` the pages that were read. `seconds` is the time from when the target was opened
    to its end, with all that it waited for. `pools` is 0 for a target that failed, whatever pages came
    before. `operation` is the IAM action of what was called.
    """

    account_id: str
    account_name: str | None
    region: str
    outcome: Outcome
    pools: int = 0
    pages: int = 0
    attempts: int = 0
    throttles: int = 0
    seconds: float = 0.0
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None
    operation: str = ""
    ou_path: str | None = None
    account_tags: tuple[tuple[str, str], ...] | None = None
    organization: str | None = None

    @classmethod
    def of(
        cls,
        target: Target,
        outcome: Outcome,
        *,
        operation: str,
        pools: int = 0,
        pages: int = 0,
        attempts: int = 0,
        throttles: int = 0,
        seconds: float = 0.0,
        error_code: str | None = None,
        error_message: str | None = None,
        request_id: str | None = None,
    ) -> Self:
        """Return how a target ended, with what is known of its account."""
        account = target.account
        # By position, which takes less time than by name: a run makes one for each target.
        return cls(
            account.id,
            account.name,
            target.region,
            outcome,
            pools,
            pages,
            attempts,
            throttles,
            seconds,
            error_code,
            error_message,
            request_id,
            operation,
            account.ou_path,
            account.tags,
            account.organization,
        )

    @property
    def target(self) -> Target:
        """The target, with what the line tells of its account."""
        account = Account(
            self.account_id, self.account_name, self.ou_path, self.account_tags, self.organization
        )
        return Target(account, self.region)


@dataclass(frozen=True, slots=True)
class FailedCall:
    """What a call failed with, and what a target ends with for it. The code is as in `CallError`."""

    outcome: Outcome
    code: str
    message: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class KnownGap:
    """Targets that are refused on purpose: they are expected to end with one of some outcomes.

    `accounts` are IDs and `regions` names or patterns; empty, they are all. `targets` counts those that ended
    so in a run.
    """

    accounts: tuple[str, ...]
    regions: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    reason: str | None = None
    targets: int = 0

    def __str__(self) -> str:
        accounts, regions, outcomes = (
            ",".join(each) or "*" for each in (self.accounts, self.regions, self.outcomes)
        )
        return f"{accounts}:{regions}:{outcomes}"


@dataclass(frozen=True, slots=True)
class OutdatedGap:
    """A known gap that no longer holds. `allowed` counts its targets that were `ok` or `empty`.

    `example` is the first of them. Without any, no target of the gap has failed; or the gap had no target,
    which is 0 in `targets`, because its accounts have left the Organization.
    """

    gap: KnownGap
    allowed: int
    example: TargetResult | None
    targets: int = 0


@dataclass(frozen=True, slots=True)
class Denial:
    """A denial of IAM that names its policy: an explicit deny in it, or no permission that it gives."""

    policy: str
    explicit: bool


@dataclass(frozen=True, slots=True)
class FailedAccount:
    """An account and the number of its regions that failed in one way. `region` is the first of them."""

    id: str
    name: str | None
    region: str
    regions: int


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The targets that failed in one way: how many, in how many accounts, and those with most of them.

    `organization` is what the settings call their Organization, in a run of several.
    `denial` is the policy that refused, where the service named it; `unexplained` is a refusal of WorkSpaces
    that does not say why. `code`, `region` and `role`, the name of the role that could not be assumed, are
    those of all the targets, or None where they differ. `operation` is the IAM action of the census.
    `role_trouble` is what kept the role from being assumed: the error code of STS, `SessionDuration` where it
    refused the duration of the session, or one word for all the ways in which STS was down (`ServerError`),
    asked for fewer calls (`ThrottledError`), did not accept the credentials that the role was to be assumed
    with (`CredentialsNotAccepted`), did not answer (`NoReply`) or could not be understood (`BadReply`), and
    in which this machine lacked something for the call (`LocalLimit`).
    `opt_in` says that in most of the accounts, only regions failed that an account has to enable.
    """

    outcome: Outcome
    operation: str
    denial: Denial | None
    unexplained: bool
    code: str | None
    region: str | None
    role: str | None
    targets: int
    accounts: int
    examples: tuple[FailedAccount, ...]
    organization: str | None = None
    role_trouble: str | None = None
    opt_in: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the caller's credentials are, by sts:GetCallerIdentity."""

    account_id: str
    arn: str
    partition: str


@dataclass(frozen=True, slots=True)
class OrganizationInfo:
    """One of several Organizations of a run: what the settings call it, and who asked.

    `id` is None where the accounts come from a file.
    """

    name: str
    id: str | None
    caller: Caller
    accounts_planned: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run came to. `requests` counts every call to AWS that was sent, of any service.

    One that has to be sent once more at once, since its kept connection was closed under it, counts once.
    """

    targets: int = 0
    covered: int = 0
    pools: int = 0
    pages: int = 0
    requests: int = 0
    retries: int = 0
    throttles: int = 0
    assume_role_calls: int = 0

    @classmethod
    def of(cls, parts: Iterable[Self]) -> Self:
        """Return what the parts of a run came to together."""
        return cls(*(sum(values) for values in zip(*map(astuple, parts), strict=True)))


@dataclass(frozen=True, slots=True)
class PublishingRule:
    """A setting that forbids publishing a run: `strict`, or `max_failed` with what it allows, such as 5%."""

    setting: str
    allowed: str | None = None

    def __str__(self) -> str:
        return self.setting if self.allowed is None else f"{self.setting} {self.allowed}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a snapshot. `bytes` and `sha256` are of the file as it lies there, compressed or not."""

    name: str
    bytes: int
    records: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, from 1, of the accounts whose list has this digest.

    The digest is known once the accounts are listed. Manifests of earlier versions have none.
    """

    index: int
    count: int
    accounts_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot says of itself. Times are in UTC.

    `organizations` are those of a run of several; `caller` and `organization_id` are then the first one's.
    """

    schema_version: int
    snapshot_id: str
    status: SnapshotStatus
    started_at: datetime
    finished_at: datetime
    tool: str
    caller: Caller
    organization_id: str | None
    operation: OperationInfo
    request: JsonObject
    accounts_planned: int
    accounts_skipped: tuple[SkippedAccount, ...]
    totals: Totals
    outcomes: dict[Outcome, int]
    files: tuple[FileEntry, ...]
    shard: Shard | None = None
    known_gaps: tuple[KnownGap, ...] = ()
    organizations: tuple[OrganizationInfo, ...] = ()

    @property
    def failed(self) -> int:
        """How many targets are not covered, less those that failed as the run expected."""
        return self.totals.targets - self.totals.covered - sum(each.targets for each in self.known_gaps)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running census is. `listing` is true while more accounts may still come.

    `uncovered` counts the targets that ended without being covered, `expected` those of them that a known gap
    expects to.
    `slowest` names the open targets that have run longest, each with its seconds so far. `waits_for` is a
    sentence where the run can't begin before something answers, as while a proxy restarts.
    """

    elapsed: float
    listing: bool
    accounts: int
    skipped: int
    totals: Totals
    done: int
    uncovered: int
    in_flight: int
    slowest: tuple[tuple[Target, float], ...]
    waits_for: str | None = None
    expected: int = 0

    @property
    def failed(self) -> int:
        """How many targets were not covered, less those that failed as was expected."""
        return self.uncovered - self.expected

"""The data that passes between the layers: frozen, without I/O.

The library returns these to its users, so they are dataclasses: asdict, replace and msgspec take them, and
so does orjson, with OPT_NON_STR_KEYS for the outcomes of a manifest. Data that stays inside the package is a
msgspec.Struct, which costs a fraction to define and to create.
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
    # pydantic raises RecursionError for an alias that names itself, and msgspec supports none at all.
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

    # A member equals its text and needs the same hash. Enum's own hashes the name and is slower; each target
    # is counted by its outcome.
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
"""The covered outcomes in which AWS does not list pools. Pools that exist may keep running unseen."""


def count_covered(outcomes: Mapping[Outcome, int]) -> int:
    """Return how many targets are covered, given how many ended with each outcome."""
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
        """The suffix of a compressed file's name: `.gz`, `.zst`, or nothing."""
        return {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.value]


class ColumnType(StrEnum):
    """The type of a column in a query or a Parquet file. Its value is the type's SQL name; times are UTC."""

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
    """An account to take a census of. A field is None if the source of the account does not tell it.

    `ou_path` is its path in the Organization, `o-…/r-…/ou-…/ACCOUNT/`; `tags` are pairs of key and value.
    `organization` is the name that the settings give to its Organization, in a run over several.
    `regions` are the account's own regions, or None if it has those of the run.
    """

    id: str
    name: str | None = None
    ou_path: str | None = None
    tags: tuple[tuple[str, str], ...] | None = None
    organization: str | None = None
    # Two accounts are equal whatever their regions are. Targets are hashed by account often, so this is also
    # faster.
    regions: tuple[str, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SkippedAccount:
    """An account of the Organization that is left out, and the reason (`SUSPENDED`, `excluded`, …)."""

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
    """The operation that a snapshot was taken with, and what its items are called.

    `name` is the IAM action. `item` is the key of the item in a record. `items` is the key of the number of
    items, and the name of the file of records. `identity` is the field that identifies an item in its target.
    """

    name: str
    item: str
    items: str
    identity: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of pools, checked and otherwise as the service sent it, but `CreatedAt` is RFC 3339 in UTC.

    `number` counts the pages of the target from 1. `received_at` is in UTC.
    """

    target: Target
    number: int
    received_at: datetime
    pools: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """One pool and where it was seen: a line of pools.ndjson, without the fields of the run."""

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

    `attempts` counts the requests of the operation that were sent, `throttles` those that the service
    throttled, and `pages` the pages that were read. `seconds` is the time from when the target was opened to
    its end, including all waits. `pools` is 0 for a target that failed, even if pages were read before.
    `operation` is the IAM action of the operation.
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
        """Return the result of a target, with the fields of its account."""
        account = target.account
        # Arguments by position take less time than by name, and each target has a result.
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
        """The target, with the fields of the account that a result has."""
        account = Account(
            self.account_id, self.account_name, self.ou_path, self.account_tags, self.organization
        )
        return Target(account, self.region)


@dataclass(frozen=True, slots=True)
class FailedCall:
    """The error of a call, and the outcome that it gives to a target. `code` is as in `CallError`."""

    outcome: Outcome
    code: str
    message: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class KnownGap:
    """Targets that are refused on purpose: they are expected to end with one of `outcomes`.

    `accounts` are IDs and `regions` are names or patterns. An empty tuple stands for all of them. `targets`
    counts the targets of a run that ended as expected.
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
    """A known gap that no longer holds.

    `allowed` counts its targets that ended with `ok` or `empty`, and `example` is the first of them. If there
    are none, either no target of the gap failed, or its accounts have left the Organization: then `targets`,
    the number of its targets in the run, is 0.
    """

    gap: KnownGap
    allowed: int
    example: TargetResult | None
    targets: int = 0


@dataclass(frozen=True, slots=True)
class Denial:
    """A denial by IAM that names the kind of policy. It is `explicit` if the policy denies the action.

    Otherwise the policy lacks a statement that allows it.
    """

    policy: str
    explicit: bool


@dataclass(frozen=True, slots=True)
class FailedAccount:
    """An account, and in how many of its regions the same failure occurred. `region` is the first one."""

    id: str
    name: str | None
    region: str
    regions: int


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The targets that failed in one way, and some of their accounts.

    `targets` and `accounts` are counts. `examples` are the accounts in which most regions failed.
    `operation` is the IAM action of the census. `organization` is the name that the settings give to the
    Organization, in a run over several.

    `denial` is the policy that refused, if the service named it. `unexplained` is true for a refusal of
    WorkSpaces that gives no reason. `code`, `region` and `role` (the name of a role that could not be
    assumed) are those that all the targets have in common, or None if they differ.

    `role_trouble` says why a role could not be assumed. It is the error code of STS, or `SessionDuration` if
    STS refused the duration of the session, or one of these words: `ServerError` (STS was down),
    `ThrottledError` (STS asked for fewer calls), `CredentialsNotAccepted` (STS did not accept the credentials
    of the caller of AssumeRole), `NoReply` (STS did not answer), `BadReply` (its reply could not be
    understood), `LocalLimit` (this machine lacked something for the call).

    `opt_in` is true if in most of the accounts only opt-in regions failed.
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
    """The identity of the caller's credentials, as sts:GetCallerIdentity returns it."""

    account_id: str
    arn: str
    partition: str


@dataclass(frozen=True, slots=True)
class OrganizationInfo:
    """One Organization of a run over several: its name in the settings, and the caller that listed it.

    `id` is None if the accounts come from a file.
    """

    name: str
    id: str | None
    caller: Caller
    accounts_planned: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a run. `requests` counts every request that was sent to AWS, to any service.

    A request that is sent again because AWS had closed the kept-alive connection counts once.
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
        """Return the sum of the totals of a run's parts."""
        return cls(*(sum(values) for values in zip(*map(astuple, parts), strict=True)))


@dataclass(frozen=True, slots=True)
class PublishingRule:
    """The setting that forbids publishing a run: `strict`, or `max_failed` with its limit, such as 5%."""

    setting: str
    allowed: str | None = None

    def __str__(self) -> str:
        return self.setting if self.allowed is None else f"{self.setting} {self.allowed}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a snapshot. `bytes` and `sha256` are those of the file as stored, compressed or not."""

    name: str
    bytes: int
    records: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count` of a list of accounts. `accounts_digest` identifies the list.

    The digest is None until the accounts are listed, and in manifests of earlier versions.
    """

    index: int
    count: int
    accounts_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a snapshot. Times are in UTC.

    In a run over several Organizations they are in `organizations`, and `caller` and `organization_id` are
    those of the first one.
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
        """How many targets are not covered, without those whose failure was expected."""
        return self.totals.targets - self.totals.covered - sum(each.targets for each in self.known_gaps)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a running census. `listing` is true while more accounts may still come.

    `uncovered` counts the targets that ended without being covered, and `expected` those of them whose
    failure a known gap expects. `slowest` has the targets that have been open longest, each with its seconds
    so far. `waits_for` is a sentence while the run waits for an answer before it can begin, for instance
    while a proxy restarts.
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
        """How many targets were not covered, without those whose failure was expected."""
        return self.uncovered - self.expected

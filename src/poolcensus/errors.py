"""The exceptions of poolcensus, in families that say what the engine does next.

`FatalError` stops the run. `RetryableError`, where a call raises it, makes the same call again while its
limits last. `RecordedError` ends one target with a line in the ledger and lets the others go on. All of
them are `CensusError`, and none carries a secret: what a message holds may reach a terminal, a log or a
file.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, cast

from poolcensus.model import FailedCall, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import FailureGroup, TargetResult

E = TypeVar("E", bound=Exception)


class CensusError(Exception):
    """Anything that poolcensus raises on purpose. It can be pickled and copied, with all its attributes."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own calls the class with `args`, which is not what those classes take that take more.
        return type(self).__new__, (type(self), *self.args), vars(self)


class FatalError(CensusError):
    """The run can't go on: nothing is published.

    `problem` is what went wrong, and `advice` what to do about it, where the message ends with that.
    `organization` is what the settings call the Organization that it happened in, in a run of several.
    `failed_call` is what targets end with for the same reason in a run that is well under way, and None where
    that could not go on either.
    """

    _BETWEEN: ClassVar[str] = " "

    def __init__(self, problem: str, *, advice: str | None = None) -> None:
        super().__init__(problem if advice is None else f"{problem}{self._BETWEEN}{advice}")
        self.problem = problem
        self.advice = advice
        self.organization: str | None = None
        self.failed_call: FailedCall | None = None

    def begin_with(self, words: str, *, in_place_of: int = 0) -> None:
        """Put `words` before the problem, and so the message, or in place of its first characters."""
        self.args = (f"{words}{str(self)[in_place_of:]}", *self.args[1:])
        self.problem = f"{words}{self.problem[in_place_of:]}"


class DeadlineError(FatalError):
    """The run's deadline passed before there was anything to publish."""


class SettingsError(FatalError):
    """A setting or an argument is wrong. Nothing has been called.

    The message has each of its `lines` in a line, and those are the problems: one may be about a path whose
    name holds a line break.
    """

    def __init__(self, *problems: str, advice: str | None = None) -> None:
        super().__init__("\n".join(problems), advice=advice)
        *before, last = problems
        self.lines = (*before, last if advice is None else f"{last}{self._BETWEEN}{advice}")

    def begin_with(self, words: str, *, in_place_of: int = 0) -> None:
        super().begin_with(words, in_place_of=in_place_of)
        first, *others = self.lines
        self.lines = (f"{words}{first[in_place_of:]}", *others)


class ScopeError(SettingsError):
    """The settings name what the caller's Organization or partition does not have.

    That is known only from AWS: calls have been made.
    """


class CredentialsError(FatalError):
    """The caller has no credentials, or AWS does not accept them."""


class HubRoleError(CredentialsError):
    """A hub role, through which the roles of all accounts are assumed, could not be assumed itself.

    `code` and `reason` are what sts:AssumeRole failed with.
    """

    def __init__(self, message: str, *, role_arn: str, code: str, reason: str) -> None:
        super().__init__(message)
        self.role_arn = role_arn
        self.code = code
        self.reason = reason
        # As where the session of a hub role can't be renewed.
        self.failed_call = FailedCall(Outcome.EXPIRED, code, reason)


class MissingExtraError(FatalError):
    """A library that only some commands need is not installed."""


class OrganizationError(FatalError):
    """The accounts can't be listed."""


class AccountChoiceError(OrganizationError):
    """The settings choose an account that is not there, or that two Organizations have."""


class DestinationError(FatalError):
    """The destination can't be read or written: no room, no permission, a failing device.

    `advice` is a clause, and follows a semicolon.
    """

    _BETWEEN = "; "


class DestinationRefusedError(DestinationError):
    """The service that keeps the destination denies the caller what a run needs.

    `code` is the service's error code and `reason` its message. The caller lacks one of the `iam_actions`.
    """

    def __init__(
        self,
        problem: str,
        *,
        advice: str | None = None,
        code: str,
        reason: str,
        iam_actions: tuple[str, ...],
    ) -> None:
        super().__init__(problem, advice=advice)
        self.code = code
        self.reason = reason
        self.iam_actions = iam_actions


class DestinationLockedError(FatalError):
    """Another run holds the destination's lock. `advice` is a sentence or two."""


class SnapshotError(CensusError):
    """A snapshot is not there, or can't be read."""


class DamagedSnapshotError(SnapshotError):
    """A snapshot can be read, and is not what its manifest says."""


class MergeError(SnapshotError):
    """Snapshots are not all the shards of one run, each once: they can't be joined into one."""


class IncomparableSnapshotsError(SnapshotError):
    """Two snapshots hold different things, so that no difference between them means anything."""


class QueryError(CensusError):
    """SQL that can't be run: a mistake in it, or more than reading the views of the snapshots."""


class NotPublishedError(CensusError):
    """The census ran to its end, and `strict` or `max_failed` forbids publishing what it saw.

    `uncovered` holds the first of the ledger lines that are the reason; `count` is how many there are, and
    `failures` what went wrong in how many accounts. `ledger` is the folder or `s3://` URL in which the whole
    ledger is kept, and `dest` the destination; they are None where it is not kept.
    """

    def __init__(
        self,
        message: str,
        *,
        uncovered: tuple[TargetResult, ...],
        count: int,
        failures: tuple[FailureGroup, ...] = (),
        ledger: str | None = None,
        dest: str | None = None,
    ) -> None:
        super().__init__(message)
        self.ledger = ledger
        self.dest = dest
        self.uncovered = uncovered
        self.count = count
        self.failures = failures


class IncompleteError(CensusError):
    """A stream in strict mode reached its end with targets that were not covered."""


class CallError(CensusError):
    """One call of an AWS API failed. `outcome` is what its target ends with if nothing helps.

    `code` is the service's error code, or the HTTP status as text where the body named none, or a name
    of the transport's for a call that got no reply. `status` is None where there was no reply.
    """

    outcome: ClassVar[Outcome] = Outcome.ERROR

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        server_time: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.server_time = server_time


class NoReply(StrEnum):
    """The codes of calls to which no reply came, where a service would have sent one."""

    CERTIFICATE = "CertificateError"
    CLOSED = "Closed"
    CONNECT = "ConnectError"
    CONNECT_TIMEOUT = "ConnectTimeout"
    CONNECTION_CLOSED = "ConnectionClosed"
    NAME = "NameError"
    NAME_TIMEOUT = "NameTimeout"
    NO_ROUTE = "NoRoute"
    PROXY = "ProxyError"
    SILENT = "Silent"
    TIMEOUT = "Timeout"
    TLS = "TLSError"
    TLS_TIMEOUT = "TLSTimeout"


class BadReply(StrEnum):
    """The codes of replies that are not what the service's API describes."""

    BODY = "BadResponse"
    BROKEN = "BrokenReply"
    CUT_OFF = "TruncatedReply"
    OVERSIZED = "OversizedReply"
    PAGING_LOOP = "PagingLoop"
    UNWRITABLE = "UnwritablePool"


class LocalLimit(StrEnum):
    """The codes of calls for which this machine had nothing left."""

    FILES = "TooManyOpenFiles"
    OTHER = "LocalLimit"


SESSIONS_TOO_SHORT: Final = "SessionsTooShort"
"""The code of calls whose credentials ended again and again before they could be sent."""

DEADLINE: Final = "Deadline"
"""The code of targets that the run's deadline has ended, in place of a service's."""


class ProfileTrouble(StrEnum):
    """The codes of accounts whose own profile can't be used for them."""

    NO_CREDENTIALS = "NoCredentials"
    WRONG_ACCOUNT = "WrongAccount"


class RetryableError(CallError):
    """The same call may work in a moment."""


class ThrottledError(RetryableError):
    """The service asked for fewer calls."""

    outcome = Outcome.THROTTLED


class ServerError(RetryableError):
    """The service failed on its side (a 5xx, or a code that says so)."""


class UnreachableError(RetryableError):
    """No connection, or one that broke before a reply."""

    outcome = Outcome.UNREACHABLE


class NoSuchNameError(UnreachableError):
    """No host has the name, as far as the name servers know."""


class NoRouteError(UnreachableError):
    """No route leads to the host: this machine's network is down, or a router refuses the way."""


class LocalLimitError(RetryableError):
    """No file descriptor, port or buffer is left on this machine for a connection."""

    outcome = Outcome.UNREACHABLE


class CallTimeoutError(RetryableError):
    """A call did not end within its limit."""

    outcome = Outcome.TIMED_OUT


class BadResponseError(RetryableError):
    """A reply that is not the operation's result, whatever its status says."""

    outcome = Outcome.BAD_RESPONSE


class ExpiredError(RetryableError):
    """The credentials of this call have expired: it needs new ones."""

    outcome = Outcome.EXPIRED


class UnrecognizedCredentialsError(RetryableError):
    """The service does not know the credentials in this region.

    The region is not enabled for the account, or the credentials are new or no good: the codes are the same.
    """


class ClockSkewError(RetryableError):
    """The service refused the signature for its date. `server_time` is its clock in epoch seconds."""


class RecordedError(CallError):
    """Trying again would not help. The target ends here."""


class ServiceError(RecordedError):
    """Any error of the service that has no class of its own."""


class AccessDeniedError(RecordedError):
    """Refused by a policy of the account."""

    outcome = Outcome.ACCESS_DENIED


class ScpDeniedError(AccessDeniedError):
    """Refused by a service control policy of the organization."""

    outcome = Outcome.SCP_DENIED


class RegionDisabledError(RecordedError):
    """The account has not enabled the region."""

    outcome = Outcome.REGION_DISABLED


class NotEntitledError(RecordedError):
    """AWS has closed the service to the account, which is no customer of it."""

    outcome = Outcome.NOT_ENTITLED


class RegionUnsupportedError(RecordedError):
    """The region does not offer the operation."""

    outcome = Outcome.REGION_UNSUPPORTED


class SilentError(RecordedError):
    """What was called had stopped answering, and did not answer in the last round either.

    `code` is `Silent` for a call that was not sent in that round, and otherwise what the call failed with.
    """

    outcome = Outcome.UNREACHABLE


class HeldBackError(RecordedError):
    """A call that has another way was not sent, or not sent again, since its service throttles all calls."""

    outcome = Outcome.THROTTLED


class AssumeRoleError(RecordedError):
    """The account's role could not be assumed. It is `permanent` where asking again would not help."""

    outcome = Outcome.ASSUME_ROLE_FAILED

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        request_id: str | None = None,
        permanent: bool = False,
    ) -> None:
        super().__init__(message, code=code, status=status, request_id=request_id)
        self.permanent = permanent

    @classmethod
    def of(cls, role_arn: str, error: CallError, advice: str | None = None) -> Self:
        """Wrap what sts:AssumeRole failed with, for good if it is a refusal; `advice` is a sentence."""
        said = error.message if advice is None else f"{error.message.rstrip('. ')}. {advice}"
        return cls(
            f"Could not assume {role_arn}: {said}",
            code=error.code,
            status=error.status,
            request_id=error.request_id,
            permanent=isinstance(error, RecordedError | UnrecognizedCredentialsError)
            and not isinstance(error, SilentError),
        )


class CallerExpiredError(RecordedError):
    """The caller's own credentials have expired and can't be renewed."""

    outcome = Outcome.EXPIRED

    @classmethod
    def of(cls, whose: str, error: CallError) -> Self:
        """Return what it means for a run that AWS says so of credentials; `whose` is a clause."""
        return cls(
            f"{whose} have expired and could not be renewed: {error.message}",
            code=error.code,
            status=error.status,
            request_id=error.request_id,
        )

    @classmethod
    def of_chain(cls, error: CredentialsError) -> Self:
        """Return what it means for a run that the credential chain has failed."""
        return cls(str(error), code="CredentialsNotRenewed")


class PagingLoopError(RecordedError):
    """The service gave a page token that it had given before."""

    outcome = Outcome.BAD_RESPONSE


def failed_call_of(error: CallError) -> FailedCall:
    """Return what an error says, without the frames that it came through."""
    return FailedCall(error.outcome, error.code, error.message, error.request_id)


def reason_of(error: OSError) -> str:
    """Return what the system says is wrong, without its number and the file, which the message names."""
    return error.strerror or str(error)


def copy_of_error(error: E) -> E:
    """Return a copy of an exception, to be raised once more.

    One that is raised several times collects the tracebacks and contexts of all of them.
    """
    # Not by its class, whose arguments are its own business, nor by copy(), which others may have taught to
    # keep the traceback: tblib does, for Dask.
    own = isinstance(error, CensusError)
    arguments = error.args if own else cast("tuple[Any, ...]", error.__reduce__())[1]
    copied = error.__new__(type(error), *arguments)
    copied.__dict__.update(vars(error))
    copied.__cause__ = error.__cause__
    return copied


@contextmanager
def first_reason_raised() -> Iterator[None]:
    """Raise, in place of an exception group, its first CensusError, or the only exception that it holds.

    A group that holds anything else besides passes through: a defect must not hide behind a failure.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        reason, *others = _exceptions(group)
        if others and not all(isinstance(each, CensusError) for each in (reason, *others)):
            raise
        # What led to it says which call was refused.
        raise reason from reason.__cause__ or group


def _exceptions(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _exceptions(each)
        else:
            yield each

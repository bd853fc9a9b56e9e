"""The exceptions of poolcensus. Their families say what the engine does next.

A `FatalError` stops the run. After a `RetryableError` the same call is made again, within the limits of
retries. A `RecordedError` ends one target with a line in the ledger, and the others go on. All of them are
`CensusError`. None contains a secret, since a message may reach a terminal, a log or a file.
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
    """The base class of all exceptions of poolcensus. They can be pickled and copied with all attributes."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception.__reduce__ calls the class with `args`, but some of the classes take other arguments.
        return type(self).__new__, (type(self), *self.args), vars(self)


class FatalError(CensusError):
    """The run can't continue, and nothing is published.

    `problem` is what went wrong. `advice` is what to do about it, and the end of the message, or None. In a
    run of several Organizations, `organization` is the name of the affected one in the settings.
    `failed_call` is what targets end with if the problem occurs later in a run. It is None if a run can't
    continue then either.
    """

    _BETWEEN: ClassVar[str] = " "

    def __init__(self, problem: str, *, advice: str | None = None) -> None:
        super().__init__(problem if advice is None else f"{problem}{self._BETWEEN}{advice}")
        self.problem = problem
        self.advice = advice
        self.organization: str | None = None
        self.failed_call: FailedCall | None = None

    def begin_with(self, words: str, *, in_place_of: int = 0) -> None:
        """Begin the problem and the message with `words`, in place of the first `in_place_of` characters."""
        self.args = (f"{words}{str(self)[in_place_of:]}", *self.args[1:])
        self.problem = f"{words}{self.problem[in_place_of:]}"


class DeadlineError(FatalError):
    """The deadline of the run passed before there was anything to publish."""


class SettingsError(FatalError):
    """A setting or an argument is wrong. No call has been made.

    `lines` are the lines of the message, one for each problem. The message can't be split instead, since a
    problem may name a path with a line break in it.
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
    """The settings name something that the caller's Organization or partition does not have.

    Calls have been made, since only AWS knows that.
    """


class CredentialsError(FatalError):
    """The caller has no credentials, or AWS does not accept them."""


class HubRoleError(CredentialsError):
    """A hub role, through which the roles of all accounts are assumed, could not be assumed.

    `code` and `reason` are the error code and the message of sts:AssumeRole.
    """

    def __init__(self, message: str, *, role_arn: str, code: str, reason: str) -> None:
        super().__init__(message)
        self.role_arn = role_arn
        self.code = code
        self.reason = reason
        # Targets end so if the session of a hub role can't be renewed.
        self.failed_call = FailedCall(Outcome.EXPIRED, code, reason)


class MissingExtraError(FatalError):
    """An optional library, which some commands need, is not installed."""


class OrganizationError(FatalError):
    """The accounts can't be listed."""


class AccountChoiceError(OrganizationError):
    """The settings choose an account that does not exist, or that is in two Organizations."""


class DestinationError(FatalError):
    """The destination can't be read or written: it is full, access is denied, or a device fails.

    `advice` is a clause. It follows a semicolon.
    """

    _BETWEEN = "; "


class DestinationRefusedError(DestinationError):
    """The service of the destination denies the caller an action that a run needs.

    `code` is the error code of the service, and `reason` its message. The caller lacks permission for one of
    the `iam_actions`.
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
    """A snapshot does not exist, or can't be read."""


class DamagedSnapshotError(SnapshotError):
    """A snapshot can be read, but does not match its manifest."""


class MergeError(SnapshotError):
    """Snapshots can't be merged: they are not all the shards of one run, each of them once."""


class IncomparableSnapshotsError(SnapshotError):
    """Two snapshots can't be compared, since they are of different things."""


class QueryError(CensusError):
    """A query can't be run: its SQL is wrong, or does more than read the views of the snapshots."""


class NotPublishedError(CensusError):
    """The census was completed, but `strict` or `max_failed` forbids to publish it.

    `count` is the number of targets that are the reason, and `uncovered` the first of their ledger lines.
    `failures` groups what went wrong, with the number of accounts. `ledger` is the folder or `s3://` URL with
    the whole ledger, and `dest` the destination. Both are None if the ledger is not kept.
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
    """A stream in strict mode ended with targets that are not covered."""


class CallError(CensusError):
    """A call of an AWS API failed. `outcome` is the outcome of its target if the error is final.

    `code` is the error code of the service, or the HTTP status as text if the body has no code. For a call
    without a reply, `code` is one of the transport's codes and `status` is None.
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
    """The codes of calls without a reply, in place of the error code of a service."""

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
    """The codes of replies that are not as the API of the service describes."""

    BODY = "BadResponse"
    BROKEN = "BrokenReply"
    CUT_OFF = "TruncatedReply"
    OVERSIZED = "OversizedReply"
    PAGING_LOOP = "PagingLoop"
    UNWRITABLE = "UnwritablePool"


class LocalLimit(StrEnum):
    """The codes of calls for which this machine lacked a resource."""

    FILES = "TooManyOpenFiles"
    OTHER = "LocalLimit"


SESSIONS_TOO_SHORT: Final = "SessionsTooShort"
"""The code of calls whose credentials expired repeatedly before the call could be sent."""

DEADLINE: Final = "Deadline"
"""The code of targets that the deadline of the run has ended, in place of the error code of a service."""


class ProfileTrouble(StrEnum):
    """The codes of accounts whose own profile can't be used."""

    NO_CREDENTIALS = "NoCredentials"
    WRONG_ACCOUNT = "WrongAccount"


class RetryableError(CallError):
    """The same call may succeed later."""


class ThrottledError(RetryableError):
    """The service throttled the call."""

    outcome = Outcome.THROTTLED


class ServerError(RetryableError):
    """The service failed: a status of 5xx, or an error code of the same meaning."""


class UnreachableError(RetryableError):
    """No connection could be made, or it broke before a reply."""

    outcome = Outcome.UNREACHABLE


class NoSuchNameError(UnreachableError):
    """The name servers know no host with this name."""


class NoRouteError(UnreachableError):
    """There is no route to the host: the network of this machine is down, or a router refuses."""


class LocalLimitError(RetryableError):
    """No file descriptor, port or buffer is left on this machine for a connection."""

    outcome = Outcome.UNREACHABLE


class CallTimeoutError(RetryableError):
    """A call did not end within its timeout."""

    outcome = Outcome.TIMED_OUT


class BadResponseError(RetryableError):
    """A reply is not the result of the operation, whatever its status."""

    outcome = Outcome.BAD_RESPONSE


class ExpiredError(RetryableError):
    """The credentials of the call have expired, and it needs new ones."""

    outcome = Outcome.EXPIRED


class UnrecognizedCredentialsError(RetryableError):
    """The service does not know the credentials in this region.

    Either the account has not enabled the region, or the credentials are new or invalid. The error code is
    the same.
    """


class ClockSkewError(RetryableError):
    """The service refused the time of the signature. `server_time` is its own time in epoch seconds."""


class RecordedError(CallError):
    """A retry would not help. The target ends with this error."""


class ServiceError(RecordedError):
    """Any error of a service without a class of its own."""


class AccessDeniedError(RecordedError):
    """A policy of the account denied the call."""

    outcome = Outcome.ACCESS_DENIED


class ScpDeniedError(AccessDeniedError):
    """A service control policy of the Organization denied the call."""

    outcome = Outcome.SCP_DENIED


class RegionDisabledError(RecordedError):
    """The account has not enabled the region."""

    outcome = Outcome.REGION_DISABLED


class NotEntitledError(RecordedError):
    """AWS has closed the service to new customers, and the account is not a customer."""

    outcome = Outcome.NOT_ENTITLED


class RegionUnsupportedError(RecordedError):
    """The region does not offer the operation."""

    outcome = Outcome.REGION_UNSUPPORTED


class SilentError(RecordedError):
    """The endpoint had stopped answering, and did not answer in the last round either.

    `code` is `Silent` if the call was not sent in the last round, or else the code of its failure.
    """

    outcome = Outcome.UNREACHABLE


class HeldBackError(RecordedError):
    """A call was not sent, or not again, since its service throttles all calls and there is another way."""

    outcome = Outcome.THROTTLED


class AssumeRoleError(RecordedError):
    """The role of the account could not be assumed. `permanent` is whether a later call would fail, too."""

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
        """Return the error for a failed sts:AssumeRole. A refusal is permanent. `advice` is a sentence."""
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
        """Return the error for expired credentials. `whose` is the subject of the message."""
        return cls(
            f"{whose} have expired and could not be renewed: {error.message}",
            code=error.code,
            status=error.status,
            request_id=error.request_id,
        )

    @classmethod
    def of_chain(cls, error: CredentialsError) -> Self:
        """Return the error for a failure of the credential chain."""
        return cls(str(error), code="CredentialsNotRenewed")


class PagingLoopError(RecordedError):
    """The service returned a page token for the second time."""

    outcome = Outcome.BAD_RESPONSE


def failed_call_of(error: CallError) -> FailedCall:
    """Return the facts of an error. Unlike the error, they hold no references to stack frames."""
    return FailedCall(error.outcome, error.code, error.message, error.request_id)


def reason_of(error: OSError) -> str:
    """Return the system's description of an error, without the error number and the path."""
    return error.strerror or str(error)


def copy_of_error(error: E) -> E:
    """Return a copy of an exception, to raise it again.

    An exception that is raised several times collects the tracebacks and contexts of all times.
    """
    # Calling the class would need its own arguments. copy() may keep the traceback: Dask uses tblib, which
    # makes it do so.
    own = isinstance(error, CensusError)
    arguments = error.args if own else cast("tuple[Any, ...]", error.__reduce__())[1]
    copied = error.__new__(type(error), *arguments)
    copied.__dict__.update(vars(error))
    copied.__cause__ = error.__cause__
    return copied


@contextmanager
def first_reason_raised() -> Iterator[None]:
    """Raise the first exception of an exception group in place of the group.

    All exceptions of the group must be CensusErrors, unless there is only one. Any other group is raised
    itself, so that no defect hides behind a failure.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        reason, *others = _exceptions(group)
        if others and not all(isinstance(each, CensusError) for each in (reason, *others)):
            raise
        # The cause says which call was refused.
        raise reason from reason.__cause__ or group


def _exceptions(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _exceptions(each)
        else:
            yield each

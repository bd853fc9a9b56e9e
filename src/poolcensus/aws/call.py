"""A call as a value, its state while it is made, and the interfaces of what takes part in it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Protocol, Self, TypeVar

import msgspec

from poolcensus.flow.breaker import Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from poolcensus.aws.signing import Credentials, RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.errors import CallError
    from poolcensus.flow.concurrency import CallKey
    from poolcensus.flow.retry import Retry
    from poolcensus.flow.windows import Window
    from poolcensus.model import Outcome
    from poolcensus.operations import Operation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

UNKNOWN_ACCOUNT: Final = "caller"
"""The account in the key of sts:GetCallerIdentity, before the caller's account is known."""


def api_name_of(method: str) -> str:
    """Return the API's name of an operation, given its method in the SDK: AssumeRole for assume_role."""
    return "".join(word.capitalize() for word in method.split("_"))


class Redact(Protocol):
    """Removes secrets from an error: those that it knows, and those that are passed."""

    def __call__(self, error: CallError, *others: str) -> None:
        """Remove the secrets from the error's code, message and request ID, in place."""


class Call(msgspec.Struct, Generic[T_co], frozen=True):
    """One call to make, and how to parse its reply."""

    template: RequestTemplate
    """The part of the request that all calls of the operation share in the region."""
    body: bytes
    """The body of the request."""
    key: CallKey
    """The account, the region and the service whose rate limits the call uses."""
    source: CredentialSource
    """Where the credentials come from."""
    parse: Callable[[Reply], T_co]
    """Returns the result of a reply. If it raises BadResponseError, the call is retried."""
    about: str | None = None
    """The account that the call is made for, if it is not the account of the credentials.

    This is so for sts:AssumeRole.
    """
    awaited: bool = False
    """Whether the targets that wait for the call already count as waiting. The call then counts for none."""
    begun: bool = False
    """Whether a page of the call's target was read before. Such calls go before those of other targets."""
    optional: bool = False
    """Whether the answer can be had in another way. The call then does not wait for a silent endpoint."""
    queues: bool = True
    """Whether the call waits for its turn if the endpoint throttles all calls. Otherwise it fails then."""
    idle: bool = False
    """Whether nothing waits for the answer. The call then does not count as work."""
    longest_attempt: float | None = None
    """The timeout of an attempt, in seconds, if it is less than that of the run."""
    operation: Operation | None = None
    """The operation of the census, for its calls. None for other calls."""
    redact: Redact | None = None
    """Removes secrets from the errors of the call. None stands for `redaction.redact`."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that the call is sent to."""
        return _endpoint_of(self.key.region, self.key.service)

    @property
    def place(self) -> CallKey:
        """The key whose places the call takes: that of the account that it is made for."""
        return self.key if self.about is None else self.key._replace(account_id=self.about)


# Each call asks for its endpoint, and there are only some dozens of them.
_endpoint_of = lru_cache(maxsize=1024)(Endpoint)


class FailedAttempt(msgspec.Struct, frozen=True):
    """The error of an attempt that is worth another attempt.

    `number` is the value of `attempts` of the call's watch after it. An attempt that could not be sent is not
    counted there.
    """

    number: int
    outcome: Outcome
    code: str
    message: str
    request_id: str | None

    @classmethod
    def of(cls, error: CallError, number: int) -> Self:
        """Return the fields of an error. The error itself would keep its traceback's frames alive."""
        return cls(number, error.outcome, error.code, error.message, error.request_id)


class CallWatch(msgspec.Struct):
    """The state of a target's calls, or of a single call. Times are on the monotonic clock, in seconds."""

    deadline: float = float("inf")
    """When the calls have to end."""
    started: float = msgspec.field(default_factory=time.monotonic)
    """When the calls began."""
    attempts: int = 0
    """The number of requests that were sent."""
    before_call: int = 0
    """The value of `attempts` when the present call began."""
    throttles: int = 0
    """The number of requests that were throttled."""
    unused: int = 0
    """How many times in a row credentials ended before the present call could be sent with them."""
    window: Window | None = None
    """The window of the target's region, which grows with replies and shrinks without them."""
    waits: bool = False
    """Whether the target is inside a `waiting` block."""
    failing: bool = False
    """Whether the last attempt got no reply, or failed on the side of the service."""
    failed: FailedAttempt | None = None
    """The last retryable failure of the present call."""
    region_may_be_disabled: bool = False
    """Whether the region is opt-in, and this run has not learned that the account has enabled it."""
    doubted: Credentials | None = None
    """The last credentials that the region did not recognize. A success resets it."""
    doubted_at: float = 0.0
    """When the first request with the doubted credentials was sent."""

    @contextmanager
    def waiting(self, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
        """Extend `deadline` by the time of the block: a wait that is not the target's own.

        Such waits are for silent endpoints, credentials, and room in the sink.
        """
        if self.waits:
            yield
            return
        since = clock()
        self.waits = True
        try:
            yield
        finally:
            self.waits = False
            self.deadline += clock() - since


class CallCounts(msgspec.Struct):
    """The counts of one client's requests."""

    requests: int = 0
    """Requests that were sent, including retries."""
    retries: int = 0
    """Failed attempts after which a retry was due."""
    throttles: int = 0
    """Requests that were throttled."""
    assume_role_calls: int = 0
    """Requests of sts:AssumeRole, counted when their call has ended."""


class CredentialSource(Protocol):
    """The source of a call's credentials, which are read when the call is signed.

    `by_call` is whether renewing them takes a call, which counts as work of its own.
    """

    by_call: ClassVar[bool]

    def current(self) -> Credentials | None:
        """Return the credentials if they can be used now, or None."""

    async def get(self) -> Credentials:
        """Return the credentials, renewing them if they have ended. Raises CallError."""

    def expired(self, credentials: Credentials) -> None:
        """Record that a service refused these credentials as expired."""

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        """Record that a service in the region recognized the credentials of a call.

        `sent_at` is when the call was sent, on the monotonic clock.
        """

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        """Return whether another region has recognized the credentials in a call sent after `since`.

        If so, they are good, and the account has not enabled `region`. The time is on the monotonic clock.
        """


class Confirmation(Protocol):
    """Finds out whether credentials are good that a region does not recognize."""

    async def seek(self, call: Call[object]) -> None:
        """Make a call in another region, so that the call's source learns whether it is recognized there."""


class CallObserver(Protocol):
    """Observes calls while they are made."""

    async def attempt(
        self,
        call: Call[T],
        number: int,
        send: Callable[[Call[T]], Awaitable[T]],
        secrets: tuple[str, ...],
    ) -> T:
        """Make an attempt with `send` and report it. Returns and raises what `send` does.

        `number` counts the attempts of the call, from 1. `secrets` are those of its credentials, and must not
        be reported.
        """

    def retry(self, call: Call[object], retry: Retry) -> None:
        """Report that a call will be made again."""

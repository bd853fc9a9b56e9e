"""A call, what is known of it while it is made, and who has a part in it."""

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
"""Stands for the account in the key of sts:GetCallerIdentity, which is what finds the account out."""


@lru_cache
def api_name_of(method: str) -> str:
    """Return what a service's API calls the operation of a method of the SDK: AssumeRole for assume_role."""
    return "".join(word.capitalize() for word in method.split("_"))


class Redact(Protocol):
    """Takes secrets out of an error: its own, and others that it is given."""

    def __call__(self, error: CallError, *others: str) -> None:
        """Change the code, the message and the request ID of the error."""


class Call(msgspec.Struct, Generic[T_co], frozen=True):
    """One call to make, and what becomes of its reply."""

    template: RequestTemplate
    """What the calls of the operation have in common in the region."""
    body: bytes
    """The body of the request."""
    key: CallKey
    """The account, the region and the service whose rate limits the call uses."""
    source: CredentialSource
    """Where the credentials come from."""
    parse: Callable[[Reply], T_co]
    """Makes the result of a reply. A BadResponseError that it raises is retried like a lost reply."""
    about: str | None = None
    """The account that the call is made for, if it is another one: the caller assumes roles for others."""
    awaited: bool = False
    """Whether the targets that wait for the call are counted as waiting already. It then counts for none."""
    begun: bool = False
    """Whether the call's target has been read in part. The call goes before those whose target has not."""
    optional: bool = False
    """Whether there is another way to get the answer. The call does not wait for a service that is silent."""
    queues: bool = True
    """Whether the call waits for its turn where the service throttles all calls. If not, it fails then."""
    idle: bool = False
    """Whether nobody waits for the answer. The call does not count as work."""
    longest_attempt: float | None = None
    """How long an attempt may take, in seconds, where that is less than attempts of the run may."""
    operation: Operation | None = None
    """What the census is of, for a call of it; None for other calls."""
    redact: Redact | None = None
    """Removes secrets from the errors of the call, its own among them; None: `redaction.redact` does."""

    @property
    def endpoint(self) -> Endpoint:
        """What the call is sent to."""
        return _endpoint_of(self.key.region, self.key.service)

    @property
    def place(self) -> CallKey:
        """Whose places the call takes: those of the account that it is about."""
        return self.key if self.about is None else self.key._replace(account_id=self.about)


# There are some dozens of them, and each is asked for with every call.
_endpoint_of = lru_cache(maxsize=1024)(Endpoint)


class FailedAttempt(msgspec.Struct, frozen=True):
    """What came of an attempt that is worth another one.

    `number` is what its watch's `attempts` was after it, which does not count one that could not be sent.
    """

    number: int
    outcome: Outcome
    code: str
    message: str
    request_id: str | None

    @classmethod
    def of(cls, error: CallError, number: int) -> Self:
        """Return what an error says. It is not kept itself, with the frames that it came through."""
        return cls(number, error.outcome, error.code, error.message, error.request_id)


class CallWatch(msgspec.Struct):
    """The state of a target's calls, or of another call. Times are on the monotonic clock, in seconds."""

    deadline: float = float("inf")
    """When the time for the calls is over."""
    started: float = msgspec.field(default_factory=time.monotonic)
    """When the calls began."""
    attempts: int = 0
    """How many requests were sent."""
    before_call: int = 0
    """What `attempts` was when the present call began."""
    throttles: int = 0
    """How many of the requests were throttled."""
    unused: int = 0
    """How often in a row credentials have ended before the present call could be sent with them."""
    window: Window | None = None
    """The window of the target's region, which grows with replies and shrinks without them."""
    waits: bool = False
    """Whether the target waits for something that is not its own: see `waiting`."""
    failing: bool = False
    """Whether the last attempt found nobody there, or an error of the service."""
    failed: FailedAttempt | None = None
    """The last attempt of the present call that failed and was worth another one."""
    region_may_be_disabled: bool = False
    """Whether the region is opt-in, and the account has not told this run that it is enabled."""
    doubted: Credentials | None = None
    """The last credentials that the region did not recognize, until it answers."""
    doubted_at: float = 0.0
    """When the first request with the doubted credentials was sent."""

    @contextmanager
    def waiting(self, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
        """Wait in the block for a silent endpoint, credentials or room: that time is added to `deadline`."""
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
    """Counts of the requests that one client has sent."""

    requests: int = 0
    """Requests that were sent, retries among them."""
    retries: int = 0
    """Failed attempts after which another one was due."""
    throttles: int = 0
    """Requests that were throttled."""
    assume_role_calls: int = 0
    """Requests for sts:AssumeRole, counted when their call has ended."""


class CredentialSource(Protocol):
    """Where a call's credentials come from, at the moment it is signed.

    `by_call` says that new ones come by a call, which counts as work of its own.
    """

    by_call: ClassVar[bool]

    def current(self) -> Credentials | None:
        """Return the credentials if they can be used now, without waiting."""

    async def get(self) -> Credentials:
        """Return the credentials, new ones where the present ones have ended. Raises CallError."""

    def expired(self, credentials: Credentials) -> None:
        """Note that the service says that these have expired."""

    def recognized(self, credentials: Credentials, region: str, sent_at: float) -> None:
        """Note that a service in the region knew these when a call was sent, on the monotonic clock."""

    def recognized_elsewhere(self, credentials: Credentials, region: str, since: float) -> bool:
        """Whether a service in another region has known these since then: only the region is disabled.

        The time is on the monotonic clock, in seconds.
        """


class Confirmation(Protocol):
    """Tells whether credentials that a region does not know are good."""

    async def seek(self, call: Call[object]) -> None:
        """Have the call's source note whether another region knows the credentials that it gives."""


class CallObserver(Protocol):
    """What is told of calls as they are made."""

    async def attempt(
        self,
        call: Call[T],
        number: int,
        send: Callable[[Call[T]], Awaitable[T]],
        secrets: tuple[str, ...],
    ) -> T:
        """Return what `send` returns for the call, having told how it went. Raises what `send` raises.

        `number` counts the attempts at the call, from 1. `secrets` are those of its credentials, which are
        not told.
        """

    def retry(self, call: Call[object], retry: Retry) -> None:
        """Tell why a call is made again, and when."""

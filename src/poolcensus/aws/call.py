"""A call, what is known of it while it is made, and who has a part in it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

import msgspec

from poolcensus.flow.breaker import Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from poolcensus.aws.signing import Credentials, RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.errors import CallError
    from poolcensus.flow.concurrency import CallKey
    from poolcensus.flow.retry import Retry
    from poolcensus.flow.windows import Window
    from poolcensus.operations import Operation

T = TypeVar("T")


class Redact(Protocol):
    """Takes secrets out of an error: its own, and others that it is given."""

    def __call__(self, error: CallError, *others: str) -> None:
        """Change the code and the message of the error."""


class Call(msgspec.Struct, frozen=True):
    """One call to make: the operation's template in its region, the body, and whose limits it uses.

    `about` is the account that the call is made for, where that is not the one whose limits it uses: the
    caller assumes roles for others. `awaited` says that targets wait for the call which are counted as
    waiting already, `begun` that its target has been read in part: it goes before those that have not.
    `optional` says that there is another way: the call does not wait for a service that is silent. `idle`
    says that nobody waits for what it answers: it is not work. `operation` is what the census is of,
    where the call is one of it. `redact` takes out of an error what must not be told of the call, with other
    secrets, before anybody else sees it.
    """

    template: RequestTemplate
    body: bytes
    key: CallKey
    about: str | None = None
    awaited: bool = False
    begun: bool = False
    optional: bool = False
    idle: bool = False
    operation: Operation | None = None
    redact: Redact | None = None

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


class CallWatch(msgspec.Struct):
    """One target's calls: what was sent and since when, and when its time is over.

    Both times are on the monotonic clock, in seconds. `window` is told whether calls are answered.
    `waits` says that a call waits for what does not answer or for its credentials, which is not the target's
    time. `may_be_off` says that the account has to enable the region, and does not tell whether it has.
    `doubted` are the last credentials that the region did not know, where it may be off, and `doubted_at` is
    when the first call with them was sent.
    `before_call` is what `attempts` was when the present call began, where calls are observed.
    """

    deadline: float = float("inf")
    started: float = msgspec.field(default_factory=time.monotonic)
    attempts: int = 0
    before_call: int = 0
    throttles: int = 0
    window: Window | None = None
    waits: bool = False
    may_be_off: bool = False
    doubted: Credentials | None = None
    doubted_at: float = 0.0


class CallCounts(msgspec.Struct):
    """What has been sent, in a target or in the whole run."""

    requests: int = 0
    retries: int = 0
    throttles: int = 0
    assume_role_calls: int = 0


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
        """Whether a service in another region has known these since then, so that only the region is off.

        The time is on the monotonic clock, in seconds.
        """


class Confirmation(Protocol):
    """Tells whether credentials that a region does not know are good."""

    async def seek(self, call: Call, source: CredentialSource) -> None:
        """Have the source note whether another region knows the credentials that it gives for the call."""


class CallObserver(Protocol):
    """What is told of calls as they are made."""

    async def attempt(
        self,
        call: Call,
        number: int,
        send: Callable[[Callable[[Reply], T]], Awaitable[T]],
        parse: Callable[[Reply], T],
    ) -> T:
        """Return what `send` returns for a parser, having told how it went. Raises what `send` raises.

        `number` counts the attempts at the call, from 1.
        """

    def retry(self, call: Call, retry: Retry) -> None:
        """Tell why a call is made again, and when."""

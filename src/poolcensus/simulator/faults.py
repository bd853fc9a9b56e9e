"""Fault injection: which calls fail, and how. The same seed and the same calls give the same faults."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

from poolcensus.simulator.bounds import MANY, Bounds, FieldError, check_bounds
from poolcensus.simulator.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcensus.simulator.call import Call

# No simulator runs for longer than MANY seconds, and no client reads a terabyte.
_SECONDS = Bounds(0, MANY)
_MILLISECONDS = Bounds(0, MANY)
_URL = re.compile("[!-~]+")
_BYTES = Bounds(0, 1 << 40)


class FaultKind(StrEnum):
    """What a fault does to a call."""

    THROTTLE = "throttle"
    THROTTLE_429 = "throttle429"
    THROTTLE_503 = "throttle503"
    SERVER_ERROR = "5xx"
    BAD_GATEWAY = "bad-gateway"
    RESET = "reset"
    TRUNCATE = "truncate"
    WRONG_LENGTH = "wrong-length"
    EXPIRED = "expired"
    DENIED = "denied"
    NOT_ENTITLED = "not-entitled"
    NEUTRAL = "neutral"
    UNSUPPORTED = "unsupported"
    UNRECOGNIZED = "unrecognized"
    REGION_DISABLED = "region-disabled"
    EMPTY_BODY = "empty-body"
    HTML = "html"
    NULL = "null"
    LIST = "list"
    STRING = "string"
    BAD_UTF8 = "bad-utf8"
    MISSING_LIST = "missing-list"
    POOL_WITHOUT_ID = "pool-without-id"
    TIMESTAMP_HUGE = "timestamp-huge"
    TIMESTAMP_TEXT = "timestamp-text"
    HUGE = "huge"
    GZIP_CUT = "gzip-cut"
    DRIP = "drip"
    HANG = "hang"
    REDIRECT = "redirect"
    SAME_TOKEN = "same-token"  # noqa: S105 - a fault's name
    CYCLE_TOKENS = "cycle-tokens"
    EMPTY_TOKEN = "empty-token"  # noqa: S105 - a fault's name
    NULL_TOKEN = "null-token"  # noqa: S105 - a fault's name
    EMPTY_PAGE = "empty-page"
    SHIFTING = "shifting"
    EVIL_NAMES = "evil-names"


class CountedPer(StrEnum):
    """By what matching calls are counted: each target, account or access key has a count of its own."""

    TARGET = "target"
    ACCOUNT = "account"
    CREDENTIALS = "credentials"
    ALL = "all"


class DenialForm(StrEnum):
    """Whether a policy has a Deny for a call (explicit) or no Allow (implicit)."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"


_STICKY = frozenset({FaultKind.SAME_TOKEN, FaultKind.CYCLE_TOKENS})


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule for calls that fail. A call must match all of its properties; `service="*"` matches any service.

    `account` is the account whose credentials sign the call. For AssumeRole that is the caller's account;
    `role_account` is the account of the role. The rule is in force from `after` until `until`, in seconds
    from the first call that matches.

    A matching call is hit with `probability`. `first` limits the rule to the first so many matching calls,
    and `every` to one in so many. Calls are counted for each `per`, so that the order of the targets does not
    matter. Paging loops are drawn once for each `per`, and not for each call, since they have to last.
    """

    kind: FaultKind
    probability: float = field(
        default=1.0, metadata={"bounds": Bounds(0, 1), "help": "chance that a matching call is hit"}
    )
    first: int | None = field(
        default=None, metadata={"bounds": Bounds(0, MANY), "help": "hit the first so many matching calls"}
    )
    every: int | None = field(
        default=None, metadata={"bounds": Bounds(1, MANY), "help": "hit one in so many matching calls"}
    )
    per: CountedPer = field(
        default=CountedPer.TARGET, metadata={"help": "target, account, credentials or all"}
    )
    service: str = field(default="workspaces", metadata={"help": "signing name of the service, or *"})
    operation: str | None = field(default=None, metadata={"help": "operation"})
    account: str | None = field(default=None, metadata={"help": "account id"})
    role_account: str | None = field(default=None, metadata={"help": "account id of the role to assume"})
    region: str | None = field(default=None, metadata={"help": "region"})
    page: int | None = field(
        default=None, metadata={"bounds": Bounds(1, MANY), "help": "number of the page, from 1"}
    )
    seconds: float = field(
        default=10.0, metadata={"bounds": _SECONDS, "help": "drip: time between two bytes"}
    )
    size: int = field(default=64 << 20, metadata={"bounds": _BYTES, "help": "huge: bytes of the body"})
    location: str = field(default="http://127.0.0.1:9/", metadata={"help": "redirect: where to"})
    retry_after: int | None = field(
        default=None, metadata={"bounds": _SECONDS, "help": "throttles: a Retry-After header"}
    )
    policy: Policy = field(
        default=Policy.IDENTITY, metadata={"help": f"denied: by which policy; {', '.join(Policy)}"}
    )
    denial: DenialForm | None = field(
        default=None,
        metadata={"help": "denied: explicit or implicit; by default explicit for scp and rcp only"},
    )
    latency: float | None = field(
        default=None,
        metadata={"bounds": _MILLISECONDS, "help": "milliseconds that a call takes which is hit"},
    )
    after: float = field(
        default=0.0,
        metadata={"bounds": _SECONDS, "help": "seconds from the first call that it is about, without a hit"},
    )
    until: float | None = field(
        default=None,
        metadata={
            "bounds": _SECONDS,
            "help": "seconds from the first call that it is about to the end of the hits",
        },
    )

    def __post_init__(self) -> None:
        """Validate the rule.

        Raises ValueError if a value is out of bounds or contradicts another.
        """
        try:
            check_bounds(self)
        except FieldError as error:
            raise ValueError(f"fault {self.kind}: {error}") from None
        if self.until is not None and self.until <= self.after:
            raise ValueError(f"fault {self.kind}: until must be later than after")
        if _URL.fullmatch(self.location) is None:
            raise ValueError(f"fault {self.kind}: location must be a URL in ASCII, not {self.location!r}")
        if self.kind is FaultKind.DENIED:
            self._check_denial()

    def _check_denial(self) -> None:
        if self.policy is Policy.RCP and not self.explicit:
            raise ValueError("fault denied: a resource control policy denies explicitly only")
        if self.policy is Policy.TRUST and (self.service, self.operation) != ("sts", "AssumeRole"):
            raise ValueError(
                "fault denied: policy=trust needs service=sts,operation=AssumeRole, the one call that a "
                "role's trust policy is about"
            )

    @property
    def explicit(self) -> bool:
        """Whether the fault `denied` is explicit: a Deny of the policy, and not a missing Allow.

        By default SCPs and RCPs deny explicitly, since AWS attaches one that allows everything.
        """
        if self.denial is not None:
            return self.denial == DenialForm.EXPLICIT
        return self.policy in {Policy.SCP, Policy.RCP}

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Parse `kind[:probability][,name=value…]`, such as `throttle:0.3,account=000000000003`.

        Raises ValueError if the text is not a rule.
        """
        head, *pairs = [part.strip() for part in text.split(",")]
        kind, _, probability = head.partition(":")
        if kind not in list(FaultKind):
            raise ValueError(f"{kind!r} is not a fault; there are {', '.join(FaultKind)}")
        # msgspec reads numbers as JSON does, which requires a digit before the point.
        probability = f"0{probability}" if probability.startswith(".") else probability
        values = {"probability": probability} if probability else {}
        known = {name: takes for name, takes in get_type_hints(cls).items() if name != "kind"}
        for pair in pairs:
            name, _, value = pair.partition("=")
            name = name.strip().replace("-", "_")
            if name not in known:
                raise ValueError(f"{name!r} is not a property of a fault; there are {', '.join(known)}")
            if name in values:
                raise ValueError(f"fault {kind}: {name} is given twice")
            values[name] = value.strip()
        read: dict[str, Any] = {}
        for name, value in values.items():
            try:
                read[name] = msgspec.convert(value, known[name], strict=False)
            except msgspec.ValidationError:
                wanted = _values_in_words(known[name])
                raise ValueError(f"fault {kind}: {name} must be {wanted}, not {value!r}") from None
        return cls(FaultKind(kind), **read)

    def matches(self, call: Call, page: int) -> bool:
        """Return whether the call matches the rule."""
        return (
            self.service in ("*", call.service)
            and (self.operation is None or self.operation == call.operation)
            and (self.account is None or self.account == call.account)
            and (self.role_account is None or self.role_account == call.role_account)
            and (self.region is None or self.region == call.region)
            and (self.page is None or self.page == page)
        )

    def open(self, elapsed: float) -> bool:
        """Return whether the rule is in force `elapsed` seconds after the first call that matches it."""
        return self.after <= elapsed and (self.until is None or elapsed < self.until)


def _values_in_words(hint: object) -> str:
    """Return the values that a property of a fault takes, in words, from its annotation."""
    kind = next(iter(get_args(hint)), hint)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        *others, last = kind
        return f"{', '.join(others)} or {last}"
    return "a whole number" if kind is int else "a number"


class Injector:
    """Decides which calls are hit by which fault. The clock is monotonic, in seconds."""

    def __init__(self, faults: Iterable[Fault], seed: int, clock: Callable[[], float]) -> None:
        self._faults = tuple(faults)
        self._clock = clock
        # When the first matching call was made, by the number of the rule: a client may take any time until
        # then.
        self._began: dict[int, float] = {}
        self._key = f"faults {seed}".encode()
        self._counts: Counter[tuple[int, str]] = Counter()

    @property
    def idle(self) -> bool:
        """Whether there are no rules."""
        return not self._faults

    def choose(self, call: Call, page: int) -> Fault | None:
        """Return the first rule that hits the call, or None. Every rule that matches counts the call."""
        chosen = None
        now = self._clock()
        for number, fault in enumerate(self._faults):
            if not fault.matches(call, page) or not fault.open(now - self._began.setdefault(number, now)):
                continue
            if self._hits(number, fault, call) and chosen is None:
                chosen = fault
        return chosen

    def reset(self) -> None:
        """Reset the counts of calls and the start times of the rules."""
        self._counts.clear()
        self._began.clear()

    def _hits(self, number: int, fault: Fault, call: Call) -> bool:
        match fault.per:
            case CountedPer.TARGET:
                key = f"{call.service}/{call.operation}/{call.account}/{call.region}"
            case CountedPer.ACCOUNT:
                key = call.account
            case CountedPer.CREDENTIALS:
                key = call.access_key_id
            case CountedPer.ALL:
                key = ""
        self._counts[number, key] += 1
        count = self._counts[number, key]
        if fault.first is not None and count > fault.first:
            return False
        if fault.every is not None and count % fault.every:
            return False
        if fault.probability >= 1:
            return True
        # Draws must be reproducible, and the IDs of issued access keys are random.
        place = call.account if fault.per is CountedPer.CREDENTIALS else key
        draw = "" if fault.kind in _STICKY else f"{count}"
        digest = blake2b(f"{number}/{place}/{draw}".encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest) < fault.probability * (1 << 64)

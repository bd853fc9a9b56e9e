"""The steps of a request in the simulator: signature, rate limits, policies, faults, service, latency."""

from __future__ import annotations

import secrets
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Protocol

from poolcensus.simulator import sabotage, sigv4, unauthenticated
from poolcensus.simulator.call import Call, operation_of, role_arn_of, service_of
from poolcensus.simulator.chunks import decode_chunks
from poolcensus.simulator.http import (
    S3_REQUEST_ID,
    Abort,
    Answer,
    Cut,
    Delayed,
    Drip,
    Hang,
    Message,
    Request,
    Response,
)
from poolcensus.simulator.permissions import DELETE_OBJECT, action_of, keys_of, resource_of
from poolcensus.simulator.refusal import RefusalError, render
from poolcensus.simulator.unauthorized import denied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolcensus.simulator.connection import Connection
    from poolcensus.simulator.control import Control
    from poolcensus.simulator.faults import Fault, Injector
    from poolcensus.simulator.latency import Clockwork
    from poolcensus.simulator.limits import Limiter
    from poolcensus.simulator.sigv4 import Claim, Verifier
    from poolcensus.simulator.stats import Stats
    from poolcensus.simulator.tokens import TokenMint
    from poolcensus.simulator.world import World

_REGIONAL = frozenset({"sts", "ec2", "workspaces"})
_ERROR = 400
_BUFFER = 1 << 18


class Service(Protocol):
    """A service that the simulator provides."""

    def handle(self, request: Request) -> Answer:
        """Return the answer to a call. Raise RefusalError if the service refuses the call."""


def _unknown_action(call: Call, request: Request) -> Response:
    """Return the error, in XML, for a service of the query protocol that the simulator does not have."""
    refusal = RefusalError(400, "InvalidAction", f"The simulator has no service {call.service}.")
    return render(refusal, "sts", request.request_id)


class SimulatorApplication:
    """Answers the requests of all connections."""

    def __init__(
        self,
        *,
        world: World,
        services: Mapping[str, Service],
        verifier: Verifier,
        limiter: Limiter,
        injector: Injector,
        clockwork: Clockwork,
        mint: TokenMint,
        stats: Stats,
        control: Control,
        clock: Callable[[], float],
    ) -> None:
        self._world = world
        self._services = services
        self._verifier = verifier
        self._limiter = limiter
        self._injector = injector
        self._clockwork = clockwork
        self._mint = mint
        self._stats = stats
        self._control = control
        self._clock = clock
        self._serial = 0
        word = secrets.token_hex(10)
        self._id_prefix = f"{word[:8]}-{word[8:12]}-{word[12:16]}-{word[16:20]}-"
        self._date_second = 0
        self._date = ""
        self.connections: set[Connection] = set()
        self.serving = True
        self.buffer = memoryview(bytearray(_BUFFER))

    def handle(self, message: Message) -> Answer | Delayed:
        """Return the answer to a request."""
        self._serial += 1
        message.request_id = f"{self._id_prefix}{self._serial:012x}"
        target = message.target.decode("latin-1")
        if target[:1] != "/" and "://" in target:
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("?")
        if path.startswith("/_simulator/"):
            return self._control.handle(message.method, path)
        stats = self._stats
        claim: Claim | None = None
        unreadable: sigv4.UnreadableError | None = None
        try:
            claim = sigv4.read_claim(message.headers, query)
        except sigv4.UnreadableError as error:
            unreadable = error
        service = (
            claim.service if claim is not None else service_of(path, query, message.headers, message.body)
        )
        if service == "s3":
            message.request_id_header = S3_REQUEST_ID
        operation = operation_of(
            service, message.method, path, headers=message.headers, query=query, body=message.body
        )
        stats.calls[f"{service}.{operation}"] += 1
        account = role = ""
        latency: float | None = None
        answer: Answer
        try:
            if unreadable is not None:
                raise unauthenticated.unreadable(service, unreadable.message, presigned=unreadable.presigned)
            if claim is None:
                raise unauthenticated.missing(service)
            request = self._authenticate(claim, message, path, query)
            account = request.identity.account_id
            role = role_arn_of(service, message.body)
            if role:
                stats.role_calls[role] += 1
            answer, latency = self._serve(
                Call(service, operation, account, claim.region, claim.access_key_id, role), request
            )
        except RefusalError as refusal:
            answer = render(refusal, service, message.request_id)
        self._count(answer)
        seconds = self._clockwork.seconds(account) if latency is None else latency / 1000
        if seconds <= 0 and not isinstance(answer, (Hang, Drip)):
            return answer
        region = claim.region if claim is not None else ""
        stats.call_began(service, account, region, role)
        return Delayed(answer, seconds, partial(stats.call_ended, service, account, region, role))

    def http_date(self) -> str:
        """Return the time of the simulated clock in the format of a Date header."""
        now = int(self._clock())
        if now != self._date_second:
            self._date_second = now
            self._date = formatdate(now, usegmt=True)
        return self._date

    def opened(self, connection: Connection) -> None:
        """Record that a connection was opened."""
        self.connections.add(connection)
        stats = self._stats
        stats.connections_accepted += 1
        stats.open_connections += 1
        stats.connections_peak = max(stats.connections_peak, stats.open_connections)
        if not self.serving:
            connection.abort()

    def closed(self, connection: Connection) -> None:
        """Record that a connection was closed."""
        self.connections.discard(connection)
        self._stats.open_connections -= 1

    def moved(self, received: int, sent: int) -> None:
        """Count the bytes that were received and sent."""
        self._stats.bytes_received += received
        self._stats.bytes_sent += sent

    def _authenticate(self, claim: Claim, message: Message, path: str, query: str) -> Request:
        headers, body, service = message.headers, message.body, claim.service
        credentials = self._verifier.verify(claim, message.method, path, query, headers=headers, body=body)
        identity = credentials.identity
        index = self._world.index(identity.account_id)
        if service in _REGIONAL and (index is None or not self._world.enabled(index, claim.region)):
            raise unauthenticated.unknown_key(service)
        if service == "s3" and headers.get("x-amz-content-sha256", "").startswith(sigv4.STREAMING):
            body, trailers = decode_chunks(body, self._verifier.chain(claim, credentials, headers))
            announced = [each.strip() for each in headers.get("x-amz-trailer", "").lower().split(",")]
            headers = {**{each: trailers[each] for each in announced if each in trailers}, **headers}
        return Request(
            message.method,
            path,
            query,
            headers,
            body,
            identity,
            service,
            claim.region,
            message.request_id,
        )

    def _serve(self, call: Call, request: Request) -> tuple[Answer, float | None]:
        """Return the answer, and its latency in milliseconds if a fault sets one."""
        service = self._services.get(call.service)
        if service is None:
            if request.body.startswith(b"Action="):
                return _unknown_action(call, request), None
            raise RefusalError(
                404, "UnknownOperationException", f"The simulator has no service {call.service}."
            )
        self._limiter.check(call)
        self._authorize(call, request)
        self._limiter.check_concurrency(call, self._stats.in_flight[call.service, call.account, call.region])
        if self._injector.idle:
            return service.handle(request), None
        page = sabotage.page_of(request, self._mint)
        fault = self._injector.choose(call, page)
        if fault is None:
            return service.handle(request), None
        self._stats.faults[fault.kind] += 1
        try:
            answer = self._sabotaged(fault, service, request)
        except RefusalError as refusal:
            answer = render(refusal, call.service, request.request_id)
        return answer, fault.latency

    def _authorize(self, call: Call, request: Request) -> None:
        # The STS service evaluates policies itself: AssumeRole depends on the role, too, and
        # GetCallerIdentity needs no permission.
        if call.service == "sts":
            return
        access, principal = self._world.access, request.identity.principal
        if not access.layers(principal) and not access.guards_resources:
            return
        action = action_of(request, call.operation)
        if action == DELETE_OBJECT and call.operation == "POST":
            # The S3 service checks the permission for each key by itself.
            return
        denial = access.deny(
            principal,
            action,
            partial(resource_of, request, call.operation),
            request.region,
            find_keys=partial(keys_of, request, action),
        )
        if denial is not None:
            raise denied(request, denial.kind, explicit=denial.explicit)

    def _sabotaged(self, fault: Fault, service: Service, request: Request) -> Answer:
        answer = sabotage.replacement(fault, request)
        if answer is not None:
            return answer
        answer = service.handle(sabotage.changed_request(fault, request, self._mint))
        return sabotage.spoilt(fault, request, answer, self._mint) if isinstance(answer, Response) else answer

    def _count(self, answer: Answer) -> None:
        if isinstance(answer, (Abort, Hang)):
            return
        reply = answer.response if isinstance(answer, (Cut, Drip)) else answer
        self._stats.statuses[reply.status] += 1
        if reply.status >= _ERROR:
            code = reply.code if isinstance(reply, Response) else None
            self._stats.codes[code or f"{reply.status}"] += 1

"""The simulator's S3 as a test wants it, the real client before it, and a loop whose time does not wait."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from aiobotocore.httpsession import AIOHTTPSession
from anyio import sleep, to_thread

from poolcensus.aws.sdk.access import Sdk
from poolcensus.aws.session import CallerSession
from poolcensus.aws.signing import Credentials
from poolcensus.aws.transport.tls import Trust
from poolcensus.config import load_settings
from poolcensus.simulator import Simulator, SimulatorConfig
from poolcensus.simulator.access import Principal
from poolcensus.simulator.http import Abort, Answer, Hang, Request, Response
from poolcensus.simulator.s3 import S3
from poolcensus.simulator.s3.call import parse
from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.store import Bucket as StoredBucket
from poolcensus.storage.s3.client import open_bucket
from storage.buckets import NAME, stored_object
from virtual_time import now, virtual_runner

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from poolcensus.aws.credentials.chain_credentials import ChainCredentials
    from poolcensus.simulator.s3.store import StoredObject
    from poolcensus.storage.s3.objects import Bucket

_BEGINNING = 1_795_000_000
# Further off than S3 takes signatures: a service whose clock is that wrong is not believed.
_WRONG = 86_400.0
_ACCOUNT = "000000000001"
_CALL_ID = "amz-sdk-invocation-id"
_ATTEMPT = "amz-sdk-request"


def clock() -> float:
    """Return the service's time: that of the loop."""
    return _BEGINNING + now()


class Simulated(Simulator):
    """A simulator whose clock is the loop's, whatever the clients sign with."""

    def __init__(self, service: Service) -> None:
        super().__init__(SimulatorConfig(signature_window=1e12), {"s3": service})
        service.issue = self._issue

    def clock(self) -> float:
        return clock()

    def _issue(self) -> Credentials:
        arn = f"arn:aws:iam::{_ACCOUNT}:user/u"
        issued = self._store.issue(Principal(_ACCOUNT, arn), role_id="r", session_name="s", expires=1e12)
        return Credentials(issued.identity.access_key_id, issued.secret, issued.token)

    async def disconnect(self) -> None:
        """Close all connections, and wait until the client has noticed."""
        for each in tuple(self._application.connections):
            each.abort()
        await sleep(1)


class Service(S3):
    """The simulator's S3, which holds one bucket."""

    def __init__(self) -> None:
        super().__init__(clock=clock)
        self.issue: Callable[[], Credentials]
        self.client: Bucket
        self._runner: Runner
        # The attempts that are made and will be answered: nobody waits for a time while there are any.
        self.attempts: set[tuple[str, str]] = set()
        self._runs: dict[str, Run] = {}
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything."""
        self.forget_runs()
        self._bucket = StoredBucket(NAME, _ACCOUNT, "us-east-1", 0)
        self._store.buckets = {NAME: self._bucket}
        self.heeds_conditions = self.tells_its_time = self.says_when_modified = True
        # "by prefix" alone, with no marker and no delimiter, "by key", which is the whole prefix, or "never".
        self.uploads_listed: Literal["as S3", "by prefix", "by key", "never"] = "as S3"
        # "beyond": none of a folder whose name is what a listing begins after.
        self.objects_listed: Literal["as S3", "beyond", "never"] = "as S3"
        self.left_out: set[str] = set()
        self.slow_by = 1.0

    def forget_runs(self) -> None:
        """Take no more calls of the runs that there were."""
        self._runs.clear()

    @property
    def objects(self) -> dict[str, StoredObject]:
        """The objects by their keys."""
        return self._bucket.objects

    @property
    def uploading(self) -> list[str]:
        """The keys of the multipart uploads under way."""
        return [each.key for each in self._bucket.uploads.values()]

    def copy(self) -> StoredBucket:
        """Return what there is, for `hold`."""
        return replace(self._bucket, objects={**self.objects}, uploads={**self._bucket.uploads})

    def hold(self, bucket: StoredBucket) -> None:
        """Hold what there was."""
        self._bucket = self._store.buckets[NAME] = replace(
            bucket, objects={**bucket.objects}, uploads={**bucket.uploads}
        )

    def write(self, key: str, body: bytes) -> None:
        """Put an object there, by no call."""
        self.objects[key] = stored_object(key, body, clock())

    def drop(self, prefix: str) -> None:
        """Abort the uploads of keys that start with `prefix`, and delete such objects, by no call."""
        uploads = self._bucket.uploads
        for upload in [each for each in uploads.values() if each.key.startswith(prefix)]:
            del uploads[upload.upload_id]
        for key in [each for each in self.objects if each.startswith(prefix)]:
            del self.objects[key]

    def make_older(self, key: str, seconds: float) -> None:
        """Let an object have been written earlier."""
        self.objects[key] = replace(self.objects[key], modified=self.objects[key].modified - int(seconds))

    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `body` in a loop in which an hour takes no time."""
        self._runner.run(body())

    def add(self, run: Run) -> Credentials:
        """Return the credentials that tell a run's calls from those of others."""
        credentials = self.issue()
        self._runs[credentials.access_key_id] = run
        return credentials

    def handle(self, request: Request) -> Answer:  # type: ignore[override] # more than the service's own answers
        call_id, attempt = request.headers[_CALL_ID], request.headers[_ATTEMPT]
        trouble, first = self._runs[request.identity.access_key_id].meets(call_id, _name_of(request))
        if trouble == "refused":
            raise S3Error("AccessDenied")
        if trouble == "exists":
            raise S3Error("PreconditionFailed")
        if trouble == "conflict":
            raise S3Error("ConditionalRequestConflict")
        if trouble == "page":
            return Response(200, b"<html>Sign in</html>", (("Content-Type", "text/html"),))
        if trouble in ("hangs", "slow") and first:
            self.attempts.discard((call_id, attempt))
            return self._hang(request, is_slow=trouble == "slow")
        if (trouble, first) in (("broken", True), ("lost", False)):
            return Abort()
        if not self.heeds_conditions:
            headers = {name: text for name, text in request.headers.items() if not name.startswith("if-")}
            request = replace(request, headers=headers)
        response = self._listed_otherwise(request) or super().handle(request)
        if trouble == "late":
            raise S3Error("ConditionalRequestConflict")
        if trouble in ("lost", "again") and first:
            return Abort()
        return response if self.says_when_modified else _without_last_modified(response)

    def _hang(self, request: Request, *, is_slow: bool) -> Hang:
        if is_slow:
            asyncio.get_running_loop().call_later(self.slow_by, self._carry_out, request)
        return Hang()

    def _carry_out(self, request: Request) -> None:
        with suppress(S3Error):
            super().handle(request)

    def _listed_otherwise(self, request: Request) -> Response | None:
        """Answer a listing as a service does that is not S3."""
        call, whole = parse(request), self._bucket
        if call.key or request.method != "GET":
            return None
        if "uploads" in call.params:
            if self.uploads_listed == "as S3":
                return None
            finds = self.uploads_listed != "never" and not call.params.get("key-marker")
            keys = [call.params["prefix"]] if self.uploads_listed == "by key" else self.uploading
            uploads = {each_id: each for each_id, each in whole.uploads.items() if finds and each.key in keys}
            listed = replace(whole, uploads=uploads)
            request = replace(request, query=re.sub(r"delimiter=[^&]*&?", "", request.query))
        else:
            left_out = self.left_out
            if self.objects_listed != "as S3":
                beyond = (
                    call.params.get("start-after", "") + "/" if self.objects_listed == "beyond" else "p/2"
                )
                left_out = left_out | {key for key in whole.objects if key.startswith(beyond)}
            if not left_out:
                return None
            shown = {key: each for key, each in whole.objects.items() if key not in left_out}
            listed = replace(whole, objects=shown)
        self._store.buckets[NAME] = listed
        try:
            return super().handle(request)
        finally:
            self._store.buckets[NAME] = whole


def _without_last_modified(response: Response) -> Response:
    kept = tuple(each for each in response.headers if each[0] != "Last-Modified")
    return replace(response, headers=kept)


def _name_of(request: Request) -> str:
    call = parse(request)
    of_upload = "uploadId" in call.params
    if call.key:
        names = {
            "PUT": "send" if of_upload else "put",
            "POST": "complete" if of_upload else "begin",
            "DELETE": "abort" if of_upload else "delete",
        }
        return f"{names.get(request.method, request.method.lower())} {call.key}"
    uploads = "uploads" in call.params
    if "delimiter" in call.params:
        name = "folders of uploads" if uploads else "folders"
    else:
        name = "uploads" if uploads else "list"
    return f"{name} {call.params['prefix']}"


class Run:
    """One run's way to the service: it notes the calls, which fail or wait where a test wants it.

    `trouble` is called with each call's number from 0 and its name, when the service has received it. What
    it returns says what happens: None, the call works; "refused", it fails without an effect; "lost", it
    fails after its effect; "again", its first reply is lost, and the client makes it a second time; "hangs",
    its first attempt has no effect and is never answered; "slow", the same, but it has its effect after the
    service's `slow_by` seconds; "exists", S3 says that its condition does not hold;
    "conflict", S3 says that another call is under way; "late", it says so, and that call has the effect of
    this one; "page", something else answers with a page.
    """

    def __init__(self, service: Service) -> None:
        self.calls: list[str] = []
        self.trouble: Callable[[int, str], str | None] = lambda *_: None
        self.credentials = service.add(self)
        self._service = service
        # By the id that all attempts of a call have.
        self._troubles: dict[str, str | None] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bucket]:
        token = _run.set(self)
        try:
            yield self._service.client
        finally:
            _run.reset(token)

    def meets(self, call_id: str, name: str) -> tuple[str | None, bool]:
        """Return what happens to an attempt of a call, and whether it is the first one."""
        first = call_id not in self._troubles
        if first:
            self.calls.append(name)
            self._troubles[call_id] = self.trouble(len(self.calls) - 1, name)
        return self._troubles[call_id], first


_run: ContextVar[Run] = ContextVar("the run that a task belongs to")


class _RunsCredentials:
    async def get(self) -> Credentials:
        return _run.get().credentials

    def expired(self, _: Credentials) -> None:
        pytest.fail("nothing expires here")


@contextmanager
def scripted_s3() -> Iterator[tuple[Service, Simulated]]:
    """Start the service and its client, which takes longer to open than most tests take."""
    service = Service()
    in_threads = 0
    # To open and to close takes threads of all kinds, and no virtual time.
    opened = False

    def working() -> bool:
        return not opened or bool(service.attempts) or in_threads > 0

    send = AIOHTTPSession.send

    async def noted(session: AIOHTTPSession, request: Any) -> Any:
        attempt = (_text(request.headers[_CALL_ID]), _text(request.headers[_ATTEMPT]))
        service.attempts.add(attempt)
        try:
            return await send(session, request)
        finally:
            service.attempts.discard(attempt)

    async def counted(*call: Any, **options: Any) -> Any:
        nonlocal in_threads
        in_threads += 1
        try:
            return await to_thread.run_sync(*call, **options)
        finally:
            in_threads -= 1

    async def enter(stack: AsyncExitStack) -> Simulated:
        simulator = await stack.enter_async_context(Simulated(service))
        url = simulator.endpoint_url
        settings = load_settings(None, {"endpoint_url": url, "attempt_timeout": 5, "connect_timeout": 2})
        sdk = await stack.enter_async_context(Sdk(profile=None, endpoint_url=url))
        session = CallerSession(sdk, cast("ChainCredentials", _RunsCredentials()), Trust(sdk.ca_bundle))
        service.client = await stack.enter_async_context(open_bucket(settings, session, NAME))
        return simulator

    with pytest.MonkeyPatch.context() as patch, virtual_runner(working) as runner:
        patch.setattr(AIOHTTPSession, "send", noted)
        patch.setattr("poolcensus.loops.to_thread", SimpleNamespace(run_sync=counted))
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
        patch.setattr("poolcensus.simulator.s3.uploads.MIN_PART", 1)
        believed = SimpleNamespace(time=lambda: clock() + (0 if service.tells_its_time else _WRONG))
        patch.setattr("poolcensus.storage.s3.bucket.time", believed)
        service._runner = runner
        stack = AsyncExitStack()
        try:
            simulator = runner.run(enter(stack))
            opened = True
            yield service, simulator
        finally:
            opened = False
            runner.run(stack.aclose())


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

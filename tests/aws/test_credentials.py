"""The credentials of roles: replies of STS, renewals, and refusals that are final."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from time import tzset
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from poolcensus.aws.call import CallCounts
from poolcensus.aws.credentials import chain_credentials
from poolcensus.aws.credentials import role_credentials as module
from poolcensus.aws.credentials import sts as sts_module
from poolcensus.aws.credentials.broker import CredentialBroker
from poolcensus.aws.credentials.chain_credentials import ChainCredentials
from poolcensus.aws.credentials.profiles import ProfileCredentials
from poolcensus.aws.credentials.role_credentials import RoleCredentials
from poolcensus.aws.credentials.roles import (
    Role,
    RoleOverride,
    Roles,
    SessionSettings,
    default_session_name,
    session_policy,
)
from poolcensus.aws.credentials.sts import StsEndpoints, role_session
from poolcensus.aws.refusals.assume_role import RoleRefusal
from poolcensus.aws.refusals.redaction import LONGEST_MESSAGE, readable
from poolcensus.aws.signing import Credentials
from poolcensus.aws.transport.protocol import Reply
from poolcensus.config.values import Secret
from poolcensus.errors import (
    AccessDeniedError,
    AssumeRoleError,
    BadResponseError,
    CallerExpiredError,
    CallError,
    CallTimeoutError,
    CensusError,
    CredentialsError,
    ExpiredError,
    HubRoleError,
    ThrottledError,
)
from poolcensus.flow import last_failure
from poolcensus.flow.breaker import Work
from poolcensus.flow.retry import RetryPolicy
from poolcensus.model import Caller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.call import Call, CallWatch
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import RequestTemplate

CALLER = Caller("000000000001", "arn:aws:iam::000000000001:user/census", "aws")
MEMBER = "000000000002"
EPOCH = 1_767_225_600.0  # 2026-01-01


class Time:
    """The clocks of the modules, which a test moves. The wall clock is an hour off."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now + 3600


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    for each in (module, chain_credentials, sts_module, last_failure):
        monkeypatch.setattr(each, "time", clock)
    return clock


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sts_reply(
    changes: Mapping[str, str] | None = None,
    *,
    lifetime: float = 3600,
    now: float = EPOCH,
    key: str = "ASIA",
    date: bool = True,
) -> Reply:
    fields = {
        "AccessKeyId": key,
        "SecretAccessKey": "secret/+=",
        "SessionToken": "token/+==",
        "Expiration": rfc3339(now + lifetime),
        **(changes or {}),
    }
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items() if value != "-")
    body = (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
        f"<AssumedRoleUser><Arn>a</Arn></AssumedRoleUser><Credentials>\n  {inner}\n</Credentials>"
        "</AssumeRoleResult></AssumeRoleResponse>"
    )
    headers = {"Date": format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)} if date else {}
    return Reply(200, CIMultiDict(headers), body.encode())


def test_a_session_is_read_and_its_lifetime_is_by_the_clock_of_sts(time: Time) -> None:
    session = role_session(sts_reply(lifetime=900))
    assert session.credentials == Credentials("ASIA", "secret/+=", "token/+==")
    assert session.lifetime == 900


def test_an_end_without_a_time_zone_is_in_utc(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    tzset()
    try:
        ends = rfc3339(EPOCH + 900).removesuffix("Z")
        assert role_session(sts_reply({"Expiration": ends})).lifetime == 900
    finally:
        monkeypatch.undo()
        tzset()


def test_without_a_date_this_machines_clock_has_to_do(time: Time) -> None:
    assert role_session(sts_reply(lifetime=900, now=time.time(), date=False)).lifetime == 900


@pytest.mark.parametrize(
    "changes",
    [
        {"AccessKeyId": "-"},
        {"SecretAccessKey": "-"},
        {"SessionToken": "-"},
        {"Expiration": "-"},
        {"AccessKeyId": ""},
        {"SessionToken": "  "},
        {"SessionToken": "two lines\r\nx-injected: 1"},
        {"SecretAccessKey": "\u00e9"},
        {"Expiration": "soon"},
        {"Expiration": ""},
        {"Expiration": "0001-01-01T00:00:00"},
    ],
)
def test_a_session_that_lacks_something_is_a_bad_response(time: Time, changes: dict[str, str]) -> None:
    with pytest.raises(BadResponseError):
        role_session(sts_reply(changes))


@pytest.mark.parametrize("lifetime", [0, -1, -3600])
def test_a_session_that_has_ended_is_no_session(time: Time, lifetime: float) -> None:
    # It would be renewed forever, without a pause.
    with pytest.raises(BadResponseError, match="expired"):
        role_session(sts_reply(lifetime=lifetime))


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"<a/>", b"<a><Credentials/></a>", b"\xff"])
def test_a_body_without_a_session_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(BadResponseError):
        role_session(Reply(200, CIMultiDict(), body))


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "Other"]),
        st.text(st.characters(exclude_characters="<&", exclude_categories=["C"]), max_size=30)
        | st.sampled_from(["ASIA", "2026-01-01T01:00:00Z", "2026-01-01", "99999-01-01"]),
    )
)
def test_any_session_is_one_or_a_bad_response(changes: dict[str, str]) -> None:
    try:
        session = role_session(sts_reply(changes))
    except BadResponseError:
        return
    assert session.lifetime > 0
    assert session.credentials.access_key_id.isprintable()


@given(st.text(max_size=100), st.sampled_from(["user/", "assumed-role/role/", "", "federated-user/"]))
def test_session_names_are_what_sts_takes(name: str, kind: str) -> None:
    found = default_session_name(Caller("000000000001", f"arn:aws:sts::000000000001:{kind}{name}", "aws"))
    assert re.fullmatch(r"[A-Za-z0-9_+=,.@-]{2,64}", found)
    assert found.startswith("poolcensus-")


def test_a_session_name_tells_who() -> None:
    name = default_session_name(Caller("1", "arn:aws:sts::1:assumed-role/Admin/jane@example.com", "aws"))
    assert name == "poolcensus-jane@example.com"


class Sts:
    """A client whose STS follows a script. The last entry is repeated."""

    def __init__(self, time: Time, *script: Reply | Exception) -> None:
        self._time = time
        self._script = list(script)
        self.counts = CallCounts()
        self.asked: list[dict[str, list[str]]] = []
        self.owners: list[str] = []
        self.go = anyio.Event()
        self.go.set()
        self.lifetime = 3600.0

    async def call(
        self,
        call: Call[Any],
        *,
        watch: CallWatch,
        retrier: object = None,
    ) -> Any:
        self.asked.append(parse_qs(call.body.decode()))
        self.owners.append(call.key.account_id)
        number = len(self.asked)
        watch.attempts += 1
        await self.go.wait()
        if not self._script:
            return call.parse(
                sts_reply(lifetime=self.lifetime, now=EPOCH + self._time.now, key=f"ASIA{number}")
            )
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, Exception):
            raise step
        return call.parse(step)


def broker_of(
    sts: Sts,
    *,
    caller: Caller = CALLER,
    role: str = "Reader",
    external_id: str | None = None,
    hubs: tuple[Role, ...] = (),
    overrides: Mapping[str, RoleOverride] | None = None,
    second: str | None = None,
    **session: Any,
) -> CredentialBroker:
    given: dict[str, Any] = {
        "name": default_session_name(caller),
        "duration": 900,
        "policy": session_policy(("workspaces:DescribeWorkspacesPools", "ec2:DescribeRegions")),
    }
    return CredentialBroker(
        sts=StsEndpoints(cast("Client", sts), _template, RetryPolicy(), region="us-east-1", second=second),
        caller=caller,
        caller_credentials=ChainCredentials(cast("Sdk", None)),
        roles=Roles(
            role,
            None if external_id is None else Secret(external_id),
            partition=caller.partition,
            hubs=hubs,
            overrides=overrides,
        ),
        session=SessionSettings(**{**given, **session}),
    )


async def _template(region: str) -> RequestTemplate:
    return cast("RequestTemplate", _Template(f"https://sts.{region}.amazonaws.com/"))


@dataclass
class _Template:
    url: str


def role_source(broker: CredentialBroker, account_id: str = MEMBER) -> RoleCredentials:
    source = broker.source(account_id)
    assert isinstance(source, RoleCredentials)
    return source


@pytest.mark.parametrize(
    ("lifetime", "usable"), [(3.0, 2.7), (900.0, 840.0), (3600.0, 3540.0), (300.0, 270.0)]
)
async def test_a_session_is_used_until_shortly_before_its_end(
    time: Time, lifetime: float, usable: float
) -> None:
    sts = Sts(time)
    sts.lifetime = lifetime
    source = role_source(broker_of(sts))
    assert source.current() is None
    first = await source.get()
    assert source.current() is first
    time.now += usable - 0.01
    assert source.current() is first
    assert await source.get() is first
    time.now += 0.02
    assert source.current() is None
    assert await source.get() is not first
    assert len(sts.asked) == 2


@pytest.mark.parametrize("whose", ["account", "hub"])
async def test_the_time_that_the_call_took_is_not_counted_twice(time: Time, whose: str) -> None:
    sts = Sts(time)
    sts.lifetime = 900
    sts.go = anyio.Event()
    broker = broker_of(sts, hubs=(HUB,))
    source = role_source(broker) if whose == "account" else broker._principals[1].source
    async with anyio.create_task_group() as group:
        group.start_soon(source.get)
        await checkpoint()
        # In a queue, or while STS does not answer: longer than the session, which begins after it.
        time.now += 1000
        sts.go.set()
    time.now += 839
    assert source.current() is not None
    time.now += 2
    assert source.current() is None


async def test_many_who_wait_share_one_renewal(time: Time) -> None:
    sts = Sts(time)
    sts.go = anyio.Event()
    broker = broker_of(sts)
    found: list[Credentials] = []

    async def ask(account_id: str) -> None:
        found.append(await broker.source(account_id).get())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask, MEMBER)
            group.start_soon(ask, "000000000003")
        for _ in range(5):
            await checkpoint()
        sts.go.set()
    assert len(sts.asked) == 2
    assert len(found) == 100
    assert len({each.access_key_id for each in found}) == 2
    assert sts.counts.assume_role_calls == 2


async def test_a_failure_is_followed_by_a_pause(time: Time) -> None:
    sts = Sts(time, ThrottledError("slow down", code="Throttling", status=400), sts_reply())
    source = role_source(broker_of(sts))
    for _ in range(20):
        with pytest.raises(AssumeRoleError, match="slow down") as raised:
            await source.get()
        assert raised.value.code == "Throttling"
        time.now += 0.4
    assert len(sts.asked) == 1
    time.now += 10
    assert (await source.get()).access_key_id == "ASIA"
    assert len(sts.asked) == 2


async def test_a_refusal_is_never_asked_again(time: Time) -> None:
    sts = Sts(time, AccessDeniedError("not authorized", code="AccessDenied", status=403, request_id="r"))
    broker = broker_of(sts)
    source = role_source(broker)
    for _ in range(5):
        with pytest.raises(
            AssumeRoleError, match="Could not assume arn:.*role/Reader: not authorized"
        ) as raised:
            await source.get()
        assert (raised.value.code, raised.value.status, raised.value.request_id) == ("AccessDenied", 403, "r")
        time.now += 1e6
    assert len(sts.asked) == 1
    # Each caller gets a copy of the error, which does not collect the tracebacks of all.
    errors = []
    for _ in range(2):
        with pytest.raises(AssumeRoleError) as raised:
            await source.get()
        errors.append(raised.value)
    assert errors[0] is not errors[1]


async def test_the_end_of_an_old_set_does_not_end_the_new_one(time: Time) -> None:
    sts = Sts(time)
    source = role_source(broker_of(sts))
    old = await source.get()
    source.expired(old)
    assert source.current() is None
    new = await source.get()
    source.expired(old)
    assert source.current() is new
    # Sessions are compared by identity, since STS may return equal keys twice.
    source.expired(Credentials(new.access_key_id, new.secret_access_key, new.session_token))
    assert source.current() is new
    assert len(sts.asked) == 2


async def test_where_the_callers_own_credentials_have_ended_that_is_said(time: Time) -> None:
    sts = Sts(time, ExpiredError("token expired", code="ExpiredToken", status=400))
    with pytest.raises(CallerExpiredError, match="token expired"):
        await broker_of(sts).source(MEMBER).get()
    own = Sts(time, CallerExpiredError("sso session over", code="x"))
    with pytest.raises(CallerExpiredError, match="sso session over"):
        await broker_of(own).source(MEMBER).get()


async def test_what_is_asked_of_sts(time: Time) -> None:
    sts = Sts(time)
    broker = broker_of(sts, role="/path/Reader", external_id="x&y=z", name="me", duration=7200)
    await broker.source(MEMBER).get()
    (asked,) = sts.asked
    assert asked["RoleArn"] == [f"arn:aws:iam::{MEMBER}:role/path/Reader"]
    assert asked["ExternalId"] == ["x&y=z"]
    assert asked["RoleSessionName"] == ["me"]
    assert asked["DurationSeconds"] == ["7200"]
    assert "workspaces:DescribeWorkspacesPools" in asked["Policy"][0]


async def test_a_chained_session_is_no_longer_than_an_hour(time: Time) -> None:
    sts = Sts(time)
    chained = Caller("000000000001", "arn:aws-us-gov:sts::000000000001:assumed-role/a/b", "aws-us-gov")
    await broker_of(sts, caller=chained, duration=7200).source(MEMBER).get()
    assert sts.asked[0]["DurationSeconds"] == ["3600"]
    assert sts.asked[0]["RoleArn"] == [f"arn:aws-us-gov:iam::{MEMBER}:role/Reader"]
    assert "ExternalId" not in sts.asked[0]


async def test_an_external_id_that_sts_repeats_is_masked(time: Time) -> None:
    refusal = AccessDeniedError("no: the value 'hush-hush' is wrong", code="No hush-hush", status=400)
    with pytest.raises(AssumeRoleError) as raised:
        await broker_of(Sts(time, refusal), external_id="hush-hush").source(MEMBER).get()
    assert "hush" not in str(raised.value)
    assert "hush" not in raised.value.code
    assert "hush" not in repr(raised.value.__cause__)
    assert "hush" not in repr(Role("r", Secret("hush-hush")))


@pytest.mark.parametrize("length", [30, 1224])
@pytest.mark.parametrize("before", [0, 20, LONGEST_MESSAGE - 10, LONGEST_MESSAGE - 1])
async def test_an_external_id_is_masked_where_a_long_message_is_cut_in_it(
    time: Time, length: int, before: int
) -> None:
    secret = "".join(f"{number:04}" for number in range(306))[:length]
    said = f"{'x' * before}{secret}' at 'externalId' failed to satisfy constraint"
    refusal = AccessDeniedError(readable(said), code="ValidationError", status=400)
    with pytest.raises(AssumeRoleError) as raised:
        await broker_of(Sts(time, refusal), external_id=secret).source(MEMBER).get()
    said = raised.value.message.removesuffix(f". {RoleRefusal.VALUE.advice}")
    assert said.endswith("***" if before + length > LONGEST_MESSAGE else "constraint")
    assert re.search(r"\d\d", raised.value.message.partition(":role/")[2]) is None


async def test_a_source_is_kept_until_it_is_forgotten(time: Time) -> None:
    sts = Sts(time)
    broker = broker_of(sts)
    first = broker.source(MEMBER)
    assert broker.source(MEMBER) is first
    assert broker.source(CALLER.account_id) is not first
    assert isinstance(broker.source(CALLER.account_id), ChainCredentials)
    broker.forget(MEMBER)
    broker.forget(MEMBER)
    assert broker.source(MEMBER) is not first
    assert not sts.asked


HUB = Role("arn:aws:iam::000000000007:role/Hub", Secret("hub-secret"))


async def test_a_hub_is_asked_with_its_own_external_id_and_for_no_more_than_an_hour(time: Time) -> None:
    sts = Sts(time)
    broker = broker_of(sts, hubs=(HUB,), external_id="own-secret", duration=7200)
    await role_source(broker).get()
    # The script's client asks for no credentials of its own: the hub is assumed when a call is signed.
    hub = broker._principals[1]
    await hub.source.get()
    role, hub_role = sts.asked
    assert (role["ExternalId"], hub_role["ExternalId"]) == (["own-secret"], ["hub-secret"])
    assert role["DurationSeconds"] == hub_role["DurationSeconds"] == ["3600"]
    assert "sts:AssumeRole" in hub_role["Policy"][0]
    assert (hub.account_id, sts.owners) == ("000000000007", ["000000000007", CALLER.account_id])


async def test_a_moments_trouble_costs_a_hub_nothing_while_its_session_lasts(time: Time) -> None:
    throttled = ThrottledError("slow down", code="Throttling", status=400)
    sts = Sts(time, sts_reply(lifetime=900, now=EPOCH), throttled)
    source = broker_of(sts, hubs=(HUB,))._principals[1].source
    first = await source.get()
    time.now += 841
    assert source.current() is None
    assert await source.get() is first
    assert source.current() is first
    assert len(sts.asked) == 2
    time.now += 11
    assert await source.get() is first
    assert len(sts.asked) == 3
    time.now += 50
    with pytest.raises(CallerExpiredError, match="session of hub role arn:.*role/Hub has ended.*slow down"):
        await source.get()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            AccessDeniedError("no", code="AccessDenied"),
            ": check its ARN, its external ID and its trust policy.",
        ),
        (CallTimeoutError("did not answer", code="Timeout"), ". Run it again."),
    ],
)
async def test_what_helps_a_hub_depends_on_whether_it_was_refused(
    time: Time, error: CallError, advice: str
) -> None:
    source = broker_of(Sts(time, error), hubs=(HUB,))._principals[1].source
    with pytest.raises(HubRoleError) as raised:
        await source.get()
    assert f"No account can be asked without this role of `role_chain`{advice}" in str(raised.value)


async def test_a_hub_session_that_the_service_calls_expired_is_not_used_again(time: Time) -> None:
    refused = AccessDeniedError("no more", code="AccessDenied", status=403)
    sts = Sts(time, sts_reply(lifetime=900, now=EPOCH), refused)
    source = broker_of(sts, hubs=(HUB,))._principals[1].source
    source.expired(await source.get())
    for _ in range(3):
        with pytest.raises(CallerExpiredError, match="no more"):
            await source.get()
        time.now += 1e6
    assert len(sts.asked) == 2


async def test_a_hub_that_was_never_assumed_is_fatal_and_holds_no_secret(time: Time) -> None:
    refused = AccessDeniedError("not 'hub-secret'", code="AccessDenied", status=403)
    source = broker_of(Sts(time, refused), hubs=(HUB,))._principals[1].source
    for _ in range(2):
        with pytest.raises(CredentialsError, match="Could not assume arn:.*role/Hub: not '\\*\\*\\*'"):
            await source.get()


async def test_where_the_callers_credentials_have_ended_the_hub_is_not_blamed(time: Time) -> None:
    expired = ExpiredError("token expired", code="ExpiredToken", status=400)
    source = broker_of(Sts(time, expired), hubs=(HUB,))._principals[1].source
    with pytest.raises(CallerExpiredError, match="the caller's credentials have expired"):
        await source.get()


class Chain:
    """The SDK's credential chain, as `ChainCredentials` sees it."""

    def __init__(self, time: Time, *, keeps: float = 10.0, error: CensusError | None = None) -> None:
        self._time = time
        self._keeps = keeps
        self.error = error
        self.walks = 0
        self.forgotten = 0

    async def caller_credentials(self) -> tuple[Credentials, float]:
        self.walks += 1
        await checkpoint()
        if self.error is not None:
            raise self.error
        return Credentials(f"AKIA{self.walks}", "s"), self._time.now + self._keeps

    def forget_caller_credentials(self) -> None:
        self.forgotten += 1


async def test_the_callers_credentials_are_asked_of_the_chain_once_for_all(time: Time) -> None:
    chain = Chain(time)
    source = ChainCredentials(cast("Sdk", chain))
    assert source.current() is None
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(source.get)
    assert chain.walks == 1
    time.now += 9.9
    assert source.current() is not None
    time.now += 0.2
    assert source.current() is None
    await source.get()
    assert chain.walks == 2


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolcensus.aws.credentials.chain_credentials._WAITS_FOR_THE_CHAIN", (0.0, 0.0))


@pytest.mark.usefixtures("no_waits")
async def test_the_chain_rests_after_it_could_not_renew(time: Time) -> None:
    chain = Chain(time, error=CredentialsError("sso session over"))
    source = ChainCredentials(cast("Sdk", chain))
    for _ in range(5):
        with pytest.raises(CallerExpiredError, match="sso session over"):
            await source.get()
    # Two more attempts, each after a wait, and then none until the pause is over.
    assert chain.walks == 3
    time.now += 10.1
    chain.error = None
    assert (await source.get()).access_key_id == "AKIA4"
    assert chain.walks == 4


async def test_credentials_that_could_not_be_renewed_are_used_while_the_service_takes_them(
    time: Time,
) -> None:
    chain = Chain(time)
    source = ChainCredentials(cast("Sdk", chain))
    old = await source.get()
    chain.error = CredentialsError("the token service did not answer")
    time.now += 3600
    assert await source.get() is old
    source.expired(old)
    with pytest.raises(CallerExpiredError):
        await source.get()


async def test_the_chain_is_walked_anew_for_credentials_that_have_expired(time: Time) -> None:
    chain = Chain(time, keeps=float("inf"))
    source = ChainCredentials(cast("Sdk", chain))
    old = await source.get()
    source.expired(Credentials("AKIA1", "s"))
    assert source.current() is old
    assert chain.forgotten == 0
    source.expired(old)
    assert source.current() is None
    assert chain.forgotten == 1
    new = await source.get()
    assert new is not old
    source.expired(old)
    assert source.current() is new
    assert chain.forgotten == 1


async def test_what_the_chain_of_a_profile_does_is_work_and_whose_it_is_is_a_call() -> None:
    work = Work()
    counted: list[int] = []

    class Program:
        """A profile's program, which takes a while."""

        async def open(self) -> None:
            counted.append(work.count)

        async def caller_credentials(self) -> tuple[Credentials, float]:
            counted.append(work.count)
            return Credentials("AKID", "secret"), 0.0

    async def identify(_: object) -> Caller:
        counted.append(work.count)
        return CALLER

    profile = ProfileCredentials("audit", cast("Sdk", Program()), identify, work)
    # Whoever needs the credentials rests meanwhile: see `Client`.
    with work, work.resting:
        assert await profile.get() == Credentials("AKID", "secret")
    assert counted == [1, 1, 0, 1]
    assert work.count == 0

"""Which STS endpoint is called, and what happens if it is not activated or does not answer."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from poolcensus import partitions
from poolcensus.aws.call import CallCounts
from poolcensus.aws.credentials.identity import identify, identity_of
from poolcensus.aws.credentials.sts import (
    RoleRequest,
    RoleSession,
    StsEndpoints,
    second_sts_region,
)
from poolcensus.aws.refusals.redaction import redact
from poolcensus.aws.signing import Credentials
from poolcensus.errors import (
    AccessDeniedError,
    CallError,
    CallTimeoutError,
    CredentialsError,
    ExpiredError,
    FatalError,
    NoRouteError,
    SilentError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
)
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.model import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab
    from poolcensus.aws.call import Call, CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.credentials.sts import RenewableSource
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import RequestTemplate

    Start = Callable[..., Coroutine[None, None, Lab]]

FIRST, SECOND = "me-south-1", "us-east-1"
SESSION = RoleSession(Credentials("ASIA", "s", "t"), 900.0, 1000.0)
OFF = UnrecognizedCredentialsError("not activated", code="RegionDisabledException", status=403)
UNKNOWN = UnrecognizedCredentialsError("unknown", code="InvalidClientTokenId", status=403)
EXPIRED = ExpiredError("over", code="ExpiredToken", status=403)
THROTTLED = ThrottledError("slow down", code="Throttling")
DENIED = AccessDeniedError("no", code="AccessDenied", status=403)
SILENT: tuple[CallError, ...] = (
    UnreachableError("refused", code="x"),
    CallTimeoutError("slow", code="x"),
    SilentError("silent", code="x"),
)


@pytest.mark.parametrize(
    ("region", "second"),
    [
        ("us-east-1", "us-east-2"),
        ("eu-central-1", "eu-north-1"),
        ("us-west-2", "us-east-1"),
        ("me-south-1", "us-east-1"),
        ("ap-east-1", "ap-northeast-1"),
        ("us-gov-east-1", "us-gov-west-1"),
        ("us-gov-west-1", "us-gov-east-1"),
        ("cn-north-1", "cn-northwest-1"),
        ("xx-none-1", None),
    ],
)
def test_the_second_region(region: str, second: str | None) -> None:
    assert second_sts_region(region) == second


def test_every_second_region_is_on_in_every_account_of_the_partition() -> None:
    for partition in partitions.partitions().values():
        for region in partition.regions:
            second = second_sts_region(region)
            if second is not None:
                assert second != region
                assert second in partition.regions
                assert second not in partition.opt_in


class Clients:
    """A client whose STS follows a script in each region."""

    def __init__(self, says: dict[str, list[object]], *, one_place: bool = False) -> None:
        self.counts = CallCounts()
        self.says = says
        self.asked: list[tuple[str, bool]] = []
        self.retriers: list[Retrier] = []
        self._one_place = one_place

    async def call(self, call: Call[object], *, retrier: Retrier | None = None, **_: object) -> object:
        region = call.key.region
        self.retriers += [retrier] if retrier is not None else []
        self.asked.append((region, call.optional))
        assert cast("Any", call.template).region == region
        said = self.says[region].pop(0) if len(self.says[region]) > 1 else self.says[region][0]
        if isinstance(said, CallError):
            raise said
        return said

    async def template(self, region: str) -> RequestTemplate:
        return cast("RequestTemplate", _Template(region, "one" if self._one_place else region))

    def endpoints(self, second: str | None = SECOND, *, first: str = FIRST) -> StsEndpoints:
        return StsEndpoints(cast("Client", self), self.template, RetryPolicy(), region=first, second=second)


class _Template:
    proxy: str | None = None

    def __init__(self, region: str, url: str) -> None:
        self.region = region
        self.url = url


def request(source: object = SimpleNamespace(latest=None)) -> RoleRequest:
    return RoleRequest({"Action": "AssumeRole"}, cast("RenewableSource", source), "1", "2", redact)


@pytest.mark.parametrize("one_place", [True, False])
async def test_a_region_that_is_off_is_left_once_with_one_warning(
    caplog: pytest.LogCaptureFixture, one_place: bool
) -> None:
    client = Clients({FIRST: [OFF], SECOND: [SESSION]}, one_place=one_place)
    sts = client.endpoints()
    for _ in range(3):
        assert await sts.assume_role(request()) is SESSION
    assert [region for region, _ in client.asked] == [FIRST, SECOND, SECOND, SECOND]
    assert sts.region == SECOND
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"STS in {FIRST} can't be used: not activated (RegionDisabledException)" in record.getMessage()
    assert f"STS in {SECOND} is called instead" in record.getMessage()


async def test_where_the_second_is_off_too_the_first_refusal_stands(caplog: pytest.LogCaptureFixture) -> None:
    client = Clients({FIRST: [OFF], SECOND: [OFF]})
    sts = client.endpoints()
    with pytest.raises(UnrecognizedCredentialsError):
        await sts.assume_role(request())
    assert [region for region, _ in client.asked] == [FIRST, SECOND]
    assert sts.region == FIRST
    assert not caplog.records


@pytest.mark.parametrize("silence", SILENT)
async def test_a_region_that_does_not_answer_is_left_when_the_second_does(silence: CallError) -> None:
    client = Clients({FIRST: [silence], SECOND: [DENIED, SESSION]})
    sts = client.endpoints()
    # A refusal counts as an answer.
    with pytest.raises(AccessDeniedError):
        await sts.assume_role(request())
    assert sts.region == SECOND
    assert await sts.assume_role(request()) is SESSION
    assert client.asked == [(FIRST, True), (SECOND, True), (SECOND, False)]


@pytest.mark.parametrize("silence", SILENT)
async def test_where_neither_answers_the_first_is_waited_for(
    silence: CallError, caplog: pytest.LogCaptureFixture
) -> None:
    client = Clients({FIRST: [silence, SESSION], SECOND: [silence]})
    sts = client.endpoints()
    assert await sts.assume_role(request()) is SESSION
    # The last one waits as any call does.
    assert client.asked == [(FIRST, True), (SECOND, True), (FIRST, False)]
    assert sts.region == FIRST
    assert not caplog.records


async def test_a_network_that_is_down_is_no_reason_to_move() -> None:
    client = Clients({FIRST: [NoRouteError("down", code="x"), SESSION], SECOND: [SESSION]})
    assert await client.endpoints().assume_role(request()) is SESSION
    assert client.asked == [(FIRST, True), (FIRST, False)]


async def test_keys_that_are_unknown_in_a_region_of_every_account_are_too_new() -> None:
    client = Clients({SECOND: [UNKNOWN, SESSION], FIRST: [SESSION]})
    assert await client.endpoints(FIRST, first=SECOND).assume_role(request()) is SESSION
    assert [region for region, _ in client.asked] == [SECOND, SECOND]


async def test_a_region_that_the_account_of_a_hub_has_not_enabled_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Clients({FIRST: [UNKNOWN], SECOND: [SESSION]})
    sts = client.endpoints()
    assert await sts.assume_role(request()) is SESSION
    assert [region for region, _ in client.asked] == [FIRST, SECOND]
    assert sts.region == SECOND
    assert len(caplog.records) == 1


async def test_keys_that_are_unknown_in_both_regions_are_tried_again_in_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Clients({FIRST: [UNKNOWN, SESSION], SECOND: [UNKNOWN]})
    sts = client.endpoints()
    assert await sts.assume_role(request()) is SESSION
    assert [region for region, _ in client.asked] == [FIRST, SECOND, FIRST]
    assert sts.region == FIRST
    assert not caplog.records


@pytest.mark.parametrize("error", [DENIED, ThrottledError("slow down", code="Throttling")])
async def test_an_answer_of_the_first_stands(error: CallError) -> None:
    client = Clients({FIRST: [error], SECOND: [SESSION]})
    with pytest.raises(type(error)):
        await client.endpoints().assume_role(request())
    assert [region for region, _ in client.asked] == [FIRST]


@pytest.mark.parametrize("silence", SILENT)
async def test_with_an_endpoint_url_both_regions_are_in_one_place(silence: CallError) -> None:
    client = Clients({FIRST: [silence], SECOND: [SESSION]}, one_place=True)
    with pytest.raises(type(silence)):
        await client.endpoints().assume_role(request())
    assert client.asked == [(FIRST, False)]


async def test_a_run_that_has_moved_moves_no_more() -> None:
    client = Clients({FIRST: [OFF]})
    with pytest.raises(UnrecognizedCredentialsError):
        await client.endpoints(second=None).assume_role(request())
    assert client.asked == [(FIRST, False)]


class Renewed:
    """The caller's credentials, which stay the same with each renewal until a test changes them."""

    def __init__(self) -> None:
        self.key = "AKIA1"

    @property
    def latest(self) -> Credentials:
        return Credentials(self.key, "s")


@pytest.mark.parametrize("unknown", [UNKNOWN, EXPIRED])
@pytest.mark.parametrize("answer", [SESSION, DENIED])
async def test_credentials_that_sts_does_not_know_any_more_are_tried_once_a_call_until_it_does(
    unknown: CallError, answer: object
) -> None:
    client = Clients({SECOND: [unknown, THROTTLED, unknown, answer, unknown]})
    sts, source = client.endpoints(first=SECOND, second=None), Renewed()
    tries: list[bool] = []
    for _ in range(6):
        before = len(client.retriers)
        with suppress(CallError):
            await sts.assume_role(request(source))
        tries.append(len(client.retriers) > before)
    # Each is called. The first is called again as ever, and so is the one after the answer.
    assert tries == [False, True, True, True, False, True]
    assert len(client.asked) == 6


@pytest.mark.parametrize("answer", [OFF, UNKNOWN])
async def test_what_says_that_regions_are_not_enabled_is_asked_again_as_at_first(answer: CallError) -> None:
    client = Clients({FIRST: [answer], SECOND: [answer]})
    sts, source = client.endpoints(), Renewed()
    for _ in range(2):
        with pytest.raises(UnrecognizedCredentialsError):
            await sts.assume_role(request(source))
    half = len(client.asked) // 2
    assert client.asked[:half] == client.asked[half:]
    assert client.asked[:2] == [(FIRST, True), (SECOND, True)]
    attempts = [each._policy.max_expired for each in client.retriers]
    assert set(attempts) == {RetryPolicy().max_expired}


async def test_other_credentials_are_tried_as_ever() -> None:
    client = Clients({SECOND: [UNKNOWN]})
    sts, source, another = client.endpoints(first=SECOND, second=None), Renewed(), Renewed()
    another.key = "AKIA2"
    for each in (source, another):
        with pytest.raises(UnrecognizedCredentialsError):
            await sts.assume_role(request(each))
    assert client.retriers == []
    source.key = "AKIA3"
    with pytest.raises(UnrecognizedCredentialsError):
        await sts.assume_role(request(source))
    assert client.retriers == []


async def test_credentials_that_are_renewed_by_the_one_call_are_tried_as_ever() -> None:
    source = Renewed()

    class Renewing(Clients):
        async def call(
            self, call: Call[object], *, retrier: Retrier | None = None, **others: object
        ) -> object:
            if self.asked:
                source.key = "AKIA2"
            return await super().call(call, retrier=retrier, **others)

    client = Renewing({SECOND: [UNKNOWN, UNKNOWN, SESSION]})
    sts = client.endpoints(first=SECOND, second=None)
    with pytest.raises(UnrecognizedCredentialsError):
        await sts.assume_role(request(source))
    assert await sts.assume_role(request(source)) is SESSION
    assert len(client.asked) == 3


@pytest.mark.parametrize("operation", ["GetCallerIdentity", "AssumeRole"])
async def test_a_census_whose_sts_is_off_in_the_first_region(
    lab: Start, monkeypatch: pytest.MonkeyPatch, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(
        accounts=4,
        pools_per_target=1,
        regions=("us-east-1", "eu-west-1"),
        faults=(f"region-disabled,service=sts,operation={operation},region=eu-west-1",),
    )
    snapshot = await here.collect(sts_region="eu-west-1")
    here.assert_exact(snapshot)
    assert len([each for each in caplog.records if "is called instead" in each.getMessage()]) == 1


CALLER = Caller("000000000001", "arn:aws:iam::000000000001:user/census", "aws")


async def who(client: Clients, region: str = FIRST, second: str | None = SECOND) -> tuple[Caller, str]:
    sdk = SimpleNamespace(template=lambda service, region, method: client.template(region))
    source = cast("CredentialSource", None)
    return await identify(cast("Sdk", sdk), cast("Client", client), source, region, second)


async def of_profile(client: Clients, region: str) -> Caller:
    sdk = SimpleNamespace(template=lambda service, region, method: client.template(region))
    source = cast("CredentialSource", None)
    return await identity_of(cast("Sdk", sdk), cast("Client", client), source, region)


@pytest.mark.parametrize("error", [OFF, UNKNOWN, *SILENT])
async def test_the_second_region_tells_who_the_caller_is(
    error: CallError, caplog: pytest.LogCaptureFixture
) -> None:
    client = Clients({FIRST: [error], SECOND: [CALLER]})
    assert await who(client) == (CALLER, SECOND)
    assert [region for region, _ in client.asked] == [FIRST, SECOND]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [OFF, UNKNOWN, *SILENT])
async def test_a_profile_whose_region_does_not_tell_is_told_by_the_second(error: CallError) -> None:
    client = Clients({FIRST: [error], SECOND: [CALLER]})
    assert await of_profile(client, FIRST) == CALLER
    assert [region for region, _ in client.asked] == [FIRST, SECOND]
    with pytest.raises(UnrecognizedCredentialsError):
        await of_profile(Clients({SECOND: [UNKNOWN]}), SECOND)


async def test_where_no_region_answers_for_a_profile_the_first_is_waited_for() -> None:
    client = Clients({FIRST: [SILENT[0], CALLER], SECOND: [SILENT[0]]})
    assert await of_profile(client, FIRST) == CALLER
    # The first call is optional, since there is another region. The last one is not.
    assert client.asked == [(FIRST, True), (SECOND, True), (FIRST, False)]
    with pytest.raises(AccessDeniedError):
        await of_profile(Clients({FIRST: [DENIED], SECOND: [CALLER]}), FIRST)


@pytest.mark.parametrize(("first", "second"), [(SILENT[0], DENIED), (UNKNOWN, UNKNOWN)])
async def test_what_the_second_region_says_of_a_profile_is_said(first: CallError, second: CallError) -> None:
    client = Clients({FIRST: [first, CALLER], SECOND: [second]})
    with pytest.raises(type(second)):
        await of_profile(client, FIRST)
    assert [region for region, _ in client.asked] == [FIRST, SECOND]
    # With some tries, since there is another region; and as ever where both are in one place.
    assert [each._policy.max_without_reply for each in client.retriers[:1]] == [3]
    one = Clients({FIRST: [CALLER]}, one_place=True)
    await of_profile(one, FIRST)
    assert one.retriers[0]._policy.max_without_reply == RetryPolicy().max_without_reply


@pytest.mark.parametrize("error", [NoRouteError("down", code="x"), DENIED, ThrottledError("slow", code="x")])
async def test_what_no_other_region_would_tell_either(error: CallError) -> None:
    client = Clients({FIRST: [error], SECOND: [CALLER]})
    with pytest.raises(FatalError):
        await who(client)
    assert [region for region, _ in client.asked] == [FIRST]


async def test_unknown_keys_in_a_region_that_every_account_has_are_no_good() -> None:
    client = Clients({SECOND: [UNKNOWN], FIRST: [CALLER]})
    with pytest.raises(CredentialsError, match="does not accept the caller's credentials"):
        await who(client, SECOND, FIRST)
    assert [region for region, _ in client.asked] == [SECOND]


async def test_where_the_second_region_does_not_tell_either_the_first_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Clients({FIRST: [SILENT[0]], SECOND: [DENIED]})
    with pytest.raises(FatalError, match="STS can't be reached: refused"):
        await who(client)
    assert not caplog.records

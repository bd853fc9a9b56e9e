from __future__ import annotations

import gzip
import http.client
import socket
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from poolcensus.simulator import Fault, FaultKind, Latency, SimulatorConfig, WorldConfig
from poolcensus.simulator.call import Call
from poolcensus.simulator.faults import Injector
from simulator.conftest import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.conftest import Reply, Running, Start

WORLD = WorldConfig(accounts=4, pools_per_target=60)


def begin(start: Start, *faults: str, world: WorldConfig = WORLD, **options: Any) -> Running:
    return start(SimulatorConfig(world=world, faults=tuple(Fault.parse(text) for text in faults)), **options)


def raw(running: Running) -> socket.socket:
    """Send one signed call over a bare socket."""
    headers = {**running.signed(), "Host": running.host, "Content-Length": "2"}
    head = "POST / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock = socket.create_connection(running.address, timeout=5)
    sock.sendall(f"{head}\r\n{{}}".encode())
    return sock


def drain(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    return data


def ids(reply: Reply) -> list[str]:
    return [pool["PoolId"] for pool in reply.json["WorkspacesPools"]]


def follow(running: Running, most: int = 12) -> list[Any]:
    """Follow the page tokens, and return the pages."""
    pages = []
    query: dict[str, Any] = {}
    for _ in range(most):
        page = running.pools(query).json
        pages.append(page)
        if not page.get("NextToken"):
            break
        query = {"NextToken": page["NextToken"]}
    return pages


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("throttle", 400, "ThrottlingException"),
        ("throttle503", 503, "ServiceUnavailable"),
        ("5xx", 500, "InternalServerException"),
        ("expired", 400, "ExpiredTokenException"),
    ],
)
def test_an_error_of_the_service(start: Start, fault: str, status: int, code: str) -> None:
    running = begin(start, f"{fault},first=1")
    reply = running.pools()
    assert (reply.status, reply.code) == (status, code)
    assert running.pools().status == 200
    assert running.simulator.stats.faults == {fault: 1}
    assert running.simulator.stats.codes[code] == 1


def test_a_throttle_by_status_alone_may_say_when_to_come_back(start: Start) -> None:
    reply = begin(start, "throttle429,retry-after=3").pools()
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (429, b"", "3")


def test_a_bad_gateway_is_html(start: Start) -> None:
    reply = begin(start, "bad-gateway").pools()
    assert reply.status == 502
    assert reply.headers["content-type"] == "text/html"
    assert b"<html>" in reply.body


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ("empty-body", b""),
        ("null", b"null"),
        ("list", b"[]"),
        ("string", b'"WorkspacesPools"'),
        ("missing-list", b'{"ResponseMetadata":{}}'),
    ],
)
def test_a_success_that_is_none(start: Start, fault: str, body: bytes) -> None:
    reply = begin(start, fault).pools()
    assert (reply.status, reply.body) == (200, body)


def test_a_success_may_be_html_or_bytes_that_are_no_text(start: Start) -> None:
    html = begin(start, "html").pools()
    assert html.status == 200
    assert html.body.startswith(b"<!DOCTYPE html>")
    broken = begin(start, "bad-utf8").pools()
    assert broken.status == 200
    with pytest.raises(UnicodeDecodeError):
        broken.body.decode()


def test_a_reset_comes_before_any_reply(start: Start) -> None:
    running = begin(start, "reset")
    with raw(running) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert running.simulator.stats.bytes_sent == 0


def test_a_truncated_reply_claims_its_whole_length(start: Start) -> None:
    with raw(begin(start, "truncate")) as sock:
        head, _, body = drain(sock).partition(b"\r\n\r\n")
    claimed = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) == claimed // 2
    with pytest.raises(http.client.IncompleteRead):
        begin(start, "truncate").pools()


def test_a_wrong_length_is_shorter_than_the_reply(start: Start) -> None:
    with raw(begin(start, "wrong-length")) as sock:
        head, _, body = drain(sock).partition(b"\r\n\r\n")
    claimed = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    assert len(body) == claimed + 7
    orjson.loads(body)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body[:claimed])


def test_a_huge_reply_is_valid_and_streamed(start: Start) -> None:
    reply = begin(start, "huge,size=3000000").pools()
    assert len(reply.body) == 3_000_000 == int(reply.headers["content-length"])
    assert reply.json["WorkspacesPools"] == []


def test_the_default_of_huge_is_64_mb() -> None:
    assert Fault(FaultKind.HUGE).size == 64 << 20


def test_a_gzip_body_breaks_off(start: Start) -> None:
    reply = begin(start, "gzip-cut").pools()
    assert reply.headers["content-encoding"] == "gzip"
    with pytest.raises(EOFError):
        gzip.decompress(reply.body)


def test_a_dripping_reply_comes_a_byte_at_a_time(start: Start) -> None:
    running = begin(start, "drip,seconds=0.05")
    began = time.perf_counter()
    with raw(running) as sock:
        data = b""
        while len(data.partition(b"\r\n\r\n")[2]) < 6:
            data += sock.recv(1 << 16)
    assert time.perf_counter() - began >= 0.3
    assert int(data.split(b"Content-Length: ")[1].split(b"\r\n")[0]) > 1000


@pytest.mark.parametrize("fault", ["drip,seconds=0", "truncate", "wrong-length", "huge,size=1000"])
def test_a_reply_to_head_has_no_body_whatever_goes_wrong(start: Start, fault: str) -> None:
    running = begin(start, f"{fault},service=s3,operation=HEAD")
    client = running.client("s3", signature_version="s3v4")
    client.create_bucket(Bucket="some-bucket")
    client.put_object(Bucket="some-bucket", Key="key", Body=b"0123456789")
    url = client.generate_presigned_url("head_object", Params={"Bucket": "some-bucket", "Key": "key"})
    path = url.removeprefix(running.simulator.endpoint_url)
    asked = f"HEAD {path} HTTP/1.1\r\nHost: {running.host}\r\n\r\n"
    last = f"GET /_simulator/elsewhere HTTP/1.1\r\nHost: {running.host}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall((asked * 2 + last).encode())
        data = drain(sock)
    *heads, body = data.split(b"\r\n\r\n")
    assert all(b"\r\nContent-Length: " in head for head in heads)
    assert all(head.startswith(b"HTTP/1.1 200") for head in heads[:2])
    # The two faults with a wrong length end the connection.
    ends = fault in {"truncate", "wrong-length"}
    assert (len(heads), body) == ((1, b"") if ends else (3, b'{"message":"not found"}'))


def test_a_hanging_call_never_answers_and_keeps_the_connection(start: Start) -> None:
    running = begin(start, "hang,first=1")
    in_flight = running.simulator.stats.in_flight
    with raw(running) as sock:
        _wait_until(lambda: in_flight.total() == 1)
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert in_flight.total() == 1
    assert running.pools().status == 200
    _wait_until(lambda: not in_flight)


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_redirect_leads_elsewhere(start: Start) -> None:
    reply = begin(start, "redirect,location=http://127.0.0.1:1/there").pools()
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/there")


@pytest.mark.parametrize("location", ["http://日本/", "http://a b/", "http://a/\r\nX-Else: 1", ""])
def test_a_redirect_leads_to_what_a_header_can_carry(location: str) -> None:
    with pytest.raises(ValueError, match=r"^fault redirect: location must be a URL in ASCII, not '"):
        Fault(FaultKind.REDIRECT, location=location)


def test_a_pool_may_lack_its_id(start: Start) -> None:
    pools = begin(start, "pool-without-id").pools().json["WorkspacesPools"]
    assert "PoolId" not in pools[0]
    assert len(pools) == 25


@pytest.mark.parametrize(("fault", "created"), [("timestamp-huge", 1e30), ("timestamp-text", "yesterday")])
def test_a_time_may_be_no_time(start: Start, fault: str, created: object) -> None:
    running = begin(start, fault, world=WorldConfig(accounts=2, pools_per_target=0))
    assert running.pools().json["WorkspacesPools"][0]["CreatedAt"] == created
    assert begin(start, fault).pools().json["WorkspacesPools"][0]["CreatedAt"] == created


def test_a_page_may_give_the_token_it_was_asked_with(start: Start) -> None:
    pages = follow(begin(start, "same-token"), 5)
    assert len(pages) == 5
    assert len({page["NextToken"] for page in pages}) == 1


def test_tokens_may_go_round_in_a_circle_of_two(start: Start) -> None:
    pages = follow(begin(start, "cycle-tokens"), 6)
    tokens = [page["NextToken"] for page in pages]
    assert len(tokens) == 6
    assert tokens[0] != tokens[1]
    assert tokens == [tokens[0], tokens[1]] * 3


@pytest.mark.parametrize(("fault", "token"), [("empty-token", ""), ("null-token", None)])
def test_the_last_page_may_carry_a_token_that_is_none(start: Start, fault: str, token: object) -> None:
    pages = follow(begin(start, fault))
    assert [len(page["WorkspacesPools"]) for page in pages] == [25, 25, 10]
    assert pages[-1]["NextToken"] == token


def test_pages_may_be_empty_in_between(start: Start) -> None:
    pages = follow(begin(start, "empty-page"))
    assert [len(page["WorkspacesPools"]) for page in pages] == [0, 25, 0, 25, 0, 10]


def test_a_pool_may_come_again_on_the_next_page(start: Start) -> None:
    running = begin(start, "shifting")
    pages = follow(running)
    seen = [pool["PoolId"] for page in pages for pool in page["WorkspacesPools"]]
    assert pages[1]["WorkspacesPools"][0] == pages[0]["WorkspacesPools"][-1]
    assert len(set(seen)) == 60 < len(seen)


def test_only_pages_of_pools_shift(start: Start) -> None:
    running = begin(start, "shifting,service=*")
    assert running.client("sts").get_caller_identity()["Account"] == "000000000001"
    assert len(running.client("organizations").list_accounts()["Accounts"]) == 4
    assert running.client("s3").list_buckets()["Buckets"] == []


def test_evil_names_are_on_the_wire(start: Start) -> None:
    body = begin(start, "evil-names").pools().body
    for evil in (b"\\n", b"\\r", b"\\u2028", b"\\u0000", b"\\u001b[2J", b"\\ud800"):
        assert evil in body
    assert len(body) > 1 << 20
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)


def test_a_rule_is_about_what_it_names_only(start: Start) -> None:
    running = begin(
        start,
        "throttle,account=000000000002,region=us-west-2",
        "5xx,page=2,account=000000000003",
        "throttle429,operation=DescribeTags",
    )
    second, third = running.assume("000000000002"), running.assume("000000000003")
    assert running.pools(credentials=second).status == 200
    assert running.pools(credentials=second, region="us-west-2").code == "ThrottlingException"
    assert running.pools(region="us-west-2").status == 200
    first_page = running.pools(credentials=third)
    assert first_page.status == 200
    token = first_page.json["NextToken"]
    assert running.pools({"NextToken": token}, credentials=third).status == 500
    assert running.pools({"NextToken": running.pools().json["NextToken"]}).status == 200


def test_calls_are_counted_for_each_target_account_or_all(start: Start) -> None:
    def statuses(rule: str) -> list[int]:
        running = begin(start, rule)
        return [
            running.pools(region=region).status for _ in range(2) for region in ("us-east-1", "us-west-2")
        ]

    assert statuses("throttle,first=1") == [400, 400, 200, 200]
    assert statuses("throttle,first=1,per=account") == [400, 200, 200, 200]
    assert statuses("throttle,first=3,per=all") == [400, 400, 400, 200]
    assert statuses("throttle,every=2") == [200, 200, 400, 400]


def test_credentials_expire_once_for_each_pair_of_keys(start: Start) -> None:
    running = begin(start, "expired,first=1,per=credentials")
    old, new = running.assume("000000000002"), running.assume("000000000002")
    statuses = [
        running.pools(credentials=each, region=region).status
        for each in (old, new)
        for region in ("us-east-1", "us-west-2")
    ]
    assert statuses == [400, 200, 400, 200]


def call(account: int, region: str = "us-east-1") -> Call:
    return Call("workspaces", "DescribeWorkspacesPools", f"{account:012d}", region, "AKIA")


def test_faults_follow_from_the_seed_whatever_the_order_of_the_targets() -> None:
    def hits(seed: int, *, backwards: bool) -> set[tuple[int, int]]:
        injector = Injector((Fault.parse("throttle:0.3"),), seed, time.monotonic)
        accounts = range(200, 0, -1) if backwards else range(1, 201)
        return {
            (account, turn)
            for turn in range(5)
            for account in accounts
            if injector.choose(call(account), 1) is not None
        }

    assert hits(1, backwards=False) == hits(1, backwards=True)
    assert hits(1, backwards=False) != hits(2, backwards=False)
    assert len(hits(1, backwards=False)) == pytest.approx(300, abs=60)


def test_a_paging_loop_lasts_where_it_is() -> None:
    injector = Injector((Fault.parse("cycle-tokens:0.5"),), 1, time.monotonic)
    for account in range(1, 30):
        assert len({injector.choose(call(account), 1) is None for _ in range(6)}) == 1


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        ("reset,until=20", [0.0, 0.5, 19.999]),
        ("reset,after=0.5", [0.5, 19.999, 20.0, 1e6]),
        ("reset,after=0.5,until=20", [0.5, 19.999]),
        ("reset", [0.0, 0.5, 19.999, 20.0, 1e6]),
    ],
)
def test_a_rule_hits_within_its_time_only(rule: str, hit: list[float]) -> None:
    clock = VirtualClock()
    injector = Injector((Fault.parse(rule),), 1, clock)
    times = [0.0, 0.5, 19.999, 20.0, 1e6]
    began = clock.now
    found = []
    for elapsed in times:
        clock.now = began + elapsed
        if injector.choose(call(1), 1) is not None:
            found.append(elapsed)
    assert found == hit


def test_a_reset_begins_the_time_of_a_rule_anew() -> None:
    clock = VirtualClock()
    injector = Injector((Fault.parse("reset,after=5,until=20"),), 1, clock)
    assert injector.choose(call(1), 1) is None
    clock.now += 100
    assert injector.choose(call(1), 1) is None
    injector.reset()
    assert injector.choose(call(1), 1) is None
    clock.now += 5
    assert injector.choose(call(1), 1) is not None


def test_calls_outside_of_a_rule_s_time_are_not_counted() -> None:
    clock = VirtualClock()
    injector = Injector((Fault.parse("throttle,first=2,after=10"),), 1, clock)
    assert [injector.choose(call(1), 1) is None for _ in range(3)] == [True] * 3
    clock.now += 10
    assert [injector.choose(call(1), 1) is None for _ in range(3)] == [False, False, True]


def test_another_rule_may_hit_once_a_rule_s_time_is_over() -> None:
    clock = VirtualClock()
    injector = Injector((Fault.parse("reset,until=20"), Fault.parse("throttle")), 1, clock)
    kinds = []
    clock.now += 1e6
    for _ in range(2):
        chosen = injector.choose(call(1), 1)
        assert chosen is not None
        kinds.append(chosen.kind)
        clock.now += 20
    assert kinds == [FaultKind.RESET, FaultKind.THROTTLE]


def test_a_region_is_out_at_first_and_again_after_a_reset_of_the_simulator(start: Start) -> None:
    clock = VirtualClock()
    running = begin(start, "throttle,region=eu-west-2,until=20", monotonic=clock)

    def statuses() -> list[int]:
        return [running.pools(region=region).status for region in ("eu-west-2", "us-east-1")]

    assert statuses() == [400, 200]
    clock.now += 20
    assert statuses() == [200, 200]
    assert running.get("/_simulator/reset", "POST").status == 204
    assert statuses() == [400, 200]


def test_the_time_of_a_rule_begins_with_the_first_call_that_it_is_about() -> None:
    clock = VirtualClock()
    injector = Injector((Fault.parse("reset,account=000000000001,until=20"),), 1, clock)
    assert injector.choose(call(2), 1) is None
    clock.now += 1e6
    assert injector.choose(call(1), 1) is not None
    clock.now += 19
    assert injector.choose(call(1), 1) is not None
    clock.now += 1
    assert injector.choose(call(1), 1) is None


def seconds(running: Running, **arguments: Any) -> float:
    began = time.perf_counter()
    running.pools(**arguments)
    return time.perf_counter() - began


def test_a_call_that_is_hit_takes_the_time_of_its_rule(start: Start) -> None:
    config = SimulatorConfig(
        world=WORLD,
        latency=Latency.parse("1000", slow_fraction=1.0, slow_factor=10),
        faults=(
            Fault.parse("unsupported,latency=0,region=eu-west-1"),
            Fault.parse("empty-page,latency=200,region=eu-west-2"),
        ),
    )
    running = start(config)
    assert seconds(running, region="eu-west-1") < 1
    assert running.simulator.stats.concurrency_peaks == {}
    assert 0.2 <= seconds(running, region="eu-west-2") < 1


def test_a_call_that_no_rule_hits_takes_the_configured_time(start: Start) -> None:
    config = SimulatorConfig(
        world=WORLD,
        latency=Latency.parse("300"),
        faults=(
            Fault.parse("throttle,region=us-east-1,latency=0,first=1"),
            Fault.parse("throttle,region=us-west-2"),
        ),
    )
    running = start(config)
    assert running.pools().status == 400
    assert seconds(running) >= 0.3
    assert seconds(running, region="us-west-2") >= 0.3


def test_a_connection_may_be_reset_after_a_while(start: Start) -> None:
    running = begin(start, "reset,latency=200")
    began = time.perf_counter()
    with raw(running) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert time.perf_counter() - began >= 0.2


@pytest.mark.parametrize(
    "rule",
    [
        "reset,latency=-1",
        "reset,latency=nan",
        "reset,latency=inf",
        "reset,after=-1",
        "reset,after=nan",
        "reset,after=20,until=20",
        "reset,until=0",
        "reset,until=nan",
    ],
)
def test_a_time_that_can_t_be_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="fault reset: "):
        Fault.parse(rule)


def test_a_reset_of_the_simulator_begins_the_faults_anew(start: Start) -> None:
    running = begin(start, "throttle,first=1")
    assert [running.pools().status for _ in range(2)] == [400, 200]
    assert running.get("/_simulator/reset", "POST").status == 204
    assert [running.pools().status for _ in range(2)] == [400, 200]


def test_the_stats_count_the_calls_that_were_hit(start: Start) -> None:
    running = start(SimulatorConfig(faults=(Fault.parse("throttle,first=1"),)))
    running.pools()
    running.pools()
    assert running.get("/_simulator/stats").json["faults"] == {"throttle": 1}

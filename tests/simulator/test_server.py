from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import orjson
import pytest

from poolcensus.simulator import Fault, Latency, Limits, Simulator, SimulatorConfig, WorldConfig
from poolcensus.simulator.call import Call
from poolcensus.simulator.connection import MAX_BODY, Connection, _reset
from poolcensus.simulator.control import truth_lines
from poolcensus.simulator.limits import Limiter
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.server import SERVICES
from simulator.conftest import VirtualClock

if TYPE_CHECKING:
    from simulator.conftest import Running, Start

SERVE = """
from poolcensus.simulator import SimulatorConfig, serve
serve(SimulatorConfig(), on_ready=lambda simulator: print(simulator.endpoint_url, flush=True))
"""


def request(running: Running, region: str = "us-east-1", body: bytes = b"{}") -> bytes:
    headers = {
        **running.signed(body, region=region),
        "Host": running.host,
        "Content-Length": str(len(body)),
    }
    return b"POST / HTTP/1.1\r\n%b\r\n%b" % (
        "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode(),
        body,
    )


def replies(sock: socket.socket, count: int) -> list[bytes]:
    """Read `count` replies, and return their bodies."""
    bodies: list[bytes] = []
    data = b""
    while len(bodies) < count:
        head, separator, rest = data.partition(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) if separator else 0
        if separator and len(rest) >= length:
            bodies.append(rest[:length])
            data = rest[length:]
            continue
        piece = sock.recv(1 << 16)
        assert piece, data
        data += piece
    return bodies


def to_the_end(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("latency", [Latency(), Latency.parse("uniform:1-30")])
def test_pipelined_calls_are_answered_in_order(start: Start, latency: Latency) -> None:
    config = SimulatorConfig(world=WorldConfig(accounts=2, pools_per_target=1), latency=latency)
    running = start(config)
    regions = running.simulator.world.regions * 2
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall(b"".join(request(running, region) for region in regions))
        bodies = replies(sock, len(regions))
    arns = [orjson.loads(body)["WorkspacesPools"][0]["PoolArn"] for body in bodies]
    assert [arn.split(":")[3] for arn in arns] == list(regions)


def test_a_request_may_come_in_pieces(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=2, pools_per_target=1)))
    with socket.create_connection(running.address, timeout=5) as sock:
        for byte in request(running):
            sock.sendall(bytes([byte]))
        assert b"WorkspacesPools" in replies(sock, 1)[0]


def test_a_client_that_waits_for_leave_gets_it(start: Start) -> None:
    running = start()
    with socket.create_connection(running.address, timeout=5) as sock:
        head = request(running)[:-2].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        sock.sendall(head)
        assert sock.recv(1 << 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"{}")
        assert replies(sock, 1)


def test_what_is_not_http_is_refused_and_the_server_goes_on(start: Start) -> None:
    running = start()
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00 not http\r\n\r\n")
        assert sock.recv(1 << 10).startswith(b"HTTP/1.1 400")
        assert sock.recv(1) == b""
    assert running.pools().status == 200


@pytest.mark.parametrize("latency", [Latency(), Latency.parse("50")])
def test_what_came_before_a_bad_request_is_answered_first(start: Start, latency: Latency) -> None:
    world = WorldConfig(accounts=2, pools_per_target=1)
    running = start(SimulatorConfig(world=world, latency=latency))
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall(request(running) * 3 + b"\x00 not http\r\n\r\n")
        data = to_the_end(sock)
    assert data.count(b"HTTP/1.1 200") == 3
    assert data.rpartition(b"HTTP/1.1 ")[2].startswith(b"400")


def test_what_comes_after_the_last_request_counts_for_nothing(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=2, pools_per_target=1)))
    last = request(running).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for tail in (b"xx", request(running)):
        with socket.create_connection(running.address, timeout=5) as sock:
            sock.sendall(last + tail)
            data = to_the_end(sock)
        assert data.count(b"HTTP/1.1") == data.count(b"HTTP/1.1 200") == 1
    assert running.get("/_simulator/stats").json["requests"] == 2


def test_a_connection_is_closed_where_the_client_asks_for_it(start: Start) -> None:
    running = start()
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall(request(running).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        data = to_the_end(sock)
    assert b"Connection: close" in data


def test_a_head_has_an_upper_limit(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=2, pools_per_target=1)))
    asked = request(running)
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall(asked.replace(b"\r\n\r\n", b"\r\nX-Long: %b\r\n\r\n" % (b"a" * 100_000)) * 3)
        assert len(replies(sock, 3)) == 3
    for endless in (b"GET / HTTP/1.1\r\nX-Long: ", b"GET /"):
        with socket.create_connection(running.address, timeout=5) as sock:
            sock.sendall(asked + endless)
            assert replies(sock, 1)
            for _ in range(100):
                sock.sendall(b"a" * 10_000)
                if select.select([sock], [], [], 0.02)[0]:
                    break
            assert b"431 Request Header Fields Too Large" in sock.recv(1 << 16)


def test_trailers_have_an_upper_limit(start: Start) -> None:
    running = start(SimulatorConfig(world=WorldConfig(accounts=2, pools_per_target=1)))
    asked = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with socket.create_connection(running.address, timeout=5) as sock:
        sock.sendall(asked)
        for number in range(100):
            sock.sendall(b"X-%d: %b\r\n" % (number, b"a" * 10_000))
            if select.select([sock], [], [], 0.02)[0]:
                break
        assert b"431 Request Header Fields Too Large" in sock.recv(1 << 16)


def test_a_body_has_an_upper_limit() -> None:
    assert MAX_BODY == 1 << 30


def test_a_limit_belongs_to_the_account_and_the_region(start: Start) -> None:
    config = SimulatorConfig(world=WorldConfig(accounts=3), limits=Limits(rate=2, burst=2))
    clock = VirtualClock()
    running = start(config, monotonic=clock)
    member = running.assume("000000000002")
    assert [running.pools().status for _ in range(4)] == [200, 200, 400, 400]
    assert running.pools().code == "ThrottlingException"
    assert running.pools(region="us-west-2").status == 200
    assert running.pools(credentials=member).status == 200
    clock.now += 0.6
    assert running.pools().status == 200


def test_the_slow_account_has_a_tenth_of_the_rate(start: Start) -> None:
    config = SimulatorConfig(
        world=WorldConfig(accounts=3), limits=Limits(rate=10, burst=2, slow_account="000000000002")
    )
    clock = VirtualClock()
    running = start(config, monotonic=clock)
    slow, other = (running.assume(each) for each in ("000000000002", "000000000003"))
    for credentials in (slow, other):
        for _ in range(2):
            assert running.pools(credentials=credentials).status == 200
    clock.now += 0.15
    assert running.pools(credentials=other).status == 200
    assert running.pools(credentials=slow).code == "ThrottlingException"
    clock.now += 0.9
    assert running.pools(credentials=slow).status == 200


def test_all_accounts_of_a_region_share_its_limit(start: Start) -> None:
    config = SimulatorConfig(world=WorldConfig(accounts=3), limits=Limits(region_rate=2, burst=2))
    clock = VirtualClock()
    running = start(config, monotonic=clock)
    member = running.assume("000000000002")
    assert running.pools().status == 200
    assert running.pools(credentials=member).status == 200
    assert running.pools().code == "ThrottlingException"
    assert running.pools(credentials=member).code == "ThrottlingException"
    assert running.pools(region="us-west-2", credentials=member).status == 200
    clock.now += 0.6
    assert running.pools(credentials=member).status == 200


def test_a_call_that_the_region_refuses_takes_nothing_from_its_account() -> None:
    now = 0.0
    limiter = Limiter(Limits(rate=1, burst=2, region_rate=4), lambda: now)
    calls = [Call("workspaces", "DescribeWorkspacesPools", each, "us-east-1", "") for each in "ab"]
    for _ in range(2):
        limiter.check(calls[0])
    for _ in range(10):
        with pytest.raises(RefusalError):
            limiter.check(calls[1])
    now = 0.5
    for _ in range(2):
        limiter.check(calls[1])


def test_a_call_takes_its_time_and_is_counted_while_it_does(start: Start) -> None:
    running = start(SimulatorConfig(latency=Latency.parse("150")))
    began = time.perf_counter()
    with (
        socket.create_connection(running.address, timeout=5) as one,
        socket.create_connection(running.address, timeout=5) as two,
    ):
        for sock in (one, two):
            sock.sendall(request(running))
        for sock in (one, two):
            replies(sock, 1)
    assert time.perf_counter() - began >= 0.15
    assert running.simulator.stats.max_concurrent == 2
    assert not running.simulator.stats.in_flight


def test_slow_accounts_are_slower(start: Start) -> None:
    running = start(SimulatorConfig(latency=Latency.parse("2", slow_fraction=1, slow_factor=50)))
    began = time.perf_counter()
    running.pools()
    assert time.perf_counter() - began >= 0.1


def test_the_truth_is_served_as_ndjson(start: Start) -> None:
    config = SimulatorConfig(world=WorldConfig(accounts=40, mean_pools=3, suspended=0.1, no_role=0.1))
    running = start(config)
    reply = running.get("/_simulator/truth")
    lines = [json.loads(line) for line in reply.body.splitlines()]
    world = running.simulator.world
    assert [(line["account_id"], line["region"]) for line in lines] == [
        (target.account_id, target.region) for target in world.truth()
    ]
    assert [line["pools"] for line in lines] == [target.pools for target in world.truth()]
    assert sum(line["account_status"] == "SUSPENDED" for line in lines) == 4 * len(world.regions)
    assert {line["outcome"] for line in lines} == {"ok", "empty", "assume_role_failed"}


async def test_a_client_that_reads_a_long_reply_keeps_no_other_waiting() -> None:
    class Takes(asyncio.Transport):
        """Accepts all data at once, like a socket with a fast client."""

        pieces = 0

        def write(self, data: object) -> None:
            self.pieces += 1

        def is_closing(self) -> bool:
            return False

    transport = Takes()
    world = WorldConfig(accounts=100, pools_per_target=25)
    application = Simulator(SimulatorConfig(world=world))._application
    connection = Connection(application)
    connection.connection_made(transport)
    asked = b"GET /_simulator/truth HTTP/1.1\r\n\r\n"
    connection.get_buffer(-1)[: len(asked)] = asked
    connection.buffer_updated(len(asked))
    turns: list[int] = []
    while not turns or transport.pieces > turns[-1]:
        turns.append(transport.pieces)
        await asyncio.sleep(0)
    assert len(turns) > 20
    assert all(later - earlier == 1 for earlier, later in itertools.pairwise(turns))
    connection.connection_lost(None)


def test_the_truth_comes_in_pieces_of_bounded_size() -> None:
    world = Simulator(SimulatorConfig(world=WorldConfig(accounts=60, pools_per_target=20))).world
    pieces = list(truth_lines(world))
    assert len(pieces) > 10
    assert max(len(piece) for piece in pieces) < 120_000


def test_the_counts_are_served_and_can_be_reset(start: Start) -> None:
    running = start()
    running.pools()
    running.pools({"Limit": 0})
    stats = running.get("/_simulator/stats").json
    assert stats["calls"] == {"workspaces.DescribeWorkspacesPools": 2}
    assert stats["statuses"] == {"200": 1, "400": 1}
    assert stats["codes"] == {"InvalidParameterValuesException": 1}
    assert stats["connections_accepted"] >= 3
    assert stats["bytes_received"] > 500
    assert stats["bytes_sent"] > 200
    assert stats["max_concurrent"] == 1
    running.get("/_simulator/reset", "POST")
    assert running.get("/_simulator/stats").json["requests"] == 0
    assert running.get("/_simulator/elsewhere").status == 404


async def test_it_starts_in_a_loop_that_runs_and_leaves_nothing_behind() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = SimulatorConfig(faults=(Fault.parse("hang"),), latency=Latency.parse("10_000"))
        async with Simulator(config) as simulator:
            port = int(simulator.endpoint_url.rpartition(":")[2])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            for _ in range(500):
                if simulator.stats.in_flight:
                    break
                await asyncio.sleep(0.01)
            assert simulator.stats.in_flight.total() == 1
        assert not simulator.stats.in_flight
        assert simulator.stats.open_connections == 0
        writer.close()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gc.collect()


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_is_just_accepted_is_cut_too(turns: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Simulator(SimulatorConfig()) as simulator:
            port = int(simulator.endpoint_url.rpartition(":")[2])
            client = socket.create_connection(("127.0.0.1", port), timeout=5)
            for _ in range(turns):
                await asyncio.sleep(0)
        with client, suppress(ConnectionResetError):
            assert client.recv(1) == b""
        assert simulator.stats.open_connections == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gc.collect()


def test_a_reset_of_what_the_other_side_has_ended_is_an_end() -> None:
    class Ended:
        aborted = False

        def get_extra_info(self, _: str) -> Ended:
            return self

        def setsockopt(self, *_: object) -> None:
            raise OSError(errno.EINVAL, "as macOS has it")

        def abort(self) -> None:
            self.aborted = True

    transport = Ended()
    _reset(cast("asyncio.Transport", transport))
    assert transport.aborted


def test_the_services_that_a_fault_may_name_are_those_that_there_are() -> None:
    assert set(SERVICES) == Simulator()._application._services.keys()


def test_the_same_seed_hands_out_the_same_keys() -> None:
    one, same = Simulator(SimulatorConfig()), Simulator(SimulatorConfig())
    other = Simulator(SimulatorConfig(world=WorldConfig(seed=8)))
    assert one.access_key_id == same.access_key_id != other.access_key_id
    assert one.secret_access_key == same.secret_access_key != other.secret_access_key
    assert one.access_key_id.startswith("AKIA")
    assert (len(one.access_key_id), len(one.secret_access_key)) == (20, 40)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", SERVE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            process.send_signal(number)
            _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    # The time of a callback depends on how busy the machine is.
    assert [each for each in errors.splitlines() if not each.startswith("Executing <")] == []

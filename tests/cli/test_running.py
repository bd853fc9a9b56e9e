from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import anyio
import pytest

from poolcensus.cli import logs, running
from poolcensus.cli.running import run
from poolcensus.config import Settings
from poolcensus.errors import FatalError
from poolcensus.loops import in_thread

SCRIPT = """
import sys, anyio
from poolcensus.cli.exits import report
from poolcensus.cli.running import run

async def body():
    try:
        print("ready", flush=True)
        await anyio.sleep(60)
    finally:
        print("putting away", flush=True)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(float(sys.argv[1]))
        print("put away", flush=True)

with report() as outcome:
    run(body)
sys.exit(outcome.code)
"""
NO_THREADS = """
import threading
def fail(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = fail
"""
# The loop has a pool of threads then, which it waits for in another one when it is closed.
POOL = """
import asyncio, concurrent.futures
asyncio.BaseEventLoop._default_executor = concurrent.futures.ThreadPoolExecutor()
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "poolcensus: interrupted\n"),
        (signal.SIGTERM, 143, "poolcensus: terminated\n"),
        (signal.SIGHUP, 129, "poolcensus: hung up\n"),
    ],
)
def test_a_signal_cancels_in_good_order(number: signal.Signals, code: int, said: str) -> None:
    with _started("0") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "putting away\nput away\n", said)


def test_a_signal_ends_the_program_where_no_thread_can_be_started() -> None:
    with _started("0", NO_THREADS + POOL) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "putting away\nput away\n", "poolcensus: terminated\n")


def test_what_has_been_done_stands_where_no_thread_can_be_started_to_close_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gives() -> int:
        await asyncio.get_running_loop().run_in_executor(None, gc.freeze)
        monkeypatch.setattr(threading.Thread, "start", _fail)
        return 7

    assert run(gives) == 7


def test_a_thread_that_can_not_be_started_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    async def needs_one() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(in_thread, gc.isenabled)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _fail)
        with pytest.raises(FatalError, match="no more threads"):
            run(needs_one)
    assert run(needs_one) is None


def test_what_else_keeps_a_loop_from_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.Runner.close

    def close(runner: asyncio.Runner) -> None:
        real(runner)
        raise RuntimeError("as it is")

    async def gives() -> int:
        return 7

    monkeypatch.setattr(asyncio.Runner, "close", close)
    with pytest.raises(RuntimeError, match="as it is"):
        run(gives)


def test_a_last_message_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited, real = threading.Event(), threading.Thread.join
    said: list[str] = []

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        waited.set()
        real(thread, timeout)

    def say() -> None:
        waited.wait(20)
        said.append("terminated")

    monkeypatch.setattr(threading.Thread, "join", join)
    monkeypatch.setattr(running, "_LAST_MESSAGE_WITHIN", 20.0)
    running._say(say)
    assert said == ["terminated"]


def test_a_last_message_that_does_not_end_or_has_no_thread_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, over = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        begun.set()
        over.wait()

    monkeypatch.setattr(running, "_LAST_MESSAGE_WITHIN", 0.01)
    running._say(hang)
    begun.wait(20)
    assert [(each.is_alive(), each.daemon) for each in threads] == [(True, True)]
    over.set()
    threads[0].join()
    monkeypatch.setattr(threading.Thread, "start", _fail)
    running._say(hang)
    assert len(threads) == 1


def _fail(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_second_signal_ends_the_process_at_once() -> None:
    with _started("60") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "putting away\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_hangup_beside_another_signal_is_no_second_one() -> None:
    with _started("0.5") as process:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode in {143, 129}
    assert out == "putting away\nput away\n"
    assert err in {"poolcensus: terminated\n", "poolcensus: hung up\n"}


def test_a_result_and_an_error_come_through_as_they_are() -> None:
    async def gives() -> int:
        return 7

    async def fails() -> int:
        message = "as it is"
        raise LookupError(message)

    before = signal.getsignal(signal.SIGTERM)
    assert run(gives) == 7
    with pytest.raises(LookupError, match="as it is"):
        run(fails)
    assert signal.getsignal(signal.SIGTERM) == before


def _started(shielded_seconds: str, before: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", before + SCRIPT, shielded_seconds],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("full", [False, True])
def test_a_second_signal_is_a_line_of_a_log_in_json_unless_nobody_reads_it(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure(Settings.load(log_format="json"))
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as writer:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while full:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        monkeypatch.setattr(sys, "stderr", writer)
        running._tell_of_exit(143)
        os.set_blocking(reading, False)
        said = reader.read(1 << 20)
    if full:
        assert said.strip(b"x") == b""
    else:
        assert json.loads(said)["code"] == 143

"""No secret leaves the process but in a signature or to the service that it is meant for."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import orjson
import pytest

from poolcensus.census import Census
from poolcensus.config import Settings
from poolcensus.errors import CensusError
from snapshot.making import folder_of
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from census_lab import Lab
    from faults.conftest import Bench, Serve, Start

EXTERNAL_ID = "canary-external-id-5c1f"
LOGGERS = ("poolcensus", "botocore", "aiobotocore", "aioboto3", "aiohttp", "asyncio", "urllib3")
REGIONS = ("us-east-1", "af-south-1")


class Everything(logging.Handler):
    """Keeps what every log line says, with its arguments and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{self.format(record)} {record.args!r} {record.__dict__!r}")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything that is logged, at DEBUG."""
    handler = Everything()
    manager: Any = logging.Logger.manager
    with monkeypatch.context() as patch:
        for name in LOGGERS:
            logger = logging.getLogger(name)
            patch.setattr(logger, "level", logging.DEBUG)
            patch.setattr(logger, "handlers", [*logger.handlers, handler])
        # What a level set in the proper way does.
        manager._clear_cache()
        yield handler.said
    manager._clear_cache()


def secrets_of(here: Lab) -> dict[str, str]:
    """Everything that must not be seen: the caller's key, the sessions' keys and tokens, the external id."""
    found = {"external id": EXTERNAL_ID, "the caller's key": here.simulator.secret_access_key}
    for key_id, session in here.simulator._store._sessions.items():
        found[f"key of {key_id}"] = session.secret
        found[f"token of {key_id}"] = session.token or "?"
    return found


def assert_silent(here: Lab, texts: dict[str, str]) -> None:
    """None of the texts holds a secret, in whole or its first half."""
    for what, secret in secrets_of(here).items():
        for where, text in texts.items():
            assert secret not in text, f"{what} is in {where}"
            assert secret[: max(12, len(secret) // 2)] not in text, f"a part of {what} is in {where}"


@both_transports
async def test_a_run_with_every_kind_of_trouble_tells_no_secret(
    lab: Start, logged: list[str], transport: str
) -> None:
    here = await lab(
        accounts=12,
        pools_per_target=2,
        regions=REGIONS,
        external_id=EXTERNAL_ID,
        no_role=0.1,
        scp_denied=0.1,
        access_denied=0.1,
        opt_in_disabled=0.1,
        faults=(
            "expired,first=1",
            "5xx,account=000000000004,region=us-east-1",
            "html,account=000000000005,region=us-east-1",
            "reset,account=000000000006,region=us-east-1",
            "throttle,account=000000000007,region=us-east-1",
            "redirect,account=000000000008,region=us-east-1",
            "hang,account=000000000009,region=us-east-1",
        ),
    )
    # Two dozen calls at once, each line of the SDK's log formed: on a busy machine that takes its time.
    snapshot = await here.collect(
        external_id=EXTERNAL_ID, max_attempts=2, attempt_timeout=2.0, target_timeout=60
    )
    assert len(secrets_of(here)) > 20
    assert len({each.outcome for each in snapshot.targets()}) > 6
    texts = {file.name: file.read_text() for file in folder_of(snapshot).iterdir()}
    assert len(texts) == 3
    texts["the log"] = "\n".join(logged)
    texts["the settings"] = repr(here.settings(external_id=EXTERNAL_ID))
    assert_silent(here, texts)
    assert any("botocore" in each for each in logged)


@asynccontextmanager
async def echo(here: Lab) -> AsyncIterator[str]:
    """An STS that knows the caller, and whose refusal of AssumeRole repeats all that it was sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        form = parse_qs((await reader.readexactly(length)).decode())
        if form["Action"] == ["GetCallerIdentity"]:
            status = b"200 OK"
            body = b"<r><Account>000000000001</Account><Arn>arn:aws:iam::000000000001:user/census</Arn></r>"
        else:
            status = b"400 Bad Request"
            sent = form["ExternalId"][0]
            body = (
                "<r><Error><Code>ValidationError</Code><Message>1 validation error detected: "
                f"Value '{sent}' at 'externalId' failed to satisfy constraint</Message></Error></r>"
            ).encode()
        writer.write(
            b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.usefixtures("transport")
async def test_a_refusal_that_repeats_the_external_id_is_told_without_it(
    lab: Start, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=3, regions=("us-east-1",))
    async with echo(here) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        async with Census(here.settings(external_id=EXTERNAL_ID)) as census:
            snapshot = await census.collect()
            assert len(census.uncovered) == 2
            texts = {"uncovered": repr(census.uncovered), "the log": "\n".join(logged)}
    texts["the ledger"] = "\n".join(str(each) for each in snapshot.uncovered())
    assert "failed to satisfy constraint" in texts["the ledger"]
    assert_silent(here, texts)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("trouble", ["signature", "organization", "sts", "strict"])
async def test_what_ends_a_run_tells_no_secret(
    lab: Start, logged: list[str], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    faults = {"organization": ("5xx,service=organizations",), "sts": ("html,service=sts",)}
    here = await lab(
        accounts=3,
        regions=("us-east-1",),
        external_id=EXTERNAL_ID,
        no_role=0.5,
        faults=faults.get(trouble, ()),
    )
    key = here.simulator.secret_access_key
    if trouble == "signature":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key[:-4] + "wxyz")
    settings = here.settings(external_id=EXTERNAL_ID, max_attempts=2, strict=trouble == "strict")
    async with Census(settings) as census:
        with pytest.raises(CensusError) as caught:
            await census.collect()
    error = caught.value
    assert_silent(
        here,
        {
            "the error": f"{error} {error!r} {error.__dict__!r}",
            "its causes": "".join(traceback.format_exception(error)),
            "the log": "\n".join(logged),
            "the settings": f"{settings} {settings!r} {settings.request()}",
        },
    )


CHAINED = """
[profile base]
aws_access_key_id = {key_id}
aws_secret_access_key = {key}

[profile census]
region = us-east-1
source_profile = base
role_arn = arn:aws:iam::000000000002:role/PoolCensusReader
external_id = {external_id}
"""


async def test_a_chain_that_assumes_a_role_tells_no_secret(
    lab: Start, logged: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=2, regions=("us-east-1",), external_id=EXTERNAL_ID)
    config = CHAINED.format(
        key_id=here.simulator.access_key_id, key=here.simulator.secret_access_key, external_id=EXTERNAL_ID
    )
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    settings = here.settings(profile="census", accounts_from="self", external_id=EXTERNAL_ID)
    async with Census(settings) as census:
        snapshot = await census.collect()
    assert snapshot.manifest.caller.account_id == "000000000002"
    assert here.calls("sts.AssumeRole") == 1
    assert len(secrets_of(here)) == 4
    assert_silent(here, {"the log": "\n".join(logged)})
    # The loggers are as their owner left them, and what isn't secret is still said.
    assert any("Looking for credentials via" in each for each in logged)
    for name in ("botocore.endpoint", "botocore.parsers", "botocore.auth"):
        assert logging.getLogger(name).filters == []


@pytest.mark.parametrize("bug", ["", "import os\nos.rename = lambda *_: 1 / 0\n"])
def test_a_process_at_debug_tells_no_secret_even_with_a_traceback(
    serve: Serve, bench: Bench, bug: str
) -> None:
    served = serve(
        "--accounts=3", "--regions=us-east-1", f"--external-id={EXTERNAL_ID}", "--fault=5xx,first=1"
    )
    (bench.folder / "config").write_text(
        CHAINED.format(key_id=served.access_key_id, key=served.secret_access_key, external_id=EXTERNAL_ID)
    )
    given = {"AWS_ENDPOINT_URL": served.endpoint_url, "AWS_CONFIG_FILE": str(bench.folder / "config")}
    ended = bench.run(
        *("collect", "--profile", "census", "--accounts-from", "self", "--external-id", EXTERNAL_ID),
        *("--regions", "us-east-1", "--log-level", "debug", "--json"),
        **given,
        **bench.sabotage(bug),
    )
    assert ended.code == (1 if bug else 0)
    assert ("Traceback" in ended.err) is bool(bug)
    assert "DEBUG" in ended.err
    texts = [ended.out, ended.err]
    texts += [each.read_text() for each in (bench.folder / "snapshots").rglob("*") if each.is_file()]
    for text in texts:
        assert EXTERNAL_ID not in text
        assert served.secret_access_key not in text


def test_settings_keep_the_external_id_to_themselves() -> None:
    settings = Settings.load(external_id=EXTERNAL_ID)
    parts = (msgspec.structs.asdict(settings), msgspec.to_builtins(settings, enc_hook=str))
    assert EXTERNAL_ID not in f"{settings} {settings!r} {parts} {settings.request()}"
    for encoded in (msgspec.json.encode(settings, enc_hook=str), orjson.dumps([settings], default=str)):
        assert EXTERNAL_ID.encode() not in encoded
        assert b"**********" in encoded
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)
    with pytest.raises(TypeError):
        orjson.dumps(settings.external_id)
    again = pickle.loads(pickle.dumps(settings))
    assert again.external_id is not None
    assert again.external_id.get_secret_value() == EXTERNAL_ID

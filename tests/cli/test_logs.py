from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from poolcensus.cli import logs, main
from poolcensus.cli.trouble import complain, notice
from poolcensus.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from ended_census import FakeLibrary


def test_text_lines_have_time_level_and_name_and_nothing_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(Settings(log_level="info"))  # type: ignore[arg-type]
    logging.getLogger("poolcensus.x").info("account %s", "\x1b[2Jacct\n-1")
    logging.getLogger("poolcensus.x").debug("not this")
    (line,) = capsys.readouterr().err.splitlines()
    assert line[10] == "T"
    assert line[23:] == r"Z INFO poolcensus.x: account \x1b[2Jacct\n-1"


def test_json_lines_are_json_and_so_are_the_programs_own_complaints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(Settings.load(log_format="json"))
    logging.getLogger("poolcensus.x").warning("slow", extra={"account_id": "000000000001"})
    complain("2 accounts refused")
    notice("2 accounts are new")
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("WARNING", "poolcensus.x", "slow")
    assert first["account_id"] == "000000000001"
    assert first["timestamp"].endswith("+00:00")
    assert (second["level"], second["message"]) == ("ERROR", "2 accounts refused")
    assert (third["level"], third["message"]) == ("WARNING", "2 accounts are new")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_sdk_and_the_transport_never_log_below_warning(level: str) -> None:
    logs.configure(Settings.load(log_level=level))
    for name in (
        "botocore.auth",
        "botocore.hooks",
        "aiobotocore.endpoint",
        "aiohttp.client",
        "urllib3",
        "asyncio",
    ):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger("poolcensus").isEnabledFor(logging.DEBUG) == (level == "debug")
    assert logging.getLogger("botocore").isEnabledFor(logging.WARNING) == (level != "error")


def test_a_signature_of_botocore_leaves_no_trace_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    logs.configure(Settings.load(log_level="debug"))
    request = AWSRequest("POST", "https://sts.us-east-1.amazonaws.com/", data=b"ExternalId=very-secret")
    auth.SigV4Auth(Credentials("AKIA", "secret-key", "session-token"), "sts", "us-east-1").add_auth(request)
    assert capsys.readouterr().err == ""


def test_a_second_set_up_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    logs.configure(Settings())
    logging.getLogger("poolcensus.x").warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_what_is_to_be_said_once_is_told_apart_by_its_own_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    log = logging.getLogger("poolcensus.x")
    for seconds, host in ((1200, "a"), (1199, "a"), (1200, "b")):
        log.warning("%d s behind", seconds, extra={"once": f"clock of {host}"})
    assert capsys.readouterr().err.count("1200 s behind") == 2
    log.warning("1199 s behind", extra={"once": "clock of c"})
    assert capsys.readouterr().err.count("1199 s behind") == 1


def test_the_settings_file_that_was_read_is_named_at_info(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("concurrency = 3\n")
    assert main(["collect", "--config", str(file), "--log-level", "info"]) == 0
    assert f"settings were read from {file}" in capsys.readouterr().err
    assert main(["collect", "--config", str(file)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["collect", "--log-level", "info"]) == 0
    assert "settings were read" not in capsys.readouterr().err


def test_a_settings_file_that_can_not_be_read_ends_a_command_before_any_call(
    library: FakeLibrary,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poolcensus.toml").symlink_to("elsewhere.toml")
    assert main(["collect"]) == 2
    assert capsys.readouterr().err == (
        "poolcensus: poolcensus.toml: the configuration file can't be read: No such file or directory."
        " Mend or remove the link, or name another file with --config.\n"
    )
    assert not library.asked
    # What takes no settings from a file asks for none.
    assert main(["--version"]) == main(["collect", "--help"]) == 0
    assert main(["collect", "--config", "/dev/null"]) == 0

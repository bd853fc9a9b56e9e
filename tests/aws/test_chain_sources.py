"""Credentials from each source that the SDK's chain knows, over real sockets."""

from __future__ import annotations

import json
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider

from poolcensus.aws.sdk.access import Sdk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poolcensus.aws.signing import Credentials

_EXPIRATION = "2999-01-01T00:00:00Z"
_STS = (
    "<{0}Response><{0}Result><Credentials><AccessKeyId>ASIA{1}</AccessKeyId>"
    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    f"<Expiration>{_EXPIRATION}</Expiration></Credentials></{{0}}Result></{{0}}Response>"
)


class Sources:
    """STS, IAM Identity Center, a container's and an instance's credential service, on one loopback port."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        sources = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("")

            do_PUT = do_GET  # noqa: N815 - http.server's name

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _answer(self, body: str) -> None:
                answer = sources.answer(urlsplit(self.path).path, parse_qs(body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, form: dict[str, list[str]]) -> str:
        if form:
            action, arn = form["Action"][0], form["RoleArn"][0]
            self.asked.append(f"{action} {arn.rpartition('/')[2]}")
            return _STS.format(action, arn.rpartition("/")[2].upper())
        self.asked.append(path)
        keys = {"AccessKeyId": "ASIAKEYS", "SecretAccessKey": "s", "Token": "t", "Expiration": _EXPIRATION}
        match path:
            case "/latest/api/token":
                return "metadata-token"
            case "/latest/meta-data/iam/security-credentials/":
                return "instance-role"
            case "/federation/credentials":
                expiration = 32_472_144_000_000  # 2999
                sso = {"accessKeyId": "ASIASSO", "secretAccessKey": "s", "sessionToken": "t"}
                return json.dumps({"roleCredentials": {**sso, "expiration": expiration}})
        return json.dumps({"Code": "Success", **keys})


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    found = Sources()
    for name in ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_SSO", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        monkeypatch.setenv(name, found.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    # The SDK has looked at HOME when it was imported.
    for each in (SSOProvider, SSOTokenProvider):
        monkeypatch.setattr(each, "_SSO_TOKEN_CACHE_DIR", str(tmp_path / "sso-cache"))
    return path


async def credentials(profile: str | None = "cp") -> Credentials:
    async with Sdk(profile=profile, endpoint_url=None) as sdk:
        found, _ = await sdk.caller_credentials()
        return found


def role(name: str) -> str:
    return f"role_arn = arn:aws:iam::000000000001:role/{name}\n"


def sign_in(folder: Path, session: str) -> None:
    """Leave what 'aws sso login' leaves."""
    cache = folder / "sso-cache"
    cache.mkdir()
    token = {
        "accessToken": "signed-in",
        "expiresAt": _EXPIRATION,
        "region": "eu-west-1",
        "startUrl": "https://a",
    }
    (cache / f"{sha1(session.encode()).hexdigest()}.json").write_text(json.dumps(token))


_SSO = (
    "sso_session = corp\nsso_account_id = 000000000001\nsso_role_name = Admin\n"
    "[sso-session corp]\nsso_start_url = https://a\nsso_region = eu-west-1\n"
)


async def test_iam_identity_center(config: Path, sources: Sources, tmp_path: Path) -> None:
    sign_in(tmp_path, "corp")
    config.write_text(f"[profile cp]\n{_SSO}")
    assert (await credentials()).access_key_id == "ASIASSO"
    assert sources.asked == ["/federation/credentials"]


async def test_a_role_behind_iam_identity_center(config: Path, sources: Sources, tmp_path: Path) -> None:
    sign_in(tmp_path, "corp")
    config.write_text(f"[profile cp]\n{role('cp')}source_profile = base\n[profile base]\n{_SSO}")
    assert (await credentials()).access_key_id == "ASIACP"
    assert sources.asked == ["/federation/credentials", "AssumeRole cp"]


@pytest.mark.parametrize("in_environment", [True, False])
async def test_web_identity(
    config: Path, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_environment: bool
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token")
    if in_environment:
        config.write_text("")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::000000000001:role/web")
    else:
        config.write_text(f"[profile cp]\n{role('web')}web_identity_token_file = {token}\n")
    found = await credentials(None if in_environment else "cp")
    assert found.access_key_id == "ASIAWEB"
    assert sources.asked == ["AssumeRoleWithWebIdentity web"]


async def test_a_chain_of_profiles(config: Path, sources: Sources) -> None:
    config.write_text(
        f"[profile cp]\n{role('cp')}source_profile = b\n[profile b]\n{role('b')}source_profile = c\n"
        "[profile c]\naws_access_key_id = AKIAC\naws_secret_access_key = s\n"
    )
    assert (await credentials()).access_key_id == "ASIACP"
    assert sources.asked == ["AssumeRole b", "AssumeRole cp"]


async def test_a_process_behind_a_role(config: Path, sources: Sources, tmp_path: Path) -> None:
    keys = {"Version": 1, "AccessKeyId": "AKIAP", "SecretAccessKey": "s"}
    (tmp_path / "keys").write_text(json.dumps(keys))
    config.write_text(
        f"[profile cp]\n{role('cp')}source_profile = p\n"
        f"[profile p]\ncredential_process = cat {tmp_path / 'keys'}\n"
    )
    assert (await credentials()).access_key_id == "ASIACP"
    assert sources.asked == ["AssumeRole cp"]


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("Environment", []),
        ("EcsContainer", ["/task"]),
        (
            "Ec2InstanceMetadata",
            [
                "/latest/api/token",
                "/latest/meta-data/iam/security-credentials/",
                "/latest/meta-data/iam/security-credentials/instance-role",
            ],
        ),
    ],
)
async def test_a_role_whose_source_is_where_the_program_runs(
    config: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch, source: str, asked: list[str]
) -> None:
    config.write_text(f"[profile cp]\n{role('cp')}credential_source = {source}\n")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{sources.url}/task")
    if source == "Environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert (await credentials()).access_key_id == "ASIACP"
    assert sources.asked == [*asked, "AssumeRole cp"]


@pytest.mark.parametrize("container", [True, False])
async def test_without_a_profile_the_place_gives_them(
    config: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch, container: bool
) -> None:
    config.write_text("")
    if container:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{sources.url}/task")
    found = await credentials(None)
    assert (found.access_key_id, found.session_token) == ("ASIAKEYS", "t")
    assert (sources.asked == ["/task"]) is container

"""Credentials from each source that the SDK's chain knows, over real sockets."""

from __future__ import annotations

import json
import threading
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from botocore.credentials import SSOProvider
from botocore.exceptions import ClientError, CredentialRetrievalError
from botocore.tokens import SSOTokenProvider

from poolcensus.aws.sdk.access import Sdk
from poolcensus.aws.sdk.chain_failures import explain
from poolcensus.aws.sdk.credential_sources import source_of
from poolcensus.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
        self.refuses = False
        self.repeated: Callable[[str], str] = str
        sources = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("")

            do_PUT = do_GET  # noqa: N815 - http.server's name

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _answer(self, body: str) -> None:
                form = parse_qs(body)
                answer = sources.answer(urlsplit(self.path).path, form).encode()
                if sources.refuses:
                    headers = ("x-amz-sso_bearer_token", "x-amz-security-token")
                    sent = [self.headers.get(name, "") for name in headers]
                    sent += [form[name][0] for name in ("WebIdentityToken", "ExternalId") if name in form]
                    answer = sources.refusal(" ".join(filter(None, sent)), in_xml=bool(form))
                self.send_response(400 if sources.refuses else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def refusal(self, sent: str, *, in_xml: bool) -> bytes:
        """Refuse, and repeat the secrets that were sent in the code and in the message."""
        said = f"refused {self.repeated(sent)}, as it is"
        if in_xml:
            return f"<E><Error><Code>{said}</Code><Message>{said}</Message></Error></E>".encode()
        return json.dumps({"__type": said, "message": said}).encode()

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
    # The SDK has read HOME when it was imported.
    for each in (SSOProvider, SSOTokenProvider):
        monkeypatch.setattr(each, "_SSO_TOKEN_CACHE_DIR", str(tmp_path / "sso-cache"))
    return path


async def credentials(profile: str | None = "cp") -> Credentials:
    async with Sdk(profile=profile, endpoint_url=None) as sdk:
        found, _ = await sdk.caller_credentials()
        return found


def role(name: str) -> str:
    return f"role_arn = arn:aws:iam::000000000001:role/{name}\n"


def sign_in(folder: Path, session: str, token: str = "signed-in") -> None:
    """Write the files that 'aws sso login' writes."""
    cache = folder / "sso-cache"
    cache.mkdir()
    kept = {
        "accessToken": token,
        "expiresAt": _EXPIRATION,
        "region": "eu-west-1",
        "startUrl": "https://a",
    }
    (cache / f"{sha1(session.encode()).hexdigest()}.json").write_text(json.dumps(kept))


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


async def test_a_container_that_refuses_is_named_by_its_variable(
    config: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{sources.url}/task")
    config.write_text(f"[default]\n[profile cp]\n{role('cp')}credential_source = EcsContainer\n")
    sources.refuses = True
    with pytest.raises(CredentialsError) as caught:
        await credentials(None)
    said = "the container's credential service answered with status 400."
    assert str(caught.value) == (
        f"Could not get credentials from AWS_CONTAINER_CREDENTIALS_FULL_URI: {said} Check"
        " AWS_CONTAINER_CREDENTIALS_FULL_URI and the variables that belong to it."
    )
    # The profile names the source of its role's credentials.
    with pytest.raises(CredentialsError, match=f"^Could not get credentials for profile cp: {said}"):
        await credentials()


async def test_a_role_that_refuses_a_web_identity_is_named_by_its_variable(
    config: Path, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(_TOKEN)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::000000000001:role/web")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    config.write_text("[default]\n")
    sources.refuses = True
    with pytest.raises(CredentialsError) as caught:
        await credentials(None)
    assert str(caught.value) == (
        "Could not get credentials from AWS_WEB_IDENTITY_TOKEN_FILE: AssumeRoleWithWebIdentity failed:"
        " refused ***, as it is (400). Check AWS_ROLE_ARN and the role's trust policy."
    )


@pytest.mark.parametrize(
    "variable", ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"]
)
async def test_a_token_file_that_is_not_there_is_told_of_the_variable_that_leads_to_it(
    config: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::000000000001:role/web")
    monkeypatch.setenv(variable, "/nope/token")
    of = variable
    if variable == "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE":
        of = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
        monkeypatch.setenv(of, f"{sources.url}/task")
    config.write_text(
        f"[default]\nregion = eu-west-1\n[profile cp]\n{role('a')}web_identity_token_file = /no/such\n"
    )
    with pytest.raises(CredentialsError) as caught:
        await credentials(None)
    assert str(caught.value) == (
        f"Could not get credentials from {of}: /nope/token: No such file or directory. Check {of} and the"
        " variables that belong to it."
    )
    # A profile that is given takes precedence over the variable.
    with pytest.raises(
        CredentialsError, match=r"^Could not get credentials for profile cp: /no/such: No such"
    ):
        await credentials("cp")


def test_an_instance_is_told_of_as_what_it_is() -> None:
    error = CredentialRetrievalError(provider="iam-role", error_msg="response did not contain: access_key")
    source = source_of(error, None, ({"region": "eu-west-1"},), names_profile=False)
    assert source is not None
    assert source.name == "the instance metadata service"
    assert explain(error, None, source)[1] == " Check the role of the instance."
    # Here it is the source of a profile's role.
    assert (
        source_of(error, None, ({"credential_source": "Ec2InstanceMetadata"},), names_profile=False) is None
    )


_TOKEN = "tok/en+that=nobody.else_should-have-0123456789"


@pytest.mark.parametrize("repeated", [str, partial(quote, safe=""), lambda sent: sent[-20:]])
@pytest.mark.parametrize("way", ["sso", "web identity", "external id", "session"])
async def test_what_a_source_repeats_of_secrets_is_not_told(
    config: Path, sources: Sources, tmp_path: Path, way: str, repeated: Callable[[str], str]
) -> None:
    base = "aws_access_key_id = AKIA1\naws_secret_access_key = s\n"
    section = f"{role('cp')}source_profile = base\n"
    if way == "sso":
        sign_in(tmp_path, "corp", _TOKEN)
        section = _SSO
    elif way == "web identity":
        (tmp_path / "token").write_text(_TOKEN)
        section = f"{role('web')}web_identity_token_file = {tmp_path / 'token'}\n"
    elif way == "external id":
        section += f"external_id = {_TOKEN}\n"
    else:
        program = tmp_path / "program"
        keys = {"Version": 1, "AccessKeyId": "ASIA1", "SecretAccessKey": "s", "SessionToken": _TOKEN}
        program.write_text(f"#!/bin/sh\necho '{json.dumps(keys)}'\n")
        program.chmod(0o700)
        base = f"credential_process = {program}\n"
    config.write_text(f"[profile base]\n{base}[profile cp]\n{section}")
    sources.refuses, sources.repeated = True, repeated
    with pytest.raises(CredentialsError) as caught:
        await credentials()
    assert "failed: refused ***, as it is (400)" in str(caught.value)
    assert caught.value.__cause__ is None


async def test_of_a_call_whose_secrets_are_not_known_the_code_alone_is_told() -> None:
    said = {"Error": {"Code": "InvalidGrantException", "Message": f"no {_TOKEN}"}}
    why, _ = explain(ClientError(said, "CreateToken"), None)
    assert why == "CreateToken failed (InvalidGrantException)"

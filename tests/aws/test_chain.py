"""Failures of the credential chain: each is one sentence, with the profile and with advice."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError
from botocore.httpsession import URLLib3Session

from poolcensus.aws.credentials import chain_credentials
from poolcensus.aws.credentials.chain_credentials import ChainCredentials
from poolcensus.aws.sdk import chain, credential_process
from poolcensus.aws.sdk.access import Sdk
from poolcensus.errors import CallerExpiredError, CredentialsError, SettingsError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

KEYS = {"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "process-secret"}
ROLE = "arn:{partition}:iam::000000000001:role/reader"
OLD_MODEL = (
    '{"metadata": {"protocol": "json", "serviceId": "WorkSpaces", "endpointPrefix": "workspaces",'
    ' "signatureVersion": "v4", "apiVersion": "2099-01-01"}, "operations": {}, "shapes": {}}'
)
SSO = """
sso_session = corp
sso_account_id = 000000000001
sso_role_name = reader
[sso-session corp]
sso_region = eu-west-1
sso_start_url = https://corp.awsapps.com/start
"""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Path:
    return Path(os.environ["AWS_CONFIG_FILE"])


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A credential_process that prints a file that the test has written."""
    script = tmp_path / "program"
    script.write_text(f"#!/bin/sh\ncat {tmp_path / 'printed'}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "printed").write_text(json.dumps(KEYS))
    return script


class Sts:
    """Replaces the SDK's network: records the URLs, and returns a session that does not end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[AWSPreparedRequest] = []
        self.answer: tuple[int, str] | Exception = (200, self.session(timedelta(hours=1)))
        monkeypatch.setattr(URLLib3Session, "send", lambda _, request: self._send(request))

    @staticmethod
    def session(lifetime: timedelta) -> str:
        end = (datetime.now(UTC) + lifetime).isoformat()
        return (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId>"
            f"<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{end}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )

    def _send(self, request: AWSPreparedRequest) -> AWSResponse:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        status, body = self.answer
        return _Answer(request.url, status, {}, body.encode())


class _Answer(AWSResponse):  # type: ignore[misc] # botocore has no types
    def __init__(self, url: str, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(url, status, headers, None)
        self._content = body


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Sts:
    return Sts(monkeypatch)


async def walk(profile: str | None = "cp") -> str:
    """The access key that the chain finds."""
    async with Sdk(profile=profile, endpoint_url=None) as sdk:
        found, _ = await sdk.caller_credentials()
    return found.access_key_id


async def failure(profile: str | None = "cp") -> str:
    with pytest.raises(CredentialsError) as caught:
        await walk(profile)
    assert caught.value.__cause__ is None
    return str(caught.value)


def printed(**changes: object) -> str:
    return json.dumps({name: value for name, value in {**KEYS, **changes}.items() if value is not None})


async def test_a_credential_process_that_hangs_is_ended(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_process, "_LONGEST_PROCESS", 0.3)
    number = tmp_path / "number"
    config.write_text(f"[profile cp]\ncredential_process = sh -c 'echo $$ > {number}; exec sleep 600'\n")
    assert "credential_process 'sh' did not end within 0.3 s" in await failure()
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


async def test_one_thread_at_a_time_walks_a_chain(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[profile cp]\ncredential_process = false\n")
    together = threading.Barrier(2)
    met: list[bool] = []

    def walked(_: chain.Chain) -> None:
        try:
            together.wait(0.3)
            met.append(True)
        except threading.BrokenBarrierError:
            together.reset()
        raise CredentialsError("none")

    monkeypatch.setattr(chain.Chain, "_walk", walked)

    def walk_in_thread(sdk: Sdk) -> None:
        with suppress(CredentialsError):
            sdk._walk_chain()

    async with Sdk(profile="cp", endpoint_url=None) as sdk, anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(anyio.to_thread.run_sync, walk_in_thread, sdk)
    assert not met


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "credential_process 'false' exited with status 1"),
        (
            "sh -c 'echo first >&2; echo not signed in >&2; exit 3'",
            "'sh' exited with status 3 (not signed in)",
        ),
        ("sh -c 'kill -9 $$'", "'sh' was ended by SIGKILL"),
        ("/no/such/program --password secret", "'/no/such/program' could not be started: No such file"),
        ("", "credential_process is empty"),
        ('"/bin/true', "credential_process has a quotation mark that is not closed"),
        ("\n  a = b", "credential_process is a section and not a command"),
    ],
)
async def test_what_a_credential_process_did_is_said(config: Path, command: str, why: str) -> None:
    config.write_text(f"[profile cp]\ncredential_process = {command}\n")
    said = await failure()
    assert said.startswith("Could not get credentials for profile cp: ")
    assert why in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", "did not print JSON"),
        ("\xff", "did not print JSON"),
        ("[]", "did not print a JSON object"),
        (printed(Version=2), "Version is not 1"),
        (printed(AccessKeyId=None), "printed no AccessKeyId"),
        (printed(SecretAccessKey=7), "printed no SecretAccessKey"),
        (printed(SessionToken=["a"]), "SessionToken that is not text"),
        (printed(Expiration=1767225600), "an Expiration that is not a time"),
        (printed(Expiration="soon"), "an Expiration that is not a time"),
        (printed(Expiration="2999-01-01T00:00:00"), "an Expiration without a time zone"),
        (printed(Expiration="2020-01-01T00:00:00Z"), "gave credentials that have expired"),
    ],
)
async def test_what_a_credential_process_printed_is_said(
    config: Path, program: Path, output: str, why: str
) -> None:
    program.with_name("printed").write_text(output, encoding="latin-1")
    config.write_text(f"[profile cp]\ncredential_process = {program}\n")
    said = await failure()
    assert said.startswith(f"Could not get credentials for profile cp: credential_process '{program}' ")
    assert why in said


async def test_a_process_behind_a_role_is_explained_too(config: Path, sts: Sts) -> None:
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition='aws')}\nsource_profile = source\n"
        "[profile source]\ncredential_process = false\n"
    )
    assert await failure() == (
        "Could not get credentials for profile cp: credential_process 'false' exited with status 1."
    )
    assert not sts.requests


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (f"[profile cp]{SSO}", "there is no SSO session. Run 'aws sso login --profile cp'."),
        (
            "[profile cp]\nrole_arn = a\nsource_profile = base\n[profile base]" + SSO,
            "there is no SSO session. Run 'aws sso login --profile base'.",
        ),
        (
            "[profile cp]\nsso_start_url = https://a\nsso_region = b\nsso_account_id = 1\nsso_role_name=c\n",
            "there is no SSO session. Run 'aws sso login --profile cp'.",
        ),
        ("[profile cp]\nsso_session = corp\nsso_account_id = 1\n", "not exist"),
        (
            "[profile cp]\nrole_arn = a\nsource_profile = gone\n",
            "does not exist. Correct it in",
        ),
        (
            "[profile cp]\nrole_arn = a\nsource_profile = b\n[profile b]\nrole_arn = a\nsource_profile=cp\n",
            "Infinite loop",
        ),
        ("[profile cp]\naws_access_key_id = AKIA1\n", "aws_secret_access_key is missing"),
        ("[profile cp]\nsso_session =\n  a = b\nsso_account_id = 1\n", "malformed (TypeError)"),
        ("[profile cp]\nmetadata_service_timeout = long\n", "malformed (ValueError)"),
        ("[profile cp]\nrole_arn = a\nweb_identity_token_file = /no/such\n", "/no/such: No such file"),
    ],
)
async def test_a_profile_that_leads_nowhere_is_one_sentence(config: Path, sections: str, said: str) -> None:
    config.write_text(sections)
    found = await failure()
    assert found.startswith("Could not get credentials for profile cp: ")
    assert said in found
    assert "\n" not in found


async def test_an_sso_session_that_has_expired_names_the_command(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(f"[profile cp]{SSO}")
    ended = {"accessToken": "t", "expiresAt": "2020-01-01T00:00:00Z"}
    monkeypatch.setattr("botocore.utils.SSOTokenLoader.__call__", lambda *_, **__: ended)
    assert await failure() == (
        "Could not get credentials for profile cp: the SSO session has expired or is not valid."
        " Run 'aws sso login --profile cp'."
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "AKIA1"},
            "Could not get credentials from the environment: AWS_SECRET_ACCESS_KEY is missing.",
        ),
        (
            {"AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"},
            "from the environment: the credentials that were",
        ),
        ({"AWS_CREDENTIAL_EXPIRATION": "soon"}, "malformed (ParserError)"),
        ({"AWS_CREDENTIAL_EXPIRATION": "2999-01-01"}, "malformed (TypeError)"),
    ],
)
async def test_variables_that_do_not_fit_together(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    if "AWS_ACCESS_KEY_ID" not in variables:
        variables = {**variables, "AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "env-secret"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in await failure(None)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_METADATA_SERVICE_TIMEOUT", "long", "must be a whole number."),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1.5", "must be a whole number."),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "x", "must be one of ipv4, ipv6."),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://example.com/x",
            (
                "has a host that the AWS SDK does not allow: it takes localhost, a loopback address,"
                " 169.254.170.2 (ECS), and 169.254.170.23 or [fd00:ec2::23] (EKS)."
            ),
        ),
        (
            "SSLKEYLOGFILE",
            "/nope/keys",
            "names a file that can't be written to: /nope/keys: No such file or directory.",
        ),
    ],
    ids=["timeout", "attempts", "mode", "host", "keys"],
)
async def test_a_variable_of_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    monkeypatch.setenv(variable, value)
    found = await failure(None)
    assert found.startswith("Could not get credentials")
    assert found.endswith(f": {variable} {said}")


async def test_without_credentials_it_is_said_how_to_get_some() -> None:
    assert await failure(None) == (
        "No AWS credentials found. Set AWS_PROFILE, pass `profile`, or run 'aws sso login --profile NAME'."
    )


async def test_a_plugin_may_raise_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise StopIteration("with a secret in it")

    monkeypatch.setattr("botocore.credentials.SharedCredentialProvider.load", load)
    said = await failure(None)
    assert "malformed (StopIteration)" in said
    assert "secret" not in said


async def test_what_is_no_error_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise SystemExit(7)

    monkeypatch.setattr("botocore.credentials.SharedCredentialProvider.load", load)
    with pytest.raises(SystemExit):
        await walk(None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (
                403,
                "<E><Error><Code>AccessDenied</Code><Message>not the-external-id</Message></Error></E>",
            ),
            "AssumeRole failed: not *** (AccessDenied). Check role_arn, external_id",
        ),
        (
            (400, "<E><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></E>"),
            "AssumeRole failed: Rate exceeded (Throttling). Run again in a minute.",
        ),
        (
            EndpointConnectionError(endpoint_url="https://user:password@sts.example"),
            'Could not connect to the endpoint URL: "https://***@sts.example". Check the network',
        ),
        ((200, "<E/>"), "malformed (KeyError)"),
    ],
)
async def test_a_role_that_sts_does_not_give(
    config: Path, sts: Sts, answer: tuple[int, str] | Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.retryhandler.delay_exponential", lambda *_, **__: 0)
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition='aws')}\nsource_profile = cp\n"
        "external_id = the-external-id\naws_access_key_id = AKIA1\naws_secret_access_key = config-secret\n"
    )
    sts.answer = answer
    found = await failure()
    assert said in found
    assert "config-secret" not in found


@pytest.mark.parametrize(
    "answer",
    [(403, '{"Token": "not-to-be-told"}'), (500, "not-to-be-told\x1b[31m"), (301, "not-to-be-told\n")],
)
async def test_what_a_container_s_service_answers_is_not_quoted(
    sts: Sts, answer: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/credentials")
    sts.answer = answer
    said = await failure(None)
    assert f"the container's credential service answered with status {answer[0]}." in said
    assert "not-to-be-told" not in said


@pytest.mark.parametrize(
    ("partition", "variables", "host"),
    [
        ("aws-us-gov", {"AWS_REGION": "us-gov-west-1"}, "sts.us-gov-west-1.amazonaws.com"),
        ("aws-us-gov", {"AWS_REGION": "us-gov-east-1"}, "sts.us-gov-east-1.amazonaws.com"),
        ("aws-us-gov", {}, "sts.us-gov-west-1.amazonaws.com"),
        ("aws-cn", {"AWS_REGION": "cn-north-1"}, "sts.cn-north-1.amazonaws.com.cn"),
        ("aws-cn", {}, "sts.cn-northwest-1.amazonaws.com.cn"),
        ("aws", {"AWS_REGION": "eu-central-1"}, "sts.eu-central-1.amazonaws.com"),
        (
            "aws",
            {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "eu-west-3"},
            "sts.eu-west-3.amazonaws.com",
        ),
        ("aws", {}, "sts.us-east-1.amazonaws.com"),
    ],
)
async def test_the_role_is_assumed_at_the_sts_of_the_region(  # noqa: PLR0917 - pytest gives them by name
    config: Path,
    sts: Sts,
    monkeypatch: pytest.MonkeyPatch,
    partition: str,
    variables: dict[str, str],
    host: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition=partition)}\nsource_profile = source\n"
        "[profile source]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n"
    )
    assert await walk() == "ASIA1"
    assert [request.url for request in sts.requests] == [f"https://{host}/"]


@pytest.mark.parametrize(
    "name", ["eu west", "us-east-1\n", "us-east-1.evil.example/", "-eu", "fips-", "fips--eu"]
)
async def test_a_region_that_is_no_name_is_refused_without_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AWS_REGION", name)
    with pytest.raises(SettingsError, match="not the name of a region") as caught:
        await Sdk(profile=None, endpoint_url=None).open()
    assert name not in str(caught.value)


@pytest.mark.parametrize(
    "sections",
    [
        "[default]\nregion =\n  a = b\n",
        "[default]\nrole_arn",
        "aws_secret_access_key = config-secret\n",
        "[default]\naws_secret_access_key config-secret\n",
        "[default]\n[default]\n",
        "[default]\ns3 =\n  config-secret\n",
        "[default\n",
        "[default]\nca_bundle =\n  a = b\n",
    ],
)
async def test_malformed_sections_are_one_sentence(config: Path, sections: str) -> None:
    config.write_text(sections)
    with pytest.raises(SettingsError) as caught:
        async with Sdk(profile=None, endpoint_url=None) as sdk:
            _ = sdk.ca_bundle
    said = str(caught.value)
    assert "AWS config" in said
    assert "\n" not in said
    assert "config-secret" not in said


async def test_a_variable_that_no_request_can_be_formed_with_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def said() -> str:
        async with Sdk(profile=None, endpoint_url=None) as sdk:
            with pytest.raises(SettingsError) as caught:
                await sdk.template("sts", "eu-west-1", "get_caller_identity")
        return str(caught.value)

    config.write_text("[default]\nmax_attempts = some\n")
    assert "the profile's section in your AWS config is malformed (ValueError)" in await said()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "x")
    assert (await said()).endswith(" can be formed: AWS_MAX_ATTEMPTS must be a whole number")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("retry_mode", "foo", "one of legacy, standard, adaptive"),
        ("defaults_mode", "foo", "one of legacy, auto, standard, in-region, cross-region, mobile"),
        ("max_attempts", "0", "a whole number from 1"),
    ],
)
async def test_a_mode_that_is_none_is_named_by_what_sets_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str, wanted: str
) -> None:
    config.write_text(f"[default]\n{key} = {value}\n")
    for name in (f"{key} in your AWS config", f"AWS_{key.upper()}"):
        async with Sdk(profile=None, endpoint_url=None) as sdk:
            with pytest.raises(SettingsError) as caught:
                await sdk.template("sts", "eu-west-1", "get_caller_identity")
        assert str(caught.value).endswith(f" can be formed: {name} must be {wanted}")
        monkeypatch.setenv(f"AWS_{key.upper()}", value)


@pytest.mark.parametrize(
    "section",
    [
        "api_versions = 1",
        "max_attempts = some",
        "retry_mode = never",
        "endpoint_url =\n  a = b",
        "services = gone",
    ],
)
async def test_sections_that_no_request_can_be_made_with(config: Path, section: str) -> None:
    config.write_text(f"[default]\n{section}\n")
    said = "no request for sts in eu-west-1 can be formed: |The endpoint URL for sts is not|can't be read: "
    with pytest.raises(SettingsError, match=said):
        async with Sdk(profile=None, endpoint_url=None) as sdk:
            await sdk.template("sts", "eu-west-1", "get_caller_identity")


@pytest.mark.parametrize(
    "model",
    [
        "",
        "[]",
        "{}",
        '{"metadata": {}, "operations": {}, "shapes": {}}',
        OLD_MODEL,
    ],
)
async def test_a_custom_service_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    folder = tmp_path / "models" / "workspaces"
    (folder / "2099-01-01").mkdir(parents=True)
    (folder / "2099-01-01" / "service-2.json").write_text(model)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path / "models"))
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        with pytest.raises(SettingsError, match="no request for workspaces in eu-west-1") as caught:
            await sdk.template("workspaces", "eu-west-1", "describe_workspaces_pools")
    assert f"the service model in {folder} is of no use" in str(caught.value)


@pytest.fixture
def with_mfa(config: Path) -> None:
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition='aws')}\nsource_profile = source\n"
        "mfa_serial = arn:aws:iam::000000000001:mfa/someone\n"
        "[profile source]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n"
    )


async def test_a_code_without_a_terminal(with_mfa: None, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_has_terminal", lambda: False)
    said = await failure()
    assert "profile cp: its role needs an MFA code, and there is no terminal to ask for it on" in said
    assert not sts.requests


async def test_no_code_is_typed(with_mfa: None, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(chain, "_has_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", nothing)
    assert "needs an MFA code, and none was given" in await failure()
    assert not sts.requests


async def test_a_code_is_asked_for_once(with_mfa: None, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return "123456"

    monkeypatch.setattr(chain, "_has_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", getpass)
    async with Sdk(profile="cp", endpoint_url=None) as sdk:
        await sdk.caller_credentials()
        sdk.forget_caller_credentials()
        with pytest.raises(CredentialsError, match="a new one needs an MFA code"):
            await sdk.caller_credentials()
    assert len(asked) == 1


async def test_a_role_is_assumed_anew_where_its_session_was_refused(config: Path, sts: Sts) -> None:
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition='aws')}\nsource_profile = source\n"
        "[profile source]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n"
    )
    async with Sdk(profile="cp", endpoint_url=None) as sdk:
        for _ in range(3):
            await sdk.caller_credentials()
            sdk.forget_caller_credentials()
    assert len(sts.requests) == 3


def test_what_is_forgotten_while_the_chain_is_walked_is_not_kept(config: Path, program: Path) -> None:
    config.write_text(f"[profile cp]\ncredential_process = {program}\n")
    sessions = [botocore.session.Session(profile="cp") for _ in range(2)]
    walked = chain.Chain(sessions[0], lambda: sessions[1], chain.SentSecrets())
    walk = sessions[0].get_credentials

    def forgotten_meanwhile() -> object:
        walked.forget()
        return walk()

    sessions[0].get_credentials = forgotten_meanwhile
    before = walked.walk()
    program.with_name("printed").write_text(printed(AccessKeyId="AKIANEW"))
    assert before.credentials.access_key_id != walked.walk().credentials.access_key_id == "AKIANEW"


@pytest.mark.parametrize(
    "after",
    [
        printed(Expiration="2020-01-01T00:00:00Z"),
        "[]",
        "",
        printed(Expiration=5),
        printed(SessionToken="a\r\nx-evil: 1"),
    ],
)
async def test_a_process_that_gives_no_more_is_expired_in_mid_run(
    config: Path, program: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setattr(chain_credentials, "_WAITS_FOR_THE_CHAIN", ())
    config.write_text(f"[profile cp]\ncredential_process = {program}\n")
    async with Sdk(profile="cp", endpoint_url=None) as sdk:
        source = ChainCredentials(sdk)
        await source.first()
        program.with_name("printed").write_text(after)
        source.expired(await source.get())
        with pytest.raises(CallerExpiredError, match="Could not get credentials for profile cp: "):
            await source.get()


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("", 'Profile "cp" not found'),
        ("[profile cp\n", "is malformed at line 1"),
        ("[profile cp]\nregion =\n  a = b\n", "not the name of a region"),
        ("[profile cp]\n", "No AWS credentials found for profile cp"),
    ],
)
async def test_a_profile_that_goes_away_is_expired_in_mid_run(
    config: Path, program: Path, monkeypatch: pytest.MonkeyPatch, after: str, said: str
) -> None:
    monkeypatch.setattr(chain_credentials, "_WAITS_FOR_THE_CHAIN", ())
    config.write_text(f"[profile cp]\ncredential_process = {program}\n")
    async with Sdk(profile="cp", endpoint_url=None) as sdk:
        source = ChainCredentials(sdk)
        await source.first()
        config.write_text(after)
        source.expired(await source.get())
        with pytest.raises(CallerExpiredError, match=said):
            await source.get()


async def test_the_sdk_does_not_tell_of_its_failures_itself(
    config: Path, sts: Sts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config.write_text(f"[profile cp]{SSO}")
    await failure()
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition='aws')}\nsource_profile = cp\n"
        "aws_access_key_id = AKIA1\naws_secret_access_key = config-secret\naws_session_token = a b\n"
    )
    sts.answer = (200, Sts.session(timedelta(hours=-1)))
    assert "have expired" in await failure()
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]
    assert "config-secret" not in caplog.text


UNFIT = ["a\r\nx-evil: 1", "a\n", "a\r", "a b", "a\0", "é"]


@pytest.mark.parametrize("value", UNFIT)
@pytest.mark.parametrize("key", ["AccessKeyId", "SecretAccessKey", "SessionToken"])
async def test_credentials_that_fit_in_no_header_are_refused_without_their_value(
    config: Path, program: Path, key: str, value: str
) -> None:
    program.with_name("printed").write_text(printed(**{key: f"unfit-{value}"}))
    config.write_text(f"[profile cp]\ncredential_process = {program}\n")
    said = await failure()
    assert "holds a character that can't stand in a header" in said
    assert "unfit" not in said


async def test_a_source_that_fits_in_no_header_is_refused_before_sts_is_called(
    config: Path, program: Path, sts: Sts
) -> None:
    program.with_name("printed").write_text(printed(SessionToken="unfit\r\n x-evil: 1"))
    config.write_text(
        f"[profile cp]\nrole_arn = {ROLE.format(partition='aws')}\nsource_profile = source\n"
        f"[profile source]\ncredential_process = {program}\n"
    )
    said = await failure()
    assert "can't stand in a header" in said
    assert "unfit" not in said
    assert not sts.requests


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/\r\nx-evil: 1", "http://127.0.0.1:9/a b", "http://127.0.0.1:9/é", "http://é/"]
)
async def test_endpoints_that_fit_in_no_request_are_refused_without_their_value(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    said = "no request for sts in eu-west-1 can be formed|The endpoint URL for sts is not"
    with pytest.raises(SettingsError, match=said) as caught:
        async with Sdk(profile=None, endpoint_url=None) as sdk:
            await sdk.template("sts", "eu-west-1", "get_caller_identity")
    assert url.partition("//")[2] not in str(caught.value)


async def test_the_user_agent_holds_no_other_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EXECUTION_ENV", "a\r\nx-evil: 1")
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "a\r\nx-evil: 1")
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        template = await sdk.template("sts", "eu-west-1", "get_caller_identity")
    assert "\r" not in template.headers["user-agent"]
    assert "\n" not in template.headers["user-agent"]


@pytest.mark.parametrize(
    ("variables", "section", "found"),
    [
        ({"AWS_CA_BUNDLE": "/a.pem", "REQUESTS_CA_BUNDLE": "/r.pem"}, "ca_bundle = /c.pem", "/a.pem"),
        ({"REQUESTS_CA_BUNDLE": "/r.pem"}, "ca_bundle = /c.pem", "/c.pem"),
        ({"REQUESTS_CA_BUNDLE": "/r.pem"}, "", "/r.pem"),
        ({"AWS_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": ""}, "", "cacert.pem"),
        ({}, "", "cacert.pem"),
    ],
)
async def test_the_ca_bundle_is_found_where_the_sdk_finds_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], section: str, found: str
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config.write_text(f"[profile cp]\n{section}\n")
    async with Sdk(profile="cp", endpoint_url=None) as sdk:
        assert sdk.ca_bundle is not None
        assert sdk.ca_bundle.endswith(found)

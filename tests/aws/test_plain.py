"""Configurations that are read without the SDK: the SDK finds the same in them."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest
from botocore.httpsession import DEFAULT_CA_BUNDLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolcensus import partitions
from poolcensus.aws.sdk.access import Sdk
from poolcensus.aws.sdk.plain import plain_configuration
from poolcensus.aws.sdk.plain_requests import _OPERATIONS, plain_request
from poolcensus.aws.sdk.session import SdkSession
from poolcensus.aws.signing import SdkOperation
from poolcensus.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poolcensus.aws.sdk.plain import PlainConfiguration
    from poolcensus.aws.signing import RequestTemplate

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
SAMPLES: Mapping[str, Mapping[str, object]] = {
    "assume_role": {"RoleArn": "arn:aws:iam::000000000000:role/any", "RoleSessionName": "any"},
    "list_accounts_for_parent": {"ParentId": "ou-ab12-34cd56ef"},
    "list_organizational_units_for_parent": {"ParentId": "ou-ab12-34cd56ef"},
    "list_tags_for_resource": {"ResourceId": "000000000001"},
}


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without the variables of the tests' user, and a home folder without files."""
    for name in os.environ:
        if name.startswith(("AWS_", "BOTO")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path / ".aws"


def plain(profile: str | None = None, endpoint_url: str | None = None) -> PlainConfiguration | None:
    return plain_configuration(profile, endpoint_url, os.environ)


def of_the_sdk(profile: str | None = None, endpoint_url: str | None = None) -> tuple[object, ...]:
    """Return the keys, the region and the CA bundle that the SDK finds."""
    session = SdkSession(profile, endpoint_url)
    found = session.chain.walk()
    assert not found.renews
    return found.credentials, session.region, session.ca_bundle


def same(found: PlainConfiguration) -> tuple[object, ...]:
    return found.credentials, found.region, found.ca_bundle


CONFIG = """
[default]
region = eu-west-1
output = json
[profile audit]
region=eu-central-1
aws_access_key_id = AKIACONFIG
aws_secret_access_key = config-secret
[profile "with blank"]
region = us-west-2
[profile roles]
role_arn = arn:aws:iam::000000000001:role/reader
source_profile = audit
[sso-session corp]
sso_region = eu-west-1
[services mine]
sts =
  endpoint_url = http://127.0.0.1:2
"""
CREDENTIALS = """
[default]
aws_access_key_id = AKIASHARED
aws_secret_access_key = shared/secret+of=it
aws_session_token = shared-token
[with blank]
aws_access_key_id: AKIABLANK
aws_secret_access_key: blank-secret
[only-shared]
aws_access_key_id = AKIAONLY
aws_secret_access_key = only-secret
"""


@pytest.mark.parametrize(
    ("profile", "variables", "key_id"),
    [
        (None, KEYS, "AKIAENV"),
        (None, {**KEYS, "AWS_SESSION_TOKEN": "t", "AWS_REGION": "us-east-2"}, "AKIAENV"),
        (None, {**KEYS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-2"}, "AKIAENV"),
        (None, {**KEYS, "AWS_PROFILE": "audit"}, "AKIAENV"),
        ("audit", KEYS, "AKIACONFIG"),
        (None, {}, "AKIASHARED"),
        (None, {"AWS_PROFILE": "audit"}, "AKIACONFIG"),
        (None, {"AWS_PROFILE": "with blank"}, "AKIABLANK"),
        ("with blank", {"AWS_DEFAULT_REGION": "ap-south-1"}, "AKIABLANK"),
        ("only-shared", {"AWS_PROFILE": "none", "AWS_REGION": "us-east-2"}, "AKIAONLY"),
        (None, {**KEYS, "AWS_CA_BUNDLE": "/a.pem", "REQUESTS_CA_BUNDLE": "/r.pem"}, "AKIAENV"),
        (None, {**KEYS, "REQUESTS_CA_BUNDLE": "/r.pem"}, "AKIAENV"),
    ],
)
def test_keys_region_and_authorities_are_those_that_the_sdk_finds(
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: str | None,
    variables: dict[str, str],
    key_id: str,
) -> None:
    (environment / "config").write_text(CONFIG)
    (environment / "credentials").write_text(CREDENTIALS)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = plain(profile)
    assert found is not None
    assert same(found) == of_the_sdk(profile)
    assert found.credentials.access_key_id == key_id


@pytest.mark.parametrize(
    ("config", "variables"),
    [
        ("[default]\nrole_arn = arn:aws:iam::000000000001:role/r\ncredential_source = Environment\n", {}),
        ("[default]\ncredential_process = false\n", {}),
        ("[default]\nsso_session = corp\n", {}),
        ("[default]\nservices = mine\n", {}),
        ("[default]\nuse_fips_endpoint = true\n", {}),
        ("[default]\nca_bundle = /c.pem\n", {}),
        ("[default]\ns3 =\n  addressing_style = path\n", {}),
        ("[default]\nregion =\n  eu-west-1\n", {}),
        ("[default]\nregion = us-gov-west-1\n", {}),
        ("[default]\nregion = eu-nowhere-1\n", {}),
        ("[default]\nendpoint_url = http://127.0.0.1:4/a\n", {}),
        ("[default]\n[profile default]\n", {}),
        ("region = eu-west-1\n", {}),
        ("[default]\n[default]\n", {}),
        ("", {"AWS_PROFILE": "gone"}),
        ("", {"AWS_DEFAULT_PROFILE": "default"}),
        ("", {"AWS_SESSION_TOKEN": ""}),
        ("", {"AWS_SECURITY_TOKEN": "t"}),
        ("", {"AWS_SECRET_ACCESS_KEY": "a\nb"}),
        ("", {"AWS_CREDENTIAL_EXPIRATION": "2999-01-01T00:00:00Z"}),
        ("", {"AWS_ROLE_ARN": "arn:aws:iam::000000000001:role/r"}),
        ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}),
        ("", {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/keys"}),
        ("", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
        ("", {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
        ("", {"AWS_ENDPOINT_URL": "https://[::1]:8"}),
        ("", {"AWS_ENDPOINT_URL": "http://user:password@127.0.0.1"}),
        ("", {"AWS_ENDPOINT_URL_STS": "127.0.0.1:9"}),
        ("", {"AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:99999"}),
        ("", {"AWS_DATA_PATH": "/models"}),
        ("", {"AWS_EXECUTION_ENV": "CloudShell"}),
        ("", {"AWS_SDK_UA_APP_ID": "audit"}),
        ("", {"AWS_OF_TOMORROW": "true"}),
        ("", {"BOTOCORE_EXPERIMENTAL__PLUGINS": "a=b"}),
        ("", {"HTTPS_PROXY": "http://127.0.0.1:3128"}),
        ("", {"no_proxy": "*"}),
    ],
)
def test_what_is_more_than_plain_is_left_to_the_sdk(
    environment: Path, monkeypatch: pytest.MonkeyPatch, config: str, variables: dict[str, str]
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert plain() is not None
    (environment / "config").write_text(config)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert plain() is None


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "[default]\naws_access_key_id = AKIA1\n",
        "[default]\naws_access_key_id =\naws_secret_access_key = s\n",
        "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = s\naws_session_token =\n",
        "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = s\naws_security_token = t\n",
        "[default]\naws_secret_access_key = s\n",
        "[default\n",
    ],
)
def test_keys_that_are_not_whole_are_left_to_the_sdk(environment: Path, credentials: str) -> None:
    (environment / "credentials").write_text(credentials)
    assert plain() is None


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_proxies_in_settings_of_the_system_are_left_to_the_sdk(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    proxies: dict[str, str] = {}
    monkeypatch.setattr(urllib.request, "getproxies", lambda: proxies)
    assert plain() is not None
    proxies["https"] = "http://127.0.0.1:3128"
    assert plain() is None


def test_without_certifi_the_authorities_are_the_sdk_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "certifi", None)
    found = plain()
    assert found is not None
    assert found.ca_bundle == DEFAULT_CA_BUNDLE


def test_models_of_the_customer_s_own_are_left_to_the_sdk(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (environment / "models").mkdir()
    assert plain() is None


_VALUES = st.sampled_from(
    ["AKIA1", "s", "eu-west-1", "us-east-1", "x", "", " y ", "\n z=1", "http://127.0.0.1:9"]
)
_NAMES = (
    *("aws_access_key_id", "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "aws_session_token"),
    *("region", "endpoint_url", "output", "role_arn", "source_profile", "ca_bundle", "aws_security_token"),
)
_SECTION = st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=5)
_FILE = st.dictionaries(
    st.sampled_from(["default", "p", "profile p", "profile  'p'", "profile default", "profilep", "DEFAULT"]),
    _SECTION,
    max_size=4,
)
_ENVIRONMENT = st.dictionaries(
    st.sampled_from(
        [*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"]
    ),
    st.sampled_from(["p", "default", "AKIA2", "us-west-2", "", "http://127.0.0.1:8/", "a b"]),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=_FILE, shared=_FILE, variables=_ENVIRONMENT, profile=st.sampled_from([None, "default", "p"]))
def test_whatever_is_taken_for_plain_the_sdk_finds_the_same(
    environment: Path,
    config: dict[str, dict[str, str]],
    shared: dict[str, dict[str, str]],
    variables: dict[str, str],
    profile: str | None,
) -> None:
    for name, sections in (("config", config), ("credentials", shared)):
        text = "".join(
            f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
            for section, values in sections.items()
        )
        (environment / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        found = plain(profile)
        if found is not None:
            assert same(found) == of_the_sdk(profile)
            assert found.url("sts") == (variables.get("AWS_ENDPOINT_URL") or _configured_url(profile))


def _configured_url(profile: str | None) -> object:
    return SdkSession(profile, None)._session.get_scoped_config().get("endpoint_url")


@pytest.mark.parametrize(
    ("endpoint_url", "variables"),
    [
        (None, {}),
        (None, {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}),
        (None, {"AWS_ENDPOINT_URL": "https://aws.example.com/"}),
        (
            "http://localhost:80",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_ENDPOINT_URL_STS": "http://a"},
        ),
        (
            None,
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
            | {
                f"AWS_ENDPOINT_URL_{name}": f"http://127.0.0.1:{port}"
                for port, name in enumerate(["STS", "EC2", "WORKSPACES", "ORGANIZATIONS", "ACCOUNT", "S3"], 2)
            },
        ),
    ],
)
def test_each_request_is_the_one_that_the_sdk_would_send(
    monkeypatch: pytest.MonkeyPatch, endpoint_url: str | None, variables: dict[str, str]
) -> None:
    for name, value in {**KEYS, **variables}.items():
        monkeypatch.setenv(name, value)
    configuration = plain(endpoint_url=endpoint_url)
    assert configuration is not None
    sdk = SdkSession(None, endpoint_url)
    regions = partitions.partitions()["aws"].regions if not variables else ("eu-west-1", "us-east-1")
    for region in regions:
        for service, method in _OPERATIONS:
            operation = SdkOperation(service, region, method)
            ours = plain_request(configuration, operation)
            assert ours is not None
            assert _sent(ours) == _sent(sdk.forms.form(operation, SAMPLES.get(method, {})))
    sdk.forms.close()


def _sent(template: RequestTemplate) -> tuple[object, ...]:
    # The user agents differ, since that of the SDK names it.
    headers = {**template.headers, "user-agent": "any"}
    return (
        *(template.method, template.url, template.host, template.path, headers),
        *(template.service, template.region, template.proxy, template.operation),
    )


def test_regions_and_operations_that_are_not_known_are_left_to_the_sdk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    configuration = plain()
    assert configuration is not None
    for service, region, method in (
        ("workspaces", "us-gov-west-1", "describe_workspaces_pools"),
        ("workspaces", "eu-nowhere-1", "describe_workspaces_pools"),
        ("workspaces", "eu-west-1", "describe_workspaces"),
        ("appstream", "eu-west-1", "describe_fleets"),
    ):
        assert plain_request(configuration, SdkOperation(service, region, method)) is None


async def test_the_sdk_is_opened_for_what_is_not_plain(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (environment / "config").write_text("[profile other]\nregion = eu-west-3\n")
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        template = await sdk.template("workspaces", "us-gov-west-1", "describe_workspaces_pools")
        assert template.host == "workspaces.us-gov-west-1.amazonaws.com"
        others = await sdk.of_profiles({"other": "000000000001"})
        async with others["other"] as other:
            assert other.region == "eu-west-3"
        with pytest.raises(FatalError, match='Profile "gone" not found'):
            await sdk.of_profiles({"gone": "000000000001"})


async def test_keys_that_have_expired_are_looked_for_anew(environment: Path) -> None:
    shared = environment / "credentials"
    shared.write_text("[default]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n")
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        assert (await sdk.caller_credentials())[0].access_key_id == "AKIA1"
        shared.write_text("[default]\naws_access_key_id = AKIA2\naws_secret_access_key = s\n")
        assert (await sdk.caller_credentials())[0].access_key_id == "AKIA1"
        sdk.forget_caller_credentials()
        assert (await sdk.caller_credentials())[0].access_key_id == "AKIA2"


def test_a_plain_configuration_does_not_load_the_sdk() -> None:
    program = """
import asyncio, os, sys
from poolcensus.aws.session import open_caller
from poolcensus.config import Settings

async def main():
    async with open_caller(Settings()) as session:
        await session.sdk.template("workspaces", "eu-west-1", "describe_workspaces_pools")
        print(*sorted(each for each in sys.modules if each.startswith(("botocore.", "aiobotocore", "boto3"))))
        from botocore.httpsession import get_cert_path
        print(session.sdk.ca_bundle == get_cert_path(True))

asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **KEYS},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "\nTrue\n"

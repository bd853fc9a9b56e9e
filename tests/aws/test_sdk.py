"""The package's use of the SDK: its credential chain in a thread, its data files, and request templates."""

from __future__ import annotations

import copy
import errno
import json
import os
import pathlib
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import botocore.session
import pytest
from botocore import configloader
from botocore.awsrequest import AWSResponse

from poolcensus.aws.sdk import access as module
from poolcensus.aws.sdk import limits, request_forms
from poolcensus.aws.sdk.access import Sdk
from poolcensus.aws.sdk.chain import Found
from poolcensus.aws.sdk.data_files import DataFiles
from poolcensus.aws.sdk.session import SdkSession, profile_not_found
from poolcensus.aws.signing import Credentials
from poolcensus.errors import CredentialsError, FatalError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.aws.signing import RequestTemplate


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config"
    file.write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return file


def process(folder: Path, body: str) -> str:
    script = folder / "credentials.py"
    script.write_text(f"#!{sys.executable}\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


async def test_a_credential_process_is_asked(configuration: Path) -> None:
    body = 'print(\'{"Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": "s", "SessionToken": "t"}\')'
    configuration.write_text(f"[default]\ncredential_process = {process(configuration.parent, body)}\n")
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        found, until = await sdk.caller_credentials()
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("AKIA1", "s", "t")
    assert until > time.monotonic()


async def test_a_credential_process_that_hangs_ends_with_its_limit(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = configuration.parent / "gate"
    body = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)"
    configuration.write_text(f"[default]\ncredential_process = {process(configuration.parent, body)}\n")
    monkeypatch.setattr(module, "_LONGEST_CHAIN", 0.3)
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)
    walk = Sdk._walk_chain

    def walked(sdk: Sdk) -> object:
        begun.release()
        try:
            return walk(sdk)
        finally:
            ended.release()

    monkeypatch.setattr(Sdk, "_walk_chain", walked)
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        with anyio.fail_after(10), pytest.raises(CredentialsError, match="nothing after 0.3 s"):
            await sdk.caller_credentials()
        with anyio.move_on_after(0.2) as scope:
            await sdk.caller_credentials()
        assert scope.cancelled_caught
        gate.touch()
        # A thread that has not begun by then, as on a busy machine, never does.
        while begun.acquire(blocking=False):
            assert await anyio.to_thread.run_sync(ended.acquire, True, 60)


async def test_a_configuration_on_a_disk_that_hangs_ends_in_a_sentence(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(limits, "_LONGEST_READ", 0.2)
    monkeypatch.setattr(module, "plain_configuration", lambda *_: gate.wait())
    configuration.touch()
    try:
        with pytest.raises(SettingsError, match=r"the AWS configuration: nothing after 0\.2 s"):
            await Sdk(profile=None, endpoint_url=None).open()
    finally:
        gate.set()


async def test_the_wait_for_a_person_is_not_the_disks(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration.write_text("[default]\ncredential_process = false\n")
    asked, answered = threading.Event(), threading.Event()

    def walk(_: Sdk) -> Found:
        asked.set()
        answered.wait(60)
        return Found(Credentials("a", "b"), renews=False)

    monkeypatch.setattr(Sdk, "_walk_chain", walk)
    async with Sdk(profile=None, endpoint_url=None) as sdk, anyio.create_task_group() as group:
        group.start_soon(sdk.caller_credentials)
        await anyio.to_thread.run_sync(asked.wait)
        # Other work that needs a thread, such as writing the snapshot, does not wait for the person.
        assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        with monkeypatch.context() as patch:
            patch.setattr(limits, "_LONGEST_READ", 0.1)
            with anyio.move_on_after(0.3) as scope:
                await sdk.template("workspaces", "eu-west-1", "describe_workspaces_pools")
            assert scope.cancelled_caught
        answered.set()
        await sdk.template("workspaces", "eu-west-1", "describe_workspaces_pools")


async def test_a_profile_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match='Profile "gone" not found in your AWS config. Run \'aws conf'):
        await Sdk(profile="gone", endpoint_url=None).open()


async def test_many_profiles_are_opened_from_one_reading_of_the_configuration(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = {f"p{number}": f"eu-west-{number}" for number in range(1, 20)}
    configuration.write_text(
        "".join(f"[profile {name}]\nregion = {region}\n" for name, region in regions.items())
    )
    read: list[object] = []
    real = configloader.load_config

    def load(name: str) -> object:
        read.append(name)
        return real(name)

    monkeypatch.setattr(configloader, "load_config", load)
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        missing = '^account 000000000002: Profile "gone" not found in your AWS config'
        with pytest.raises(SettingsError, match=missing):
            await sdk.of_profiles({"p1": "000000000001", "gone": "000000000002"})
        account_of = dict.fromkeys(regions, "000000000001")
        for name, other in (await sdk.of_profiles(account_of)).items():
            async with other:
                assert other.region == regions[name]
    assert read == [str(configuration)]


@pytest.mark.parametrize(
    ("variables", "region", "url"),
    [
        ({}, "eu-west-1", "https://workspaces.eu-west-1.amazonaws.com/"),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "us-east-1", "https://workspaces-fips.us-east-1.amazonaws.com/"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "us-east-1", "https://workspaces.us-east-1.api.aws/"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9/a"}, "us-east-1", "http://127.0.0.1:9/a"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_WORKSPACES": "https://[::1]:8/"},
            "us-east-1",
            "https://[::1]:8/",
        ),
    ],
)
async def test_requests_go_where_the_sdk_would_send_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str, url: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        template = await sdk.template("workspaces", region, "describe_workspaces_pools")
    assert template.url == url
    assert template.headers["x-amz-target"] == "WorkspacesService.DescribeWorkspacesPools"
    assert "poolcensus" in template.headers["user-agent"]
    assert (template.service, template.region) == ("workspaces", region)


@pytest.mark.parametrize(
    ("service", "method", "variables"),
    [
        ("sts", "get_caller_identity", {}),
        ("ec2", "describe_regions", {}),
        ("workspaces", "describe_workspaces_pools", {}),
        ("workspaces", "describe_workspaces_pools", {"AWS_USE_FIPS_ENDPOINT": "true"}),
        ("workspaces", "describe_workspaces_pools", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
        ("workspaces", "describe_workspaces_pools", {"AWS_ENDPOINT_URL_WORKSPACES": "http://127.0.0.1:9/a"}),
    ],
)
async def test_every_region_is_asked_where_a_client_of_its_own_would_ask(
    monkeypatch: pytest.MonkeyPatch, service: str, method: str, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    regions = ("us-east-1", "us-gov-west-1", "af-south-1", "us-east-1")
    # All regions use one client in turn: nothing of one region may stay for the next.
    async with Sdk(profile=None, endpoint_url=None) as shared:
        together = [await shared.template(service, region, method) for region in regions]
        together.append(await shared.template(service, "cn-north-1", method))
    alone = {}
    for region in {*regions, "cn-north-1"}:
        async with Sdk(profile=None, endpoint_url=None) as sdk:
            alone[region] = await sdk.template(service, region, method)
    assert [_fixed(each) for each in together] == [_fixed(alone[each]) for each in (*regions, "cn-north-1")]
    if "AWS_ENDPOINT_URL_WORKSPACES" not in variables:
        assert len({each.url for each in together}) == len(alone)


def _fixed(template: RequestTemplate) -> tuple[object, ...]:
    return (
        template.method,
        template.url,
        template.host,
        template.path,
        template.headers,
        template.service,
        template.region,
        template.proxy,
    )


async def test_a_request_that_is_still_formed_for_nobody_is_not_mixed_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, met = threading.Event(), threading.Event()
    inside = threading.Semaphore(1)

    def slow(*arguments: object) -> object:
        if not inside.acquire(blocking=False):
            met.set()
            return AWSResponse(*arguments)
        first = not began.is_set()
        began.set()
        if first:
            met.wait(0.2)
        inside.release()
        return AWSResponse(*arguments)

    monkeypatch.setattr(request_forms, "AWSResponse", slow)
    async with Sdk(profile=None, endpoint_url=None) as sdk, anyio.create_task_group() as group:
        group.start_soon(sdk.template, "workspaces", "us-east-1", "describe_workspaces_pools")
        assert await anyio.to_thread.run_sync(began.wait, 10)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            template = await sdk.template("workspaces", "eu-west-1", "describe_workspaces_pools")
    assert template.host == "workspaces.eu-west-1.amazonaws.com"
    assert not met.is_set()


async def test_models_of_the_customers_own_are_read(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = configuration.parent / "models"
    loader = botocore.session.Session().get_component("data_loader")
    for service in ("workspaces", "workspaces2"):
        version = folder / service / "2099-01-01"
        version.mkdir(parents=True)
        # The model itself is not changed, since other tests use it.
        model = copy.deepcopy(loader.load_service_model("workspaces", "service-2"))
        model["metadata"]["targetPrefix"] = "Another"
        (version / "service-2.json").write_text(json.dumps(model))
        rules = loader.load_service_model("workspaces", "endpoint-rule-set-1")
        (version / "endpoint-rule-set-1.json").write_text(json.dumps(rules))
    (folder / "a-file").touch()
    monkeypatch.setenv("AWS_DATA_PATH", f"{folder}{os.pathsep}{folder / 'none'}")
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        for service in ("workspaces", "workspaces2"):
            template = await sdk.template(service, "us-east-1", "describe_workspaces_pools")
            assert template.headers["x-amz-target"] == "Another.DescribeWorkspacesPools"


async def test_an_sdk_that_does_not_ask_for_the_region_is_no_guide_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unasked(self: Any, *_: object) -> object:
        return self._builtins

    monkeypatch.setattr("botocore.regions.EndpointRulesetResolver._get_customized_builtins", unasked)
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        with pytest.raises(RuntimeError, match="without asking"):
            await sdk.template("workspaces", "us-east-1", "describe_workspaces_pools")


async def test_a_service_that_the_sdk_does_not_know_is_said() -> None:
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        with pytest.raises(SettingsError, match="no request for workspaces2 in us-east-1"):
            await sdk.template("workspaces2", "us-east-1", "describe_workspaces_pools")


async def test_data_that_no_descriptor_is_left_for_is_no_unknown_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lacks_one(_: Path) -> list[Path]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with Sdk(profile=None, endpoint_url=None) as sdk:
        monkeypatch.setattr(pathlib.Path, "iterdir", lacks_one)
        with pytest.raises(FatalError, match="SDK's own files can't be read: Too many open files"):
            await sdk.template("workspaces", "us-east-1", "describe_workspaces_pools")


def test_a_configuration_that_the_system_can_t_read_is_no_wrong_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lacks_one(_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "config")

    monkeypatch.setattr(botocore.session.Session, "get_scoped_config", lacks_one)
    with pytest.raises(
        FatalError, match="The AWS config can't be read: config: Too many open files"
    ) as raised:
        SdkSession(None, None)
    assert not isinstance(raised.value, SettingsError)


def test_a_profile_that_is_not_there_is_named_as_it_is_written() -> None:
    assert profile_not_found("a {b}").startswith('Profile "a {b}" not found in your AWS config. ')


@pytest.mark.parametrize("url", ["not a url", "http://127.0.0.1:99999", "http://127.0.0.1:9/?a=b"])
async def test_an_endpoint_that_is_no_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_WORKSPACES", url)
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        with pytest.raises(SettingsError, match="no request for workspaces in us-east-1"):
            await sdk.template("workspaces", "us-east-1", "describe_workspaces_pools")


@pytest.mark.parametrize("service", ["workspaces", "sts", "organizations", "account", "ec2"])
def test_the_sdks_data_read_the_same(service: str) -> None:
    ours, theirs = botocore.session.Session(), botocore.session.Session()
    ours.get_component("data_loader").file_loader = DataFiles()
    for kind in ("service-2", "endpoint-rule-set-1"):
        read = [
            each.get_component("data_loader").load_service_model(service, kind) for each in (ours, theirs)
        ]
        assert read[0] == read[1]
        assert list(read[0]) == list(read[1])
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        assert ours.get_data(name) == theirs.get_data(name)

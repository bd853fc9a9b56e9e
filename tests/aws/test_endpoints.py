"""Where calls go: in each partition, with FIPS and dual stack, and by URLs of single services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poolcensus import partitions
from poolcensus.aws.sdk.access import Sdk
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

CALLS = {
    "sts": "get_caller_identity",
    "organizations": "list_accounts",
    "account": "list_regions",
    "ec2": "describe_regions",
    "workspaces": "describe_workspaces_pools",
}


async def hosts(region: str) -> dict[str, str]:
    async with Sdk(profile=None, endpoint_url=None) as sdk:
        return {
            service: (await sdk.template(service, region, method)).host for service, method in CALLS.items()
        }


@pytest.mark.parametrize(
    ("region", "home", "suffix"),
    [
        ("eu-west-1", "us-east-1", "amazonaws.com"),
        ("us-gov-east-1", "us-gov-west-1", "amazonaws.com"),
        ("cn-north-1", "cn-northwest-1", "amazonaws.com.cn"),
        ("us-iso-west-1", "us-iso-east-1", "c2s.ic.gov"),
    ],
)
async def test_each_partition_has_names_of_its_own(region: str, home: str, suffix: str) -> None:
    found = await hosts(region)
    assert {service: found[service] for service in ("sts", "ec2", "workspaces")} == {
        service: f"{service}.{region}.{suffix}" for service in ("sts", "ec2", "workspaces")
    }
    assert found["organizations"] == f"organizations.{home}.{suffix}"
    partition = next(each for each in partitions.partitions().values() if region in each.regions)
    if partition.account_api:
        assert found["account"] == f"account.{home}.{suffix}"


# https://docs.aws.amazon.com/general/latest/gr/rande.html#FIPS-endpoints: in GovCloud the plain names of some
# services are their FIPS endpoints.
PLAIN_IN_GOVCLOUD = {"sts", "organizations", "ec2"}


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "us-gov-west-1"])
@pytest.mark.parametrize("by", ["variable", "profile"])
async def test_with_fips_no_other_name_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, region: str, by: str
) -> None:
    if by == "variable":
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    else:
        (tmp_path / "config").write_text("[default]\nuse_fips_endpoint = true\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    plain = {service for service, host in (await hosts(region)).items() if "-fips." not in host}
    assert plain == (PLAIN_IN_GOVCLOUD if region.startswith("us-gov") else set())


async def test_dual_stack_names_end_in_another_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    assert {host.partition(".")[2].partition(".")[2] for host in (await hosts("us-east-1")).values()} == {
        "api.aws"
    }


@pytest.mark.parametrize("service", CALLS)
async def test_each_service_may_have_an_endpoint_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[default]\nservices = mine\nendpoint_url = http://127.0.0.1:3\n"
        f"[services mine]\n{service} =\n  endpoint_url = http://127.0.0.1:2\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    found = await hosts("us-east-1")
    assert found.pop(service) == "127.0.0.1:2"
    assert set(found.values()) == {"127.0.0.1:3"}
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", "http://127.0.0.1:1")
    assert (await hosts("us-east-1"))[service] == "127.0.0.1:1"
    async with Sdk(profile=None, endpoint_url="http://127.0.0.1:4") as sdk:
        assert (await sdk.template(service, "us-east-1", CALLS[service])).host == "127.0.0.1:4"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert all(host.endswith(".amazonaws.com") for host in (await hosts("us-east-1")).values())


@pytest.mark.parametrize("service", ["sts", "organizations", "account", "ec2"])
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/?secret=b",
        "http://secret@127.0.0.1/#x",
        "127.0.0.1:9",
        "http://",
        "http://h:0",
        "secret",
    ],
)
async def test_a_url_of_no_use_is_refused_before_any_call(
    monkeypatch: pytest.MonkeyPatch, service: str, url: str
) -> None:
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", url)
    with pytest.raises(SettingsError, match=f"The endpoint URL for {service} .*AWS_ENDPOINT_URL_") as caught:
        await Sdk(profile=None, endpoint_url=None).open()
    assert "secret" not in str(caught.value)
    await Sdk(profile=None, endpoint_url="http://127.0.0.1:4").open()
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    await Sdk(profile=None, endpoint_url=None).open()

"""Reads plain configurations without the SDK, whose import takes a tenth of a second.

A plain configuration has only keys, a region and endpoint URLs, in the environment or in a profile, and a CA
bundle in the environment. Everything else is left to the SDK: other variables and settings of a profile,
values that may be malformed, proxies, custom service models, and other partitions. For a plain configuration,
the SDK has the same result.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus import partitions
from poolcensus.aws.signing import Credentials
from poolcensus.paths import exists, is_file

if TYPE_CHECKING:
    from collections.abc import Mapping

# https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html#EVarSettings
_READ: Final = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_CA_BUNDLE",
        "AWS_CONFIG_FILE",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
)
# Variables that only the AWS CLI reads, or that only matter if no keys are found.
_OF_NO_EFFECT: Final = frozenset(
    {"AWS_CLI_AUTO_PROMPT", "AWS_DEFAULT_OUTPUT", "AWS_EC2_METADATA_DISABLED", "AWS_PAGER"}
)
_SERVICE_URL: Final = "AWS_ENDPOINT_URL_"
_KEYS: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_PLAIN_KEYS: Final = frozenset({*_KEYS, "region", "endpoint_url", "output", "cli_pager"})
# URLs that everything parses in the same way: a name or an IPv4 address, perhaps a port, and no path.
_URL: Final = re.compile(r"https?://[a-z0-9]+(?:[.-][a-z0-9]+)*(?::([1-9][0-9]{0,4}))?/?")
_LAST_PORT: Final = 65535
# Platforms whose system settings may name proxies:
# https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies
_WITH_SYSTEM_PROXIES: Final = frozenset({"darwin", "win32"})
_PARTITION: Final = "aws"


class PlainConfiguration(msgspec.Struct, frozen=True):
    """The credentials, the region, the endpoint URLs and the CA bundle of a plain configuration.

    `urls` are the endpoint URLs by service. The key None has the URL of all other services.
    """

    credentials: Credentials
    region: str | None
    urls: Mapping[str | None, str]
    ca_bundle: str

    def url(self, service: str) -> str | None:
        """Return the configured endpoint URL of a service, by its name in the SDK, or None."""
        return self.urls.get(service) or self.urls.get(None)


class _NotPlainError(Exception):
    """Only the SDK can tell what this configuration means, or what is wrong with it."""


def plain_configuration(
    profile: str | None, endpoint_url: str | None, environment: Mapping[str, str]
) -> PlainConfiguration | None:
    """Return the configuration if it is plain, or else None. Reads files.

    `profile` and `endpoint_url` are settings, which take precedence over the environment.
    """
    try:
        _check(environment)
        config, shared = _sections(profile, environment)
        section = {**config, **shared}
        if not section.keys() <= _PLAIN_KEYS or any("\n" in value for value in section.values()):
            return None
        region = (
            environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or section.get("region")
        )
        if region is not None and region not in plain_regions():
            return None
        sources = (_variables(environment), shared, config) if profile is None else (shared, config)
        return PlainConfiguration(
            credentials=_credentials(next(each for each in sources if _KEYS[0] in each)),
            region=region,
            urls=_urls(endpoint_url, section, environment),
            ca_bundle=environment.get("AWS_CA_BUNDLE")
            or environment.get("REQUESTS_CA_BUNDLE")
            or _usual_authorities(),
        )
    # The files can't be read, no source has keys, or the keys can't be in a header.
    except (_NotPlainError, OSError, ValueError, StopIteration):
        return None


def plain_regions() -> frozenset[str]:
    """Return the regions whose endpoint names follow the usual pattern."""
    return frozenset(partitions.partitions()[_PARTITION].regions)


def _check(environment: Mapping[str, str]) -> None:
    """Raise _NotPlainError if the environment or the machine has other settings for the SDK."""
    for name, value in environment.items():
        known = name in _READ or name in _OF_NO_EFFECT or name.startswith(_SERVICE_URL)
        # `BOTO_…` and `BOTOCORE_…` are for experiments.
        if (name.startswith("AWS_") and not (known and value)) or name.startswith("BOTO"):
            raise _NotPlainError
        if name.lower().endswith("_proxy"):
            raise _NotPlainError
    if _has_system_proxies() or exists(_file("~/.aws/models")):
        raise _NotPlainError


def _has_system_proxies() -> bool:
    """Return whether the system's settings name proxies. The SDK uses them if the environment names none."""
    if sys.platform not in _WITH_SYSTEM_PROXIES:
        return False
    from urllib.request import getproxies  # noqa: PLC0415 - elsewhere a run takes nothing of it

    return bool(getproxies())


def _sections(
    profile: str | None, environment: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the profile's sections of the config file and the shared credentials file, or empty ones."""
    named = profile or environment.get("AWS_PROFILE")
    name = named or "default"
    config = _parsed(environment.get("AWS_CONFIG_FILE", "~/.aws/config"))
    shared = _parsed(environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
    found = [each for section, each in config.items() if _profile_of(section) == name]
    # The SDK reports a missing profile, and decides which of two sections counts.
    if len(found) > 1 or (named is not None and not found and name not in shared):
        raise _NotPlainError
    return found[0] if found else {}, shared.get(name, {})


def _parsed(path: str) -> Mapping[str, Mapping[str, str]]:
    """Return the sections of a file, or nothing if there is no such file."""
    file = _file(os.path.expandvars(path))
    if not is_file(file):
        return {}
    import configparser  # noqa: PLC0415 - a container that has its keys in the environment has no files

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text())
    except configparser.Error:
        raise _NotPlainError from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _file(path: str) -> Path:
    # As in the SDK, a user without a home folder is no error.
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above


def _profile_of(section: str) -> str | None:
    """Return the name of the profile of a section in the config file, or None for other sections."""
    if section == "default":
        return section
    if not section.startswith("profile"):
        return None
    with suppress(ValueError):
        words = shlex.split(section)
        if len(words) == 2:
            return words[1]
    return None


def _variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {key: environment[key.upper()] for key in _KEYS if key.upper() in environment}


def _credentials(keys: Mapping[str, str]) -> Credentials:
    if not all(keys.values()) or _KEYS[1] not in keys:
        raise _NotPlainError
    key_id, secret, token = _KEYS
    return Credentials(keys[key_id], keys[secret], keys.get(token))


def _urls(
    endpoint_url: str | None, section: Mapping[str, str], environment: Mapping[str, str]
) -> Mapping[str | None, str]:
    if endpoint_url is not None:
        urls: dict[str | None, str] = {None: endpoint_url}
    else:
        urls = {
            name.removeprefix(_SERVICE_URL).lower(): value
            for name, value in environment.items()
            if name.startswith(_SERVICE_URL)
        }
        everywhere = environment.get("AWS_ENDPOINT_URL") or section.get("endpoint_url")
        if everywhere is not None:
            urls[None] = everywhere
    for url in urls.values():
        found = _URL.fullmatch(url)
        if found is None or int(found[1] or 1) > _LAST_PORT:
            raise _NotPlainError
    return urls


def _usual_authorities() -> str:
    # https://github.com/boto/botocore/blob/1.40.61/botocore/httpsession.py#L86
    try:
        return str(import_module("certifi").where())
    except ImportError:
        import botocore  # noqa: PLC0415 - the package alone loads nothing of the SDK

        return str(Path(botocore.__file__).with_name("cacert.pem"))

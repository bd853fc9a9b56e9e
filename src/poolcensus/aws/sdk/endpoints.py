"""Checks the endpoint URLs that the environment and the AWS config set for single services.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.configprovider import ConfiguredEndpointProvider

from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from poolcensus.aws.sdk.chain import Session

# The services that a census calls besides that of its operation, whose URL is checked with its first request.
_CALLED = ("sts", "organizations", "account", "ec2")


def check_endpoints(session: Session) -> None:
    """Raise SettingsError if the endpoint URL of a service is not valid.

    Without this check, a census would fail at its first call of that service.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return
    for service in _CALLED:
        provider = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service)
        url = provider.provide()
        if url and (why := endpoint_problem(str(url))) is not None:
            # The message leaves out the URL, which may contain a password.
            variable = f"AWS_ENDPOINT_URL_{service.upper()}"
            raise SettingsError(
                f"The endpoint URL for {service} {why}. Correct {variable}, AWS_ENDPOINT_URL, or endpoint_url"
                " in your AWS config."
            )


def endpoint_problem(url: str) -> str | None:
    """Return what is wrong with an endpoint URL, or None if it is valid."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        return "is not a URL such as https://workspaces.example.com or http://127.0.0.1:4566"
    # Requests have a path and a query of their own, and both are signed.
    return "has a query or a fragment, which an endpoint can't have" if "?" in url or "#" in url else None

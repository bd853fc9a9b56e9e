"""The endpoint URLs that the environment and the AWS config set for single services, looked at beforehand.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.configprovider import ConfiguredEndpointProvider

from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from poolcensus.aws.sdk.chain import Session

# What a census calls beside its operation's service, whose first request is formed before any call.
_CALLED = ("sts", "organizations", "account", "ec2")


def check_endpoints(session: Session) -> None:
    """Raise SettingsError where a service has an endpoint URL that no request can be sent to.

    Otherwise a census would hear of it amid its calls, when it comes to that service.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return
    for service in _CALLED:
        provider = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service)
        url = provider.provide()
        if url and (why := endpoint_problem(str(url))) is not None:
            # It may hold a password.
            variable = f"AWS_ENDPOINT_URL_{service.upper()}"
            raise SettingsError(
                f"The endpoint URL for {service} {why}. Correct {variable}, AWS_ENDPOINT_URL, or endpoint_url"
                " in your AWS config."
            )


def endpoint_problem(url: str) -> str | None:
    """Return what is wrong with an endpoint URL, or None where it can be called."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        return "is not a URL such as https://workspaces.example.com or http://127.0.0.1:4566"
    # Each service has paths and queries of its own, and a signature names both.
    return "has a query or a fragment, which an endpoint can't have" if "?" in url or "#" in url else None

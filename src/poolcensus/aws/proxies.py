"""Which proxy a URL goes through, by the rules that the SDK has."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from poolcensus.errors import SettingsError


class Proxies:
    """`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, looked up once for each URL."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def of(self, url: str) -> str | None:
        """The URL of the proxy, or None for a direct connection."""
        if url not in self._known:
            configuration = ProxyConfiguration(proxies=get_environ_proxies(url))
            self._known[url] = _checked(configuration.proxy_url_for(url))
        return self._known[url]


def _checked(proxy: str | None) -> str | None:
    if proxy is None:
        return None
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("HTTPS_PROXY or HTTP_PROXY is not a URL such as http://proxy.example.com:3128")
    return proxy

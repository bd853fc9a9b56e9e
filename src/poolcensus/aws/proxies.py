"""Which proxy a URL goes through, by the rules that the SDK has."""

from __future__ import annotations

from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies


class Proxies:
    """`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, looked up once for each URL."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def of(self, url: str) -> str | None:
        """The URL of the proxy, or None for a direct connection."""
        if url not in self._known:
            configuration = ProxyConfiguration(proxies=get_environ_proxies(url))
            self._known[url] = configuration.proxy_url_for(url)
        return self._known[url]

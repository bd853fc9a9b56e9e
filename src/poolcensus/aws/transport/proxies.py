"""Which proxy a URL goes through, by the rules that the SDK has."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from poolcensus.errors import SettingsError

# A line break would begin a header of its own.
_VISIBLE = re.compile(r"[!-~]+")
# What RFC 7617 allows in neither, encoded or not: https://www.rfc-editor.org/rfc/rfc7617#section-2
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
        usable = (
            _VISIBLE.fullmatch(proxy)
            and parts.scheme in {"http", "https"}
            and parts.hostname
            and parts.port != 0
        )
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("HTTPS_PROXY or HTTP_PROXY is not a URL such as http://proxy.example.com:3128")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if _CONTROL.search(user + password) or ":" in user:
        raise SettingsError(
            "The user name or the password in HTTPS_PROXY or HTTP_PROXY holds a character that can't stand in"
            " a header."
        )
    return proxy

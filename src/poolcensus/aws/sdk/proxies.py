"""Finds the proxy of a URL, by the SDK's rules."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from poolcensus.errors import SettingsError

# Visible ASCII characters. A line break would begin another header.
_VISIBLE = re.compile(r"[!-~]+")
# RFC 7617 allows no control characters in a user name or password:
# https://www.rfc-editor.org/rfc/rfc7617#section-2
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# Schemes other than http:// and https:// in lower case. The SDK would take `socks5` for a host.
_OTHER_SCHEME = re.compile(r"(?!https?://)[a-zA-Z][a-zA-Z0-9+.-]*://")
_SOCKS = re.compile(r"socks[0-9]?[a-z]?://", re.IGNORECASE)


class Proxies:
    """`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, looked up once for each URL."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def of(self, url: str) -> str | None:
        """Return the URL of the proxy, or None for a direct connection.

        Raises SettingsError if it is not an HTTP proxy.
        """
        if url not in self._known:
            self._known[url] = _proxy(url)
        return self._known[url]


def _proxy(url: str) -> str | None:
    proxies = get_environ_proxies(url)
    scheme = urlsplit(url).scheme
    variable = f"{scheme.upper()}_PROXY"
    written = proxies.get(scheme, "")
    if _SOCKS.match(written):
        raise SettingsError(
            f"{variable} names a SOCKS proxy, which the AWS SDK does not support. Use an HTTP proxy, such as"
            " http://proxy.example.com:3128, or list the hosts that need none in NO_PROXY."
        )
    proxy: str | None = ProxyConfiguration(proxies=proxies).proxy_url_for(url)
    if proxy is None:
        return None
    try:
        parts = urlsplit(proxy)
        usable = (
            _VISIBLE.fullmatch(proxy)
            and not _OTHER_SCHEME.match(written)
            and parts.hostname
            and parts.port != 0
        )
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{variable} is not a URL such as http://proxy.example.com:3128.")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if _CONTROL.search(user + password) or ":" in user:
        raise SettingsError(
            f"The user name or the password in {variable} holds a character that can't stand in a header."
        )
    return proxy

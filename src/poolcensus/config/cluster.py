"""The settings for workers: the engine, and the address of a scheduler."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

TLS: Final = "tls"
_ALLOWED: Final = "must be the address of a Dask scheduler, such as tls://scheduler.example.com:8786"


class EngineKind(StrEnum):
    """What makes the calls: this process, or Dask workers."""

    LOCAL = "local"
    DASK = "dask"


def scheduler(value: object) -> str:
    """Read the address of a scheduler, `tls://HOST:PORT` or `tcp://HOST:PORT`."""
    if not isinstance(value, str):
        raise ValueError(_ALLOWED)  # noqa: TRY004 - what a parser raises
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {TLS, "tcp"} and parts.hostname and parts.port
    except ValueError:
        raise ValueError(_ALLOWED) from None
    rest = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if not whole or rest or not value.isprintable() or " " in value:
        raise ValueError(_ALLOWED)
    return value


def is_open_to_others(address: str) -> bool:
    """Return whether others than the users of this machine could use a scheduler, or read its traffic.

    Without TLS, anyone who reaches a scheduler can run any code on its workers, with their credentials:
    https://distributed.dask.org/en/stable/limitations.html#security
    """
    parts = urlsplit(address)
    if parts.scheme == TLS:
        return False
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"

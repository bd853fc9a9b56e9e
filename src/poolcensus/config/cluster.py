"""Where a run is spread over workers: its engine, and the scheduler of a cluster."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

TLS: Final = "tls"
_ALLOWED: Final = "must be the address of a Dask scheduler, such as tls://scheduler.example.com:8786"


class EngineKind(StrEnum):
    """What runs the targets: this process, or the workers of a Dask cluster."""

    LOCAL = "local"
    DASK = "dask"


def scheduler(value: object) -> str:
    """Return the address of a scheduler, `tls://HOST:PORT` or `tcp://HOST:PORT`."""
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
    """Whether others than the users of this machine could read what is said to a scheduler, or say it.

    Without TLS, whoever reaches a scheduler can have its workers run any code, with their credentials:
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

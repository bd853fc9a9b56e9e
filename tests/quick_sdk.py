"""Caches for the SDK, for what it computes for each session and each call with the same result.

A session and a client of the SDK take more than 100 ms of CPU, and the tests make two thousand of them.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from botocore import compat, hooks, useragent
from botocore.loaders import JSONFileLoader, Loader

from poolcensus.aws.sdk.data_files import DataFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def quick_sdk(folder: Path) -> Iterator[None]:
    """Read the SDK's data once in each process, and load one certificate authority in place of all."""
    authorities = folder / "cacert.pem"
    trustme.CA().cert_pem.write_to_path(authorities)
    with pytest.MonkeyPatch.context() as patch:
        # With a plain configuration, our code calls certifi itself.
        for where in ("botocore.httpsession.where", "certifi.where"):
            patch.setattr(where, lambda: str(authorities))
        # Our own reader, and that of boto3 in the tests that compare with it.
        for reader in (DataFiles, JSONFileLoader):
            patch.setattr(reader, "load_file", _keeping(reader))
        patch.setattr(hooks.EventAliaser, "_alias_event_name", _aliasing())
        patch.setattr(hooks, "accepts_kwargs", _accepts_kwargs)
        name = "sanitize_user_agent_string_component"
        patch.setattr(useragent, name, cache(getattr(useragent, name)))
        yield


def _keeping(reader: type[JSONFileLoader]) -> Callable[[object, str], object]:
    read = reader.load_file
    keep = cache(partial(read, reader()))

    @wraps(read)
    def load_file(files: object, path: str) -> object:
        if path.startswith(Loader.BUILTIN_DATA_PATH):
            if path.endswith(("service-2", "rule-set-1")):
                return keep(path)
            if path.endswith("/endpoints"):
                return _own(keep(path))
        return read(files, path)

    return load_file


def _own(endpoints: Any) -> object:
    """Return a table of endpoints for one session, since the SDK writes into the endpoints of a service."""
    partitions = [{**each, "services": _Services(each["services"])} for each in endpoints["partitions"]]
    return {**endpoints, "partitions": partitions}


class _Services(dict[str, Any]):
    """The services of a partition. The endpoints of a service are copied when it is first used."""

    def __init__(self, services: dict[str, Any]) -> None:
        super().__init__(services)
        self._copied: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name in self and name not in self._copied:
            service = super().__getitem__(name)
            endpoints = {key: {**each} for key, each in service["endpoints"].items()}
            self[name] = {**service, "endpoints": endpoints}
            self._copied.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        # dict.get() would not call `__getitem__`.
        return self[name] if name in self else default  # noqa: SIM401

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        return [self[name] for name in self]


def _aliasing() -> Callable[[hooks.EventAliaser, str], str]:
    alias = hooks.EventAliaser._alias_event_name
    names: dict[str, str] = {}

    @wraps(alias)
    def of_all_sessions(events: hooks.EventAliaser, name: str) -> str:
        if events._event_aliases is not hooks.EVENT_ALIASES and events._event_aliases != hooks.EVENT_ALIASES:
            return str(alias(events, name))
        if name not in names:
            names[name] = alias(events, name)
        return names[name]

    return of_all_sessions


def _accepts_kwargs(function: Callable[..., object]) -> bool:
    """Return whether an event handler accepts any keyword arguments, by the flags of its code."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return bool(compat.accepts_kwargs(function) if code is None else code.co_flags & inspect.CO_VARKEYWORDS)

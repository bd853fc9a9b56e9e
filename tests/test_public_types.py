"""The types of parameters and results of public names are public, too: users can annotate with them."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from dataclasses import is_dataclass
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, get_args, get_type_hints

import msgspec
import pytest

import poolcensus
from poolcensus.config.entries import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC = {name: getattr(poolcensus, name) for name in poolcensus.__all__}
# Special methods that users call, also through `for`, `with` and `async with`.
SPECIAL = frozenset({"__aenter__", "__aiter__", "__anext__", "__call__", "__enter__", "__init__", "__iter__"})
NOT_PUBLIC = {
    "OrganizationTable": "made of the tables of a configuration file",
    "Operation": "for those who add an operation, inside the package",
    "Schema": "how lines are read and written, for the commands",
    "SnapshotFiles": "how bytes are read, for the layers above",
    "Source": "how bytes are read, for the layers above",
    "LatestSearch": "how a run is compared with snapshots, for the layers above",
    "Outlet": "what a run puts the items of a stream into",
    "StreamRuns": "what the runs behind streams are tasks of",
    "Database": "what rows are in",
    "Selection": "what rows are of",
}


@cache
def names_in(module: str) -> dict[str, object]:
    """Return the values of the names in a module, including names that only type checkers load."""
    found = dict(vars(sys.modules[module]))
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("poolcensus"):
            home = importlib.import_module(node.module or "")
            found |= {each.asname or each.name: getattr(home, each.name) for each in node.names}
    return found


def classes_in(annotation: object, module: str) -> Iterator[type]:
    """Yield the classes of the package that an annotation names."""
    if isinstance(annotation, str):
        names = [each.id for each in ast.walk(ast.parse(annotation)) if isinstance(each, ast.Name)]
        parts = [names_in(module).get(each) for each in names]
    else:
        parts = [annotation, *get_args(annotation)]
        for each in get_args(annotation):
            yield from classes_in(each, module) if get_args(each) else ()
    for each in parts:
        if isinstance(each, type) and each.__module__.startswith("poolcensus."):
            yield each


def annotations_of(name: str, value: object) -> Iterator[tuple[str, object, str]]:
    """Yield each annotation of a public function, or of the public attributes and methods of a class."""
    if isinstance(value, FunctionType):
        yield from ((name, each, value.__module__) for each in value.__annotations__.values())
    for kind in value.__mro__ if isinstance(value, type) else ():
        if not kind.__module__.startswith("poolcensus."):
            continue
        for key, each in vars(kind).get("__annotations__", {}).items():
            if not key.startswith("_"):
                yield f"{name}.{key}", each, kind.__module__
        for key, member in vars(kind).items():
            if key.startswith("_") and key not in SPECIAL:
                continue
            called = member.fget if isinstance(member, property) else inspect.unwrap(member)
            called = getattr(called, "__func__", called)
            if isinstance(called, FunctionType):
                yield from annotations_of(f"{name}.{key}", called)


def not_public(name: str, value: object) -> Iterator[tuple[str, str]]:
    for where, annotation, module in annotations_of(name, value):
        for each in classes_in(annotation, module):
            if each not in PUBLIC.values():
                yield where, each.__name__


@pytest.mark.parametrize("name", [name for name, each in PUBLIC.items() if callable(each)])
def test_each_class_in_the_annotations_of_a_public_name_is_public(name: str) -> None:
    found = {(where, kind) for where, kind in not_public(name, PUBLIC[name]) if kind not in NOT_PUBLIC}
    # A setting may also be given as text, which a reader converts.
    settings = {f"Settings.{each.name}" for each in SETTINGS.values()}
    assert not {(where, kind) for where, kind in found if where not in settings}


@pytest.mark.parametrize("name", [name for name, each in PUBLIC.items() if callable(each)])
def test_the_types_of_a_public_name_can_be_asked_for_at_run_time(name: str) -> None:
    """A web framework reads annotations so, to describe the results of a route."""
    hints = get_type_hints(PUBLIC[name])
    assert not [each for each in hints.values() if isinstance(each, str)]
    if inspect.isfunction(PUBLIC[name]):
        assert hints.keys() >= {"return", *inspect.signature(PUBLIC[name]).parameters}
    if is_dataclass(PUBLIC[name]):
        # This resolves aliases, too.
        msgspec.json.Decoder(PUBLIC[name])


def test_each_exception_is_needed() -> None:
    found = {kind for name, value in PUBLIC.items() for _, kind in not_public(name, value)}
    assert {*NOT_PUBLIC} <= found


def test_the_walk_finds_what_is_not_public() -> None:
    """Otherwise the test above would accept everything."""
    names = {where for where, _ in not_public("Snapshot", poolcensus.Snapshot)}
    assert {"Snapshot.schema", "Snapshot.files", "Snapshot.__init__"} <= names
    fields = {where for where, _ in not_public("Settings", poolcensus.Settings)}
    assert {"Settings.max_failed", "Settings.with_table", "Settings.external_id"} <= fields
    places = {where for where, _, _ in annotations_of("prune", poolcensus.prune)}
    assert places == {"prune"}

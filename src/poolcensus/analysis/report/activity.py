"""Reads the few values of each record that the history needs, without parsing the rest of the record."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec

from poolcensus.analysis.report.values import count_or_none
from poolcensus.format.compression import pieces
from poolcensus.format.digesting import Digesting
from poolcensus.operations import value_at
from poolcensus.snapshot.reader import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.format.schema import Schema
    from poolcensus.operations import Facets, Keys
    from poolcensus.snapshot import Snapshot

_ACCOUNT: Final = ("account_id",)
_REGION: Final = ("region",)


Key: TypeAlias = tuple[str, str, str]
"""The account ID, the region and the identity of an item. Together they are unique."""

Activity: TypeAlias = tuple[str, str, str, int | None, int | None]
"""An item in one snapshot: its key, its sessions in use and its capacity. Unknown numbers are None."""

# Bytes. If a line is longer, the file is read record by record.
_LONGEST_REST: Final = 1 << 20

_COUNT: Final = Annotated[int, msgspec.Meta(ge=0)]


class ActivityReader:
    """Reads the activity in the records of one operation.

    Records whose values have the usual types are decoded many at a time. If a file has other records or is
    damaged, it is read again record by record, with the same errors as `Snapshot.pools`.
    """

    def __init__(self, schema: Schema, facets: Facets) -> None:
        self._schema = schema
        self._facets = facets
        item = schema.operation.item
        identity = (item, schema.operation.identity)
        numbers: list[Keys] = [(item, *keys) for keys in (facets.in_use, facets.capacity) if keys]
        texts: tuple[Keys, ...] = (_ACCOUNT, _REGION, identity)
        shape = _Shape()
        for keys in texts:
            shape.add(keys, str)
        for keys in numbers:
            shape.add(keys, _COUNT)
        self._decoder = msgspec.json.Decoder(shape.struct())
        self._values: Callable[[Any], Activity] = attrgetter(
            *(shape.path(keys) for keys in (*texts, *numbers))
        )
        self._is_quick = bool(facets.in_use and facets.capacity)

    def read(self, snapshot: Snapshot) -> list[Activity]:
        """Return the activity of each record of a snapshot. Raises what `Snapshot.pools` raises."""
        if self._is_quick:
            try:
                return self._read_quickly(snapshot)
            except (msgspec.DecodeError, OSError, ValueError):
                pass
        return list(lines_of(snapshot.files, snapshot.pools_file, self._activity_of))

    def _read_quickly(self, snapshot: Snapshot) -> list[Activity]:
        file, compression = snapshot.pools_file
        found: list[Activity] = []
        rest = b""
        with snapshot.files.open(file.name) as opened:
            raw = Digesting(opened)
            for piece in pieces(raw, compression):
                lines, _, rest = (rest + piece).rpartition(b"\n")
                if len(rest) > _LONGEST_REST:
                    raise ValueError("a line is long")
                found.extend(map(self._values, self._decoder.decode_lines(lines)))
                if len(found) > file.records:
                    break
            # Read what the decompressor has left, for the digest.
            while raw.read(_LONGEST_REST):
                pass
        # The digest is checked, because a damaged number can still be a valid number.
        if rest or (len(found), raw.bytes, raw.digest) != (file.records, file.bytes, file.sha256):
            raise ValueError("it is not what the manifest says")
        return found

    def _activity_of(self, line: bytes) -> Activity:
        _, record = self._schema.decode_record(line)
        identity = record.pool.get(self._schema.operation.identity)
        if not isinstance(identity, str):
            raise ValueError(  # noqa: TRY004 - the value is the file's
                f"a {self._schema.operation.item} has no {self._schema.operation.identity}"
            )
        in_use, capacity = (
            count_or_none(value_at(record.pool, keys))
            for keys in (self._facets.in_use, self._facets.capacity)
        )
        return record.account_id, record.region, identity, in_use, capacity


class _Shape:
    """Builds the type of struct to decode into from the keys of the values.

    Its fields are `f0`, `f1` and so on.
    """

    def __init__(self) -> None:
        self._inner: dict[str, _Shape | object] = {}

    def add(self, keys: Keys, leaf: object) -> None:
        """Add the value that these keys lead to, of type `leaf`."""
        first, *rest = keys
        if not rest:
            self._inner[first] = leaf
            return
        inner = self._inner.setdefault(first, _Shape())
        if isinstance(inner, _Shape):
            inner.add(tuple(rest), leaf)

    def path(self, keys: Keys) -> str:
        """Return the dotted name of the value, for `attrgetter`."""
        first, *rest = keys
        name = f"f{[*self._inner].index(first)}"
        inner = self._inner[first]
        return f"{name}.{inner.path(tuple(rest))}" if isinstance(inner, _Shape) else name

    def struct(self) -> type[msgspec.Struct]:
        """Return the type of struct."""
        names = {f"f{number}": key for number, key in enumerate(self._inner)}
        return msgspec.defstruct(
            "Shape",
            [
                (name, inner.struct() if isinstance(inner := self._inner[key], _Shape) else inner)
                for name, key in names.items()
            ],
            rename=names,
            gc=False,
        )

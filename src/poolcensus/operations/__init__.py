"""The operations that a census can be taken of.

An operation is a value. The engine, the writer and the reader depend on none in particular.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.model import ColumnType
from poolcensus.operations.operation import (
    EndOfSupport,
    Facets,
    Field,
    ItemColumn,
    Keys,
    Listing,
    Operation,
    Query,
    Refusal,
    value_at,
)
from poolcensus.operations.workspaces_pools import WORKSPACES_POOLS

if TYPE_CHECKING:
    from poolcensus.model import OperationInfo

__all__ = [
    "WORKSPACES_POOLS",
    "EndOfSupport",
    "Facets",
    "Field",
    "ItemColumn",
    "Keys",
    "Listing",
    "Operation",
    "Query",
    "Refusal",
    "columns_of",
    "facets_of",
    "fields_of",
    "operation_named",
    "value_at",
]

_KNOWN = {each.iam_action: each for each in (WORKSPACES_POOLS,)}


def operation_named(iam_action: str) -> Operation | None:
    """Return the operation with this IAM action, or None if this version does not know it."""
    return _KNOWN.get(iam_action)


def columns_of(info: OperationInfo) -> tuple[ItemColumn, ...]:
    """Return the columns of a table of a snapshot's items. For an unknown operation: only the identity."""
    operation = operation_named(info.name)
    if operation is not None:
        return operation.columns
    return (ItemColumn(info.identity, lambda item: item.get(info.identity)),)


def facets_of(info: OperationInfo) -> Facets:
    """Return the facets of a snapshot's items. For an unknown operation: only the title."""
    operation = operation_named(info.name)
    return Facets(title=info.items.replace("_", " ").capitalize()) if operation is None else operation.facets


def fields_of(info: OperationInfo) -> tuple[Field, ...]:
    """Return the fields of a snapshot's items for queries. For an unknown operation: only the identity."""
    operation = operation_named(info.name)
    if operation is not None and operation.fields:
        return operation.fields
    return (Field(f"{info.item}_id", ColumnType.TEXT, (info.identity,), f"identity of the {info.item}"),)

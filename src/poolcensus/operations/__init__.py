"""What a census can be taken of. An operation is a value: the engine, the writer and the reader know none."""

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
    """Return the operation with this IAM action, or None where this version does not know it."""
    return _KNOWN.get(iam_action)


def columns_of(info: OperationInfo) -> tuple[ItemColumn, ...]:
    """Return what a table shows of a snapshot's items: their ids, where the operation is not known."""
    operation = operation_named(info.name)
    if operation is not None:
        return operation.columns
    return (ItemColumn(info.identity, lambda item: item.get(info.identity)),)


def facets_of(info: OperationInfo) -> Facets:
    """Return what is known of a snapshot's items: what they are called, where the operation is not known."""
    operation = operation_named(info.name)
    return Facets(title=info.items.replace("_", " ").capitalize()) if operation is None else operation.facets


def fields_of(info: OperationInfo) -> tuple[Field, ...]:
    """Return the fields of a snapshot's items that a query knows: ids, where the operation is not known."""
    operation = operation_named(info.name)
    if operation is not None and operation.fields:
        return operation.fields
    return (Field(f"{info.item}_id", ColumnType.TEXT, (info.identity,), f"identity of the {info.item}"),)

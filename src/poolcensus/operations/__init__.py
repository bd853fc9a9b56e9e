"""What a census can be taken of. An operation is a value: the engine, the writer and the reader know none."""

from __future__ import annotations

from poolcensus.operations.operation import Column, Listing, Operation, Query, Refusal
from poolcensus.operations.workspaces_pools import WORKSPACES_POOLS

__all__ = ["WORKSPACES_POOLS", "Column", "Listing", "Operation", "Query", "Refusal", "operation_named"]

_KNOWN = {each.permission: each for each in (WORKSPACES_POOLS,)}


def operation_named(permission: str) -> Operation | None:
    """Return the operation with this IAM action, or None where this version does not know it."""
    return _KNOWN.get(permission)

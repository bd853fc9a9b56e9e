"""Writes the accounts of a plan to a list that several runs share. Only `plan` needs this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poolcensus.format.codec import dumps
from poolcensus.format.times import rfc3339, utc_now
from poolcensus.planned import Plan
from poolcensus.scope.account_entry import ACTIVE, STATES
from poolcensus.scope.account_list import KIND, VERSION, accounts_digest
from poolcensus.storage.output import output_file
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from poolcensus.model import JsonObject, JsonValue

# Readable by the user alone: names and tags of accounts reveal much about a company.
_MODE: Final = 0o600


def write_account_list(plan: Plan, path: str | os.PathLike[str]) -> str:
    """Write the accounts of a plan to a file, atomically, and return their digest.

    Includes accounts that were skipped because of their state, but no others that were skipped. Raises
    DestinationError if the file can't be written. Blocks.
    """
    encoded, digest = encode_account_list(plan)
    with output_file(Path(path), _MODE) as file:
        file.write(encoded)
    return digest


def encode_account_list(plan: Plan) -> tuple[bytes, str]:
    """Return the content that `write_account_list` writes, and the digest of the accounts."""
    accounts: list[JsonValue] = [
        _described(each.id, each.name, ACTIVE, each.ou_path, each.tags) for each in plan.accounts
    ]
    accounts += [
        _described(each.id, each.name, each.reason, None, None)
        for each in plan.skipped
        if each.reason in STATES
    ]
    created_at = rfc3339(utc_now())
    digest = accounts_digest(accounts, created_at)
    content: JsonObject = {
        "kind": KIND,
        "schema_version": VERSION,
        "tool": TOOL,
        "created_at": created_at,
        "organization_id": plan.organization_id,
        "accounts_digest": digest,
        "accounts": accounts,
    }
    return dumps(content) + b"\n", digest


def _described(
    account_id: str,
    name: str | None,
    state: str,
    ou_path: str | None,
    tags: tuple[tuple[str, str], ...] | None,
) -> JsonObject:
    described: JsonObject = {
        "account_id": account_id,
        "account_name": name,
        "state": state,
        "ou_path": ou_path,
    }
    if tags is not None:
        described["account_tags"] = dict(tags)
    return described

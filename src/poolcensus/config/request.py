"""The request of a run: what it was asked to cover, as the manifest keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.config.entries import Entries
    from poolcensus.model import JsonObject, JsonValue


def request_of(settings: Entries) -> JsonObject:
    """Return the request of a run: its choice of accounts, regions and pools. Contains no secret."""
    snapshot = settings.accounts_snapshot
    filters: list[JsonValue] = [
        {"name": each.name, "operator": str(each.operator), "values": list(each.values)}
        for each in settings.filters
    ]
    sources: list[JsonValue] = list(settings.accounts_from)
    return {
        # A single source is text, as in the manifests of earlier versions.
        "accounts_from": sources if len(sources) > 1 else sources[0],
        "accounts_snapshot": str(snapshot) if snapshot is not None else None,
        "accounts": list(settings.accounts),
        "exclude_accounts": list(settings.exclude_accounts),
        "account_names": list(settings.account_names),
        "exclude_account_names": list(settings.exclude_account_names),
        "ous": list(settings.ous),
        "exclude_ous": list(settings.exclude_ous),
        "account_tags": [f"{key}={value}" for key, value in settings.account_tags],
        "regions": list(settings.regions),
        "exclude_regions": list(settings.exclude_regions),
        "extra_regions": list(settings.extra_regions),
        "pool_ids": list(settings.pool_ids),
        "filters": filters,
    }

"""The settings that narrow which accounts are asked: those that are listed and that each of them keeps."""

from __future__ import annotations

from typing import Final

NARROWING: Final = (
    "accounts",
    "exclude_accounts",
    "ous",
    "exclude_ous",
    "account_tags",
    "account_names",
    "exclude_account_names",
)
"""Their keys, in the order in which the example configuration has them."""

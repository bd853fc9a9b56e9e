"""Wildcards of IAM: `*` stands for any text, `?` for one character."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def compiled(patterns: Iterable[str], *, ignore_case: bool = False) -> re.Pattern[str]:
    """Return a regular expression whose `fullmatch` accepts the texts that match any of the patterns."""
    parts = [
        "".join({"*": ".*", "?": "."}.get(each) or re.escape(each) for each in pattern)
        for pattern in patterns
    ]
    return re.compile("|".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def is_pattern(text: str) -> bool:
    """Return whether the text has wildcards."""
    return "*" in text or "?" in text

"""Patterns of IAM: `*` stands for any text, `?` for one character."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def compiled(patterns: Iterable[str], *, ignore_case: bool = False) -> re.Pattern[str]:
    """Return an expression whose `fullmatch` finds what any of the patterns stands for."""
    parts = [
        "".join({"*": ".*", "?": "."}.get(each) or re.escape(each) for each in pattern)
        for pattern in patterns
    ]
    return re.compile("|".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def is_pattern(text: str) -> bool:
    """Whether the text stands for more than itself."""
    return "*" in text or "?" in text

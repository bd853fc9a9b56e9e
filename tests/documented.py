"""The examples of JSON in the page of the commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parents[1] / ".github" / "COMMANDS.md"


def example(section: str) -> dict[str, Any]:
    """Return the only JSON object in a section of the page."""
    _, _, after = _PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    text, _, _ = after.partition("\n## ")
    (line,) = re.findall(r"```json\n(.*)\n```", text)
    found: dict[str, Any] = json.loads(line)
    return found

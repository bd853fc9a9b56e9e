"""Text as XML carries it."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

# All but the characters of https://www.w3.org/TR/xml/#charsets: no reference can stand for them either.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return the text escaped, with a replacement character for what XML has no way to carry."""
    return escape(_NO_CHARACTER.sub("\ufffd", text))

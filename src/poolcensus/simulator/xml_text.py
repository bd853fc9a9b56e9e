"""Text in XML."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

# Anything but the characters of https://www.w3.org/TR/xml/#charsets. XML has no references to others either.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return the text escaped for XML. Characters that XML can't represent become U+FFFD."""
    return escape(_NO_CHARACTER.sub("\ufffd", text))

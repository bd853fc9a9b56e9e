"""A UTF-8 locale of this machine. macOS has no C.UTF-8, and its shells complain about it."""

from __future__ import annotations

import locale


def _first_there_is(*names: str) -> str:
    before = locale.setlocale(locale.LC_ALL)
    for name in names:
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_ALL, before)
        return name
    return names[0]


UTF8_LOCALE = _first_there_is("C.UTF-8", "en_US.UTF-8")

"""The libraries that only a report needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.extras import loading

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def loading_jinja2() -> AbstractContextManager[None]:
    """Make a sentence of an import of Jinja2 that fails in the block, see `loading`."""
    return loading("Jinja2", "jinja2", extra="report")


def loading_vl_convert() -> AbstractContextManager[None]:
    """Make a sentence of an import of vl-convert that fails in the block, see `loading`."""
    return loading("vl-convert-python", "vl_convert", extra="report")


def check_extra() -> None:
    """Raise `MissingExtraError` unless everything is there, before a year is read for nothing."""
    with loading_jinja2():
        import jinja2  # noqa: F401, PLC0415 - an extra
    with loading_vl_convert():
        import vl_convert  # noqa: F401, PLC0415 - an extra

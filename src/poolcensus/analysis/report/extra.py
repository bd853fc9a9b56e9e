"""Checks for the libraries that only a report needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.extras import loading

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def loading_jinja2() -> AbstractContextManager[None]:
    """Return a context that raises a clear error if an import of Jinja2 in it fails. See `loading`."""
    return loading("Jinja2", "jinja2", extra="report")


def loading_vl_convert() -> AbstractContextManager[None]:
    """Return a context that raises a clear error if an import of vl-convert in it fails. See `loading`."""
    return loading("vl-convert-python", "vl_convert", extra="report")


def check_extra() -> None:
    """Raise `MissingExtraError` if a library is missing. Call it before the snapshots are read."""
    with loading_jinja2():
        import jinja2  # noqa: F401, PLC0415 - an extra
    with loading_vl_convert():
        import vl_convert  # noqa: F401, PLC0415 - an extra

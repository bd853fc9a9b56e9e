"""The libraries that only a report needs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from poolcensus.errors import MissingExtraError
from poolcensus.extras import installation

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def extra_report() -> Iterator[None]:
    """Make a `MissingExtraError` of an import that fails in the block."""
    try:
        yield
    except ImportError as error:
        name = {"jinja2": "Jinja2", "vl_convert": "vl-convert-python"}.get(error.name or "", str(error.name))
        raise MissingExtraError(f"{name} is not installed. {installation('report')}") from error


def check_extra() -> None:
    """Raise `MissingExtraError` unless everything is there, before a year is read for nothing."""
    with extra_report():
        import jinja2  # noqa: F401, PLC0415 - an extra
        import vl_convert  # noqa: F401, PLC0415 - an extra

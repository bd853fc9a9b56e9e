from __future__ import annotations

import errno

import pytest

from poolcensus.errors import DestinationError, FatalError, first_reason_raised, reason_of


@pytest.mark.parametrize(
    "held",
    [
        [FatalError("first"), DestinationError("second")],
        [ExceptionGroup("inner", [FatalError("first")]), DestinationError("second")],
        [FatalError("first")],
    ],
)
def test_the_first_reason_takes_the_place_of_the_group(held: list[Exception]) -> None:
    with pytest.raises(FatalError, match="first") as raised, first_reason_raised():
        raise ExceptionGroup("tasks", held)
    assert isinstance(raised.value.__cause__, ExceptionGroup)


def test_the_only_exception_of_a_group_takes_its_place_whatever_it_is() -> None:
    with pytest.raises(TypeError, match="a defect"), first_reason_raised():
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [TypeError("a defect")])])


@pytest.mark.parametrize("cause", [None, OSError("its cause")])
def test_no_defect_hides_behind_a_failure(cause: Exception | None) -> None:
    failure, defect = FatalError("a failure"), TypeError("a defect")
    failure.__cause__ = cause
    with pytest.raises(ExceptionGroup) as raised, first_reason_raised():
        raise ExceptionGroup("tasks", [failure, ExceptionGroup("inner", [defect])])
    assert raised.group_contains(TypeError)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/file"), "Permission denied"),
        (OSError("is a folder, not a file"), "is a folder, not a file"),
    ],
)
def test_the_reason_of_an_error_is_what_the_system_says_or_else_its_text(error: OSError, reason: str) -> None:
    assert reason_of(error) == reason

from __future__ import annotations

import copy
import copyreg
import errno
import importlib
import pickle
import pkgutil
from typing import TYPE_CHECKING, Final

import pytest

import poolcensus
from poolcensus.config import InvalidSettingsError, Settings
from poolcensus.errors import (
    AssumeRoleError,
    CallError,
    CensusError,
    DestinationError,
    DestinationRefusedError,
    FatalError,
    HubRoleError,
    NotPublishedError,
    ServiceError,
    copy_of_error,
    first_reason_raised,
    reason_of,
)
from poolcensus.model import Outcome, TargetResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _kinds(kind: type[CensusError] = CensusError) -> Iterator[type[CensusError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)


for _module in pkgutil.walk_packages(poolcensus.__path__, "poolcensus."):
    if not _module.name.startswith(("poolcensus.simulator", "poolcensus.__main__")):
        importlib.import_module(_module.name)
KINDS: Final = [each for each in _kinds() if each.__module__.startswith("poolcensus.")]


LINE: Final = TargetResult("012345678901", None, "eu-west-1", Outcome.ERROR)
ARGUMENTS: Final[dict[type, dict[str, object]]] = {
    CensusError: {},
    FatalError: {"advice": "Mend it."},
    HubRoleError: {"role_arn": "arn", "code": "AccessDenied", "reason": "no"},
    DestinationRefusedError: {"code": "AccessDenied", "reason": "no", "iam_actions": ("s3:PutObject",)},
    NotPublishedError: {"uncovered": (LINE,), "count": 1, "ledger": "kept", "dest": "snapshots"},
    CallError: {"code": "Code", "status": 400, "request_id": "r", "retry_after": 1.5, "server_time": 2.5},
}


def _made(kind: type[CensusError]) -> CensusError:
    """Return an error of a class, made as the program makes it."""
    if issubclass(kind, InvalidSettingsError):
        with pytest.raises(kind) as raised:
            Settings(regions=("***",), concurrency=0)
        return raised.value
    if issubclass(kind, AssumeRoleError):
        return kind.of("arn", ServiceError("no", code="AccessDenied", status=403, request_id="r"), "Look.")
    return kind("wrong", **next(ARGUMENTS[each] for each in kind.__mro__ if each in ARGUMENTS))


def _pickled(error: CensusError) -> CensusError:
    copied: CensusError = pickle.loads(pickle.dumps(error))
    return copied


@pytest.mark.parametrize("copied", [_pickled, copy.copy, copy.deepcopy, copy_of_error])
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_can_be_pickled_and_copied(
    kind: type[CensusError], copied: Callable[[CensusError], CensusError]
) -> None:
    """An error that can't be unpickled breaks a process pool, or makes it wait forever."""
    error = _made(kind)
    error.add_note("a note")
    if isinstance(error, FatalError):
        error.organization = "one"
        error.begin_with("In one: ")
    again = copied(error)
    assert type(again) is kind
    assert again is not error
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert again.__notes__ == ["a note"]


class _OthersError(Exception):
    def __init__(self, code: str, *, place: str) -> None:
        super().__init__(f"{code} in {place}")
        self.place = place


def test_the_error_of_another_library_is_copied_whatever_its_class_takes() -> None:
    error = _OthersError("code", place="there")
    again = copy_of_error(error)
    assert again is not error
    assert (type(again), str(again), again.place) == (_OthersError, "code in there", "there")


def test_the_errors_of_the_package_are_all_found() -> None:
    """Otherwise the test above would test nothing."""
    assert {each for each in vars(poolcensus.errors).values() if isinstance(each, type)} & {*KINDS}
    public = {getattr(poolcensus, name) for name in poolcensus.__all__}
    assert {each for each in public if isinstance(each, type) and issubclass(each, Exception)} <= {*KINDS}
    assert {"InvalidSettingsError", "ConflictError", "WorkerLostError"} <= {each.__name__ for each in KINDS}


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


def test_a_copy_has_no_traceback_where_others_have_taught_copying_to_keep_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # tblib does this, which Dask loads.
    monkeypatch.setitem(copyreg.dispatch_table, FatalError, lambda error: (_with_traceback, (error,)))
    error = FatalError("no")
    with pytest.raises(FatalError):
        raise error
    assert copy.copy(error).__traceback__ is not None
    assert copy_of_error(error).__traceback__ is None


def _with_traceback(error: FatalError) -> FatalError:
    return FatalError(str(error)).with_traceback(error.__traceback__)

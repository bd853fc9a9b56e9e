"""Verifies that the files of a snapshot match its manifest, and each other."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from poolcensus.config import Settings
from poolcensus.errors import DamagedSnapshotError, DestinationError, FatalError, SnapshotError, reason_of
from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME
from poolcensus.format.text import counted
from poolcensus.model import Outcome, PoolRecord, SnapshotStatus, TargetResult, count_covered
from poolcensus.results.expected_failures import KnownGaps
from poolcensus.snapshot.data_file import DataFile, miscounted
from poolcensus.snapshot.latest import is_destination, warn_of_latest
from poolcensus.snapshot.ledger_check import named, wrong_with
from poolcensus.snapshot.reader import Snapshot
from poolcensus.storage.destination import open_source
from poolcensus.storage.naming import LATEST
from poolcensus.storage.source import MissingFileError

if TYPE_CHECKING:
    from collections.abc import Callable

# Problems reported for each file. Enough to see what is wrong, when every line may have one.
_MOST_OF_A_FILE: Final = 10


class ProblemKind(StrEnum):
    """What a problem means for the snapshot, the gravest first.

    It is damaged, it could not be read, or only the name that refers to it is wrong.
    """

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    MISNAMED = "misnamed"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a snapshot. `line` counts from 1, and is None if the problem concerns the whole file.

    `count` is the number of problems that this one stands for. It is more than 1 for the problems of a file
    that are not reported one by one.
    """

    file: str
    line: int | None
    message: str
    kind: ProblemKind = ProblemKind.DAMAGED
    count: int = 1


def verify(
    snapshot: Snapshot | str | os.PathLike[str], *, settings: Settings | None = None
) -> tuple[Problem, ...]:
    """Verify a snapshot, and return all its problems.

    The snapshot may also be given as a name for `Snapshot.open`, or as a destination, whose latest snapshot
    is verified. If `latest` names something that is not a snapshot, that is a problem, too, and the newest
    snapshot is verified. `settings` says how to access a bucket.

    For each file, 10 problems are reported one by one, and one problem stands for all others. Each file is
    read once. Finding duplicates takes some 100 bytes of memory for each pool. If a file can't be read,
    checks that depend on it are skipped. Raises `SnapshotError` if the snapshot went to standard output or
    can't be opened, and `DestinationError` if a bucket can't be read. Blocks.
    """
    if isinstance(snapshot, Snapshot):
        with snapshot:
            return _verify(snapshot)
    try:
        if is_destination(snapshot):
            opened, misnamed = _opened(LATEST, snapshot, settings)
        else:
            opened, misnamed = _opened(snapshot, None, settings)
    except OSError as error:
        raise SnapshotError(f"{os.fspath(snapshot)} can't be read: {reason_of(error)}") from error
    with opened:
        return (*misnamed, *_verify(opened))


def verify_named(
    ref: str, dest: str | os.PathLike[str], *, settings: Settings | None = None
) -> tuple[str | None, tuple[Problem, ...]]:
    """Verify the snapshot that `ref` names at `dest`. Return its ID and its problems.

    A snapshot that can't be opened, or whose bucket can't be read, is a problem as well; its ID is None if it
    could not be opened. Raises another `FatalError` if nothing can be read, such as without credentials.
    Blocks.
    """
    snapshot_id: str | None = None
    try:
        opened, misnamed = _opened(ref, dest, settings)
        snapshot_id = opened.id
        with opened:
            return snapshot_id, (*misnamed, *_verify(opened))
    except (SnapshotError, DestinationError) as error:
        damaged = isinstance(error, DamagedSnapshotError)
        kind = ProblemKind.DAMAGED if damaged else ProblemKind.UNREADABLE
        return snapshot_id, (Problem(file="", line=None, message=str(error), kind=kind),)


def _opened(
    ref: str | os.PathLike[str], dest: str | os.PathLike[str] | None, settings: Settings | None
) -> tuple[Snapshot, tuple[Problem, ...]]:
    """Open the snapshot that is named, and return it with the problems of the name."""
    lost: list[tuple[str, str]] = []
    try:
        opened = Snapshot.open_in(
            partial(open_source, settings=settings), ref, dest, lambda *found: lost.append(found)
        )
    except (SnapshotError, FatalError):
        # The error that is raised has no room for these, so log them.
        for each in lost:
            warn_of_latest(*each)
        raise
    return opened, tuple(_misnamed(snapshot_id, opened.id) for _, snapshot_id in lost)


def _misnamed(lost: str, verified: str) -> Problem:
    message = f"{LATEST} names {lost}, which has no {MANIFEST_NAME}: what was verified is {verified}"
    return Problem(file="", line=None, message=message, kind=ProblemKind.MISNAMED)


def _verify(snapshot: Snapshot) -> tuple[Problem, ...]:
    problems = _Problems()
    ledger = _LedgerSums(snapshot)
    ledger.complete = _check_file(DataFile(snapshot.files, *snapshot.targets_file), ledger.take, problems)
    records = _RecordSums(snapshot, ledger)
    complete = _check_file(DataFile(snapshot.files, *snapshot.pools_file), records.take, problems)
    if ledger.complete:
        if complete:
            records.check_counts(snapshot.targets_file[0].name, problems)
        _check_manifest(snapshot, ledger, problems)
    _check_names(snapshot, problems)
    return problems.found()


class _Problems:
    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._counts: Counter[str] = Counter()

    def add(self, file: str, line: int | None, message: str) -> None:
        self._counts[file] += 1
        if self._counts[file] <= _MOST_OF_A_FILE:
            self._found.append(Problem(file, line, message))

    def add_unreadable(self, file: str, error: OSError) -> None:
        message = f"can't be read: {reason_of(error)}"
        self._found.append(Problem(file, None, message, ProblemKind.UNREADABLE))

    def found(self) -> tuple[Problem, ...]:
        others = (
            Problem(file, None, f"and {more:,} more", count=more)
            for file, count in self._counts.items()
            if (more := count - _MOST_OF_A_FILE) > 0
        )
        return (*self._found, *others)


class _LedgerSums:
    """The sums over the ledger, and its targets."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._schema = snapshot.schema
        self.gaps = KnownGaps(snapshot.manifest.known_gaps)
        self.complete = True
        self.targets: dict[tuple[str, str], tuple[Outcome, int]] = {}
        self.outcomes: Counter[Outcome] = Counter()
        # By account, since every account has a line in some region.
        self.organizations: dict[str, str | None] = {}
        self.pools = 0
        self.pages = 0

    def take(self, line: bytes) -> str | None:
        result: TargetResult = self._schema.decode_result(line)
        self.outcomes[result.outcome] += 1
        self.pools += result.pools
        self.pages += result.pages
        self.gaps.take(result)
        self.organizations[result.account_id] = result.organization
        key = (result.account_id, result.region)
        if not (is_second := key in self.targets):
            self.targets[key] = (result.outcome, result.pools)
        return wrong_with(result, self._schema.operation, is_second=is_second)


class _RecordSums:
    """The sums over the records, for comparison with the ledger."""

    def __init__(self, snapshot: Snapshot, ledger: _LedgerSums) -> None:
        self._snapshot_id = snapshot.id
        self._schema = snapshot.schema
        self._item = snapshot.schema.operation.item
        self._ledger = ledger
        self._counts: Counter[tuple[str, str]] = Counter()
        # Hashes instead of IDs take a tenth of the memory. With a million pools, the probability that two
        # have the same hash by accident is one in 10 million.
        self._seen: set[int] = set()

    def take(self, line: bytes) -> str | None:
        snapshot_id, record = self._schema.decode_record(line)
        key = (record.account_id, record.region)
        self._counts[key] += 1
        if snapshot_id != self._snapshot_id:
            return f"the record is of the snapshot {snapshot_id!r}"
        if not self._ledger.complete:
            return self._check_id(key, record)
        outcome, _ = self._ledger.targets.get(key, (None, 0))
        if outcome is None:
            return f"a {self._item} of {named(*key)}, which the ledger does not have"
        if outcome is not Outcome.OK:
            return f"a {self._item} of {named(*key)}, whose outcome is {outcome}"
        return self._check_id(key, record)

    def _check_id(self, key: tuple[str, str], record: PoolRecord) -> str | None:
        field = self._schema.operation.identity
        identity = record.pool.get(field)
        if not isinstance(identity, str):
            return f"the {self._item} has no {field}"
        mark = hash((*key, identity))
        if mark in self._seen:
            return f"the {self._item} {identity} of {named(*key)} is there already"
        self._seen.add(mark)
        return None

    def check_counts(self, ledger_name: str, problems: _Problems) -> None:
        for key, (outcome, pools) in self._ledger.targets.items():
            if outcome is Outcome.OK and self._counts[key] != pools:
                records = counted(self._counts[key], "record")
                said = counted(pools, self._item, self._schema.operation.items)
                message = f"{named(*key)} has {said} in the ledger and {records}"
                problems.add(ledger_name, None, message)


def _check_file(file: DataFile, take: Callable[[bytes], str | None], problems: _Problems) -> bool:
    """Check one file. Return whether it could be read to its end."""
    entry = file.entry
    try:
        with file:
            complete = _check_lines(file, take, problems)
            for field in file.differences():
                problems.add(entry.name, None, _difference(file, field))
    except MissingFileError as error:
        problems.add(entry.name, None, str(error))
        return False
    except OSError as error:
        problems.add_unreadable(entry.name, error)
        return False
    # If the file has more lines than the manifest says, the rest was not read, and the sums are incomplete.
    return complete and file.number <= entry.records


def _check_lines(file: DataFile, take: Callable[[bytes], str | None], problems: _Problems) -> bool:
    """Check all lines. Return whether they could be read to the last."""
    name = file.entry.name
    try:
        for line in file.lines():
            if not line.endswith(b"\n"):
                problems.add(name, file.number, "the line has no end")
            try:
                wrong = take(line)
            except ValueError as error:
                wrong = str(error)
            if wrong is not None:
                problems.add(name, file.number, wrong)
    except ValueError as error:
        problems.add(name, file.number + 1, f"ends in the middle, or was changed: {error}")
        return False
    return True


def _difference(file: DataFile, field: Literal["records", "bytes", "sha256"]) -> str:
    match field:
        case "records":
            return miscounted(file.number, file.entry.records)
        case "bytes":
            return f"has {file.size:,} bytes where the manifest says {file.entry.bytes:,}"
        case "sha256":
            return "its sha256 is not the manifest's"


def _check_manifest(snapshot: Snapshot, ledger: _LedgerSums, problems: _Problems) -> None:
    manifest = snapshot.manifest
    totals = manifest.totals
    covered = count_covered(ledger.outcomes)
    targets = ledger.outcomes.total()
    accounts = Counter(ledger.organizations.values())
    gaps = zip(manifest.known_gaps, ledger.gaps.counted(), strict=True)
    for what, said, found in (
        ("totals.targets", totals.targets, targets),
        ("totals.covered", totals.covered, covered),
        (f"totals.{snapshot.schema.operation.items}", totals.pools, ledger.pools),
        ("totals.pages", totals.pages, ledger.pages),
        *((f"outcomes.{each}", manifest.outcomes.get(each, 0), ledger.outcomes[each]) for each in Outcome),
        ("accounts.planned", manifest.accounts_planned, accounts.total()),
        *(
            (f"organizations[{number}].accounts_planned", each.accounts_planned, accounts[each.name])
            for number, each in enumerate(manifest.organizations)
        ),
        *(
            (f"known_gaps[{number}].targets", said.targets, found.targets)
            for number, (said, found) in enumerate(gaps)
        ),
    ):
        if said != found:
            problems.add(MANIFEST_NAME, None, f"{what} is {said:,}, by the ledger it is {found:,}")
    status = SnapshotStatus.COMPLETE if covered == targets else SnapshotStatus.PARTIAL
    if manifest.status is not status:
        problems.add(MANIFEST_NAME, None, f"the status is {manifest.status}, by the ledger it is {status}")
    name = snapshot.files.called
    if is_snapshot_id(name) and name != manifest.snapshot_id:
        problems.add(MANIFEST_NAME, None, f"is of the snapshot {manifest.snapshot_id}, in the folder {name}")


def _check_names(snapshot: Snapshot, problems: _Problems) -> None:
    expected = {MANIFEST_NAME, snapshot.pools_file[0].name, snapshot.targets_file[0].name}
    for file in snapshot.manifest.files:
        if file.name not in expected:
            problems.add(MANIFEST_NAME, None, f"names a file that does not belong here: {file.name!r}")
    try:
        names = snapshot.files.names()
    except OSError as error:
        problems.add_unreadable(".", error)
        return
    for name in names:
        if name not in expected:
            problems.add(name, None, "does not belong to the snapshot")

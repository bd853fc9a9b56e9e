from __future__ import annotations

import os
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from descriptors import descriptors
from poolcensus.errors import DestinationError
from poolcensus.snapshot.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 64


class AgainstADictionary(RuleBasedStateMachine):
    """A spill file does what a dictionary of blocks would, and grows no larger than it must."""

    used = Bundle("used")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.spill = Spill(Path(self.folder.name), BLOCK)
        self.model: dict[int, bytes] = {}
        self.most = 0

    @rule(target=used, data=st.binary(min_size=BLOCK, max_size=BLOCK))
    def fill_new(self, data: bytes) -> int:
        block = self.spill.allocate()
        assert block not in self.model
        self.spill.write(block, data)
        self.model[block] = data
        self.most = max(self.most, len(self.model))
        return block

    @rule(block=used)
    def read(self, block: int) -> None:
        assert self.spill.read(block) == self.model[block]

    @rule(block=consumes(used))
    def free(self, block: int) -> None:
        self.spill.free([block])
        del self.model[block]

    @invariant()
    def grows_no_more_than_it_must(self) -> None:
        assert self.spill.blocks == self.most

    def teardown(self) -> None:
        self.spill.close()
        assert os.listdir(self.folder.name) == []  # noqa: PTH208 - shorter
        self.folder.cleanup()


AgainstADictionary.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestAgainstADictionary = AgainstADictionary.TestCase


def test_the_file_has_no_name_and_one_descriptor(tmp_path: Path) -> None:
    before = len(descriptors())
    spill = Spill(tmp_path, BLOCK)
    for _ in range(300):
        spill.write(spill.allocate(), b"x" * BLOCK)
    assert list(tmp_path.iterdir()) == []
    assert len(descriptors()) == before + 1
    spill.close()
    assert len(descriptors()) == before


def test_short_writes_and_reads_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, pread = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:5], offset))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 3), offset))
    spill = Spill(tmp_path, BLOCK)
    contents: Sequence[bytes] = [bytes([n]) * BLOCK for n in range(3)]
    blocks = [spill.allocate() for _ in contents]
    for block, content in zip(blocks, contents, strict=True):
        spill.write(block, content)
    assert [spill.read(block) for block in blocks] == contents
    spill.close()


def test_a_full_disk_is_a_destination_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "pwrite", full)
    spill = Spill(tmp_path, BLOCK)
    with pytest.raises(DestinationError, match=r"No space left on device; make room"):
        spill.write(spill.allocate(), b"x" * BLOCK)
    spill.close()


def test_a_block_is_written_whole_and_never_after_the_close(tmp_path: Path) -> None:
    spill = Spill(tmp_path, BLOCK)
    with pytest.raises(ValueError, match="whole"):
        spill.write(spill.allocate(), b"short")
    spill.close()
    with pytest.raises(RuntimeError, match="closed"):
        spill.write(0, b"x" * BLOCK)


def test_a_file_that_was_cut_is_not_read_as_if_it_were_whole(tmp_path: Path) -> None:
    spill = Spill(tmp_path, BLOCK)
    spill.write(spill.allocate(), b"x" * BLOCK)
    with pytest.raises(DestinationError, match="lost"):
        spill.read(1)
    spill.close()


def test_what_is_read_is_what_was_written_or_an_error(tmp_path: Path) -> None:
    spill = Spill(tmp_path, BLOCK)
    block = spill.allocate()
    spill.write(block, b"x" * BLOCK)
    assert spill._file is not None
    os.pwrite(spill._file.fileno(), bytes(BLOCK), block * BLOCK)
    with pytest.raises(DestinationError, match=f"records kept in {tmp_path} are lost"):
        spill.read(block)
    spill.close()


def test_a_close_that_fails_is_no_error(tmp_path: Path) -> None:
    spill = Spill(tmp_path, BLOCK)
    spill.open()
    assert spill._file is not None
    os.close(spill._file.fileno())
    spill.close()
    assert spill._file.closed


def test_a_temporary_folder_that_is_full_is_an_error_that_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    spill = Spill(None, BLOCK)
    spill.open()
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "pread", full)
    for call in (lambda: spill.write(spill.allocate(), b"x" * BLOCK), lambda: spill.read(0)):
        with pytest.raises(DestinationError, match=rf"{tempfile.tempdir}: No space left .*; set TMPDIR"):
            call()
    spill.close()


def test_where_no_folder_is_usable_every_way_to_a_temporary_file_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    spill = Spill(None, BLOCK)
    with pytest.raises(DestinationError, match="set TMPDIR"):
        spill.open()
    with pytest.raises(DestinationError, match="set TMPDIR"):
        spill.write(spill.allocate(), b"x" * BLOCK)
    spill.close()

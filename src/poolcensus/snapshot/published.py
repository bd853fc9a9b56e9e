"""What is left in hand of a census that was published where it is not read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import Manifest, TargetResult


class _Published:
    def __init__(self, manifest: Manifest, uncovered: tuple[TargetResult, ...]) -> None:
        self._uncovered = uncovered
        self.manifest = manifest

    @property
    def id(self) -> str:
        """The snapshot id that every record carries."""
        return self.manifest.snapshot_id

    def uncovered(self) -> Iterator[TargetResult]:
        """The first of the targets that were not covered, and why."""
        return iter(self._uncovered)


class StreamedSnapshot(_Published):
    """A census whose records went to standard output: what is left of it is the manifest."""


class BucketSnapshot(_Published):
    """A census that was published in a bucket: its manifest, and where it is."""

    def __init__(self, url: str, manifest: Manifest, uncovered: tuple[TargetResult, ...]) -> None:
        super().__init__(manifest, uncovered)
        self.url = url

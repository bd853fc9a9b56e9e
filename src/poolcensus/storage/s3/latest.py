"""Updates `latest.json` of a bucket, even if other runs write it at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.errors import DestinationError
from poolcensus.storage.naming import LATEST_NAME, latest_object, named
from poolcensus.storage.s3.keys import contents, published
from poolcensus.storage.s3.objects import ConflictError
from poolcensus.storage.s3.reading import read_manifests

if TYPE_CHECKING:
    from poolcensus.storage.base import LatestChoice
    from poolcensus.storage.s3.objects import Bucket

# Attempts. Each fails only if another run has written in between, and runs at one destination take turns.
_ROUNDS = 4


async def renew_latest(bucket: Bucket, prefix: str, place: str, choice: LatestChoice) -> None:
    """Make `latest.json` name the chosen snapshot. Raises `DestinationError`."""
    key = prefix + LATEST_NAME
    for _ in range(_ROUNDS):
        # Read it before listing. A run that publishes after the listing also writes `latest.json` after it.
        held = await bucket.get(key)
        ids = published(await contents(bucket, prefix))
        name = None if held is None else named(held.body)
        choice.start(ids, name)
        while wanted := choice.next():
            for each, manifest in (await read_manifests(bucket, prefix, wanted)).items():
                choice.take(each, manifest if isinstance(manifest, bytes) else None)
        if choice.newest == name and (name is not None or held is None):
            return
        if choice.newest is None:
            if held is not None:
                try:
                    await bucket.delete(key, if_match=held.etag)
                except ConflictError:
                    continue
            return
        data = latest_object(choice.newest)
        if held is None:
            written = await bucket.put(key, data, if_absent=True)
        else:
            written = await bucket.put(key, data, if_match=held.etag)
        if written is not None:
            return
    raise DestinationError(f"other runs keep writing {place}/{LATEST_NAME}")

"""DeleteObjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.s3 import checksums, markup
from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from poolcensus.simulator.http import Response
    from poolcensus.simulator.s3.call import S3Call
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Bucket, Store

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_MAX_KEYS = 1000


def delete_objects(store: Store, call: S3Call) -> Response:
    """DeleteObjects. Each key succeeds or fails by itself. Deleting a missing object succeeds."""
    bucket, body = store.reach(call), call.request.body
    if "content-md5" not in call.headers and not checksums.HEADERS & call.headers.keys():
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
    checksums.verify_body(call.headers, body)
    keys, quiet = _keys_to_delete(body)
    content: list[Node] = []
    for key in keys:
        try:
            _delete(bucket, call, key)
        except RefusalError as refusal:
            error: list[Node] = [("Key", key), ("Code", refusal.code), ("Message", refusal.message)]
            content.append(("Error", error))
        else:
            if not quiet:
                content.append(("Deleted", [("Key", key)]))
    return markup.reply("DeleteResult", content)


def _delete(bucket: Bucket, call: S3Call, key: str) -> None:
    call.authorize("s3:DeleteObject", bucket.name, key)
    bucket.objects.pop(key, None)


def _keys_to_delete(body: bytes) -> tuple[list[str], bool]:
    """Return the keys to delete, and whether to report errors only."""
    keys: list[str] = []
    quiet = False
    for name, fields in markup.read(body, "Delete"):
        match name:
            case "Quiet":
                quiet = fields[""] == "true"
            case "Object" if fields.get("Key"):
                if other := sorted(fields.keys() - {"", "Key"}):
                    raise S3Error("NotImplemented", f"{other[0]} of an Object is not implemented")
                keys.append(fields["Key"])
            case _:
                raise S3Error("MalformedXML")
    if not 1 <= len(keys) <= _MAX_KEYS:
        raise S3Error("MalformedXML")
    return keys, quiet

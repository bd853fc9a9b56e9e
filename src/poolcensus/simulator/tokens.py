"""Page tokens: opaque to the client, bound to the query, and refused if the simulator did not make them."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from hashlib import blake2b

# Offset, page and turn of a position. The seal follows them.
_HEAD = struct.Struct("<QIB")
_SEAL_SIZE = 16


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins. `page` counts from 1. `turn` distinguishes tokens for the same offset."""

    offset: int = 0
    page: int = 1
    turn: int = 0


START = Position()


class TokenMint:
    """Makes and reads page tokens."""

    def __init__(self, seed: int) -> None:
        self._key = f"tokens {seed}".encode()

    def make(self, position: Position, scope: str) -> str:
        """Return a token that is valid in this scope only: an account, a region and a query."""
        head = _HEAD.pack(position.offset, position.page, position.turn)
        return "AAMA" + base64.urlsafe_b64encode(head + self._seal(head, scope)).decode()

    def read(self, token: str, scope: str) -> Position | None:
        """Return the position of a token, or None if it is not a token of this scope."""
        try:
            head, seal = self._split(token)
        except ValueError:
            return None
        return Position(*_HEAD.unpack(head)) if seal == self._seal(head, scope) else None

    def position(self, token: object, scope: str) -> Position | None:
        """Return the position of a request's token, or the start if it has none.

        Return None if the token is not valid in this scope.
        """
        if token is None:
            return START
        return self.read(token, scope) if isinstance(token, str) else None

    def page(self, token: str) -> int:
        """Return the page number in the token, of whatever scope. It is 1 for a text that is not a token."""
        try:
            head, _ = self._split(token)
        except ValueError:
            return 1
        return Position(*_HEAD.unpack(head)).page

    def _seal(self, head: bytes, scope: str) -> bytes:
        return blake2b(head + scope.encode(), digest_size=_SEAL_SIZE, key=self._key).digest()

    @staticmethod
    def _split(token: str) -> tuple[bytes, bytes]:
        raw = base64.b64decode(token[4:].encode(), altchars=b"-_", validate=True)
        if not token.startswith("AAMA") or len(raw) != _HEAD.size + _SEAL_SIZE:
            raise ValueError(token)
        return raw[: _HEAD.size], raw[_HEAD.size :]

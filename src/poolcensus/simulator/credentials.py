"""The credentials that the simulator accepts: those of the caller, and those issued by AssumeRole."""

from __future__ import annotations

import base64
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha512
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Identity

if TYPE_CHECKING:
    from poolcensus.simulator.access import Principal

_MAX_SESSIONS = 200_000
_TOKEN_BYTES = 264


@dataclass(frozen=True, slots=True)
class Credentials:
    """A secret access key and its identity. `expires` is in epoch seconds of the simulated clock."""

    secret: str
    identity: Identity
    token: str | None = None
    expires: float | None = None


class CredentialStore:
    """Issues credentials, and finds them by access key ID."""

    def __init__(self, seed: int, caller: Principal) -> None:
        digest = sha512(f"poolcensus simulator {seed}".encode()).digest()
        self.access_key_id = "AKIA" + base64.b32encode(digest[:10]).decode()
        self.secret_access_key = base64.b64encode(digest[10:40]).decode()
        self._sessions: OrderedDict[str, Credentials] = OrderedDict()
        self._caller = Credentials(
            self.secret_access_key,
            Identity(caller, self.access_key_id, None, "AIDA" + base64.b32encode(digest[40:50]).decode()),
        )

    def find(self, access_key_id: str) -> Credentials | None:
        """Return the credentials with this access key ID, or None."""
        if access_key_id == self.access_key_id:
            return self._caller
        return self._sessions.get(access_key_id)

    def issue(
        self,
        principal: Principal,
        *,
        role_id: str,
        session_name: str,
        expires: float,
        transitive: frozenset[str] = frozenset(),
    ) -> Credentials:
        """Issue session credentials. Beyond 200,000 sessions, the oldest is forgotten."""
        key = "ASIA" + base64.b32encode(secrets.token_bytes(10)).decode()
        credentials = Credentials(
            base64.b64encode(secrets.token_bytes(30)).decode(),
            Identity(principal, key, session_name, f"{role_id}:{session_name}", transitive),
            "IQoJb3JpZ2luX2Vj" + base64.b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode(),
            expires,
        )
        self._sessions[key] = credentials
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return credentials

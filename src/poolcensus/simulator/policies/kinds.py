"""The kinds of policies that can deny a call."""

from __future__ import annotations

from enum import StrEnum


class Policy(StrEnum):
    """The kind of policy that denies a call."""

    IDENTITY = "identity"
    BOUNDARY = "boundary"
    SESSION = "session"
    RESOURCE = "resource"
    SCP = "scp"
    RCP = "rcp"
    ENDPOINT = "endpoint"
    TRUST = "trust"

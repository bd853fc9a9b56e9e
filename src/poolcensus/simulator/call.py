"""What is known of a call before any service has looked at it."""

from __future__ import annotations

import re
from typing import NamedTuple

_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
_ROLE_ACCOUNT = re.compile(rb"(?:^|&)RoleArn=arn%3A[\w-]+%3Aiam%3A%3A(\d{12})%3A", re.IGNORECASE)
ACCOUNT_PATHS = {"/listRegions": "ListRegions", "/getRegionOptStatus": "GetRegionOptStatus"}


class Call(NamedTuple):
    """Who calls what, where. `role_account` is the account of the role that an AssumeRole asks for."""

    service: str
    operation: str
    account: str
    region: str
    access_key_id: str
    role_account: str = ""


def operation_of(
    service: str, method: str, path: str, *, headers: dict[str, str], query: str, body: bytes
) -> str:
    """Return the name of the operation that a request asks for."""
    target = headers.get("x-amz-target")
    if target is not None:
        return target.rpartition(".")[2]
    if service == "account":
        return ACCOUNT_PATHS.get(path, "Unknown")
    if service == "s3":
        return method
    found = _ACTION.search(body) or _ACTION.search(query.encode())
    return found[1].decode() if found is not None else "Unknown"


def role_account_of(service: str, body: bytes) -> str:
    """Return the account of the role that a call of STS asks for; empty for every other call."""
    found = _ROLE_ACCOUNT.search(body) if service == "sts" else None
    return found[1].decode() if found is not None else ""


def service_of(headers: dict[str, str], body: bytes) -> str:
    """Guess which service an unsigned request is meant for."""
    target = headers.get("x-amz-target", "")
    if target:
        return "organizations" if target.startswith("AWSOrganizations") else "workspaces"
    return "sts" if _ACTION.search(body) else "s3"

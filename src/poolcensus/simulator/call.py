"""What the simulator knows of a call before a service reads it: the service, the operation, the account."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_plus

_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
_EC2_VERSION = re.compile(rb"(?:^|&)Version=2016-11-15(?:&|$)")
_ROLE = re.compile(rb"(?:^|&)RoleArn=([^&]*)")
_ROLE_ACCOUNT = re.compile(r"arn:[\w-]+:iam::(\d{12}):")
ACCOUNT_PATHS = {"/listRegions": "ListRegions", "/getRegionOptStatus": "GetRegionOptStatus"}


class Call(NamedTuple):
    """A call: what is called, where and by whom. `role` is the ARN of the role that AssumeRole asks for."""

    service: str
    operation: str
    account: str
    region: str
    access_key_id: str
    role: str = ""

    @property
    def role_account(self) -> str:
        """The account ID of the role, or an empty string for any call but AssumeRole."""
        return role_account(self.role)


def role_account(arn: str) -> str:
    """Return the account ID in the ARN of a role, or an empty string if it is not such an ARN."""
    found = _ROLE_ACCOUNT.match(arn)
    return found[1] if found is not None else ""


def operation_of(
    service: str, method: str, path: str, *, headers: dict[str, str], query: str, body: bytes
) -> str:
    """Return the name of the operation that a request calls. For S3 this is the HTTP method."""
    target = headers.get("x-amz-target")
    if target is not None:
        return target.rpartition(".")[2]
    if service == "account":
        return ACCOUNT_PATHS.get(path, "Unknown")
    if service == "s3":
        return method
    found = _ACTION.search(body) or _ACTION.search(query.encode())
    return found[1].decode() if found is not None else "Unknown"


def role_arn_of(service: str, body: bytes) -> str:
    """Return the ARN of the role that an STS call asks for, or an empty string for any other call."""
    found = _ROLE.search(body) if service == "sts" else None
    return unquote_plus(found[1].decode("latin-1")) if found is not None else ""


def service_of(path: str, query: str, headers: dict[str, str], body: bytes) -> str:
    """Guess the service of a request that has no signature, or one that can't be read."""
    target = headers.get("x-amz-target", "")
    if target:
        return "organizations" if target.startswith("AWSOrganizations") else "workspaces"
    if headers.get("content-type", "").startswith("application/x-amz-json"):
        return "workspaces"
    if path in ACCOUNT_PATHS:
        return "account"
    for form in (body, query.encode()):
        if found := _ACTION.search(form):
            return "ec2" if found[1] == b"DescribeRegions" or _EC2_VERSION.search(form) else "sts"
    return "s3"

"""The refusals of calls whose signature is good: by a policy, and by what the account or the region lacks.

What a policy's denial says is IAM's own grammar:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import unquote

from poolcensus.simulator.call import operation_of
from poolcensus.simulator.refusal import OTHERS, RefusalError, by_service

if TYPE_CHECKING:
    from poolcensus.simulator.http import Request

_GUIDE = "https://docs.aws.amazon.com/workspaces/latest/adminguide"
_S3_ACTIONS = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "POST": "s3:PutObject",
    "DELETE": "s3:DeleteObject",
}


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


_NAMES = {
    Policy.IDENTITY: ("an", "identity-based policy"),
    Policy.BOUNDARY: ("a", "permissions boundary"),
    Policy.SESSION: ("a", "session policy"),
    Policy.RESOURCE: ("a", "resource-based policy"),
    Policy.SCP: ("a", "service control policy"),
    Policy.RCP: ("a", "resource control policy"),
    Policy.ENDPOINT: ("a", "VPC endpoint policy"),
    Policy.TRUST: ("the", "role trust policy"),
}


def denied(request: Request, policy: Policy | None = None, *, explicit: bool = False) -> RefusalError:
    """Return the denial of a call, in the service's own code and status.

    Across accounts AWS names no policy: `policy` is None.
    """
    message = denial(request.identity.arn, *_permission(request), policy, explicit=explicit)
    match request.service:
        case "sts" | "s3":
            return RefusalError(403, "AccessDenied", message)
        case "ec2":
            return RefusalError(
                403, "UnauthorizedOperation", f"You are not authorized to perform this operation. {message}"
            )
        case "account":
            return RefusalError(403, "AccessDeniedException", message)
    return RefusalError(400, "AccessDeniedException", message)


def denial(user: str, action: str, resource: str, policy: Policy | None, *, explicit: bool) -> str:
    """Return what IAM says of a denial. Without a `resource` the action is on none."""
    where = f" on resource: {resource}" if resource else ""
    subject = f"User: {user} is not authorized to perform: {action}{where}"
    if policy is None:
        return subject
    article, name = _NAMES[policy]
    if explicit:
        return f"{subject} with an explicit deny in {article} {name}"
    return f"{subject} because no {name} allows the {action} action"


def not_entitled() -> RefusalError:
    """Return what WorkSpaces says to an account that was no customer of Pools by 30 July 2026."""
    return RefusalError(
        400,
        "AccessDeniedException",
        "Amazon WorkSpaces Pools is no longer available to new customers as of 7/30/2026. "
        f"Refer to {_GUIDE}/wsp-pools-end-of-support.html",
    )


def neutral() -> RefusalError:
    """Return what WorkSpaces says where Pools was never launched: it names neither reason nor policy."""
    return RefusalError(
        400,
        "AccessDeniedException",
        "You do not have the permissions required to perform this action. "
        f"Refer to {_GUIDE}/workspaces-access-control.html",
    )


def unsupported() -> RefusalError:
    """Return what WorkSpaces says of an operation that it has, but not in this region."""
    return RefusalError(
        400, "OperationNotSupportedException", "The operation is not supported in this Region."
    )


def region_disabled(service: str, account: str) -> RefusalError:
    """Return what a service says where the region is off for the account."""
    table = {
        "sts": (
            403,
            "RegionDisabledException",
            (
                f"STS is not activated in this region for account:{account}. Your account administrator "
                "can activate STS in this region using the IAM Console."
            ),
        ),
        "ec2": (
            401,
            "OptInRequired",
            "You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe.",
        ),
        OTHERS: (403, "OptInRequired", "The AWS access key ID needs a subscription for the service."),
    }
    return by_service(table, service)


def _permission(request: Request) -> tuple[str, str]:
    """Return the action that a call needs, and the ARN of what it needs it on; empty where on nothing."""
    service, identity = request.service, request.identity
    partition, account = identity.arn.split(":")[1], identity.account_id
    if service == "s3":
        return _s3_permission(request, partition)
    operation = operation_of(
        service, request.method, request.path, headers=request.headers, query=request.query, body=request.body
    )
    resource = ""
    match service:
        case "workspaces":
            resource = f"arn:{partition}:workspaces:{request.region}:{account}:workspacespool/*"
        case "sts":
            resource = request.form.get("RoleArn", "")
        case "account":
            resource = f"arn:{partition}:account::{account}:account"
        case "organizations":
            resource = "*"
    return f"{service}:{operation}", resource


def _s3_permission(request: Request, partition: str) -> tuple[str, str]:
    place = unquote(request.path).lstrip("/")
    bucket, _, key = place.partition("/")
    if not bucket:
        return "s3:ListAllMyBuckets", f"arn:{partition}:s3:::*"
    if not key:
        return "s3:ListBucket", f"arn:{partition}:s3:::{bucket}"
    return _S3_ACTIONS.get(request.method, "s3:GetObject"), f"arn:{partition}:s3:::{place}"

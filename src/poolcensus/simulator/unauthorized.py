"""Refusals of calls whose signature is valid: by a policy, or because of the account or the region.

The message of a denial by a policy has the form that IAM documents:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.simulator.permissions import permission_of
from poolcensus.simulator.policies import Policy
from poolcensus.simulator.refusal import OTHERS, RefusalError, by_service

if TYPE_CHECKING:
    from poolcensus.simulator.http import Request
    from poolcensus.simulator.policies import Denial

_GUIDE = "https://docs.aws.amazon.com/workspaces/latest/adminguide"

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


def denied(
    request: Request, policy: Policy | None = None, *, explicit: bool = False, action: str = ""
) -> RefusalError:
    """Return the denial of a call, with the error code and status of its service.

    `policy` is None if AWS does not name the policy. `action` is the action that is denied, if it is another
    than that of the call.
    """
    own, resource = permission_of(request)
    if request.service == "s3":
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
        resource = f'"{resource}"'
    message = _denial_message(request.identity.arn, action or own, resource, policy, explicit=explicit)
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


def denied_by(found: Denial, request: Request, action: str, resource: str) -> RefusalError:
    """Return the denial by S3 of a permission that a call needs besides its own."""
    message = _denial_message(
        request.identity.arn, action, f'"{resource}"', found.kind, explicit=found.explicit
    )
    return RefusalError(403, "AccessDenied", message)


def _denial_message(user: str, action: str, resource: str, policy: Policy | None, *, explicit: bool) -> str:
    """Return the message of a denial. `resource` is empty if the action has no resource."""
    where = f" on resource: {resource}" if resource else ""
    subject = f"User: {user} is not authorized to perform: {action}{where}"
    if policy is None:
        return subject
    article, name = _NAMES[policy]
    if explicit:
        return f"{subject} with an explicit deny in {article} {name}"
    return f"{subject} because no {name} allows the {action} action"


def not_entitled() -> RefusalError:
    """Return the refusal of WorkSpaces for an account that was no customer of Pools by 30 July 2026."""
    return RefusalError(
        400,
        "AccessDeniedException",
        "Amazon WorkSpaces Pools is no longer available to new customers as of 7/30/2026. "
        f"Refer to {_GUIDE}/wsp-pools-end-of-support.html",
    )


def neutral() -> RefusalError:
    """Return the refusal of WorkSpaces in a region where Pools was never launched. It names no reason."""
    return RefusalError(
        400,
        "AccessDeniedException",
        "You do not have the permissions required to perform this action. "
        f"Refer to {_GUIDE}/workspaces-access-control.html",
    )


def unsupported() -> RefusalError:
    """Return the refusal of WorkSpaces for an operation that it does not offer in this region."""
    return RefusalError(
        400, "OperationNotSupportedException", "The operation is not supported in this Region."
    )


def region_disabled(service: str, account: str) -> RefusalError:
    """Return the refusal of a service in a region that the account has not enabled."""
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

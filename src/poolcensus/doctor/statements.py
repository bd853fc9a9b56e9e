"""IAM policy statements that would allow what was denied."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.model import JsonObject, JsonValue

EXTERNAL_ID = "EXTERNAL_ID"
"""The placeholder for the external ID in a statement, since the external ID is a secret."""


def allow(action: str | tuple[str, ...], resource: str | tuple[str, ...] = "*") -> JsonObject:
    """Return a statement of an identity-based policy, for the principal that makes the call."""
    return {"Effect": "Allow", "Action": _one_or_all(action), "Resource": _one_or_all(resource)}


def allow_anybody(action: str) -> JsonObject:
    """Return a statement of a VPC endpoint policy, which has to name a principal.

    https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html
    """
    return {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": "*"}


def allow_principal(action: str, user: str, resource: str) -> JsonObject:
    """Return a statement of a resource-based policy, for the principal that a denial names."""
    return {"Effect": "Allow", **_principal(user), "Action": action, "Resource": resource}


def trust(user: str, action: str = "sts:AssumeRole", *, with_external_id: bool = False) -> JsonObject:
    """Return a statement of a role's trust policy, for the principal of a denial. It has no resource.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_update-role-trust-policy.html
    """
    statement: JsonObject = {"Effect": "Allow", **_principal(user), "Action": action}
    if with_external_id:
        condition = statement.setdefault("Condition", {})
        if isinstance(condition, dict):
            condition["StringEquals"] = {"sts:ExternalId": EXTERNAL_ID}
    return statement


def _one_or_all(values: str | tuple[str, ...]) -> JsonValue:
    if isinstance(values, str):
        return values
    return values[0] if len(values) == 1 else list(values)


def _principal(user: str) -> JsonObject:
    """Return the elements that name a principal, from the ARN in a denial.

    The ARN of a role session lacks the role's path. So the role can't be the principal, and a condition names
    it: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
    """
    _, partition, _, _, account, name = (*user.split(":", 5), *[""] * 6)[:6]
    kind, _, rest = name.partition("/")
    if kind != "assumed-role":
        return {"Principal": {"AWS": user}}
    role = rest.partition("/")[0]
    roles = f"arn:{partition}:iam::{account}:role"
    return {
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Condition": {"ArnLike": {"aws:PrincipalArn": [f"{roles}/{role}", f"{roles}/*/{role}"]}},
    }

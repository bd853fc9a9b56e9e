"""The IAM action and the resource of a call.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from poolcensus.simulator.call import operation_of
from poolcensus.simulator.s3.call import parse
from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from poolcensus.simulator.http import Request

# DeleteObjects needs this permission for each key that it names.
DELETE_OBJECT = "s3:DeleteObject"
_LIST_BUCKET = "s3:ListBucket"
# By what the path names and the HTTP method, then by the query parameter that selects the operation. "" is
# for requests without such a parameter.
_S3_ACTIONS = {
    ("service", "GET"): {"": "s3:ListAllMyBuckets"},
    ("bucket", "GET"): {
        "": _LIST_BUCKET,
        "uploads": "s3:ListBucketMultipartUploads",
        "location": "s3:GetBucketLocation",
        "versioning": "s3:GetBucketVersioning",
    },
    ("bucket", "HEAD"): {"": _LIST_BUCKET},
    ("bucket", "PUT"): {"": "s3:CreateBucket"},
    ("bucket", "POST"): {"": DELETE_OBJECT},
    ("bucket", "DELETE"): {"": "s3:DeleteBucket"},
    ("object", "GET"): {
        "": "s3:GetObject",
        "uploadId": "s3:ListMultipartUploadParts",
        "tagging": "s3:GetObjectTagging",
    },
    ("object", "HEAD"): {"": "s3:GetObject"},
    ("object", "PUT"): {"": "s3:PutObject"},
    ("object", "POST"): {"": "s3:PutObject"},
    ("object", "DELETE"): {"": "s3:DeleteObject", "uploadId": "s3:AbortMultipartUpload"},
}


def action_of(request: Request, operation: str) -> str:
    """Return the IAM action of a call. Except for S3, that is the service prefix and the operation."""
    if request.service != "s3":
        return f"{request.service}:{operation}"
    try:
        scope = parse(request).scope
    except S3Error:
        return "s3:GetObject"
    names = {name for name, _ in parse_qsl(request.query, keep_blank_values=True)}
    actions = _S3_ACTIONS.get((scope, request.method), {"": "s3:GetObject"})
    return next((action for name, action in actions.items() if name in names), actions[""])


def resource_of(request: Request, operation: str) -> str:
    """Return the ARN of the resource of a call, or `*` or an empty string if its action has no resource.

    A denial names the resource `*` if other actions of the service have resources, and none otherwise.
    """
    partition, account = request.identity.arn.split(":")[1], request.identity.account_id
    match request.service:
        case "workspaces":
            return f"arn:{partition}:workspaces:{request.region}:{account}:workspacespool/*"
        case "sts":
            return request.form.get("RoleArn", "") if operation == "AssumeRole" else ""
        case "account":
            return f"arn:{partition}:account::{account}:account"
        case "s3":
            return _s3_resource(request, partition)
    return "*" if request.service == "organizations" else ""


def keys_of(request: Request, action: str) -> dict[str, tuple[str, ...]]:
    """Return the condition keys of the call itself: for a listing of objects its prefix, if it has one."""
    if action != _LIST_BUCKET or request.method != "GET":
        return {}
    prefix = dict(parse_qsl(request.query, keep_blank_values=True)).get("prefix")
    return {} if prefix is None else {"s3:prefix": (prefix,)}


def _s3_resource(request: Request, partition: str) -> str:
    try:
        call = parse(request)
    except S3Error:
        return f"arn:{partition}:s3:::*"
    key = f"/{call.key}" if call.key else ""
    return f"arn:{partition}:s3:::{call.bucket or '*'}{key}"


def permission_of(request: Request) -> tuple[str, str]:
    """Return the IAM action and the resource of a call."""
    operation = operation_of(
        request.service,
        request.method,
        request.path,
        headers=request.headers,
        query=request.query,
        body=request.body,
    )
    return action_of(request, operation), resource_of(request, operation)

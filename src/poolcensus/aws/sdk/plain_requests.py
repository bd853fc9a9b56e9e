"""Request templates for plain configurations, as the SDK would form them.

The SDK takes a twentieth of a second for the first request to each service. Operations that are not in these
tables are left to it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from poolcensus.aws.sdk.plain import plain_regions
from poolcensus.aws.signing import RequestTemplate
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.sdk.plain import PlainConfiguration
    from poolcensus.aws.signing import SdkOperation


class _Shape(msgspec.Struct, frozen=True):
    """The common parts of a service's requests. `home` is the only region with an endpoint, or None."""

    content_type: str
    target_prefix: str | None = None
    home: str | None = None


# https://smithy.io/2.0/aws/protocols/index.html: AWS Query and EC2 Query, JSON 1.1, REST JSON
_QUERY: Final = "application/x-www-form-urlencoded; charset=utf-8"
_JSON: Final = "application/x-amz-json-1.1"
_REST_JSON: Final = "application/json"

_SERVICES: Final[Mapping[str, _Shape]] = {
    "sts": _Shape(_QUERY),
    "ec2": _Shape(_QUERY),
    "workspaces": _Shape(_JSON, "WorkspacesService"),
    # https://docs.aws.amazon.com/general/latest/gr/ao.html
    "organizations": _Shape(_JSON, "AWSOrganizationsV20161128", home="us-east-1"),
    # https://docs.aws.amazon.com/general/latest/gr/acct-mgmt.html
    "account": _Shape(_REST_JSON, home="us-east-1"),
}
# By service and SDK method: the operation in `x-amz-target`, or the path, or None for neither.
_OPERATIONS: Final[Mapping[tuple[str, str], str | None]] = {
    ("sts", "get_caller_identity"): None,
    ("sts", "assume_role"): None,
    ("ec2", "describe_regions"): None,
    ("workspaces", "describe_workspaces_pools"): "DescribeWorkspacesPools",
    ("organizations", "describe_organization"): "DescribeOrganization",
    ("organizations", "list_accounts"): "ListAccounts",
    ("organizations", "list_accounts_for_parent"): "ListAccountsForParent",
    ("organizations", "list_organizational_units_for_parent"): "ListOrganizationalUnitsForParent",
    ("organizations", "list_roots"): "ListRoots",
    ("organizations", "list_tags_for_resource"): "ListTagsForResource",
    ("account", "list_regions"): "/listRegions",
}
_USER_AGENT: Final = f"{TOOL} Python/{'.'.join(map(str, sys.version_info[:3]))}"


def plain_request(configuration: PlainConfiguration, operation: SdkOperation) -> RequestTemplate | None:
    """Return the request template of an operation, or None if only the SDK can form it."""
    service, region = operation.service, operation.region
    if (service, operation.method) not in _OPERATIONS or region not in plain_regions():
        return None
    shape, name = _SERVICES[service], _OPERATIONS[service, operation.method]
    configured = configuration.url(service)
    # With a configured URL, the region of the signature is the requested one.
    called = region if configured is not None else shape.home or region
    base = configured or f"https://{service}.{called}.amazonaws.com"
    headers = {"content-type": shape.content_type, "user-agent": _USER_AGENT}
    path = "/"
    if shape.target_prefix is not None:
        headers["x-amz-target"] = f"{shape.target_prefix}.{name}"
    elif name is not None:
        path = name
    return RequestTemplate(
        method="POST",
        url=base.rstrip("/") + path,
        host=urlsplit(base).netloc,
        path=path,
        headers=headers,
        service=service,
        region=called,
        proxy=None,
        operation=operation,
    )

"""DescribeWorkspacesPools of Amazon WorkSpaces.

https://docs.aws.amazon.com/workspaces/latest/api/API_DescribeWorkspacesPools.html

Neither botocore's paginators nor its parsers are used: it has no paginator for this operation, and it parses
a body that is not JSON as a page without pools.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from poolcensus import partitions
from poolcensus.errors import NotEntitledError
from poolcensus.format.codec import json_type_of
from poolcensus.format.times import rfc3339_of_epoch
from poolcensus.model import ColumnType
from poolcensus.operations.operation import (
    DENIED,
    EndOfSupport,
    Facets,
    Field,
    ItemColumn,
    Listing,
    Operation,
    Refusal,
    value_at,
)

if TYPE_CHECKING:
    from poolcensus.model import JsonObject, JsonValue
    from poolcensus.operations.operation import Query
    from poolcensus.partitions import Partition

_IDS_A_CALL = 25
_POOL_ID = re.compile(r"wspool-[0-9a-z]{9}")
_END_OF_SUPPORT = "https://docs.aws.amazon.com/workspaces/latest/adminguide/wsp-pools-end-of-support.html"
_SEEN_IN_TERRAFORM = "https://github.com/hashicorp/terraform-provider-aws/pull/49668"


def _listings(query: Query) -> tuple[Listing, ...]:
    common: dict[str, JsonValue] = {"Limit": query.page_size}
    if query.filters:
        common["Filters"] = list(query.filters)
    if not query.ids:
        return (Listing(common),)
    groups = (query.ids[at : at + _IDS_A_CALL] for at in range(0, len(query.ids), _IDS_A_CALL))
    return tuple(Listing({**common, "PoolIds": list(ids)}, ids) for ids in groups)


def _with_time(pool: JsonObject) -> None:
    created = pool.get("CreatedAt")
    if created is None:
        return
    try:
        # A tuple, because a union of types would be created anew for each pool.
        if isinstance(created, bool) or not isinstance(created, (float, int)):
            raise ValueError(f"it is {json_type_of(created)}")  # noqa: TRY004, TRY301 - the value is the service's
        pool["CreatedAt"] = rfc3339_of_epoch(created)
    except ValueError as error:
        pool_id = str(pool["PoolId"])[:40]
        raise ValueError(f"CreatedAt of {pool_id} is not a time: {error}") from None


def _without_missing(ids: tuple[str, ...], code: str, message: str) -> list[tuple[str, ...]] | None:
    # The service refuses the whole call if it does not know one of the IDs. The message may name the missing
    # IDs. If it names none, or all of them, which may only repeat the request, the IDs are requested in
    # halves, until each missing one is alone.
    if code != "ResourceNotFoundException":
        return None
    if len(ids) == 1:
        return []
    missing = set(_POOL_ID.findall(message)).intersection(ids)
    rest = tuple(each for each in ids if each not in missing)
    if missing and rest:
        return [rest]
    half = len(ids) // 2
    return [ids[:half], ids[half:]]


def _number_of(pool_id: str) -> int | None:
    # The ID ends with nine digits in base 36.
    return int(pool_id[-9:], 36) if _POOL_ID.fullmatch(pool_id) else None


def _regions(partition: Partition) -> tuple[str, ...]:
    # All regions with WorkSpaces, also those without Pools: an extra region costs a call for each account,
    # but a missing one loses pools.
    return partition.workspaces


def _offered_in(region: str) -> bool:
    return not any(
        region in each.regions and region not in each.pools for each in partitions.partitions().values()
    )


_IN_USE = ("CapacityStatus", "ActiveUserSessions")
_CAPACITY = ("CapacityStatus", "ActualUserSessions")
_BUCKET = ("ApplicationSettings", "S3BucketName")


def _sessions(pool: JsonObject) -> str:
    counts = (value_at(pool, keys) for keys in (_IN_USE, _CAPACITY))
    return "/".join(str(each) for each in counts if each is not None)


_TEXT, _INTEGER = ColumnType.TEXT, ColumnType.INTEGER
# Every field of WorkspacesPool in the SDK's model.
_FIELDS = (
    Field("pool_id", _TEXT, ("PoolId",), "ID of the pool"),
    Field("pool_name", _TEXT, ("PoolName",), "name of the pool"),
    Field("pool_arn", _TEXT, ("PoolArn",), "ARN of the pool"),
    Field("state", _TEXT, ("State",), "CREATING, RUNNING, STOPPED, …"),
    Field("description", _TEXT, ("Description",), "description of the pool"),
    Field("running_mode", _TEXT, ("RunningMode",), "AUTO_STOP or ALWAYS_ON"),
    Field("created_at", ColumnType.TIMESTAMP, ("CreatedAt",), "when the pool was created"),
    Field("bundle_id", _TEXT, ("BundleId",), "ID of the bundle"),
    Field("directory_id", _TEXT, ("DirectoryId",), "ID of the directory"),
    Field(
        "desired_user_sessions",
        _INTEGER,
        ("CapacityStatus", "DesiredUserSessions"),
        "sessions that run or are pending",
    ),
    Field(
        "available_user_sessions",
        _INTEGER,
        ("CapacityStatus", "AvailableUserSessions"),
        "sessions that nobody uses",
    ),
    Field("actual_user_sessions", _INTEGER, _CAPACITY, "sessions that are available or in use"),
    Field("active_user_sessions", _INTEGER, _IN_USE, "sessions in use"),
    Field(
        "application_settings_status",
        _TEXT,
        ("ApplicationSettings", "Status"),
        "whether application settings persist: ENABLED or DISABLED",
    ),
    Field("settings_group", _TEXT, ("ApplicationSettings", "SettingsGroup"), "path prefix in the bucket"),
    Field("s3_bucket_name", _TEXT, _BUCKET, "bucket of persistent application settings"),
    Field(
        "disconnect_timeout_in_seconds",
        _INTEGER,
        ("TimeoutSettings", "DisconnectTimeoutInSeconds"),
        "how long a session lives after a disconnection",
    ),
    Field(
        "idle_disconnect_timeout_in_seconds",
        _INTEGER,
        ("TimeoutSettings", "IdleDisconnectTimeoutInSeconds"),
        "how long a connection may be idle",
    ),
    Field(
        "max_user_duration_in_seconds",
        _INTEGER,
        ("TimeoutSettings", "MaxUserDurationInSeconds"),
        "the longest time of a session",
    ),
    Field("errors", ColumnType.JSON, ("Errors",), "errors of the pool"),
)

WORKSPACES_POOLS = Operation(
    service="workspaces",
    api_name="DescribeWorkspacesPools",
    method="describe_workspaces_pools",
    item="pool",
    items="pools",
    collection="WorkspacesPools",
    identity="PoolId",
    listings=_listings,
    regions=_regions,
    normalize=_with_time,
    without_missing=_without_missing,
    number_of=_number_of,
    refusals=(
        Refusal(
            NotEntitledError,
            DENIED,
            f"{_END_OF_SUPPORT} {_SEEN_IN_TERRAFORM}",
            re.compile(
                r"WorkSpaces Pools is no longer available to new customers|/wsp-pools-end-of-support\b",
                re.IGNORECASE,
            ),
        ),
    ),
    # The service sends this in regions without Pools, and also if a role lacks the permission.
    unexplained=re.compile(r"/workspaces-access-control\b"),
    offered_in=_offered_in,
    columns=(
        ItemColumn("Pool", lambda pool: pool.get("PoolId")),
        ItemColumn("Pool name", lambda pool: pool.get("PoolName"), rank=2, least=10),
        ItemColumn("State", lambda pool: pool.get("State"), rank=1),
        ItemColumn(
            "Sessions",
            _sessions,
            is_number=True,
            sorted_by=lambda pool: value_at(pool, _IN_USE),
            rank=4,
        ),
        ItemColumn(
            "Created",
            lambda pool: str(pool.get("CreatedAt") or "")[:10],
            sorted_by=lambda pool: pool.get("CreatedAt"),
            rank=5,
        ),
    ),
    fields=_FIELDS,
    facets=Facets(
        title="WorkSpaces Pools",
        name=("PoolName",),
        state=("State",),
        errors=("Errors",),
        error_code="ErrorCode",
        in_use=_IN_USE,
        capacity=_CAPACITY,
        volatile=("CapacityStatus",),
        details=(
            ItemColumn("Bundle", lambda pool: pool.get("BundleId")),
            ItemColumn("Directory", lambda pool: pool.get("DirectoryId")),
            ItemColumn("S3 bucket", lambda pool: value_at(pool, _BUCKET)),
        ),
        end_of_support=EndOfSupport(date(2027, 12, 31), _END_OF_SUPPORT),
    ),
)

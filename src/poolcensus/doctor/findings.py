"""The findings of the checks, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from poolcensus.model import JsonObject


class Check(StrEnum):
    """The steps of a census, in their order."""

    CALLER = "caller"
    ORGANIZATION = "organization"
    ROLE = "role"
    OPERATION = "operation"
    REGION_STATUS = "region_status"
    DESTINATION = "destination"


class CheckStatus(StrEnum):
    """How a check ended. `not_mendable` means that no grant would help."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_MENDABLE = "not_mendable"


class Cause(StrEnum):
    """The reason why a check did not succeed, or succeeded with a remark."""

    CREDENTIALS = "credentials"
    EXPIRED = "expired"
    CLOCK = "clock"
    UNREACHABLE = "unreachable"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    BAD_RESPONSE = "bad_response"
    SERVICE_ERROR = "service_error"
    NOT_IN_ORGANIZATION = "not_in_organization"
    NOT_MANAGEMENT = "not_management"
    ACCOUNTS = "accounts"
    IDENTITY_POLICY = "identity_policy"
    RESOURCE_POLICY = "resource_policy"
    TRUST_POLICY = "trust_policy"
    SESSION_POLICY = "session_policy"
    PERMISSIONS_BOUNDARY = "permissions_boundary"
    SCP = "scp"
    RCP = "rcp"
    VPC_ENDPOINT_POLICY = "vpc_endpoint_policy"
    UNEXPLAINED = "unexplained"
    MISSING_ROLE = "missing_role"
    EXTERNAL_ID = "external_id"
    DURATION = "duration"
    NOT_ENTITLED = "not_entitled"
    NOT_OFFERED = "not_offered"
    REGION_DISABLED = "region_disabled"
    KNOWN_GAP = "known_gap"
    DESTINATION_LOCK = "destination_lock"
    DESTINATION_PERMISSION = "destination_permission"
    DISK = "disk"
    DESTINATION = "destination"


# For errors without advice. Their messages name the file, the limit or the reply that is at fault.
UNADVISED: Final = "Mend the cause that the message names."

# A census covers such a target: its reply says that it has no pools.
_COVERED = frozenset({Cause.NOT_ENTITLED, Cause.NOT_OFFERED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check, about an account and a region if it concerns one.

    `action` is the IAM action that was tried, `code` the error code of the service, and `message` its
    message. `remedy` tells a person what to do. `policy` is the IAM statement to add where `remedy` says, or
    None if no single statement would help. A finding that is `ok` has a `cause` if something is missing that
    a census can do without. `organization` is the name of the Organization in the settings, in a run of
    several.
    """

    check: Check
    status: CheckStatus
    account_id: str | None = None
    region: str | None = None
    action: str | None = None
    code: str | None = None
    cause: Cause | None = None
    message: str | None = None
    remedy: str | None = None
    policy: JsonObject | None = None
    organization: str | None = None

    @property
    def is_problem(self) -> bool:
        """Whether a census would fail to cover a target, or publish nothing, because of this finding."""
        match self.status:
            case CheckStatus.FAILED:
                return True
            case CheckStatus.NOT_MENDABLE:
                return self.cause not in _COVERED
        return False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The explanation of a failure: its cause, and how to fix it. A part of a finding."""

    status: CheckStatus
    cause: Cause
    remedy: str
    policy: JsonObject | None = None
    action: str | None = None

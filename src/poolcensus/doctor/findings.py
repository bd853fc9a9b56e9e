"""What the checks have found, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from poolcensus.model import JsonObject


class Check(StrEnum):
    """A step of a census, in the order in which they are taken."""

    CALLER = "caller"
    ORGANIZATION = "organization"
    ROLE = "role"
    OPERATION = "operation"
    REGION_STATUS = "region_status"
    DESTINATION = "destination"


class CheckStatus(StrEnum):
    """How a check ended. With `not_mendable` no grant would help."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_MENDABLE = "not_mendable"


class Cause(StrEnum):
    """Why a check did not simply succeed."""

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


# Where an error comes without advice, its message names the file, the limit or the reply that is at fault.
UNADVISED: Final = "Mend the cause that the message names."

# A collect covers such a target: it has no pools, and says so itself.
_COVERED = frozenset({Cause.NOT_ENTITLED, Cause.NOT_OFFERED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check has found, of an account and a region where it is about one.

    `organization` is what the settings call the Organization, in a run of several.
    `action` is the IAM action that was tried, `code` the service's error code and `message` what it said.
    `remedy` tells a person what to do, and `policy` is the statement that `remedy` says where to add; it is
    None where no single statement would do. A finding that is `ok` has a `cause` where something is lacking
    that a census does without.
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
        """Whether a census would leave something uncovered, or publish nothing, because of this."""
        match self.status:
            case CheckStatus.FAILED:
                return True
            case CheckStatus.NOT_MENDABLE:
                return self.cause not in _COVERED
        return False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a failure comes down to: the part of a finding that a check's facts don't give."""

    status: CheckStatus
    cause: Cause
    remedy: str
    policy: JsonObject | None = None
    action: str | None = None

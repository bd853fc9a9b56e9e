"""STS: GetCallerIdentity and AssumeRole."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from poolcensus.simulator import unauthorized
from poolcensus.simulator.http import Identity, Request, Response
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.session_policy import read_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.credentials import CredentialStore
    from poolcensus.simulator.world import World

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_HEADERS = (("Content-Type", "text/xml"),)
_ROLE_ARN = re.compile(r"arn:([a-z0-9-]+):iam::([0-9]{12}):role/([\w+=,.@/-]{1,512})", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_MIN_DURATION = 900
_MAX_DURATION = 43_200
_CHAINED_DURATION = 3600
_MAX_POLICY = 2048


class Sts:
    """Says who a caller is, and gives credentials of the member accounts."""

    def __init__(
        self,
        world: World,
        store: CredentialStore,
        clock: Callable[[], float],
        *,
        session_seconds: float | None,
    ) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._session_seconds = session_seconds

    def handle(self, request: Request) -> Response:
        """Answer one call.

        Raises RefusalError: the call is refused.
        """
        form = request.form
        match form.get("Action"):
            case "GetCallerIdentity":
                return _caller_identity(request.identity, request.request_id)
            case "AssumeRole":
                return self._assume_role(request, request.identity, form)
        raise RefusalError(
            400,
            "InvalidAction",
            f"Could not find operation {form.get('Action')} for version {form.get('Version')}",
        )

    def _assume_role(self, request: Request, caller: Identity, form: dict[str, str]) -> Response:
        arn = form.get("RoleArn", "")
        name = form.get("RoleSessionName", "")
        found = _ROLE_ARN.fullmatch(arn)
        if found is None:
            raise RefusalError(400, "ValidationError", f"{arn} is invalid")
        if _SESSION_NAME.fullmatch(name) is None:
            raise _constraint(
                name, "roleSessionName", "Member must satisfy regular expression pattern: [\\w+=,.@-]*"
            )
        external_id = form.get("ExternalId")
        if external_id is not None and _EXTERNAL_ID.fullmatch(external_id) is None:
            raise _constraint(
                external_id, "externalId", "Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]*"
            )
        policy = form.get("Policy")
        if policy is not None and not 1 <= len(policy) <= _MAX_POLICY:
            raise _constraint(
                "policy", "policy", f"Member must have length less than or equal to {_MAX_POLICY}"
            )
        try:
            narrowed = read_policy(policy) if policy is not None else None
        except ValueError:
            raise RefusalError(
                400, "MalformedPolicyDocument", "The policy is not in the valid JSON format."
            ) from None
        seconds = self._duration(caller, form)
        partition, account, role = found.groups()
        index = self._world.index(account)
        if (
            index is None
            or partition != self._world.partition.name
            or role != self._world.config.role_name.lstrip("/")
            or index == 0
            or index in self._world.suspended
            or index in self._world.no_role
            or self._world.config.external_id not in (None, external_id)
        ):
            raise unauthorized.denied(request)
        role_id = "AROA" + base64.b32encode(sha256(arn.encode()).digest()[:10]).decode()
        expires = self._clock() + seconds
        session_arn = f"arn:{partition}:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{name}"
        issued = self._store.issue(
            account, session_arn, role_id=role_id, session_name=name, expires=expires, policy=narrowed
        )
        expiration = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        source = form.get("SourceIdentity")
        result = (
            f"    <AssumedRoleUser>\n      <AssumedRoleId>{role_id}:{escape(name)}</AssumedRoleId>\n"
            f"      <Arn>{escape(session_arn)}</Arn>\n    </AssumedRoleUser>\n"
            f"    <Credentials>\n      <AccessKeyId>{issued.identity.access_key_id}</AccessKeyId>\n"
            f"      <SecretAccessKey>{issued.secret}</SecretAccessKey>\n"
            f"      <SessionToken>{issued.token}</SessionToken>\n"
            f"      <Expiration>{expiration}</Expiration>\n    </Credentials>\n"
        )
        if source is not None:
            result += f"    <SourceIdentity>{escape(source)}</SourceIdentity>\n"
        if policy is not None:
            result += f"    <PackedPolicySize>{max(1, len(policy) * 100 // _MAX_POLICY)}</PackedPolicySize>\n"
        return _reply("AssumeRole", result, request.request_id)

    def _duration(self, caller: Identity, form: dict[str, str]) -> float:
        text = form.get("DurationSeconds", "3600")
        seconds = int(text) if text.isascii() and text.isdecimal() else 0
        if seconds < _MIN_DURATION:
            raise _constraint(
                text, "durationSeconds", f"Member must have value greater than or equal to {_MIN_DURATION}"
            )
        if seconds > _MAX_DURATION:
            raise _constraint(
                text, "durationSeconds", f"Member must have value less than or equal to {_MAX_DURATION}"
            )
        if caller.session_name is not None and seconds > _CHAINED_DURATION:
            raise RefusalError(
                400,
                "ValidationError",
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by "
                "role chaining",
            )
        if seconds > self._world.config.role_max_session:
            raise RefusalError(
                400,
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            )
        return seconds if self._session_seconds is None else self._session_seconds


def _caller_identity(identity: Identity, request_id: str) -> Response:
    result = (
        f"    <Arn>{escape(identity.arn)}</Arn>\n    <UserId>{escape(identity.user_id)}</UserId>\n"
        f"    <Account>{identity.account_id}</Account>\n"
    )
    return _reply("GetCallerIdentity", result, request_id)


def _reply(operation: str, result: str, request_id: str) -> Response:
    text = (
        f'<{operation}Response xmlns="{_NAMESPACE}">\n  <{operation}Result>\n{result}  </{operation}Result>\n'
        f"  <ResponseMetadata>\n    <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n"
        f"</{operation}Response>\n"
    )
    return Response(200, text.encode(), _HEADERS)


def _constraint(value: str, field: str, message: str) -> RefusalError:
    return RefusalError(
        400,
        "ValidationError",
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {message}",
    )

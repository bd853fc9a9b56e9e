"""STS: GetCallerIdentity and AssumeRole."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from poolcensus.simulator import unauthorized
from poolcensus.simulator.access import Principal
from poolcensus.simulator.http import Identity, Request, Response
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.role_chain import session_arn
from poolcensus.simulator.services.assume_role import AssumeRole, read_assume_role
from poolcensus.simulator.xml_text import xml_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.credentials import CredentialStore
    from poolcensus.simulator.world import World

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_HEADERS = (("Content-Type", "text/xml"),)


class Sts:
    """Returns the identity of a caller, and issues sessions of roles."""

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
        """Return the reply to a call.

        Raises RefusalError if the call is refused.
        """
        form = request.form
        account = request.identity.account_id
        if request.region in self._world.config.sts_off and account == self._world.caller_account_id:
            raise unauthorized.region_disabled("sts", account)
        match form.get("Action"):
            case "GetCallerIdentity":
                # This call needs no permission:
                # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
                return _caller_identity(request.identity, request.request_id)
            case "AssumeRole":
                return self._assume_role(request, request.identity, form)
        raise RefusalError(
            400,
            "InvalidAction",
            f"Could not find operation {form.get('Action')} for version {form.get('Version')}",
        )

    def _assume_role(self, request: Request, caller: Identity, form: dict[str, str]) -> Response:
        wanted = read_assume_role(form, caller)
        principal, transitive = self._admit(request, wanted)
        arn, asked = wanted.arn, wanted.asked
        if wanted.seconds > self._world.config.role_max_session:
            raise RefusalError(
                400,
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            )
        seconds = wanted.seconds if self._session_seconds is None else self._session_seconds
        role_id = "AROA" + base64.b32encode(sha256(arn.encode()).digest()[:10]).decode()
        expires = self._clock() + seconds
        issued = self._store.issue(
            principal,
            role_id=role_id,
            session_name=asked.session_name,
            expires=expires,
            transitive=transitive,
        )
        expiration = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        user_id = f"{role_id}:{xml_text(asked.session_name)}"
        result = (
            f"    <AssumedRoleUser>\n      <AssumedRoleId>{user_id}</AssumedRoleId>\n"
            f"      <Arn>{xml_text(principal.arn)}</Arn>\n    </AssumedRoleUser>\n"
            f"    <Credentials>\n      <AccessKeyId>{issued.identity.access_key_id}</AccessKeyId>\n"
            f"      <SecretAccessKey>{issued.secret}</SecretAccessKey>\n"
            f"      <SessionToken>{issued.token}</SessionToken>\n"
            f"      <Expiration>{expiration}</Expiration>\n    </Credentials>\n"
        )
        if principal.source_identity is not None:
            result += f"    <SourceIdentity>{xml_text(principal.source_identity)}</SourceIdentity>\n"
        if wanted.packed_size is not None:
            result += f"    <PackedPolicySize>{wanted.packed_size}</PackedPolicySize>\n"
        return _reply("AssumeRole", result, request.request_id)

    def _admit(self, request: Request, wanted: AssumeRole) -> tuple[Principal, frozenset[str]]:
        """Return the principal of the session, and the keys of its transitive tags.

        Raises RefusalError if the caller may not assume the role.
        """
        caller, asked = request.identity, wanted.asked
        before = caller.principal
        role = self._world.roles.find(wanted.arn)
        if role is None:
            raise unauthorized.denied(request)
        # A source identity persists in a chain of roles, and can't be changed:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
        if before.source_identity is not None:
            if asked.source_identity not in (None, before.source_identity):
                raise unauthorized.denied(request, action="sts:SetSourceIdentity")
            asked = asked._replace(source_identity=before.source_identity)
        denial = self._world.access.deny_assume(before, role, asked, request.region)
        if denial is not None:
            reason, action = denial
            if reason is None:
                raise unauthorized.denied(request, action=action)
            raise unauthorized.denied(request, reason.kind, explicit=reason.explicit, action=action)
        inherited = tuple(tag for tag in before.tags if tag[0].lower() in caller.transitive)
        principal = Principal(
            role.account,
            session_arn(role.arn, asked.session_name),
            role.arn,
            wanted.policy,
            asked.source_identity,
            (*inherited, *asked.tags),
        )
        return principal, caller.transitive | {key.lower() for key in asked.transitive}


def _caller_identity(identity: Identity, request_id: str) -> Response:
    result = (
        f"    <Arn>{xml_text(identity.arn)}</Arn>\n    <UserId>{xml_text(identity.user_id)}</UserId>\n"
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

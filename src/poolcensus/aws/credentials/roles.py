"""The role of each account, and the parameters of its session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.aws.refusals.redaction import redact
from poolcensus.config.roles import arn_of, partition_of
from poolcensus.errors import ScopeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poolcensus.config import Settings
    from poolcensus.config.values import Secret
    from poolcensus.errors import CallError
    from poolcensus.model import Caller

# Seconds. With role chaining, sessions can't last longer:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
_LONGEST_CHAINED_SESSION: Final = 3600
# The actions of a hub role's session. The last two are needed to pass on a source identity and tags:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
_HUB_ACTIONS: Final = ("sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession")


class RoleOverride(msgspec.Struct, frozen=True):
    """The settings of one account that differ from the run's.

    `role` is a role name, or an ARN that may have placeholders. With a `profile`, the account is called with
    the profile's credentials, or, if `role` is given too, that role is assumed with them.
    """

    role: str | None = None
    external_id: Secret | None = None
    profile: str | None = None


class Role(msgspec.Struct, frozen=True):
    """A role, and the external ID that its trust policy requires."""

    arn: str
    external_id: Secret | None = None

    @property
    def account_id(self) -> str:
        """The account that the role is in."""
        return self.arn.split(":")[4]


class SessionSettings(msgspec.Struct, frozen=True):
    """The parameters of sessions. `duration` is in seconds. `policy` is a session policy, as JSON."""

    name: str
    duration: int
    policy: str | None
    source_identity: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


class Roles:
    """The roles of a run: its hub roles, in the order in which they are assumed, and each account's role."""

    def __init__(
        self,
        role: str,
        external_id: Secret | None = None,
        *,
        partition: str,
        hubs: tuple[Role, ...] = (),
        overrides: Mapping[str, RoleOverride] | None = None,
    ) -> None:
        self._role = role
        self._external_id = external_id
        self._partition = partition
        self._overrides = overrides or {}
        self.hubs = hubs
        self._hubs = {hub.arn.lower(): position for position, hub in enumerate(hubs)}

    def of(self, account_id: str) -> Role:
        """Return the role of an account, which may be one of the hub roles."""
        override = self._overrides.get(account_id) or RoleOverride()
        arn = arn_of(override.role or self._role, partition=self._partition, account_id=account_id)
        position = self.position(arn)
        if position < len(self.hubs) and override.external_id is None:
            return self.hubs[position]
        return Role(arn, override.external_id or self._external_id)

    def position(self, arn: str) -> int:
        """Return how many hub roles are assumed before a role is."""
        return self._hubs.get(arn.lower(), len(self.hubs))

    def override(self, account_id: str) -> RoleOverride | None:
        """Return the settings of one account, or None if it has none of its own."""
        return self._overrides.get(account_id)


def roles_of(settings: Settings, caller: Caller, overrides: Mapping[str, RoleOverride]) -> Roles:
    """Return the roles of a run. Raises ScopeError for a role in another partition than the caller's."""
    role = settings.role_arn or settings.role_name
    named = [("`role_arn`", role), *(("`role_chain`", hub.role_arn) for hub in settings.role_chain)]
    named += [(f"account {name}", each.role) for name, each in overrides.items() if each.role is not None]
    for key, each in named:
        partition = partition_of(each)
        if partition is not None and partition != caller.partition:
            raise ScopeError(
                f"{key}: {each} is in partition {partition}, and the caller's credentials are of"
                f" {caller.partition}. Write {{partition}} in its place, or use other credentials."
            )
    hubs = tuple(
        Role(arn_of(hub.role_arn, partition=caller.partition, account_id=""), hub.external_id)
        for hub in settings.role_chain
    )
    return Roles(role, settings.external_id, partition=caller.partition, hubs=hubs, overrides=overrides)


def session_of(settings: Settings, caller: Caller, iam_actions: Iterable[str]) -> SessionSettings:
    """Return the parameters of a run's sessions, which `session_policy` limits to the IAM actions."""
    return SessionSettings(
        name=settings.session_name or default_session_name(caller),
        duration=int(settings.session_duration),
        policy=session_policy(iam_actions) if settings.session_policy else None,
        source_identity=settings.source_identity,
        tags=settings.session_tags,
    )


def session_policy(iam_actions: Iterable[str]) -> str:
    """Return a session policy that limits a session to these IAM actions, whatever its role allows.

    With it, even the role of an administrator can do no harm.
    """
    statement = {"Effect": "Allow", "Action": [*iam_actions], "Resource": "*"}
    return msgspec.json.encode({"Version": "2012-10-17", "Statement": [statement]}).decode()


def default_session_name(caller: Caller) -> str:
    """Return a session name that shows in CloudTrail who took the census."""
    who = re.sub(r"[^\w+=,.@-]", "-", caller.arn.rpartition("/")[2] or caller.account_id, flags=re.ASCII)
    return f"poolcensus-{who}"[:64]


def is_session(caller: Caller) -> bool:
    """Return whether the caller is a role session. A role that it assumes is chained."""
    return ":assumed-role/" in caller.arn


def parameters(
    role: Role, session: SessionSettings, *, chained: bool, hub: bool = False, begins: bool = True
) -> dict[str, str | int]:
    """Return the parameters of sts:AssumeRole.

    `chained` is whether the role is assumed by a role session, and `hub` whether it is a hub role. `begins`
    is whether no hub role was assumed before: a source identity is set once and stays.
    """
    found: dict[str, str | int] = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": role.arn,
        "RoleSessionName": session.name,
        "DurationSeconds": min(session.duration, _LONGEST_CHAINED_SESSION) if chained else session.duration,
    }
    if session.policy is not None:
        found["Policy"] = session_policy(_HUB_ACTIONS) if hub else session.policy
    if role.external_id is not None:
        found["ExternalId"] = role.external_id.get_secret_value()
    if session.source_identity is not None and begins:
        found["SourceIdentity"] = session.source_identity
    for number, (key, value) in enumerate(session.tags, 1):
        found[f"Tags.member.{number}.Key"] = key
        found[f"Tags.member.{number}.Value"] = value
    return found


class Redaction:
    """Removes a role's external ID from an error, and other secrets.

    STS repeats in its message the value that it refuses.
    """

    __slots__ = ("_secret",)

    def __init__(self, role: Role) -> None:
        self._secret = None if role.external_id is None else role.external_id.get_secret_value()

    def __call__(self, error: CallError, *others: str) -> None:
        redact(error, *others, *([] if self._secret is None else [self._secret]))

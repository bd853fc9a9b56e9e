"""The chain of roles by which a census gets into an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.simulator.access import Principal, SessionOptions
from poolcensus.simulator.members import account_id

if TYPE_CHECKING:
    from poolcensus.simulator.access import Access
    from poolcensus.simulator.members import Members
    from poolcensus.simulator.policies import Denial
    from poolcensus.simulator.roles import Role, Roles

_ACTION = "workspaces:DescribeWorkspacesPools"
_SESSION = "census"


class RoleChain:
    """Assumes roles as a census does: from the caller through the hub roles to the role of an account.

    The census is taken to know the external IDs, to set no source identity and to pass no tags.
    """

    def __init__(self, members: Members, roles: Roles, access: Access) -> None:
        self._members = members
        self._roles = roles
        self._access = access
        self._principals: dict[int, Principal | None] = {}
        self._plain = not (members.config.hub_roles or members.config.policies.stated)

    def principal(self, index: int) -> Principal | None:
        """Return the principal of a census in the account, or None if a role can't be assumed."""
        if index == self._members.caller_index:
            return self._access.caller
        if index not in self._principals:
            self._principals[index] = self._find(index)
        return self._principals[index]

    def denial(self, principal: Principal, region: str) -> Denial | None:
        """Return what denies DescribeWorkspacesPools to the principal in the region, or None."""
        if self._plain:
            return None
        resource = (
            f"arn:{self._members.partition.name}:workspaces:{region}:{principal.account}:workspacespool/*"
        )
        return self._access.deny(principal, _ACTION, lambda: resource, region)

    def _find(self, index: int) -> Principal | None:
        account = account_id(index)
        principal: Principal | None = self._access.caller
        for arn in (*self._members.config.hub_roles, self._roles.member_arn(account)):
            role = self._roles.find(arn)
            if role is None or principal is None:
                return None
            principal = self._assumed(principal, role)
        return principal

    def _assumed(self, principal: Principal, role: Role) -> Principal | None:
        asked = SessionOptions(role.external_id, _SESSION)
        if self._access.deny_assume(principal, role, asked, self._members.partition.sts) is not None:
            return None
        return Principal(role.account, session_arn(role.arn, _SESSION), role.arn)


def session_arn(role: str, name: str) -> str:
    """Return the ARN of the role's session with this name."""
    head, _, path = role.partition(":role/")
    return f"{head.replace(':iam:', ':sts:')}:assumed-role/{path.rpartition('/')[2]}/{name}"

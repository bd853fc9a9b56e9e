"""The roles of the simulated Organization, by ARN."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.simulator.world_config import ROLE_ARN

if TYPE_CHECKING:
    from poolcensus.simulator.members import Members
    from poolcensus.simulator.policies import PolicySet


class Role(NamedTuple):
    """A role. `trusts` is the ARN of the only principal that it trusts.

    If `trusts` is None, the trust policy in `policies` decides, and without one everyone is trusted.
    """

    arn: str
    account: str
    policies: PolicySet
    external_id: str | None
    trusts: str | None


class Roles:
    """The role of a census in the member accounts, the hub roles, and other roles that have policies."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._config = config = members.config
        self.hubs: dict[str, Role] = {}
        before: str | None = members.caller_arn
        for arn in (*config.hub_roles, *config.policies.roles):
            if arn in self.hubs:
                continue
            account = arn.split(":")[4]
            policies = config.policies.of_role(arn, account)
            trusts = before if arn in config.hub_roles else None
            self.hubs[arn] = _role(arn, account, policies, config.external_ids.get(arn), trusts)
            before = arn
        self._last_hub = config.hub_roles[-1] if config.hub_roles else None

    def member_arn(self, account: str) -> str:
        """Return the ARN of the role of a census in the account, whether the role exists or not."""
        name = self._config.role_names.get(account, self._config.role_name)
        return f"arn:{self._members.partition.name}:iam::{account}:role/{name.lstrip('/')}"

    def find(self, arn: str) -> Role | None:
        """Return the role, or None if it does not exist or its account is suspended."""
        found = ROLE_ARN.fullmatch(arn)
        index = None if found is None else self._members.index(found[2])
        hub = self.hubs.get(arn)
        if hub is not None and index not in self._members.suspended:
            return hub
        if found is None or index is None or not self._exists(index) or self.member_arn(found[2]) != arn:
            return None
        account, config = found[2], self._config
        external_id = config.external_ids.get(account, config.external_id)
        return _role(arn, account, config.policies.of_account(account), external_id, self._last_hub)

    def _exists(self, index: int) -> bool:
        members = self._members
        if index == 0:
            return self._config.management_role
        return not (
            index in members.suspended or index in members.no_role or index in members.invited_without_role
        )


def _role(arn: str, account: str, policies: PolicySet, external_id: str | None, trusts: str | None) -> Role:
    # An explicit trust policy replaces the default.
    return Role(arn, account, policies, external_id, trusts if policies.trust is None else None)

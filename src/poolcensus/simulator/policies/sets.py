"""The policies of each account and role of the simulated Organization."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from poolcensus.simulator.policies.document import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.simulator.policies.document import Document

# AWS attaches FullAWSAccess and RCPFullAWSAccess. They stay unless a policy with an Allow replaces them:
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_evaluation.html
_FULL_ACCESS = read_document('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}')


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The policies of a principal and its account. None stands for a policy that allows everything.

    `trust` is the trust policy of a role, and `endpoint` the policy of the VPC endpoint of the principal's
    calls. Beside an `scp` or `rcp` without an Allow, AWS's own stay attached, which allow everything.
    """

    identity: Document | None = None
    trust: Document | None = None
    boundary: Document | None = None
    scp: Document | None = None
    rcp: Document | None = None
    endpoint: Document | None = None

    def __post_init__(self) -> None:
        """Attach AWS's own policies beside an SCP or RCP without an Allow."""
        for name in ("scp", "rcp"):
            document = getattr(self, name)
            if document is not None and not document.allows_something:
                object.__setattr__(self, name, document + _FULL_ACCESS)

    def over(self, other: PolicySet) -> PolicySet:
        """Return these policies, with those of `other` for the kinds that are None here."""
        found = {}
        for each in fields(self):
            own = getattr(self, each.name)
            found[each.name] = getattr(other, each.name) if own is None else own
        return PolicySet(**found)


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies of the Organization.

    `caller` are those of the caller. `members` are those of every account and of the role of a census in it,
    `accounts` the exceptions by account ID. `roles` are those of other roles, by ARN. Service and resource
    control policies do not affect the management account. `names_trust` is whether the denial of an
    AssumeRole across accounts names the trust policy. AWS names it only within an account.
    """

    caller: PolicySet = field(default_factory=PolicySet)
    members: PolicySet = field(default_factory=PolicySet)
    accounts: Mapping[str, PolicySet] = field(default_factory=dict)
    roles: Mapping[str, PolicySet] = field(default_factory=dict)
    names_trust: bool = True

    @property
    def stated(self) -> bool:
        """Whether any policy is given."""
        nothing = PolicySet()
        return self.caller != nothing or self.members != nothing or bool(self.accounts or self.roles)

    def of_account(self, account: str) -> PolicySet:
        """Return the policies of the account and of the role of a census in it."""
        own = self.accounts.get(account)
        return self.members if own is None else own.over(self.members)

    def of_role(self, arn: str, account: str) -> PolicySet:
        """Return the policies of another role: its own, and those of its account."""
        whole = self.of_account(account)
        around = PolicySet(scp=whole.scp, rcp=whole.rcp, endpoint=whole.endpoint)
        return self.roles.get(arn, PolicySet()).over(around)

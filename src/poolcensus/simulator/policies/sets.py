"""Which policies apply to whom in the simulated organization."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from poolcensus.simulator.policies.document import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.simulator.policies.document import Document

# AWS attaches FullAWSAccess and RCPFullAWSAccess until they are replaced by a policy that allows:
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_evaluation.html
_FULL_ACCESS = read_document('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}')


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Policies of a principal and of its account. None: one that allows everything.

    `trust` is a role's; `endpoint` is of the VPC endpoint that the principal's calls go through. An `scp`
    or `rcp` without an Allow leaves AWS's own, which allow everything, attached beside it.
    """

    identity: Document | None = None
    trust: Document | None = None
    boundary: Document | None = None
    scp: Document | None = None
    rcp: Document | None = None
    endpoint: Document | None = None

    def __post_init__(self) -> None:
        """Attach what AWS attaches."""
        for name in ("scp", "rcp"):
            document = getattr(self, name)
            if document is not None and not document.allows_something:
                object.__setattr__(self, name, document + _FULL_ACCESS)

    def over(self, other: PolicySet) -> PolicySet:
        """Return these policies, and the other's of the kinds that are missing here."""
        found = {}
        for each in fields(self):
            own = getattr(self, each.name)
            found[each.name] = getattr(other, each.name) if own is None else own
        return PolicySet(**found)


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies of the organization.

    `members` are those of the census's role and of its account, in every account; `accounts` has others
    for single accounts, and `roles` for further roles, by ARN. Service and resource control policies leave
    the management account alone. `names_trust`: whether the denial of an AssumeRole names the trust policy,
    which AWS does within an account and not across accounts.
    """

    caller: PolicySet = field(default_factory=PolicySet)
    members: PolicySet = field(default_factory=PolicySet)
    accounts: Mapping[str, PolicySet] = field(default_factory=dict)
    roles: Mapping[str, PolicySet] = field(default_factory=dict)
    names_trust: bool = True

    @property
    def stated(self) -> bool:
        """Whether there is any policy that does not allow everything."""
        nothing = PolicySet()
        return self.caller != nothing or self.members != nothing or bool(self.accounts or self.roles)

    def of_account(self, account: str) -> PolicySet:
        """Return the policies of the account and of the census's role in it."""
        own = self.accounts.get(account)
        return self.members if own is None else own.over(self.members)

    def of_role(self, arn: str, account: str) -> PolicySet:
        """Return the policies of a further role: its own, and those of its account."""
        whole = self.of_account(account)
        around = PolicySet(scp=whole.scp, rcp=whole.rcp, endpoint=whole.endpoint)
        return self.roles.get(arn, PolicySet()).over(around)

"""Access control: whether the policies of the Organization allow a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.simulator.policies import Denial, Layer, Policy, PolicySet, Query, Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolcensus.simulator.directory import Directory
    from poolcensus.simulator.members import Members
    from poolcensus.simulator.policies import Document
    from poolcensus.simulator.roles import Role, Roles

    Context = Mapping[str, tuple[str, ...]]

ENDPOINT_ID = "vpce-0123456789abcdef0"
"""The VPC endpoint of all calls whose principal has a VPC endpoint policy."""


class Principal(NamedTuple):
    """The caller. For a role session, `role` is the ARN of the role and `session` the session policy."""

    account: str
    arn: str
    role: str | None = None
    session: Document | None = None
    source_identity: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


class SessionOptions(NamedTuple):
    """What an AssumeRole request asks for besides the role. `transitive` are keys of session tags."""

    external_id: str | None = None
    session_name: str = ""
    source_identity: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    transitive: tuple[str, ...] = ()


class Access:
    """Evaluates policies. Service and resource control policies do not affect the management account."""

    def __init__(self, members: Members, directory: Directory, roles: Roles) -> None:
        self._members = members
        self._directory = directory
        self._roles = roles
        self._policies = members.config.policies
        self._layers: dict[tuple[str, str | None], tuple[Layer, ...]] = {}
        # The user whose credentials the simulator hands out.
        self.caller = Principal(members.caller_account_id, members.caller_arn)
        policies = self._policies
        # Whether any account has a resource control policy.
        self.guards_resources = any(
            each.rcp is not None for each in (policies.members, *policies.accounts.values())
        )

    def deny(
        self,
        principal: Principal,
        action: str,
        find_resource: Callable[[], str],
        region: str,
        *,
        find_keys: Callable[[], Context] = dict,
    ) -> Denial | None:
        """Return what denies the call, or None if it is allowed.

        `find_resource` returns the ARN of the resource, and `find_keys` the condition keys of the call
        itself. They are called only if a policy depends on more than the action.
        """
        layers = self.layers(principal)
        if action.partition(":")[0] == "s3":
            layers = (*self._resource_control(principal.account), *layers)
        if not layers:
            return None
        if all(each.document.plain for each in layers):
            return decide(layers, Query(action, "*"))
        context = {**self._context(principal, region, principal.account), **find_keys()}
        return decide(layers, Query(action, find_resource() or "*", context=context))

    def deny_assume(
        self, principal: Principal, role: Role, asked: SessionOptions, region: str
    ) -> tuple[Denial | None, str] | None:
        """Return what denies AssumeRole and the action that is denied, or None if it is allowed.

        The denial itself is None if AWS does not say which policy denies.
        """
        if role.trusts not in (None, principal.role or principal.arn):
            return self._trust_denial(principal, role, explicit=False), "sts:AssumeRole"
        if role.policies.trust is None and role.external_id not in (None, asked.external_id):
            return None, "sts:AssumeRole"
        actions = ["sts:AssumeRole"]
        if asked.source_identity is not None:
            actions.append("sts:SetSourceIdentity")
        if asked.tags:
            actions.append("sts:TagSession")
        context: Context = {
            **self._context(principal, region, role.account),
            **_session_keys(asked),
        }
        for action in actions:
            denial = self._deny_assume(principal, role, action, context)
            if denial is None:
                continue
            if denial.kind is Policy.TRUST:
                return self._trust_denial(principal, role, explicit=denial.explicit), action
            return denial, action
        return None

    def layers(self, principal: Principal) -> tuple[Layer, ...]:
        """Return the policies that apply to the principal's calls, except those of the resource."""
        key = (principal.account, principal.role)
        found = self._layers.get(key)
        if found is None:
            found = self._layers[key] = self._find_layers(principal)
        if principal.session is not None:
            return (*found, Layer(Policy.SESSION, principal.session))
        return found

    def _deny_assume(self, principal: Principal, role: Role, action: str, context: Context) -> Denial | None:
        layers = [*self._resource_control(role.account), *self.layers(principal)]
        trust = role.policies.trust
        names = frozenset({principal.arn, *([principal.role] if principal.role else ())})
        partition = self._members.partition.name
        accounts = frozenset({principal.account, f"arn:{partition}:iam::{principal.account}:root"})
        query = Query(action, role.arn, names | accounts, context)
        if trust is not None:
            layers.append(Layer(Policy.TRUST, trust))
            own = principal.account == role.account
            if own and trust.verdict(query._replace(principals=names)) is Verdict.ALLOW:
                # Within an account, a trust policy that names the caller itself is enough to allow.
                layers = [each for each in layers if each.kind is not Policy.IDENTITY or _denies(each, query)]
        return decide(layers, query)

    def _trust_denial(self, principal: Principal, role: Role, *, explicit: bool) -> Denial | None:
        if not self._policies.names_trust and principal.account != role.account:
            return None
        return Denial(Policy.TRUST, explicit=explicit)

    def _find_layers(self, principal: Principal) -> tuple[Layer, ...]:
        policies = self._policies_of(principal)
        kinds: list[tuple[Policy, Document | None]] = [
            (Policy.ENDPOINT, policies.endpoint),
            (Policy.IDENTITY, policies.identity),
            (Policy.BOUNDARY, policies.boundary),
        ]
        if principal.account != self._members.management_account_id:
            kinds.insert(0, (Policy.SCP, policies.scp))
        return tuple(Layer(kind, document) for kind, document in kinds if document is not None)

    def _policies_of(self, principal: Principal) -> PolicySet:
        if principal.role is not None:
            role = self._roles.find(principal.role)
            if role is not None:
                return role.policies
        whole = self._policies.of_account(principal.account)
        return self._policies.caller.over(PolicySet(scp=whole.scp, rcp=whole.rcp))

    def _resource_control(self, account: str) -> Iterable[Layer]:
        document = self._policies.of_account(account).rcp
        if document is not None and account != self._members.management_account_id:
            yield Layer(Policy.RCP, document)

    def _context(
        self, principal: Principal, region: str, resource_account: str
    ) -> dict[str, tuple[str, ...]]:
        context: dict[str, tuple[str, ...]] = {
            "aws:principalaccount": (principal.account,),
            "aws:principalarn": (principal.role or principal.arn,),
            "aws:principalorgid": (self._directory.organization_id,),
            "aws:principalorgpaths": (self._directory.unit_path(principal.account),),
            "aws:principaltype": ("User" if principal.role is None else "AssumedRole",),
            "aws:principalisawsservice": ("false",),
            "aws:requestedregion": (region,),
            "aws:resourceaccount": (resource_account,),
            "aws:resourceorgid": (self._directory.organization_id,),
            # The simulator stands for AWS's endpoints, which use TLS.
            "aws:securetransport": ("true",),
            "aws:viaawsservice": ("false",),
        }
        context.update({f"aws:principaltag/{key.lower()}": (value,) for key, value in principal.tags})
        if principal.source_identity is not None:
            context["aws:sourceidentity"] = (principal.source_identity,)
        if any(each.kind is Policy.ENDPOINT for each in self.layers(principal)):
            context["aws:sourcevpce"] = (ENDPOINT_ID,)
        return context


def _denies(layer: Layer, query: Query) -> bool:
    return layer.document.verdict(query) is Verdict.DENY


def _session_keys(asked: SessionOptions) -> dict[str, tuple[str, ...]]:
    context: dict[str, tuple[str, ...]] = {
        f"aws:requesttag/{key.lower()}": (value,) for key, value in asked.tags
    }
    single = {
        "sts:externalid": asked.external_id,
        "sts:rolesessionname": asked.session_name,
        "sts:sourceidentity": asked.source_identity,
    }
    context.update({key: (value,) for key, value in single.items() if value is not None})
    if asked.tags:
        context["aws:tagkeys"] = tuple(key for key, _ in asked.tags)
    if asked.transitive:
        context["sts:transitivetagkeys"] = asked.transitive
    return context

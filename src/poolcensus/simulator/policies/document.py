"""Policy documents and their statements.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import orjson

from poolcensus.simulator.policies.conditions import Condition, PolicyError, read_condition
from poolcensus.simulator.policies.wildcards import compiled, is_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.model import JsonValue
    from poolcensus.simulator.policies.conditions import Context

_STATEMENT = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition"}
)
_MAX_VERDICTS = 4096
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_NOBODY: frozenset[str] = frozenset()
_NOTHING: Context = MappingProxyType({})


class Verdict(Enum):
    """The verdict of a document on a call. It is `NONE` if no statement matches the call."""

    ALLOW = "allow"
    DENY = "deny"
    NONE = "none"


class Query(NamedTuple):
    """What policies know of a call.

    `principals` are the names that stand for the caller in a trust policy. The keys of `context` are in lower
    case.
    """

    action: str
    resource: str
    principals: frozenset[str] = _NOBODY
    context: Context = _NOTHING


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `resources` and `principals` are None if the statement has no such element."""

    allow: bool
    actions: re.Pattern[str]
    not_actions: bool
    resources: re.Pattern[str] | None
    not_resources: bool
    principals: frozenset[str] | None
    conditions: tuple[Condition, ...]

    def is_about(self, query: Query) -> bool:
        """Return whether the statement matches the call."""
        if (self.actions.fullmatch(query.action) is not None) == self.not_actions:
            return False
        if self.resources is not None and (
            (self.resources.fullmatch(query.resource) is not None) == self.not_resources
        ):
            return False
        named = self.principals
        if named is not None and "*" not in named and not named & query.principals:
            return False
        return all(condition.holds(query.context) for condition in self.conditions)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A policy document. If several documents of a kind apply at the same time, they are added.

    `plain` is whether its verdict depends on the action only.
    """

    statements: tuple[Statement, ...]
    plain: bool = field(init=False)
    _keys: tuple[str, ...] = field(init=False)
    _verdicts: dict[object, Verdict] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Determine what the verdict depends on."""
        keys = {condition.key for each in self.statements for condition in each.conditions}
        object.__setattr__(self, "_keys", tuple(sorted(keys)))
        everywhere = all(
            (each.resources is None or (each.resources.pattern == ".*" and not each.not_resources))
            and each.principals is None
            for each in self.statements
        )
        object.__setattr__(self, "plain", everywhere and not keys)

    def __add__(self, other: Document) -> Document:
        """Return a document with the statements of both."""
        return Document((*self.statements, *other.statements))

    @property
    def allows_something(self) -> bool:
        """Whether any statement has the effect Allow."""
        return any(each.allow for each in self.statements)

    def verdict(self, query: Query) -> Verdict:
        """Return the verdict on the call. A statement that denies takes precedence."""
        # Verdicts are cached, since a census makes the same few calls in every account and region.
        key = (
            query.action
            if self.plain
            else (
                query.action,
                query.resource,
                query.principals,
                tuple([query.context.get(each) for each in self._keys]),
            )
        )
        found = self._verdicts.get(key)
        if found is None:
            if len(self._verdicts) >= _MAX_VERDICTS:
                self._verdicts.clear()
            found = self._verdicts[key] = self._evaluate(query)
        return found

    def _evaluate(self, query: Query) -> Verdict:
        about = [each.allow for each in self.statements if each.is_about(query)]
        if not about:
            return Verdict.NONE
        return Verdict.ALLOW if all(about) else Verdict.DENY


@lru_cache(maxsize=64)
def read_document(text: str | bytes, *, of_identity: bool = False) -> Document:
    """Parse a policy document in JSON.

    `of_identity` is whether it is an identity-based, session or service control policy. The statements of
    these name resources, and no principal.

    Raises PolicyError if it is not a policy document, or has elements that the simulator does not evaluate.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise PolicyError(f"it is not JSON: {error}") from None
    statements = value.get("Statement") if isinstance(value, dict) else None
    if not isinstance(value, dict) or statements is None:
        raise PolicyError("a policy document is an object with a Statement")
    each_statement = statements if isinstance(statements, list) else [statements]
    if not each_statement:
        raise PolicyError("a policy document has at least one statement")
    return Document(tuple(_statement(each, of_identity=of_identity) for each in each_statement))


def _statement(value: JsonValue, *, of_identity: bool) -> Statement:
    if not isinstance(value, dict):
        raise PolicyError("a statement is an object")
    if of_identity and value.keys() & {"Principal", "NotPrincipal"}:
        raise PolicyError("an identity-based, session or service control policy must not name a principal")
    if unknown := sorted(value.keys() - _STATEMENT):
        raise PolicyError(f"the simulator does not evaluate {unknown[0]} in a statement")
    effect = value.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError("the Effect of a statement is Allow or Deny")
    actions, not_actions = _either(value, "Action", "NotAction")
    if actions is None:
        raise PolicyError("a statement has an Action or a NotAction")
    for each in actions:
        if _ACTION.fullmatch(each) is None:
            raise PolicyError(f"{each} is not an action, such as workspaces:Describe*")
    resources, not_resources = _either(value, "Resource", "NotResource")
    if of_identity and resources is None:
        raise PolicyError("a statement needs a Resource or a NotResource")
    return Statement(
        effect == "Allow",
        compiled(actions, ignore_case=True),
        not_actions,
        None if resources is None else compiled(resources),
        not_resources,
        _principals(value["Principal"]) if "Principal" in value else None,
        tuple(_conditions(value.get("Condition", {}))),
    )


def _either(
    statement: Mapping[str, JsonValue], name: str, negation: str
) -> tuple[tuple[str, ...] | None, bool]:
    if name in statement and negation in statement:
        raise PolicyError(f"a statement has {name} or {negation}, not both")
    negated = negation in statement
    chosen = negation if negated else name
    return (_texts(chosen, statement[chosen]) if chosen in statement else None), negated


def _texts(name: str, value: JsonValue) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    texts = tuple(
        str(each).lower() if isinstance(each, bool) else each
        for each in values
        if isinstance(each, (str, bool))
    )
    if len(texts) != len(values) or not texts:
        raise PolicyError(f"{name} is a string or a list of strings")
    if any("${" in each for each in texts):
        raise PolicyError(f"{name}: the simulator does not evaluate policy variables")
    return texts


def _principals(value: JsonValue) -> frozenset[str]:
    if value == "*":
        return frozenset("*")
    if not isinstance(value, dict) or not value:
        raise PolicyError('a Principal is "*" or an object such as {"AWS": "123456789012"}')
    names = _texts("Principal", value["AWS"]) if "AWS" in value else ()
    for each in names:
        if each != "*" and is_pattern(each):
            raise PolicyError(f"{each}: a Principal takes no wildcard in an ARN")
    # Principals of other types, such as AWS services, make no calls of a census.
    return frozenset(names)


def _conditions(value: JsonValue) -> list[Condition]:
    if not isinstance(value, dict):
        raise PolicyError("a Condition is an object")
    found = []
    for operator, keys in value.items():
        if not isinstance(keys, dict):
            raise PolicyError(f"the condition {operator} is an object")
        found += [read_condition(operator, key, _texts(key, given)) for key, given in keys.items()]
    return found

"""Inline session policies, as far as a census has any: statements of actions, whatever the resource."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

import orjson

# Nobody needs a permission for it:
# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
_ALWAYS = "sts:getcalleridentity"


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """The patterns of the actions that a session may call, and of those that it may not, in lower case."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...]

    def allows(self, action: str) -> bool:
        """Whether the policy lets an action through. The case of its letters does not matter."""
        return _allows(self, action)


# The same few policies and actions come with every call.
@lru_cache(maxsize=1024)
def _allows(policy: SessionPolicy, action: str) -> bool:
    action = action.lower()
    if any(fnmatchcase(action, each) for each in policy.denied):
        return False
    return action == _ALWAYS or any(fnmatchcase(action, each) for each in policy.allowed)


@lru_cache(maxsize=64)
def read_policy(text: str) -> SessionPolicy:
    """Return the policy that a text holds. Raises ValueError where it is none."""
    try:
        statements = orjson.loads(text)["Statement"]
        patterns: dict[str, list[str]] = {"Allow": [], "Deny": []}
        for statement in statements if isinstance(statements, list) else [statements]:
            actions = statement["Action"]
            actions = actions if isinstance(actions, list) else [actions]
            patterns[statement["Effect"]] += [each.lower() for each in actions]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no policy document: {error!r}") from None
    return SessionPolicy(tuple(patterns["Allow"]), tuple(patterns["Deny"]))

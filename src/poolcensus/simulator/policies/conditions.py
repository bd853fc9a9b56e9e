"""The conditions of a policy statement: operators and keys.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from poolcensus.simulator.policies.wildcards import compiled

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping

    Context = Mapping[str, tuple[str, ...]]

# The condition keys that the simulator evaluates. Any other is refused, since it would silently never match.
KEYS = (
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principaltag/*",
    "aws:principaltype",
    "aws:principalisawsservice",
    "aws:requestedregion",
    "aws:requesttag/*",
    "aws:resourceaccount",
    "aws:resourceorgid",
    "aws:securetransport",
    "aws:sourceidentity",
    "aws:sourcevpce",
    "aws:tagkeys",
    "aws:viaawsservice",
    "s3:prefix",
    "sts:externalid",
    "sts:rolesessionname",
    "sts:sourceidentity",
    "sts:transitivetagkeys",
)
_IF_EXISTS = "IfExists"
_SETS = ("ForAllValues:", "ForAnyValue:")


class PolicyError(ValueError):
    """A text is not a policy document, or is one that the simulator can't evaluate."""


def _equal(values: tuple[str, ...]) -> Callable[[str], bool]:
    return frozenset(values).__contains__


def _equal_ignoring_case(values: tuple[str, ...]) -> Callable[[str], bool]:
    folded = frozenset(value.casefold() for value in values)
    return lambda text: text.casefold() in folded


def _like(values: tuple[str, ...]) -> Callable[[str], bool]:
    pattern = compiled(values)
    return lambda text: pattern.fullmatch(text) is not None


def _arn_like(values: tuple[str, ...]) -> Callable[[str], bool]:
    # Each of the six parts of an ARN is matched by itself.
    patterns: list[list[re.Pattern[str]]] = [
        [compiled((part,)) for part in value.split(":", 5)] for value in values
    ]

    def matches(text: str) -> bool:
        parts = text.split(":", 5)
        return any(
            len(pattern) == len(parts)
            and all(each.fullmatch(part) for each, part in zip(pattern, parts, strict=True))
            for pattern in patterns
        )

    return matches


_OPERATORS: dict[str, Callable[[tuple[str, ...]], Callable[[str], bool]]] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": _equal_ignoring_case,
}
_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of one operator. `key` is in lower case. `matches` is None for the operator `Null`."""

    key: str
    matches: Callable[[str], bool] | None
    negated: bool = False
    if_exists: bool = False
    quantifier: str = ""
    absent: bool = False

    def holds(self, context: Context) -> bool:
        """Return whether the condition is met."""
        values = context.get(self.key, ())
        if self.matches is None:
            return self.absent == (not values)
        if not values:
            if self.if_exists or self.quantifier == "ForAllValues:":
                return True
            # A negated operator is true for a missing key, but ForAnyValue requires a value:
            # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition_examples-multi-valued-context-keys.html
            return self.negated and self.quantifier != "ForAnyValue:"
        found = [self.matches(value) != self.negated for value in values]
        if self.quantifier == "ForAnyValue:":
            return any(found)
        # Without a quantifier a key has one value. ForAllValues requires that all values match.
        return all(found)


def read_condition(operator: str, key: str, values: tuple[str, ...]) -> Condition:
    """Return a condition.

    Raises PolicyError if the simulator does not know the operator or the key.
    """
    lowered = key.lower()
    if not any(fnmatchcase(lowered, each) for each in KEYS):
        raise PolicyError(f"the simulator does not know the condition key {key}")
    if operator == "Null":
        if len(values) != 1 or values[0].lower() not in {"true", "false"}:
            raise PolicyError("a Null condition is true or false")
        return Condition(lowered, None, absent=values[0].lower() == "true")
    quantifier = next((each for each in _SETS if operator.startswith(each)), "")
    name = operator.removeprefix(quantifier).removesuffix(_IF_EXISTS)
    known = _OPERATORS.get(_NEGATIONS.get(name, name))
    if known is None:
        raise PolicyError(f"the simulator does not know the condition operator {operator}")
    return Condition(
        lowered,
        known(values),
        negated=name in _NEGATIONS,
        if_exists=operator.endswith(_IF_EXISTS),
        quantifier=quantifier,
    )

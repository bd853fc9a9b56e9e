"""The evaluation of all policies that apply to a call.

An explicit deny in any of them takes precedence. Without one, each policy must allow the call:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.simulator.policies.document import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.simulator.policies.document import Document, Query
    from poolcensus.simulator.policies.kinds import Policy


class Layer(NamedTuple):
    """A policy that applies to a call, and its kind."""

    kind: Policy
    document: Document


class Denial(NamedTuple):
    """The kind of policy that denies a call, and whether one of its statements denies explicitly."""

    kind: Policy
    explicit: bool


def decide(layers: Iterable[Layer], query: Query) -> Denial | None:
    """Return what denies the call, or None if all policies allow it.

    If several deny, this is the first explicit denial, or else the first policy that does not allow.
    """
    denial = None
    for kind, document in layers:
        verdict = document.verdict(query)
        if verdict is Verdict.DENY:
            return Denial(kind, explicit=True)
        if verdict is Verdict.NONE and denial is None:
            denial = Denial(kind, explicit=False)
    return denial

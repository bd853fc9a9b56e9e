"""The evaluation of all policies that apply to a call.

An explicit deny of any of them wins; then each has to allow:
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
    """A policy of some kind that applies to a call."""

    kind: Policy
    document: Document


class Denial(NamedTuple):
    """Which kind of policy denies a call, and whether a statement of it does so explicitly."""

    kind: Policy
    explicit: bool


def decide(layers: Iterable[Layer], query: Query) -> Denial | None:
    """Return what denies the call; None where all policies allow it.

    Where several deny, the first of the explicit ones is named, else the first that does not allow.
    """
    denial = None
    for kind, document in layers:
        verdict = document.verdict(query)
        if verdict is Verdict.DENY:
            return Denial(kind, explicit=True)
        if verdict is Verdict.NONE and denial is None:
            denial = Denial(kind, explicit=False)
    return denial

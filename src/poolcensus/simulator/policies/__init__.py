"""IAM policies: documents, their kinds, and their evaluation."""

from poolcensus.simulator.policies.conditions import PolicyError
from poolcensus.simulator.policies.document import Document, Query, Verdict, read_document
from poolcensus.simulator.policies.evaluation import Denial, Layer, decide
from poolcensus.simulator.policies.kinds import Policy
from poolcensus.simulator.policies.sets import Policies, PolicySet

__all__ = [
    "Denial",
    "Document",
    "Layer",
    "Policies",
    "Policy",
    "PolicyError",
    "PolicySet",
    "Query",
    "Verdict",
    "decide",
    "read_document",
]

"""A local AWS: the services that a census calls, with their wire protocols, on one loopback port."""

from poolcensus.simulator.faults import CountedPer, DenialForm, Fault, FaultKind
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.limits import Limits
from poolcensus.simulator.policies import Document, Policies, Policy, PolicySet, read_document
from poolcensus.simulator.server import Simulator, SimulatorConfig, serve
from poolcensus.simulator.world import TargetTruth, World
from poolcensus.simulator.world_config import WorldConfig

__all__ = [
    "CountedPer",
    "DenialForm",
    "Document",
    "Fault",
    "FaultKind",
    "Latency",
    "Limits",
    "Policies",
    "Policy",
    "PolicySet",
    "Simulator",
    "SimulatorConfig",
    "TargetTruth",
    "World",
    "WorldConfig",
    "read_document",
    "serve",
]

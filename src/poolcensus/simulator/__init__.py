"""A local AWS: the wire protocol of the services that a census calls, on one loopback port."""

from poolcensus.simulator.faults import Fault, FaultKind
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.limits import Limits
from poolcensus.simulator.server import Simulator, SimulatorConfig, serve
from poolcensus.simulator.unauthorized import Policy
from poolcensus.simulator.world import TargetTruth, World, WorldConfig

__all__ = [
    "Fault",
    "FaultKind",
    "Latency",
    "Limits",
    "Policy",
    "Simulator",
    "SimulatorConfig",
    "TargetTruth",
    "World",
    "WorldConfig",
    "serve",
]

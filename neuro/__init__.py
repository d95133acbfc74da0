"""Spiking networks and the neuromorphic chip they run on. Brian2 loads when an engine first runs.

Some functions share the name of their module (``neuro.activity``); they are imported here,
so that the package's attribute is the function.
"""

from .activity import activity
from .chip import Chip, list_chips, load_chip
from .conventional import conventional
from .deploy import Deployment, DeployOptions, deploy
from .encoding import ENCODINGS
from .energy import energy
from .engines import ENGINES, EngineOptions, Record, simulate, simulate_each
from .errors import SpikeportError
from .latency import latency
from .network import Population, Projection, SpikingNetwork
from .neurons import RULES
from .readout import READOUTS, EarlyExit, Readout
from .recording import Recording

__all__ = [
    "ENCODINGS",
    "ENGINES",
    "READOUTS",
    "RULES",
    "Chip",
    "DeployOptions",
    "Deployment",
    "EarlyExit",
    "EngineOptions",
    "Population",
    "Projection",
    "Readout",
    "Record",
    "Recording",
    "SpikeportError",
    "SpikingNetwork",
    "activity",
    "conventional",
    "deploy",
    "energy",
    "latency",
    "list_chips",
    "load_chip",
    "simulate",
    "simulate_each",
]

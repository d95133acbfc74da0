"""Spiking networks and the neuromorphic chip they run on. Brian2 loads when an engine first runs."""

from .engines import ENGINES, EngineOptions, Record, simulate
from .errors import SpikeportError
from .network import Population, Projection, SpikingNetwork
from .recording import Recording

__all__ = ["ENGINES", "EngineOptions", "Population", "Projection", "Record", "Recording", "SpikeportError", "SpikingNetwork", "simulate"]

"""Trained networks and their conversion into spiking networks. Frameworks load on first use."""

from .convert import convert
from .exporters import EXPORTERS, export
from .importers import IMPORTERS, load, load_mlp, load_network
from .methods import METHODS
from .mlp import MLP, Dense
from .train import TrainOptions, train
from .verify import verify

__all__ = [
    "EXPORTERS",
    "IMPORTERS",
    "METHODS",
    "MLP",
    "Dense",
    "TrainOptions",
    "convert",
    "export",
    "load",
    "load_mlp",
    "load_network",
    "train",
    "verify",
]

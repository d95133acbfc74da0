"""Trained networks and their conversion into spiking networks. Frameworks load on first use."""

from .convert import convert
from .importers import IMPORTERS, load
from .methods import METHODS
from .mlp import MLP, Dense
from .train import TrainOptions, train
from .verify import verify

__all__ = ["IMPORTERS", "METHODS", "MLP", "Dense", "TrainOptions", "convert", "load", "train", "verify"]

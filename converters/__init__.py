"""Trained networks and their conversion into spiking networks. Frameworks load on first use."""

from .mlp import MLP, Dense

__all__ = ["MLP", "Dense"]

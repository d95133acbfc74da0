"""The ANN with one limit of the spiking network at a time, so that a loss can be told where it comes from.

    ANN  ->  activations clipped at theta  ->  also in T levels  ->  spikes in time  ->  the chip's integers

Each stage is a network of its own that answers the whole workload, closed loops included; the change of the metric from
one stage to the next is that limit's part, and the parts add up to the whole loss.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters.mlp import MLP
from experiments.diagnosis import hidden, thresholds_in_ann_units
from neuro.network import SpikingNetwork

Array = np.ndarray


def limited(mlp: MLP, network: SpikingNetwork, levels: int = 0) -> MLP:
    """Return the ANN with every hidden activation clipped at its neuron's threshold, and put in ``levels`` levels when given.

    a' = clip(a, 0, theta), or theta clip(floor(a T / theta + 1/2) / T, 0, 1): the count of a neuron that starts at
    theta / 2 and is driven evenly. Thresholds are folded into the weights, so that a single ceiling of 1 serves all.

    Source: the count of a constant drive, Bu et al. 2022, arXiv:2303.04347, equation 5.
    """
    theta = [thresholds_in_ann_units(network, name) for name in hidden(network)]
    layers = []
    for i, layer in enumerate(mlp.layers):
        weight, bias, recurrent = (None if a is None else np.asarray(a, np.float64) for a in (layer.weight, layer.bias, layer.recurrent))
        assert weight is not None and bias is not None
        if i > 0:
            weight = weight * theta[i - 1]
        if i == len(mlp.layers) - 1:
            layers.append(replace(layer, weight=weight, bias=bias))
            continue
        weight, bias = weight / theta[i][:, None], bias / theta[i]
        if recurrent is not None:
            recurrent = recurrent * theta[i] / theta[i][:, None]
        capped = replace(layer, weight=weight, bias=bias, recurrent=recurrent, activation="relu", ceiling=1.0)
        layers.append(replace(capped, activation="qcfs", levels=levels) if levels else capped)
    return replace(mlp, layers=tuple(layers))

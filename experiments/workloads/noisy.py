"""Training on in noise, so that a recurrent network bears being counted in spikes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from neuro.progress import ProgressCallback

Array = np.ndarray


def in_noise(mlp: MLP, x: Array, y: Array, options: TrainOptions, progress: ProgressCallback | None = None) -> MLP:
    """Train a ReLU network on with activations a' = c clip(floor(a L / c + u) / L, 0, 1), u uniform; return ReLUs with the ceilings c.

    A state that is right only when it is exact is lost in spikes: a count in T steps is off by up to one, and every element
    of a sequence hands its errors to the next. Rounded at random to ``options.levels`` levels of a learned ceiling, a state
    is off by about as much in training, without a bias and not always at the same place, and large values, for which
    all others would have to be counted coarsely, do not pay. The rounding is left out of what is returned.

    Source: levels and learned ceilings, Bu et al., ICLR 2022, arXiv:2303.04347.
    Departs: a random shift instead of 1/2; with the fixed one a network learns where the levels lie, and falls apart
    between them (docs/results/workloads.md).
    """
    settings = msgspec.structs.replace(options, activation="qcfs", random_shift=True)
    noisy = train(mlp, x, y, settings, progress=progress)
    return replace(noisy, layers=tuple(replace(layer, activation="relu", levels=0) if layer.levels else layer for layer in noisy.layers))

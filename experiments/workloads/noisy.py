"""Training on in noise, so that a recurrent network bears being counted in spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from neuro.progress import ProgressCallback

Array = np.ndarray


def in_noise(model: MLP | Sequence[int], x: Array, y: Array, options: TrainOptions, progress: ProgressCallback | None = None) -> MLP:
    """Train a ReLU network in noise and return it with ceilings c, a' = c clip(floor(a L / c + u) / L, 0, 1), u uniform.

    model : widths of a new network, or a trained one to go on from.

    A state that is right only when it is exact is lost in spikes: a count in T steps is off by up to one, and every element
    of a sequence hands its errors to the next. Rounded at random to ``options.levels`` levels of a learned ceiling, a state
    is off by about as much in training, without a bias and not always at the same place, and large values, for which
    all others would have to be counted coarsely, do not pay. The rounding is left out of what is returned.

    Source: levels and learned ceilings, Bu et al., ICLR 2022, arXiv:2303.04347.
    Departs: a random shift instead of 1/2; with the fixed one a network learns where the levels lie, and falls apart
    between them (docs/results/workloads.md).
    """
    settings = msgspec.structs.replace(options, activation="qcfs", random_shift=True)
    noisy = train(model, x, y, settings, progress=progress)
    return replace(noisy, layers=tuple(replace(layer, activation="relu", levels=0) if layer.levels else layer for layer in noisy.layers))


def how(options: TrainOptions) -> str:
    """Return the training in a sentence."""
    return f"Trained with activations rounded to {options.levels} levels of a learned ceiling, at random up or down; run without rounding."

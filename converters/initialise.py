"""How training starts: weights of a new network, activations that were asked for, ceilings of quantised ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .backprop import Backprop, LayerArrays, check_trainable
from .mlp import Dense
from .train_options import TrainOptions

Array = np.ndarray
SMALLEST_CEILING = 1e-3


def new_network(sizes: Sequence[int], n_seq: int, recurrent: bool, options: TrainOptions, rng: np.random.Generator) -> tuple[Dense, ...]:
    """Return layers with He's weights; recurrent hidden layers start at a multiple of the identity.

    Source
    ------
    K. He et al., ICCV 2015, arXiv:1502.01852; identity recurrence: Q. Le, N. Jaitly, G. Hinton, 2015, arXiv:1504.00941.

    Departs
    -------
    Le et al. draw input weights with standard deviation 0.001; here He's, divided by the length of the sequence, so
    that sums over it start at the size of one feed-forward layer's.
    """
    layers = []
    last = len(sizes) - 2
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        feeds_back = recurrent and i < last
        deviation = np.sqrt((2 if i < last else 1) / n_in) / (n_seq if feeds_back else 1)
        layers.append(
            Dense(
                weight=(deviation * rng.standard_normal((n_out, n_in))).astype(np.float32),
                bias=np.zeros(n_out, np.float32),
                activation="relu" if i < last else "identity",
                recurrent=options.recurrent_scale * np.eye(n_out, dtype=np.float32) if feeds_back else None,
                name=f"hidden{i + 1}" if i < last else "output",
            )
        )
    return tuple(layers)


def with_activation(layers: Sequence[Dense], options: TrainOptions) -> tuple[Dense, ...]:
    """Return the layers with the hidden activation that was asked for; ceilings of qcfs are found later."""
    check_trainable(layers)
    if options.activation == "auto":
        return tuple(layers)
    hidden: dict[str, Any] = {"activation": "relu", "ceiling": float("inf"), "levels": 0}
    if options.activation == "qcfs":
        hidden = {"activation": "qcfs", "ceiling": 1.0, "levels": options.levels}
    below = (layer if layer.activation == options.activation else replace(layer, **hidden) for layer in layers[:-1])
    return (*below, layers[-1])


def start_ceilings(layers: Sequence[Dense], given: Sequence[Dense], parameters: Sequence[LayerArrays], x: Array) -> None:
    """Set each new qcfs ceiling where its steps are nearest to the ReLU on x (n_seq, B, n_in), lowest layer first.

    ceiling = argmin over 100 shares of the largest activation of  mean (ReLU(z) - qcfs(z; ceiling, levels))^2.

    Departs: T. Bu et al. (ICLR 2022) start every ceiling at 8, whatever the scale of the layer.
    """
    for i, layer in enumerate(layers):
        ceiling = parameters[i].ceiling
        if ceiling is None or given[i].activation == "qcfs":
            continue
        as_relu = Backprop([*layers[:i], replace(layer, activation="relu", ceiling=float("inf"))])
        outputs = as_relu.layer_outputs([*parameters[:i], parameters[i]._replace(ceiling=None)], x)
        active = outputs[i][outputs[i] > 0]
        shares = np.linspace(0.01, 1, 100) * max(float(outputs[i].max()), SMALLEST_CEILING)
        errors = [np.mean((active - replace(layer, ceiling=float(share)).activate(active)) ** 2) for share in shares]
        ceiling[0] = max(float(shares[int(np.argmin(errors))]), SMALLEST_CEILING) if active.size else 1.0

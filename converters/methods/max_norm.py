"""Thresholds at the largest possible or largest seen activation (Diehl 2015)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import scipy.sparse as sp

from neuro.errors import ConversionError, problems
from neuro.network import Weight

from .draft import Draft, ann_passes, grouped_max, groups
from .limits import SHARE, check, check_floor, without_effect

Array = np.ndarray


class MaxNormOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`max_norm`.

    basis : ``"data"``: largest activation seen in calibration; ``"model"``: bound from the weights alone.
    per_neuron : one threshold a neuron (a channel of a convolution) instead of one a layer.
    with_weights : with ``basis="data"``, no threshold below the layer's largest positive weight, as Diehl 2015 has it.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    basis: Literal["data", "model"] = "data"
    per_neuron: bool = False
    with_weights: bool = False
    floor: float = 0.3

    def __post_init__(self) -> None:
        check("max_norm", self, floor=SHARE)
        check_floor("max_norm", self)
        if self.basis == "model":
            without_effect("max_norm", self, "it is for basis='data'", "with_weights")


def max_norm(draft: Draft, options: MaxNormOptions) -> Draft:
    """Set theta so that no activation is clipped.

    Data: theta_l = max over samples (and neurons) of a_l; with ``with_weights`` max(that, largest positive weight).

    Model: theta_l,i = sum_j max(0, W_ij) theta_{l-1},j + max(0, b_i), with theta_0 the calibrated input range, so that
    no step's drive exceeds one threshold; layer-wise the largest over i.

    Raises
    ------
    ConversionError : recurrent layers with ``basis="model"`` (their bound grows with the length of the sequence).

    Source: Diehl et al. 2015, "Fast-classifying, high-accuracy spiking deep networks through weight and threshold balancing",
    IJCNN 2015, doi:10.1109/IJCNN.2015.7280696.

    Departs: thresholds are set instead of weights divided (the same ratio); biases enter the model-based bound; inputs may
    be negative; the largest weight counts only ``with_weights``; the factor carried from layer to layer is the scale itself, not the applied ratio as in the released code.
    """
    thetas = _from_model(draft, options) if options.basis == "model" else _from_data(draft, options)
    return draft.with_thresholds(thetas, options.floor if options.per_neuron else 0.0)


def _from_data(draft: Draft, options: MaxNormOptions) -> dict[int, Array]:
    top = {i: np.zeros(draft.mlp.layers[i].n_out) for i in draft.hidden}
    for _, values in ann_passes(draft):
        for i in draft.hidden:
            a = values[i + 1]
            top[i] = np.maximum(top[i], a.reshape(-1, a.shape[-1]).max(axis=0))
    thetas = {}
    for i, highest in top.items():
        layer = draft.mlp.layers[i]
        theta = grouped_max(highest, groups(layer, options.per_neuron))
        if options.with_weights:
            theta = np.maximum(theta, float(layer.weight.max()))
        thetas[i] = theta
    return thetas


def _from_model(draft: Draft, options: MaxNormOptions) -> dict[int, Array]:
    layers = draft.mlp.layers
    recurrent = [f"{draft.name(i)}: recurrent, its bound grows with the sequence" for i in draft.hidden if layers[i].recurrent is not None]
    if recurrent:
        raise ConversionError(problems("method 'max_norm' with basis 'model' cannot take these layers:", recurrent))
    low, high = np.full(draft.mlp.n_in, np.inf), np.full(draft.mlp.n_in, -np.inf)
    for batch in draft.data.batches():
        low, high = np.minimum(low, batch.min()), np.maximum(high, batch.max())
    # What a layer can receive in one step: the input range, later 0 to theta of each neuron.
    lows, highs, thetas = [np.minimum(low, 0)], [np.maximum(high, 0)], {}
    for i in draft.hidden:
        layer = layers[i]
        bound = _largest(layer.weight, lows[-1], highs[-1]) + np.maximum(layer.bias, 0)
        for skip in layer.skips:
            bound = bound + _largest(skip.weight, lows[skip.source + 1], highs[skip.source + 1])
        theta = np.minimum(grouped_max(bound, groups(layer, options.per_neuron)), layer.ceiling)
        thetas[i] = theta
        if options.per_neuron and (theta > 0).any():  # a threshold that the floor raises sends more to the layers above
            theta = np.maximum(theta, options.floor * float(np.median(theta[theta > 0])))
        lows.append(np.zeros_like(theta))
        highs.append(theta)
    return thetas


def _largest(weight: Weight, low: Array, high: Array) -> Array:
    """Return max W x over low <= x <= high, (n_out,)."""
    if sp.issparse(weight):
        return np.asarray(weight.maximum(0) @ high + weight.minimum(0) @ low)
    return np.maximum(weight, 0) @ high + np.minimum(weight, 0) @ low

"""Thresholds with the least squared error of the quantised activation at T steps (Li 2021)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from .draft import Draft, Neurons, ann_passes, grouped_max, groups
from .limits import ONE_OR_MORE, SHARE, Limit, check, check_floor

Array = np.ndarray


class MMSEOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`mmse`.

    per_neuron : one threshold a neuron (a channel of a convolution) instead of one a layer.
    candidates : thresholds tried, (1 - 0.01 i) max(a) for i = 0 .. candidates - 1.
    samples : calibration samples used at most.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    per_neuron: bool = False
    candidates: int = 95
    samples: int = 1024
    floor: float = 0.3

    def __post_init__(self) -> None:
        candidates = Limit("1 to 99", lambda x: 1 <= x <= 99)
        check("mmse", self, candidates=candidates, samples=ONE_OR_MORE, floor=SHARE)
        check_floor("mmse", self)


def mmse(draft: Draft, options: MMSEOptions) -> Draft:
    """Choose theta among (1 - 0.01 i) max(a) with the least sum of ((theta/T) clip(floor((v0 + aT)/theta), 0, T) - a)^2.

    Source: Li et al. 2021, "A free lunch from ANN: towards efficient, accurate spiking neural networks calibration", ICML 2021,
    arXiv:2106.06984.

    Departs: quantises as the neurons do, started at v0 (the released code rounds down here and to the nearest when it runs);
    sums the error over all samples instead of an exponential mean over batches.
    """
    n_steps = draft.require_t("mmse")
    group = {i: groups(draft.mlp.layers[i], options.per_neuron) for i in draft.hidden}
    limited = replace(draft, data=draft.data.limited(options.samples))
    top = {i: np.zeros(draft.mlp.layers[i].n_out) for i in draft.hidden}
    for _, values in ann_passes(limited):
        for i in draft.hidden:
            a = values[i + 1]
            top[i] = np.maximum(top[i], a.reshape(-1, a.shape[-1]).max(axis=0))
    top = {i: grouped_max(t, group[i]) for i, t in top.items()}
    errors = {i: np.zeros((options.candidates, draft.mlp.layers[i].n_out)) for i in draft.hidden}
    for _, values in ann_passes(limited):
        for i in draft.hidden:
            a = values[i + 1].reshape(-1, values[i + 1].shape[-1])
            for k in range(options.candidates):
                errors[i][k] += _squared_error(a, (1 - 0.01 * k) * top[i], n_steps, draft.neurons[i])
    thetas = {}
    for i, error in errors.items():
        pooled = np.stack([np.bincount(group[i], weights=row) for row in error])
        best = pooled.argmin(axis=0)[group[i]]
        thetas[i] = (1 - 0.01 * best) * top[i]
    draft = draft.with_thresholds(thetas, options.floor if options.per_neuron else 0.0)
    return replace(draft, for_t=n_steps)


def _squared_error(a: Array, theta: Array, n_steps: int, neurons: Neurons) -> Array:
    """Return the squared error of each neuron, summed over samples, (n,)."""
    unit = np.where(theta > 0, theta, 1.0).astype(np.float32) / np.float32(n_steps)
    levels = a * (1 / unit)
    levels += np.float32(neurons.fraction)
    np.floor(levels, out=levels)
    np.clip(levels, 0, n_steps * neurons.max_spikes, out=levels)
    levels *= unit
    levels -= a
    return np.einsum("ij,ij->j", levels, levels, dtype=np.float64)

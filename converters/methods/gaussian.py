"""Thresholds in closed form for Gaussian drives (from DCGS, Huang 2025)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from .draft import Draft, ann_passes, grouped_mean, groups
from .limits import ONE_OR_MORE, SHARE, check, check_floor

Array = np.ndarray


class GaussianOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`gaussian`.

    per_neuron : one threshold a neuron (a channel of a convolution), as published; False: one a layer.
    iterations : of the fixed point.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    per_neuron: bool = True
    iterations: int = 100
    floor: float = 0.3

    def __post_init__(self) -> None:
        check("gaussian", self, iterations=ONE_OR_MORE, floor=SHARE)
        check_floor("gaussian", self)


def gaussian(draft: Draft, options: GaussianOptions) -> Draft:
    """Set theta to the least-squares threshold of an n-level rounding quantiser whose input z is Gaussian.

    With n = T, c_i = (2i - 1) theta/(2n), h_i = erfc((c_i - mu)/(sqrt(2) sigma)), mu and sigma of z over
    the calibration data, iterate theta <- k theta with

        k = [ (mu/theta) (1/n) sum h_i + (sigma/theta) sqrt(2/pi) (1/n) sum exp(-(c_i - mu)^2 / (2 sigma^2)) ]
            / sum ((2i - 1)/n^2) h_i

    which is the Lloyd iteration theta <- E[z q]/E[q^2], q the quantised z in units of theta. Of bursts of up to Gamma spikes n is T Gamma,
    and what comes out is the largest rate, Gamma theta.

    Source: Huang et al. 2025, "Differential coding for training-free ANN-to-SNN conversion", ICML 2025, arXiv:2503.00301.

    Departs: starts from mu + 3 sigma, and counts a neuron with mu + 3 sigma <= 0 as dead (the released code starts from 1
    whatever the scale, and falls back to 1); written with erfc, which keeps its digits far from the threshold.
    """
    n_steps = draft.require_t("gaussian")
    size = {i: draft.mlp.layers[i].n_out for i in draft.hidden}
    total, squares, count = ({i: np.zeros(n) for i, n in size.items()} for _ in range(3))
    for drives, _ in ann_passes(draft):
        for i in draft.hidden:
            z = drives[i].reshape(-1, size[i]).astype(np.float64)
            total[i] += z.sum(axis=0)
            squares[i] += np.einsum("ij,ij->j", z, z)
            count[i] += len(z)
    thetas = {}
    for i in draft.hidden:
        group = groups(draft.mlp.layers[i], options.per_neuron)
        mean = grouped_mean(total[i] / count[i], group)
        power = grouped_mean(squares[i] / count[i], group)
        sigma = np.sqrt(np.maximum(power - mean**2, 0))
        most = draft.neurons[i].max_spikes
        thetas[i] = least_squares_threshold(mean, sigma, n_steps * most, options.iterations) / most
    draft = draft.with_thresholds(thetas, options.floor)
    return replace(draft, for_t=n_steps)


def least_squares_threshold(mean: Array, sigma: Array, levels: int, iterations: int = 100) -> Array:
    """Return the threshold of each neuron, (n,); 0 for one whose drive practically never exceeds 0."""
    from scipy.special import erfc

    start = mean + 3 * sigma
    live = (start > 0) & (sigma > 0)
    theta = np.where(live, start, np.maximum(mean, 0.0))  # a constant drive is its own threshold
    mu, spread = mean[live], sigma[live]
    current = theta[live]
    odd = 2.0 * np.arange(1, levels + 1) - 1
    for _ in range(iterations):
        offset = (odd[:, None] * (current / (2 * levels)) - mu) / spread
        h = erfc(offset / np.sqrt(2))
        gauss = np.exp(-(offset**2) / 2)
        denominator = (odd[:, None] * h).sum(axis=0) / levels**2
        numerator = mu * h.mean(axis=0) + spread * np.sqrt(2 / np.pi) * gauss.mean(axis=0)
        step = np.divide(numerator, denominator, out=current.copy(), where=denominator > 0)
        current = np.where(np.isfinite(step) & (step > 0), step, current)
    theta[live] = current
    return theta

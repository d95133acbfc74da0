"""The scale of a population: how many integer units its threshold gets.

A layer has one scale S (or one a neuron, where the chip allows it), and each of its projections one exponent.
Both are chosen to minimise the squared error of the weights, within the chip's threshold and accumulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from .formats import Formats, WeightFormat
from .network import Population, Projection, SpikingNetwork

Array = np.ndarray
Weight = Any  # array or csr_array
Goal = Literal["mse", "max"]
FACTORS = 2.0 ** np.linspace(0.0, 3.0, 37)  # scales tried, relative to the one that clips nothing
TRIED = 97  # scales tried for a layer
SAMPLE = 200_000  # weights of a projection on which the scale is chosen
FINEST = 2**15 - 1  # steps of a current where the chip's register is wider: finer would change no spike worth the name


def choose(
    folded: Sequence[Weight], p: Population, fmt: Formats, goal: Goal, reach_of_currents: float = np.inf
) -> tuple[Array, list[int], str]:
    """Return S (size,), an exponent a projection, and what limited S ("" for nothing).

    folded : (n_post, n_pre) weights W' of each projection; one spike on all synapses must not overflow the accumulator.
    reach_of_currents : largest current that the host can write, where it writes any.
    """
    w = fmt.weight
    reach = min(-w.low, w.high)
    by_row = [_row_max(f) for f in folded]
    sums = _row_sums(folded)
    cap = np.full(p.size, np.inf)
    if p.v_threshold is not None:
        cap = np.full(p.size, min(float(fmt.threshold_max), reach_of_currents))
    limited = "threshold" if np.isfinite(cap).any() else ""
    if fmt.accumulator is not None:
        # Rounding moves each weight by half a step at most, clipping only towards zero.
        synapses = sum(_row_count(f) for f in folded)
        slack = synapses * w.step * w.unit * 2.0 ** w.exponents[0] / 2
        room = np.maximum(fmt.accumulator[1] - slack, fmt.accumulator[1] / 2) / np.maximum(sums, 1e-300)
        if (room < cap).any():
            cap, limited = np.minimum(cap, room), "accumulator"
    per_row = w.per_neuron and len(folded) == 1
    if not per_row:
        cap = np.full(p.size, cap.min())
        by_row = [np.full(p.size, m.max()) for m in by_row]
    peak = np.maximum.reduce(by_row)
    peak = np.where(peak > 0, peak, peak.max() if peak.max() > 0 else 1.0)
    if per_row:
        best = _row_scale(folded[0], peak, reach, cap, p, fmt, goal)
        return best, [w.exponents[0]], limited if (best >= cap * 0.999).any() else ""
    lowest = min(float(m.max()) for m in by_row if m.max() > 0) if any(m.max() > 0 for m in by_row) else 1.0
    base = reach * w.unit * 2.0 ** w.exponents[0]
    samples = [_sample(f) for f in folded]
    # From clipping nothing at the finest exponent up to where the smallest projection is rounded best.
    top = base / lowest * (FACTORS[-1] if goal == "mse" else 1.0)
    tried = np.unique(np.minimum(np.geomspace(base / peak[0], top, TRIED if top > base / peak[0] else 1), cap[0]))
    results = []
    for s in _whole(tried, p, fmt).tolist():
        fits = [_fit(sample, s, w, float(m.max()), goal) for sample, m in zip(samples, by_row, strict=True)]
        results.append((sum(error for error, _ in fits), s, [e for _, e in fits]))
    _, best_scale, exponents = min(results, key=lambda r: r[0])
    return np.full(p.size, best_scale), exponents, limited if best_scale >= cap[0] * 0.99 else ""


def _fit(sample: Array, s: float, w: WeightFormat, peak: float, goal: Goal) -> tuple[float, int]:
    """Return (mean squared error, exponent) of the best exponent at scale s."""
    best = (np.inf, w.exponents[-1])
    for e in w.exponents:
        unit = w.unit * 2.0**e
        clips = peak * s > max(-w.low, w.high) * unit * (1 + 1e-9)
        if goal == "max" and clips and e != w.exponents[-1]:
            continue
        m = np.clip(np.rint(sample * (s / unit / w.step)) * w.step, w.low, w.high)
        error = float(np.mean((m * unit / s - sample) ** 2))
        if error < best[0]:
            best = (error, e)
        if not clips:
            break  # a larger exponent is only coarser
    return best


def _row_scale(folded: Weight, peak: Array, reach: int, cap: Array, p: Population, fmt: Formats, goal: Goal) -> Array:
    w = fmt.weight
    unit = w.unit * 2.0 ** w.exponents[0]
    dense = folded.toarray() if sp.issparse(folded) else folded
    best_error = np.full(p.size, np.inf)
    best = np.ones(p.size)
    for factor in FACTORS if goal == "mse" else FACTORS[:1]:
        s = _whole(np.minimum(reach * unit / peak * factor, cap), p, fmt)
        k = (s / unit / w.step)[:, None]
        m = np.clip(np.rint(dense * k) * w.step, w.low, w.high)
        error = np.mean((m * unit / s[:, None] - dense) ** 2, axis=1)
        better = error < best_error
        best_error, best = np.where(better, error, best_error), np.where(better, s, best)
    return best


def _whole(s: Array, p: Population, fmt: Formats) -> Array:
    """Round scales down to thresholds that the chip can hold; a read-out's scale stays as it is."""
    if p.v_threshold is None:
        return s
    return np.maximum(np.floor(s / fmt.threshold_unit), 1) * fmt.threshold_unit


def of_port(ports: Sequence[Projection], p: Population, network: SpikingNetwork, fmt: Formats) -> Array:
    """Return S of a population that only the host drives: as fine as one register of the host's currents allows."""
    if p.v_threshold is not None:
        # Currents beyond plus or minus S change no spike, so S may fill the mantissa.
        room = min(fmt.bias_mantissa, fmt.threshold_max, FINEST)
        return np.full(p.size, float(max(room // fmt.threshold_unit, 1) * fmt.threshold_unit))
    x = max(abs(network.input_low), abs(network.input_high), 1e-12)
    reach = sum(np.asarray(abs(j.weight).sum(axis=1)).ravel() * x for j in ports)
    if p.bias is not None:
        reach = reach + np.abs(np.asarray(p.bias))
    return np.full(p.size, min(fmt.bias_mantissa, FINEST) / max(float(np.max(reach)), 1e-300))


def accumulator_share(weights: Sequence[Weight], fmt: Formats) -> float | None:
    """Return the largest possible synaptic sum of one step as a share of the accumulator; None where not stated."""
    if fmt.accumulator is None or not weights:
        return None
    positive = sum(_signed_sum(w, +1) for w in weights)
    negative = sum(_signed_sum(w, -1) for w in weights)
    return max(float(np.max(positive)) / fmt.accumulator[1], float(np.max(negative)) / -fmt.accumulator[0])


def _signed_sum(weight: Weight, sign: int) -> Array:
    part = (sign * weight).maximum(0) if sp.issparse(weight) else np.maximum(sign * weight, 0)
    return np.asarray(part.sum(axis=1, dtype=np.float64)).ravel()


def _row_sums(folded: Sequence[Weight]) -> Array:
    """Return the larger of the sums of positive and of negative weights, per neuron."""
    return np.maximum(sum(_signed_sum(f, +1) for f in folded), sum(_signed_sum(f, -1) for f in folded))


def _row_max(folded: Weight) -> Array:
    if not folded.shape[1] or (sp.issparse(folded) and not folded.nnz):
        return np.zeros(folded.shape[0])
    top = abs(folded).max(axis=1)
    return np.asarray(top.toarray() if sp.issparse(top) else top).ravel()


def _row_count(folded: Weight) -> Array:
    return np.diff(folded.indptr) if sp.issparse(folded) else np.full(folded.shape[0], folded.shape[1])


def _sample(folded: Weight) -> Array:
    """Return at most about SAMPLE weights, spread evenly."""
    values = folded.data if sp.issparse(folded) else folded.ravel()
    stride = max(values.size // SAMPLE, 1)
    # A stride that divides the row length would visit few columns only.
    while stride > 1 and folded.shape[1] % stride == 0:
        stride += 1
    return values[::stride] if values.size else np.zeros(1)

"""Float network -> the integers of a chip.

Thresholds and amplitudes are folded into the weights, W'_ij = W_ij a_j / theta_i, so that a layer needs one
scale: with a threshold of S units, weights become round(W' S), biases round(b S / theta), v_init floor(v_init S / theta).
S is chosen per layer (or per neuron where the chip allows it) to minimise the squared error of the weights,
within the chip's threshold and accumulator. A population without threshold takes theta = 1.
``Population.scale`` = scale theta / S is what one unit of v is worth in the source network, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np
import scipy.sparse as sp

from .chip import Chip
from .encoding import generator
from .errors import CapacityError, problems
from .formats import Formats, WeightFormat, formats
from .network import INPUT, CurrentFormat, Population, Projection, SpikingNetwork, Weight, per_neuron

Array = np.ndarray
FACTORS = 2.0 ** np.linspace(0.0, 3.0, 37)  # scales tried, relative to the one that clips nothing
SAMPLE = 200_000  # weights of a projection on which the scale is chosen
CHUNK_ROWS = 256  # rows rounded at a time: bounds the memory of wide layers


class QuantizeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to round.

    ``reset``: ``"construction"`` keeps reset by subtraction, by the construction a chip allows where it is not native;
    ``"native"`` takes the chip's own reset to zero (or by subtraction, where it has no other);
    ``rounding``: ``"nearest"`` or ``"stochastic"`` (of weights, seeded by ``seed``);
    ``weight_bits``: stored bits, None: all; ``scale``: ``"mse"`` (least squared error of the weights) or ``"max"`` (clips nothing).
    """

    reset: Literal["construction", "native"] = "construction"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    seed: int = 0
    weight_bits: int | None = None
    scale: Literal["mse", "max"] = "mse"


class ProjectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One projection: ``exponent`` of its weights, share ``clipped``, share rounded to zero that was not (``zeroed``), ``rms_error`` relative to the rms weight."""

    name: str
    exponent: int
    clipped: float
    zeroed: float
    rms_error: float


class PopulationReport(msgspec.Struct, frozen=True, kw_only=True):
    """One population.

    ``threshold``: in integer units (lowest and highest), None for a read-out; ``bias_clipped``: number of biases clipped;
    ``bias_error``: rms error of the biases (or of rounding the host's currents) in units of the threshold;
    ``accumulator``: largest possible sum of one step's synaptic input as a share of the accumulator (at most 1: it cannot
    overflow), None where the width is not stated; ``limited_by``: what kept the scale below the best one.
    """

    name: str
    threshold: tuple[float, float] | None
    projections: tuple[ProjectionReport, ...]
    bias_clipped: int = 0
    bias_error: float = 0.0
    accumulator: float | None = None
    limited_by: str = ""


class QuantizeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What quantisation did, population by population, and what was assumed."""

    chip: str
    weight_bits: int
    rounding: str
    reset: str
    populations: tuple[PopulationReport, ...]
    notes: tuple[str, ...] = ()


def quantize(
    network: SpikingNetwork, chip: Chip, options: QuantizeOptions | None = None
) -> tuple[SpikingNetwork, QuantizeReport]:
    """Return the network in the chip's integers (amplitude 1, grid 1) and a report.

    Raises
    ------
    CapacityError : everything of the network that the chip's arithmetic cannot express, at once.
    SpecError : a conventional design, or weight bits that the chip does not offer.
    """
    options = options or QuantizeOptions()
    fmt = formats(chip, options.weight_bits)
    causes = inexpressible(network, chip, options)
    if causes:
        raise CapacityError(problems(f"the network cannot be expressed in the arithmetic of {chip.name}:", causes))
    populations, projections, reports = [], [], []
    for p in network.populations:
        new, incoming, report = _population(network, p, fmt, chip, options)
        populations.append(new)
        projections += incoming
        reports.append(report)
    order = {j.name: i for i, j in enumerate(network.projections)}
    quantized = replace(
        network,
        populations=tuple(populations),
        projections=tuple(sorted(projections, key=lambda j: order[j.name])),
        info={**network.info, "chip": chip.name, "source_sha256": network.sha256},
    )
    notes = list(fmt.notes)
    if any(p.reset == "subtract" for p in populations) and fmt.resets is not None and "subtract" not in fmt.resets:
        notes.append(f"reset by subtraction is a construction on {chip.name}, modelled as exact subtraction (assumption)")
    if any(j.current is not None for j in projections):
        notes.append("the first layer's currents are computed by the host in float64 and written as biases before each input")
    notes += [f"{r.name}: the scale is limited by the {r.limited_by}" for r in reports if r.limited_by]
    report = QuantizeReport(
        chip=chip.name,
        weight_bits=fmt.weight.bits,
        rounding=options.rounding,
        reset=options.reset,
        populations=tuple(reports),
        notes=tuple(notes),
    )
    return quantized, report


def inexpressible(network: SpikingNetwork, chip: Chip, options: QuantizeOptions) -> list[str]:
    """Return what the chip's arithmetic cannot express, one line a cause."""
    fmt = formats(chip, options.weight_bits)
    causes = []
    if network.protocol is not None:
        causes.append(f"protocol {network.protocol.kind!r}: chips run plain windows; convert with a method without pre-steps")
    if not fmt.constant_current and any(j.pre == INPUT and network[j.post].encoder is None for j in network.projections):
        causes.append(
            "input: the chip file states no constant current that can be written per input; "
            "use spike-coded input (neuro.encoding.with_encoder(network, 'regular'))"
        )
    for p in network.populations:
        if p.encoder is not None:
            continue
        reset = _reset(p, fmt, chip, options)
        if reset == "refused":
            causes.append(
                f"{p.name}: reset by {p.reset!r}, native are {', '.join(fmt.resets or ())} and the file states no construction; "
                "use reset='native'"
            )
        if p.max_spikes > 1:
            causes.append(f"{p.name}: up to {p.max_spikes} spikes a step, the chip sends one; convert without bursts")
        if p.signed:
            causes.append(f"{p.name}: signed spikes, the chip has none; convert without them")
        if p.bias is not None and np.asarray(p.bias).ndim == 2:
            causes.append(f"{p.name}: a bias for each step, the chip keeps one; convert with a constant bias")
        if p.leak is not None and not (p.leak.kind == "decay12" and chip.arithmetic.decay_bits is not None):
            causes.append(f"{p.name}: leak {p.leak.kind!r} has no counterpart in the chip file")
        longest = chip.arithmetic.refractory_max
        if p.refractory and (longest is None or p.refractory >= longest.value or p.refractory_mode != "hold"):
            causes.append(f"{p.name}: refractory time of {p.refractory} steps ({p.refractory_mode}) has no counterpart in the chip file")
        if (p.v_floor is not None or p.v_ceiling is not None) and np.ptp(_theta(p)) > 0:
            causes.append(f"{p.name}: bounds of the potential together with thresholds per neuron have no counterpart in one scale a layer")
    return causes


def _reset(p: Population, fmt: Formats, chip: Chip, options: QuantizeOptions) -> str | None:
    if p.reset is None or fmt.resets is None:
        return p.reset
    if options.reset == "native":
        return "zero" if "zero" in fmt.resets else "subtract"
    if p.reset in fmt.resets:
        return p.reset
    return "subtract" if p.reset == "subtract" and chip.arithmetic.subtract_compartments is not None else "refused"


def _theta(p: Population) -> Array:
    return per_neuron(1.0 if p.v_threshold is None else p.v_threshold, p.size)


# -- one population ---------------------------------------------------------------------------------


def _population(
    network: SpikingNetwork, p: Population, fmt: Formats, chip: Chip, options: QuantizeOptions
) -> tuple[Population, list[Projection], PopulationReport]:
    incoming = network.incoming(p.name)
    if p.encoder is not None:
        high = float(np.max(p.amplitude)) * float(np.max(p.scale))
        # The encoder reads its range from amplitude x scale; a spike on the chip is worth 1.
        return replace(p, amplitude=1.0, scale=high, grid=1.0), list(incoming), PopulationReport(
            name=p.name, threshold=None, projections=()
        )
    theta = _theta(p)
    ports = [j for j in incoming if j.pre == INPUT]
    wired = [j for j in incoming if j.pre != INPUT]
    folded = [_fold(j, theta, network) for j in wired]
    reset = _reset(p, fmt, chip, options)
    if folded:
        scale, exponents, limited = _choose(folded, p, fmt, options)
    else:
        scale, exponents, limited = _scale_of_port(ports, p, theta, network, fmt), [], ""
    units = scale / theta  # integer units of v for one unit of the source's v

    projections, weights = [], []
    for j, w, e in zip(wired, folded, exponents, strict=True):
        rounded, report = _round(w, scale, e, fmt.weight, options, j.name)
        projections.append(replace(j, weight=rounded))
        weights.append(report)
    new_ports = [_port(j, p, scale, units, theta, reset, fmt, i == 0) for i, j in enumerate(ports)]
    bias, clipped, error = (None, 0, 0.0) if ports or p.bias is None else _bias(np.asarray(p.bias) * units, scale, fmt)
    if ports and p.v_threshold is not None and new_ports[0].current is not None:
        error = 2.0 ** new_ports[0].current.exponent / np.sqrt(12) / float(np.mean(scale))
    floor, ceiling = _bounds(p, units, fmt)
    v_init = np.floor(per_neuron(p.v_init, p.size) * units + 1e-9)
    new = replace(
        p,
        v_threshold=None if p.v_threshold is None else _compact(scale),
        amplitude=1.0,
        v_init=_compact(v_init),
        reset=reset,
        comparison=fmt.comparison or p.comparison,
        bias=bias,
        v_floor=floor,
        v_ceiling=ceiling,
        overflow=fmt.overflow,
        grid=1.0,
        scale=_compact(per_neuron(p.scale, p.size) / units),
    )
    report = PopulationReport(
        name=p.name,
        threshold=None if p.v_threshold is None else (float(scale.min()), float(scale.max())),
        projections=tuple(weights),
        bias_clipped=clipped,
        bias_error=error,
        accumulator=_accumulator([j.weight for j in projections], fmt),
        limited_by=limited,
    )
    return new, [*new_ports, *projections], report


def _fold(j: Projection, theta: Array, network: SpikingNetwork) -> Weight:
    """Return W'_ij = W_ij a_j / theta_i."""
    pre = network[j.pre]
    amplitude = per_neuron(pre.amplitude, pre.size)
    if sp.issparse(j.weight):
        matrix = sp.csr_array(j.weight).astype(np.float64)
        data = matrix.data * amplitude[matrix.indices] / np.repeat(theta, np.diff(matrix.indptr))
        return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    return np.asarray(j.weight, dtype=np.float64) * amplitude / theta[:, None]


def _compact(values: Array) -> float | Array:
    """Return one number where all are equal."""
    return float(values[0]) if np.ptp(values) == 0 else np.array(values)


# -- the scale --------------------------------------------------------------------------------------


def _choose(folded: Sequence[Weight], p: Population, fmt: Formats, options: QuantizeOptions) -> tuple[Array, list[int], str]:
    """Return S (size,), an exponent a projection, and what limited S ("" for nothing)."""
    w = fmt.weight
    reach = min(-w.low, w.high)
    by_row = [_row_max(f) for f in folded]
    sums = _row_sums(folded)
    cap = np.full(p.size, np.inf)
    if p.v_threshold is not None:
        cap = np.full(p.size, float(fmt.threshold_max))
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
        best = _row_scale(folded[0], peak, reach, cap, p, fmt, options)
        return best, [w.exponents[0]], limited if (best >= cap * 0.999).any() else ""
    lowest = min(float(m.max()) for m in by_row if m.max() > 0) if any(m.max() > 0 for m in by_row) else 1.0
    base = reach * w.unit * 2.0 ** w.exponents[0]
    samples = [_sample(f) for f in folded]
    # From clipping nothing at the finest exponent up to where the smallest projection is rounded best.
    top = base / lowest * (FACTORS[-1] if options.scale == "mse" else 1.0)
    tried = np.unique(np.minimum(np.geomspace(base / peak[0], top, 97 if top > base / peak[0] else 1), cap[0]))
    results = []
    for s in (_whole(x, p, fmt) for x in tried):
        fits = [_fit(sample, s, w, float(m.max()), options) for sample, m in zip(samples, by_row, strict=True)]
        results.append((sum(error for error, _ in fits), s, [e for _, e in fits]))
    _, best_scale, exponents = min(results, key=lambda r: r[0])
    return np.full(p.size, best_scale), exponents, limited if best_scale >= cap[0] * 0.99 else ""


def _fit(sample: Array, s: float, w: WeightFormat, peak: float, options: QuantizeOptions) -> tuple[float, int]:
    """Return (mean squared error, exponent) of the best exponent at scale s."""
    best = (np.inf, w.exponents[-1])
    for e in w.exponents:
        unit = w.unit * 2.0**e
        clips = peak * s > max(-w.low, w.high) * unit * (1 + 1e-9)
        if options.scale == "max" and clips and e != w.exponents[-1]:
            continue
        m = np.clip(np.rint(sample * (s / unit / w.step)) * w.step, w.low, w.high)
        error = float(np.mean((m * unit / s - sample) ** 2))
        if error < best[0]:
            best = (error, e)
        if not clips:
            break  # a larger exponent is only coarser
    return best


def _row_scale(
    folded: Weight, peak: Array, reach: int, cap: Array, p: Population, fmt: Formats, options: QuantizeOptions
) -> Array:
    w = fmt.weight
    unit = w.unit * 2.0 ** w.exponents[0]
    dense = folded.toarray() if sp.issparse(folded) else folded
    best_error = np.full(p.size, np.inf)
    best = np.ones(p.size)
    for factor in FACTORS if options.scale == "mse" else FACTORS[:1]:
        s = _whole(np.minimum(reach * unit / peak * factor, cap), p, fmt)
        k = (s / unit / w.step)[:, None]
        m = np.clip(np.rint(dense * k) * w.step, w.low, w.high)
        error = np.mean((m * unit / s[:, None] - dense) ** 2, axis=1)
        better = error < best_error
        best_error, best = np.where(better, error, best_error), np.where(better, s, best)
    return best


def _whole(s: Array | float, p: Population, fmt: Formats) -> Array | float:
    """Round a scale down to a threshold that the chip can hold; a read-out's scale stays as it is."""
    if p.v_threshold is None:
        return s
    return np.maximum(np.floor(np.asarray(s) / fmt.threshold_unit), 1) * fmt.threshold_unit if np.ndim(s) else (
        max(float(np.floor(s / fmt.threshold_unit)), 1.0) * fmt.threshold_unit
    )


def _scale_of_port(ports: Sequence[Projection], p: Population, theta: Array, network: SpikingNetwork, fmt: Formats) -> Array:
    """Return S of a population that only the host drives: as fine as one register of the host's currents allows."""
    if p.v_threshold is not None:
        # Currents beyond plus or minus S change no spike, so S may fill the mantissa.
        room = min(fmt.bias_mantissa, fmt.threshold_max, 2**15 - 1)
        return np.full(p.size, float(max(room // fmt.threshold_unit, 1) * fmt.threshold_unit))
    x = max(abs(network.input_low), abs(network.input_high), 1e-12)
    reach = sum(np.asarray(abs(j.weight).sum(axis=1)).ravel() * x for j in ports)
    if p.bias is not None:
        reach = reach + np.abs(np.asarray(p.bias))
    return np.full(p.size, min(fmt.bias_mantissa, 2**15 - 1) / max(float(np.max(reach)), 1e-300))


# -- rounding ---------------------------------------------------------------------------------------


def _round(
    folded: Weight, scale: Array, exponent: int, w: WeightFormat, options: QuantizeOptions, name: str
) -> tuple[Weight, ProjectionReport]:
    """Return the integer weights of a projection, int32, and what rounding did to them."""
    unit = w.unit * 2.0**exponent
    clipped = zeroed = 0
    squared = power = 0.0
    rng = generator(options.seed, f"rounding:{name}", 0) if options.rounding == "stochastic" else None
    parts = []
    for values, s in _rows(folded, scale):
        x = values * (s / (unit * w.step))
        q = np.floor(x + rng.random(x.shape)) if rng is not None else np.rint(x)
        m = np.clip(q * w.step, w.low, w.high)
        clipped += int(np.count_nonzero(m != q * w.step))
        zeroed += int(np.count_nonzero((m == 0) & (values != 0)))
        squared += float(np.sum((m * unit / s - values) ** 2))
        power += float(np.sum(values**2))
        parts.append((m * unit).astype(np.int32))
    n = max(folded.nnz if sp.issparse(folded) else folded.size, 1)
    rounded: Weight = np.concatenate(parts)
    if sp.issparse(folded):
        rounded = sp.csr_array((rounded, folded.indices, folded.indptr), shape=folded.shape)
    report = ProjectionReport(
        name=name,
        exponent=exponent,
        clipped=clipped / n,
        zeroed=zeroed / n,
        rms_error=float(np.sqrt(squared / power)) if power > 0 else 0.0,
    )
    return rounded, report


def _rows(folded: Weight, scale: Array) -> Iterator[tuple[Array, Array]]:
    """Yield (values, scale of each value) in chunks of rows."""
    if sp.issparse(folded):
        yield folded.data, np.repeat(scale, np.diff(folded.indptr))
        return
    for first in range(0, len(folded), CHUNK_ROWS):
        yield folded[first : first + CHUNK_ROWS], scale[first : first + CHUNK_ROWS, None]


def _bias(z: Array, scale: Array, fmt: Formats) -> tuple[Array, int, float]:
    """Return biases as m 2^e with one exponent, how many were clipped, and the rms error in thresholds."""
    largest = float(np.abs(z).max(initial=0.0))
    e = next((e for e in range(fmt.bias_exponent + 1) if largest <= (fmt.bias_mantissa + 0.5) * 2.0**e), fmt.bias_exponent)
    m = np.rint(z / 2.0**e)
    kept = np.clip(m, -fmt.bias_mantissa, fmt.bias_mantissa)
    bias = kept * 2.0**e
    return bias, int(np.count_nonzero(kept != m)), float(np.sqrt(np.mean(((bias - z) / scale) ** 2)))


def _port(
    j: Projection, p: Population, scale: Array, units: Array, theta: Array, reset: str | None, fmt: Formats, first: bool
) -> Projection:
    """Return the port's projection with float weights in integer units, and the format in which the host writes currents."""
    if sp.issparse(j.weight):
        weight: Weight = sp.diags_array(units) @ sp.csr_array(j.weight).astype(np.float64)
        weight = sp.csr_array(weight)
    else:
        weight = np.asarray(j.weight, dtype=np.float64) * units[:, None]
    offset = np.zeros(p.size) if p.bias is None or not first else np.asarray(p.bias, dtype=np.float64) * units
    limit = None
    largest = float(scale.max())
    if p.v_threshold is not None:
        e = next((e for e in range(fmt.bias_exponent + 1) if largest <= fmt.bias_mantissa * 2.0**e), fmt.bias_exponent)
        # A current of theta fires in every step under reset by subtraction; after a reset to zero with '>' it must exceed theta.
        limit = scale + (2.0**e if reset == "zero" and fmt.comparison == ">" else 0.0)
        if float(limit.max()) > fmt.bias_mantissa * 2.0**e and e < fmt.bias_exponent:
            e += 1
            limit = scale + 2.0**e
    else:
        e = 0
    return replace(j, weight=weight, current=CurrentFormat(e, fmt.bias_mantissa, offset, limit))


def _bounds(p: Population, units: Array, fmt: Formats) -> tuple[float | None, float | None]:
    """Return floor and ceiling: the register's, narrowed by the network's own."""
    low, high = (None, None) if fmt.potential is None else (float(fmt.potential[0]), float(fmt.potential[1]))
    if p.v_floor is not None:
        own = float(np.floor(p.v_floor * units[0]))
        low = own if low is None else max(low, own)
    if p.v_ceiling is not None:
        own = float(np.floor(p.v_ceiling * units[0]))
        high = own if high is None else min(high, own)
    return low, high


# -- sums over weights ------------------------------------------------------------------------------


def _accumulator(weights: Sequence[Weight], fmt: Formats) -> float | None:
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

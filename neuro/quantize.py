"""Float network -> the integers of a chip.

Thresholds and amplitudes are folded into the weights, W'_ij = W_ij a_j / theta_i, so that a layer needs one
scale: with a threshold of S units, weights become round(W' S), biases round(b S / theta), and v_init
floor(v_init S / theta). S is chosen per layer (or per neuron where the chip allows it) to minimise the squared error
of the weights, within the chip's threshold and accumulator. A population without threshold takes theta = 1.
``Population.scale`` = scale theta / S is what one unit of v is worth in the source network, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np
import scipy.sparse as sp

from .chip import Chip
from .encoding import generator
from .errors import CapacityError, problems
from .formats import Formats, WeightFormat, formats
from .network import INPUT, CurrentFormat, Population, Projection, SpikingNetwork, per_neuron
from .scaling import Weight, accumulator_share, choose, of_port

Array = np.ndarray
CHUNK_ROWS = 256  # rows rounded at a time: bounds the memory of wide layers


class QuantizeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to round.

    ``reset``: ``"construction"`` keeps reset by subtraction, by the construction a chip allows where it is not native;
    ``"native"`` takes the chip's own reset to zero (or by subtraction, where it has no other);
    ``rounding``: ``"nearest"`` or ``"stochastic"`` (of weights, seeded by ``seed``);
    ``weight_bits``: stored bits, None: all; ``scale``: ``"mse"`` (least squared error of the weights) or ``"max"``
    (clips nothing).
    """

    reset: Literal["construction", "native"] = "construction"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    seed: int = 0
    weight_bits: int | None = None
    scale: Literal["mse", "max"] = "mse"


class ProjectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What rounding did to the weights of one projection.

    ``exponent``: shared by its weights; ``clipped``: share beyond the range; ``zeroed``: share rounded to zero that was
    not; ``rms_error``: relative to the rms weight.
    """

    name: str
    exponent: int
    clipped: float
    zeroed: float
    rms_error: float


class PopulationReport(msgspec.Struct, frozen=True, kw_only=True):
    """One population.

    ``threshold``: in integer units (lowest and highest), None for a read-out; ``bias_clipped``: number of biases
    clipped; ``bias_error``: rms error of the biases (or of rounding the host's currents) in units of the threshold;
    ``accumulator``: largest possible sum of one step's synaptic input as a share of the accumulator (at most 1: it
    cannot overflow), None where the width is not stated; ``limited_by``: what kept the scale below the best one.
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


def quantize(network: SpikingNetwork, chip: Chip, options: QuantizeOptions | None = None) -> tuple[SpikingNetwork, QuantizeReport]:
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
        new, incoming, done = _population(network, p, fmt, chip, options)
        populations.append(new)
        projections += incoming
        reports.append(done)
    order = {j.name: i for i, j in enumerate(network.projections)}
    quantized = replace(
        network,
        populations=tuple(populations),
        projections=tuple(sorted(projections, key=lambda j: order[j.name])),
        info={**network.info, "chip": chip.name, "source_sha256": network.sha256},
    )
    notes = list(fmt.notes)
    if any(p.reset == "subtract" and p.encoder is None for p in populations) and fmt.resets is not None and "subtract" not in fmt.resets:
        notes.append(f"reset by subtraction is a construction on {chip.name}, modelled as exact subtraction (assumption)")
    if any(j.current is not None for j in projections):
        notes.append("the first layer's currents are computed by the host in float64 and written as biases before each input")
    loops = [j.name for j in network.projections if network.lag(j)]
    if loops:
        notes.append(f"{', '.join(loops)}: spikes on their way when an input ends are dropped, so the chip must empty its delays (assumption)")
    notes += [f"{r.name}: the scale is limited by the {r.limited_by}" for r in reports if r.limited_by]
    notes += [
        f"{r.name}: a synaptic sum of {r.accumulator:.2f} times the accumulator can occur; it is not modelled"
        for r in reports
        if r.accumulator is not None and r.accumulator > 1
    ]
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
            "use spike-coded input (--set run.encoding=regular, or neuro.encoding.with_encoder(network, 'regular'))"
        )
    for p in network.populations:
        if p.encoder is not None:
            continue
        reset = _reset(p, fmt, chip, options)
        if reset == "refused":
            causes.append(
                f"{p.name}: reset by {p.reset!r}, native are {', '.join(fmt.resets or ())} and the file states no "
                "construction; use reset='native'"
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
            causes.append(f"{p.name}: refractory time, {p.refractory} steps ({p.refractory_mode}), has no counterpart on the chip")
        if (p.v_floor is not None or p.v_ceiling is not None) and np.ptp(_theta(p)) > 0:
            causes.append(f"{p.name}: bounds of the potential with thresholds per neuron have no counterpart in one scale a layer")
    return causes


def _reset(p: Population, fmt: Formats, chip: Chip, options: QuantizeOptions) -> Literal["subtract", "zero", "refused"] | None:
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
        return (
            replace(p, amplitude=1.0, scale=high, grid=1.0),
            list(incoming),
            PopulationReport(name=p.name, threshold=None, projections=()),
        )
    theta = _theta(p)
    ports = [j for j in incoming if j.pre == INPUT]
    wired = [j for j in incoming if j.pre != INPUT]
    folded = [fold(j, theta, network) for j in wired]
    reset = _reset(p, fmt, chip, options)
    assert reset != "refused"  # inexpressible() said so before
    if folded:
        reach = fmt.bias_mantissa * 2.0**fmt.bias_exponent if ports else np.inf
        scale, exponents, limited = choose(folded, p, fmt, options.scale, reach)
    else:
        scale, exponents, limited = of_port(ports, p, network, fmt), [], ""
    units = scale / theta  # integer units of v for one unit of the source's v

    projections, weights = [], []
    for j, w, e in zip(wired, folded, exponents, strict=True):
        rounded, rounding = _round(w, scale, e, fmt.weight, options, j.name)
        projections.append(replace(j, weight=rounded))
        weights.append(rounding)
    new_ports = [_port(j, p, scale, units, theta, reset, fmt, i == 0) for i, j in enumerate(ports)]
    bias, clipped, error = (None, 0, 0.0) if ports or p.bias is None else _bias(np.asarray(p.bias) * units, scale, fmt)
    if ports and p.v_threshold is not None and new_ports[0].current is not None:
        error = float(2.0 ** new_ports[0].current.exponent / np.sqrt(12) / np.mean(scale))
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
        accumulator=accumulator_share([j.weight for j in projections], fmt),
        limited_by=limited,
    )
    return new, [*new_ports, *projections], report


def fold(j: Projection, theta: Array, network: SpikingNetwork) -> Weight:
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
    """Return the port's projection: float weights in integer units, and how the host writes its currents."""
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
        # A current of theta fires in every step under reset by subtraction; after a reset to zero with '>' it must
        # exceed theta.
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

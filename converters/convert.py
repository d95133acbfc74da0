"""convert: a trained ReLU network becomes a spiking network that computes the same.

Every hidden layer becomes a population with reset by subtraction, started at half its
threshold, whose rate theta N / T stands for the activation; the last layer becomes a
population that only integrates, whose potential / T is the output. How thresholds (and
whatever else) are chosen is the method's business: see ``converters.methods``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro.errors import ConversionError, SpecError
from neuro.network import INPUT, Population, Projection, SpikingNetwork, Weight, per_neuron
from neuro.progress import ProgressCallback

from .methods import Chain, ResolvedStep, check_start, resolve
from .methods.draft import Draft, Neurons, population_name
from .methods.stream import Calibration
from .methods.survey import Survey, survey
from .mlp import MLP, Dense

Array = np.ndarray
GRID = 2.0**-12
TARGET_LOSS = 0.1  # points of disagreement


def convert(
    mlp: MLP | SpikingNetwork,
    *,
    calibration: Any,
    method: Chain = "ltb",
    n_steps: int | None = None,
    grid: float | None = GRID,
    v_init: float = 0.5,
    target_loss: float = TARGET_LOSS,
    check: bool = True,
    progress: ProgressCallback | None = None,
) -> SpikingNetwork:
    """Convert a trained network into a spiking one.

    Parameters
    ----------
    mlp : the trained network; it is not changed. What ``load`` gives of a file, of which a spiking network is refused.
    calibration : (n_samples, n_in) array, or batches that can be read more than once; no labels are needed.
    method : name (``"a+b"`` chains two), options struct, table, or a list of steps (``converters.methods.METHODS``); ``"auto"`` tries several
        and picks by agreement with ``mlp`` on held-out samples (``converters.methods.auto``).
    n_steps : T for which the network is meant; needed by the methods that are made for one T.
    grid : unit of the exact arithmetic as a share of the threshold, a power of two; None: floats, without the promise that every
        engine gives the same spikes.
    v_init : potential at the first step as a share of the threshold.
    target_loss : only with ``method="auto"``: percentage points of disagreement that are accepted.
    check : run the result on some calibration samples and raise where it is silent or saturated.

    Raises
    ------
    ConversionError : calibration data that cannot be used; layers the method cannot take; dead layers; a spiking network.
    SpecError : an unknown method or option; steps that undo or exclude each other.
    VerificationError : the result is silent or saturated.

    Source: Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682; Bu et al. 2022 (AAAI) for v_init; the methods name their own.
    """
    _check_numbers(n_steps, grid, v_init)
    if isinstance(mlp, SpikingNetwork):
        raise ConversionError("a spiking network was given: there is nothing to convert; run, deploy or export it as it is")
    if isinstance(method, str) and method == "auto":
        from .methods.auto import auto

        return auto(
            mlp, calibration, target_loss=target_loss, n_steps=n_steps, grid=grid, v_init=v_init, check=check, progress=progress
        )
    if target_loss != TARGET_LOSS:
        raise SpecError(f"target_loss {target_loss:g} is for method='auto'; other methods have no target")
    steps = resolve(method)
    check_start(steps, v_init)
    draft = begin(mlp, calibration, n_steps=n_steps, v_init=v_init, progress=progress)
    seen = survey(draft)
    for step in steps:
        draft = step.run(draft)
    if not draft.has_thresholds:
        raise ConversionError(
            f"method {[s.name for s in steps]}: no step sets thresholds; put one first, such as 'ltb' or 'percentile_norm'"
        )
    network = assemble(draft, grid, _info(draft, steps, seen), seen)
    if check:
        from .verify import quick_check

        network = quick_check(network, mlp, draft.data)
    return network


def begin(
    mlp: MLP, calibration: Any, *, n_steps: int | None = None, v_init: float = 0.5, progress: ProgressCallback | None = None
) -> Draft:
    """Return the draft that the first step of a method receives.

    A last layer with a ReLU gets a read-out behind it that adds up its spikes, so that the answer is still the ANN's.
    """
    layers = mlp.layers
    if layers[-1].activation != "identity":
        width = layers[-1].n_out
        kind = layers[-1].weight.dtype
        readout = Dense(sp.eye_array(width, format="csr", dtype=kind), np.zeros(width, kind), "identity", name="read-out")
        mlp = replace(mlp, layers=(*layers, readout))
    if mlp.layers[-1].recurrent is not None:
        raise ConversionError("the last layer is recurrent; add a linear output layer behind it")
    neurons = tuple(Neurons(layer, fraction=v_init) for layer in mlp.layers)
    return Draft(mlp, Calibration(calibration, mlp), neurons, n_steps=n_steps, progress=progress)


# -- draft -> network -------------------------------------------------------------------------------


def assemble(draft: Draft, grid: float | None, info: Mapping[str, Any], seen: Survey) -> SpikingNetwork:
    """Return the spiking network of a finished draft, its numbers put on the grid."""
    n_layers = len(draft.neurons)
    populations: list[Population] = []
    projections: list[Projection] = []
    for i, neurons in enumerate(draft.neurons):
        name = population_name(i, n_layers)
        incoming = _incoming(i, neurons.layer, name, populations)
        if i in draft.hidden:
            amplitude = _single(neurons.theta.astype(np.float32).astype(np.float64))
            sources = {p.name: p for p in populations}
            population = Population(
                name=name,
                size=neurons.layer.n_out,
                v_threshold=amplitude,
                amplitude=amplitude,
                v_init=neurons.start_potential,
                reset=neurons.reset,
                comparison=neurons.comparison,
                bias=np.asarray(neurons.drive_bias, dtype=np.float64),
                start=i,
                max_spikes=neurons.max_spikes,
                signed=neurons.signed,
                signed_floor=neurons.signed_floor,
                grid=None if grid is None else amplitude * grid,
                pairs_with=neurons.layer.name,
            )
            sources[name] = population
        else:
            sources = {p.name: p for p in populations}
            unit = None if grid is None else _largest_incoming(incoming, sources) * grid
            population = Population(
                name=name,
                size=neurons.layer.n_out,
                reset=None,
                bias=np.asarray(neurons.drive_bias, dtype=np.float64),
                start=i,
                grid=unit,
                pairs_with=neurons.layer.name,
            )
        if grid is not None:
            population = _population_on_grid(population)
            incoming = [_projection_on_grid(j, population, sources) for j in incoming]
        populations.append(population)
        projections += incoming
    network = SpikingNetwork(
        populations=tuple(populations),
        projections=tuple(projections),
        input_size=draft.mlp.n_in,
        classes=draft.mlp.classes,
        task=draft.mlp.task,
        input_low=seen.inputs.low,
        input_high=seen.inputs.high,
        protocol=draft.protocol,
        info=info,
    )
    return network if grid is None else replace(network, info={**info, "rounding": _rounding(draft, network)})


def _incoming(index: int, layer: Dense, name: str, below: list[Population]) -> list[Projection]:
    """Return what arrives at layer ``index``; a skip carries the longer delay, the input reaches every layer without one."""
    arrivals = [(index - 1, layer.weight), *((s.source, s.weight) for s in layer.skips)]
    projections = [
        Projection(INPUT, name, _wide(weight), delay=0)
        if source < 0
        else Projection(below[source].name, name, _wide(weight), delay=index - source)
        for source, weight in arrivals
    ]
    if layer.recurrent is not None:
        projections.append(Projection(name, name, _wide(layer.recurrent), delay="window"))
    return projections


def _wide(weight: Weight) -> Weight:
    return sp.csr_array(weight, dtype=np.float64) if sp.issparse(weight) else np.asarray(weight, dtype=np.float64)


def _single(values: Array) -> Any:
    """Return a scalar where all neurons share one value."""
    return float(values[0]) if (values == values[0]).all() else values


def _largest_incoming(incoming: list[Projection], sources: Mapping[str, Population]) -> float:
    """Return the largest |weight x amplitude| that reaches a population, in float32 precision."""
    top = 0.0
    for j in incoming:
        amplitude = 1.0 if j.pre == INPUT else per_neuron(sources[j.pre].amplitude, sources[j.pre].size)
        size = abs(j.weight * amplitude) if not sp.issparse(j.weight) else abs(_columns(j.weight, amplitude))
        top = max(top, float(size.max()) if 0 not in size.shape else 0.0)
    return float(np.float32(top)) if top > 0 else 1.0


def _columns(weight: sp.csr_array, factor: Array | float) -> sp.csr_array:
    data = weight.data * np.broadcast_to(factor, (weight.shape[1],))[weight.indices]
    return sp.csr_array((data, weight.indices, weight.indptr), shape=weight.shape)


def _population_on_grid(p: Population) -> Population:
    unit = np.asarray(p.grid)
    return replace(p, v_init=_plain(np.rint(p.v_init / unit) * unit), bias=np.rint(p.bias / unit) * unit)


def _plain(value: Array) -> Any:
    return float(value) if np.ndim(value) == 0 else _single(np.asarray(value))


def _projection_on_grid(j: Projection, post: Population, populations: Mapping[str, Population]) -> Projection:
    """Round weight x amplitude to the receiver's grid; currents from the port are rounded when they are computed."""
    if j.pre == INPUT:
        return j
    pre = populations[j.pre]
    amplitude = per_neuron(pre.amplitude, pre.size)
    unit = per_neuron(post.grid, post.size)
    if sp.issparse(j.weight):
        weight = _columns(j.weight, amplitude)
        rows = np.repeat(unit, np.diff(weight.indptr))
        rounded = np.rint(weight.data / rows) * rows / amplitude[weight.indices]
        return replace(j, weight=sp.csr_array((rounded, weight.indices, weight.indptr), shape=weight.shape))
    rounded = np.rint(j.weight * (amplitude / unit[:, None])) * unit[:, None] / amplitude
    return replace(j, weight=rounded)


# -- what the result says about itself --------------------------------------------------------------


def _info(draft: Draft, steps: tuple[ResolvedStep, ...], seen: Survey) -> dict[str, Any]:
    extra = draft.protocol.pre_steps if draft.protocol else 0
    return {
        "made_by": "converters.convert",
        "source_sha256": draft.mlp.sha256,
        "method": [step.describe() for step in steps],
        "n_steps": draft.n_steps,
        "calibrated_for_T": draft.for_t,
        "calibration_samples": seen.n_samples,
        "extra_steps": extra,
        "extra_state": list(draft.extra_state),
        "output_threshold": max(seen.outputs.high, 0.0) or None,
        "calibration": seen.summary(),
        "steps": dict(draft.notes),
    }


def _rounding(draft: Draft, network: SpikingNetwork, samples: int = 1000) -> dict[str, Any]:
    """Return the effect of the grid: the same ReLU network with rounded and with unrounded weights, on calibration samples."""
    exact, rounded = [], []
    for i, neurons in enumerate(draft.neurons):
        layer = replace(neurons.layer, bias=neurons.drive_bias.mean(axis=0) if neurons.drive_bias.ndim == 2 else neurons.drive_bias)
        exact.append(layer)
        name = population_name(i, len(draft.neurons))
        by_source = {j.pre: j.weight for j in network.incoming(name)}
        own = by_source.pop(name, None)
        skips = tuple(replace(s, weight=by_source[_source(s.source, draft)]) for s in layer.skips)
        bias = np.asarray(network[name].bias)
        rounded.append(
            replace(
                layer,
                weight=by_source[_source(i - 1, draft)],
                bias=bias.mean(axis=0) if bias.ndim == 2 else bias,
                recurrent=own,
                skips=skips,
            )
        )
    before, after = (replace(draft.mlp, layers=tuple(layers)) for layers in (exact, rounded))
    changed, count, largest = 0, 0, 0.0
    for batch in draft.data.limited(samples).batches():
        # Float64, so that what is measured is the grid and not the order of summation.
        a, b = (net.forward(batch.astype(np.float64)) for net in (before, after))
        changed += int((a.argmax(axis=1) != b.argmax(axis=1)).sum())
        largest = max(largest, float(np.abs(a - b).max()))
        count += len(batch)
    return {"samples": count, "changed_answers": changed, "largest_output_change": largest}


def _source(index: int, draft: Draft) -> str:
    return INPUT if index < 0 else population_name(index, len(draft.neurons))


def _check_numbers(n_steps: int | None, grid: float | None, v_init: float) -> None:
    if n_steps is not None and (isinstance(n_steps, bool) or n_steps != int(n_steps) or n_steps < 1):
        raise SpecError(f"n_steps is {n_steps!r}, expected a whole number of 1 or more")
    if grid is not None and not (0 < grid <= 0.5 and np.log2(grid).is_integer()):
        raise SpecError(f"grid is {grid!r}, expected a power of two up to 1/2 (2**-12 by default), or None")
    if not 0 <= v_init < 1:
        raise SpecError(f"v_init is {v_init!r}, expected a share of the threshold from 0 up to but not including 1")

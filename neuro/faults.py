"""Faults and variation of a chip, as networks: mismatch, dead and stuck neurons and synapses.

Each fault is drawn once per chip (not per sample) from its own stream of ``seed``, so that a higher rate breaks
everything that a lower one breaks. Numbers stay on the grid of the network: a deployed network stays one of integers,
every engine runs it and all give the same spikes.

Lost and spurious spikes are events of a run, not of a network: see :class:`SpikeFaults`, an argument of ``simulate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import scipy.sparse as sp

from .encoding import generator
from .errors import SpecError, problems
from .network import INPUT, Population, Projection, SpikingNetwork, per_neuron

Array = np.ndarray
CHUNK = 8  # steps of random numbers drawn at once: bounds memory at any T and batch


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Faults of a chip.

    ``threshold_mismatch``, ``weight_mismatch``: relative standard deviation of a normal distribution;
    ``dead_neurons``: share of neurons that never fire (their potential stays 0); ``stuck_neurons``: share of neurons that
    fire in every step; ``dead_synapses``: share of synapses that are 0; ``stuck_synapses``: share of synapses at the lowest
    or highest weight of their projection, with equal chance; ``readout``: whether neurons of the read-out die as well (a
    dead one takes its class with it). Rates lie in [0, 1]; ``seed`` draws which ones.
    """

    threshold_mismatch: float = 0.0
    weight_mismatch: float = 0.0
    dead_neurons: float = 0.0
    stuck_neurons: float = 0.0
    dead_synapses: float = 0.0
    stuck_synapses: float = 0.0
    readout: bool = False
    seed: int = 0


class SpikeFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Spikes lost and added on their way, in every step of a run; an argument of ``neuro.simulate``.

    ``lost``: chance that a spike reaches none of its targets (its neuron has reset all the same); ``spurious``: chance that a
    neuron that sent no spike in a step seems to have sent one (its potential does not change); ``seed``: of the streams
    "lost" and "spurious", one generator a sample, population and stream.

    Every population that sends spikes is meant, those of a spike-coded input and of a spiking read-out too. Whatever is counted of
    a run is counted where spikes arrive: sent, less lost, plus spurious ones. A burst is lost as a whole; a spurious spike is one.
    """

    lost: float = 0.0
    spurious: float = 0.0
    seed: int = 0


def with_faults(network: SpikingNetwork, faults: Faults) -> SpikingNetwork:
    """Return the network with faults built in.

    Raises
    ------
    SpecError : rates outside [0, 1], negative or infinite mismatch, more dead and stuck neurons or synapses than there are.
    """
    _check(faults)
    broken = {p.name: _conditions(p, faults) for p in network.populations}
    populations = tuple(_population(p, faults, *broken[p.name]) for p in network.populations)
    projections = tuple(
        _projection(j, faults, network[j.post], np.logical_or(*broken[j.post]), i) for i, j in enumerate(network.projections)
    )
    info: dict[str, Any] = {**network.info, "faults": msgspec.to_builtins(faults)}
    return replace(network, populations=populations, projections=projections, info=info)


def spike_faults(faults: SpikeFaults, population: Population, n_steps: int, samples: Array) -> Iterator[tuple[Array, Array]]:
    """Yield (lost, spurious), two (n_samples, size) bool arrays a step, to be used by :func:`disturb`.

    ``samples`` are indices in the data set, so that neither batch size nor number of workers changes a fault.
    """
    check_spike_faults(faults)
    rates = {"lost": faults.lost, "spurious": faults.spurious}
    # A rate of zero needs no numbers: the streams of the two kinds are apart.
    streams = {
        name: [generator(faults.seed, f"{name}:{population.name}", int(s)) for s in samples] if rate else []
        for name, rate in rates.items()
    }
    for first in range(0, n_steps, CHUNK):
        rows = min(CHUNK, n_steps - first)
        drawn = {name: np.zeros((rows, len(samples), population.size), bool) for name in rates}
        for name, stream in streams.items():
            for i, g in enumerate(stream):
                drawn[name][:, i] = g.random((rows, population.size)) < rates[name]
        for k in range(rows):
            yield drawn["lost"][k], drawn["spurious"][k]


def check_spike_faults(faults: SpikeFaults) -> None:
    """Raise SpecError where a rate is no chance in [0, 1]."""
    causes = [
        f"{name} {getattr(faults, name)!r}, expected a chance in [0, 1]"
        for name in ("lost", "spurious")
        if not 0 <= getattr(faults, name) <= 1
    ]
    if causes:
        raise SpecError(problems("spike faults:", causes))


def disturb(spikes: Array, lost: Array, spurious: Array) -> Array:
    """Return the spikes that arrive: those sent and not lost, and one where none was sent and one is added."""
    return np.where(spikes != 0, np.where(lost, 0, spikes), spurious.astype(spikes.dtype))


# -- drawing ----------------------------------------------------------------------------------------


def _check(faults: Faults) -> None:
    causes = []
    for name in ("dead_neurons", "stuck_neurons", "dead_synapses", "stuck_synapses"):
        rate = getattr(faults, name)
        if not 0 <= rate <= 1:
            causes.append(f"{name} {rate!r}, expected a share in [0, 1]")
    for name in ("threshold_mismatch", "weight_mismatch"):
        sigma = getattr(faults, name)
        if not 0 <= sigma < np.inf:
            causes.append(f"{name} {sigma!r}, expected a relative standard deviation of 0 or more")
    for kind in ("neurons", "synapses"):
        total = getattr(faults, f"dead_{kind}") + getattr(faults, f"stuck_{kind}")
        if total > 1:
            causes.append(f"dead_{kind} and stuck_{kind} add up to {total:g}, expected at most 1")
    if causes:
        raise SpecError(problems("faults:", causes))


def _conditions(p: Population, faults: Faults) -> tuple[Array, Array]:
    """Return (dead, stuck), (size,) bool each; an encoder's spikes come from the host, its neurons do not fail."""
    spared = p.encoder is not None or (p.reset is None and not faults.readout)
    if spared or not (faults.dead_neurons or faults.stuck_neurons):
        return np.zeros(p.size, bool), np.zeros(p.size, bool)
    u = generator(faults.seed, f"neurons:{p.name}", 0).random(p.size)
    dead = u < faults.dead_neurons
    # Drawn from the other end, so that dead and stuck neurons never meet; a read-out that never fires cannot be stuck.
    stuck = (u >= 1 - faults.stuck_neurons) & (p.reset is not None)
    return dead, stuck


def _population(p: Population, faults: Faults, dead: Array, stuck: Array) -> Population:
    if p.encoder is not None:
        return p
    theta = p.v_threshold
    unit = per_neuron(1.0 if p.grid is None else p.grid, p.size)
    if faults.threshold_mismatch and theta is not None:
        z = generator(faults.seed, f"thresholds:{p.name}", 0).standard_normal(p.size)
        wanted = per_neuron(theta, p.size) * (1 + faults.threshold_mismatch * z)
        theta = np.maximum(np.rint(wanted / unit), 1) * unit if p.grid is not None else np.maximum(wanted, 1e-9)
    if not (dead | stuck).any():
        return replace(p, v_threshold=theta)
    # A broken neuron hears nothing. Dead: its potential stays 0. Stuck: a bias of theta lifts it over the threshold in every step.
    level = per_neuron(0.0 if theta is None else theta, p.size)
    always = level + unit if p.comparison == ">" and p.reset == "zero" else level
    half = np.floor(level / unit / 2) * unit if p.grid is not None else level / 2
    bias = np.zeros(p.size) if p.bias is None else np.array(p.bias, dtype=np.float64)
    bias[..., dead] = 0.0
    bias[..., stuck] = always[stuck]
    v_init = np.where(dead, 0.0, np.where(stuck, half, per_neuron(p.v_init, p.size)))
    return replace(p, v_threshold=theta, v_init=v_init, bias=bias)


def _projection(j: Projection, faults: Faults, post: Population, broken: Array, index: int) -> Projection:
    if post.encoder is not None:
        return j
    weight = j.weight
    # The port's weights are the host's: they do not fail.
    if j.pre != INPUT and (faults.weight_mismatch or faults.dead_synapses or faults.stuck_synapses):
        weight = _synapses(weight, faults, index)
    if not broken.any():
        return replace(j, weight=weight)
    if sp.issparse(weight):
        keep = np.repeat(~broken, np.diff(weight.indptr))
        weight = sp.csr_array((weight.data * keep, weight.indices, weight.indptr), shape=weight.shape)
    else:
        weight = weight * (~broken)[:, None]
    current = j.current
    if current is not None:
        current = replace(current, offset=np.where(broken, 0.0, current.offset))
    return replace(j, weight=weight, current=current)


def _synapses(weight: Any, faults: Faults, index: int) -> Any:
    """Return weights with mismatch, dead and stuck synapses; a weight of zero that is not stored cannot fail."""
    values = weight.data if sp.issparse(weight) else weight
    changed = values.astype(np.float64)
    low, high = (changed.min(), changed.max()) if changed.size else (0.0, 0.0)
    if faults.weight_mismatch:
        z = generator(faults.seed, f"weights:{index}", 0).standard_normal(values.shape)
        changed = changed * (1 + faults.weight_mismatch * z)
    if faults.dead_synapses or faults.stuck_synapses:
        u = generator(faults.seed, f"synapses:{index}", 0).random(values.shape)
        ends = np.where(generator(faults.seed, f"stuck:{index}", 0).random(values.shape) < 0.5, low, high)
        changed = np.where(u < faults.dead_synapses, 0.0, changed)
        changed = np.where(u >= 1 - faults.stuck_synapses, ends, changed)
    if np.issubdtype(values.dtype, np.integer):
        changed = np.rint(changed)
    changed = changed.astype(values.dtype)
    if not sp.issparse(weight):
        return changed
    return sp.csr_array((changed, weight.indices, weight.indptr), shape=weight.shape)

"""The counts of a recording under NeuroBench's names and definitions, so that results can stand in its tables.

NeuroBench (Yik et al. 2025) sees a network as layers called once a step: a connection layer's
effective operations are sum_ij [w_ij != 0] [x_j != 0], biases left out; they are accumulates when every
input of the call is in {-1, 0, 1} and multiply-accumulates otherwise; per sample, summed over the steps.
A constant current is therefore counted in every step, although it has to be computed only once;
``effective_macs_once`` and ``dense_once`` count it once. Pre-steps of a presentation protocol are steps like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from .errors import SpecError
from .network import INPUT, Population, Projection, SpikingNetwork, Weight
from .recording import Recording

Array = np.ndarray


@dataclass(frozen=True)
class NeuroBench:
    """NeuroBench's metrics of one recording, per sample (means over the samples).

    Parameters
    ----------
    effective_macs, effective_acs, dense : operations a sample, the first layer in every step; None without the inputs.
    effective_macs_once, dense_once : the same with a constant-current first layer counted once a sample.
    activation_sparsity : share of (neuron, step, sample) without a spike, over the spiking populations.
    connection_sparsity : share of zeros among the weights (of a sparse matrix: among those it stores).
    footprint : parameters [byte]: weights, biases and thresholds at ``bits`` each, zeros counted.
    membrane_updates : changes of potential a sample, every neuron at the first step; None without recorded potentials.
    missing : what could not be counted, and what would make it countable.
    """

    effective_macs: float | None
    effective_acs: float | None
    dense: float
    effective_macs_once: float | None
    dense_once: float
    activation_sparsity: float
    connection_sparsity: float
    footprint: float
    membrane_updates: float | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreSteps:
    """What a presentation protocol did before the T steps that count, summed over all samples.

    steps : of each hidden population, a sample. spikes : {hidden population}; operations : {projection} synaptic operations.
    """

    steps: int = 0
    spikes: Mapping[str, int] = field(default_factory=dict)
    operations: Mapping[str, int] = field(default_factory=dict)


def neurobench(recording: Recording, network: SpikingNetwork, inputs: Array | None = None, bits: int = 32) -> NeuroBench:
    """Return NeuroBench's view of a recording.

    Parameters
    ----------
    recording : of this network.
    network : SpikingNetwork; its weights say which synapses are zero.
    inputs : (n_samples, n_in) or (n_samples, n_positions, n_in) array that was simulated, for the first layer.
    bits : width of a parameter, for the footprint.

    Raises
    ------
    SpecError : the recording is of another network, or the inputs are not those recorded.

    Source
    ------
    Yik et al. 2025, Nat. Commun., arXiv:2304.04640; NeuroBench/neurobench e521c28f.
    """
    if recording.network_sha256 != network.sha256:
        raise SpecError("the recording does not belong to this network (its SHA-256 differs); simulate this network")
    steps, before = window_steps(recording), pre_steps(recording)
    layers = [j for j in network.projections if network[j.post].encoder is None]
    missing: list[str] = []
    acs = 0.0
    macs: float | None = 0.0
    macs_once: float | None = 0.0
    dense = dense_once = 0.0
    n = recording.n_samples
    for j in layers:
        size = stored(j.weight)
        calls = steps + (before.steps if j.post != network.output.name else 0)  # the read-out has no pre-steps
        dense += size * float(calls.sum()) / n
        if j.pre != INPUT:
            dense_once += size * float(calls.sum()) / n
            count = _spiking_operations(recording, j, network[j.pre], network.lag(j), before)
            if count is None:
                missing.append(
                    f"{j.name}: operations without zero weights need spikes counted by position of the sequence, or a "
                    "population that sends at most one spike a step"
                )
                acs = float("nan")
            else:
                acs += count / n
            continue
        positions = int(recording.info.get("n_positions", 1))
        dense_once += size * positions
        if inputs is None:
            missing.append(f"{j.name}: the operations of the first layer need the inputs (inputs=)")
            macs = macs_once = None
            continue
        x = given_inputs(inputs, recording, network)
        rows = _nonzero_operations(x, j.weight)
        binary = bool(np.isin(x, (-1, 0, 1)).all())
        every_step = float(rows.sum(axis=1) @ calls) / (n * positions)
        if binary:
            acs += every_step
        elif macs is not None and macs_once is not None:
            macs += every_step
            macs_once += float(rows.sum()) / n
    if macs is None and np.isfinite(acs):
        missing.append("effective_acs counts the spiking layers alone; a first layer with inputs in {-1, 0, 1} would be added")
    updates = _membrane_updates(recording, network)
    if updates is None:
        missing.append("membrane_updates: needs the potentials of every spiking population (record=)")
    return NeuroBench(
        effective_macs=macs,
        effective_acs=None if np.isnan(acs) else acs,
        dense=dense,
        effective_macs_once=macs_once,
        dense_once=dense_once,
        activation_sparsity=_activation_sparsity(recording, network, steps, before),
        connection_sparsity=connection_sparsity(network),
        footprint=footprint(network, bits),
        membrane_updates=updates,
        missing=tuple(missing),
    )


def window_steps(recording: Recording) -> Array:
    """Return the steps of each sample's window, (n_samples,) int: T a position, or until an early exit."""
    positions = int(recording.info.get("n_positions", 1))
    return positions * recording.n_steps - (recording.n_steps - np.asarray(recording.decided_at, dtype=np.int64))


def pre_steps(recording: Recording) -> PreSteps:
    """Return what the recorded protocol did before the T steps; nothing without one."""
    found = recording.info.get("protocol")
    if not found:
        return PreSteps()
    return PreSteps(int(found["layer_steps"]), found["spikes"], found["synaptic_operations"])


def stored(weight: Weight) -> int:
    """Return the weights a matrix holds: all of a dense one, the stored ones of a sparse one."""
    return int(weight.nnz) if sp.issparse(weight) else int(weight.size)


def nonzero_columns(weight: Weight) -> Array:
    """Return the nonzero weights leaving each input, (n_pre,) int."""
    if sp.issparse(weight):
        matrix = sp.csr_array(weight)
        return np.bincount(matrix.indices[matrix.data != 0], minlength=matrix.shape[1]).astype(np.int64)
    return np.count_nonzero(weight, axis=0).astype(np.int64)


def connection_sparsity(network: SpikingNetwork) -> float:
    """Return the share of zeros among the stored weights."""
    layers = [j.weight for j in network.projections if network[j.post].encoder is None]
    total = sum(stored(w) for w in layers)
    return (total - sum(int(nonzero_columns(w).sum()) for w in layers)) / total


def footprint(network: SpikingNetwork, bits: int) -> float:
    """Return the memory of weights, biases and thresholds [byte] at ``bits`` each."""
    numbers = 0
    for j in network.projections:
        if network[j.post].encoder is None:
            numbers += stored(j.weight)
            if j.current is not None:
                numbers += int(np.size(j.current.offset))
    for p in network.populations:
        if p.encoder is None:
            numbers += 0 if p.bias is None else int(np.size(p.bias))
            numbers += 0 if p.v_threshold is None else int(np.size(p.v_threshold))
    return numbers * bits / 8


def given_inputs(inputs: Array, recording: Recording, network: SpikingNetwork) -> Array:
    """Return the inputs as (n_samples, n_positions, n_in), or raise SpecError where they are not those recorded."""
    positions = int(recording.info.get("n_positions", 1))
    x = np.asarray(inputs)
    expected = (recording.n_samples, network.input_size) if positions == 1 else (recording.n_samples, positions, network.input_size)
    if x.shape != expected and x.size == np.prod(expected):
        x = x.reshape(expected)
    if x.shape != expected:
        raise SpecError(f"inputs have shape {x.shape}, the recording is of {expected}; give the inputs that were simulated")
    return x.reshape(recording.n_samples, positions, network.input_size)


def _nonzero_operations(x: Array, weight: Weight) -> Array:
    """Return sum_j [x_j != 0] nnz_j for every sample and position, (n_samples, n_positions) int."""
    columns = nonzero_columns(weight)
    if (columns == columns[0]).all():
        return np.count_nonzero(x, axis=2) * columns[0]
    return (x != 0).astype(np.float64) @ columns


def _spiking_operations(recording: Recording, j: Projection, pre: Population, lag: int, before: PreSteps) -> float | None:
    columns = nonzero_columns(j.weight)
    if pre.max_spikes > 1:
        return None
    if int(columns.sum()) == stored(j.weight):
        return float(recording.synaptic_operations[j.name].sum()) + before.operations.get(j.name, 0)
    if j.delay == "window" or lag or before.steps:  # not all spikes arrive, and which ones is not counted by neuron
        return None
    return float(recording.neuron_counts[j.pre] @ columns)


def _activation_sparsity(recording: Recording, network: SpikingNetwork, steps: Array, before: PreSteps) -> float:
    spiking = [p for p in network.populations if p.spiking and p.encoder is None]
    windows = {p.name: int(steps.sum()) + (before.steps * len(steps) if p.name in before.spikes else 0) for p in spiking}
    activations = sum(p.size * windows[p.name] for p in spiking)
    if activations == 0:
        return 0.0
    return 1.0 - sum(float(recording.spike_counts[p.name].sum()) + before.spikes.get(p.name, 0) for p in spiking) / activations


def _membrane_updates(recording: Recording, network: SpikingNetwork) -> float | None:
    total = 0.0
    for p in network.populations:
        if not p.spiking or p.encoder is not None:
            continue
        v = recording.potentials.get(p.name)
        if v is None or len(v) == 0 or np.isnan(v).any():
            return None
        total += v[:, 0].size / len(v) + int(np.count_nonzero(np.diff(v, axis=1))) / len(v)
    return total


__all__ = ["NeuroBench", "PreSteps", "connection_sparsity", "footprint", "given_inputs", "neurobench", "nonzero_columns", "pre_steps", "stored", "window_steps"]

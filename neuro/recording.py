"""Recording: what a simulation leaves behind, whatever engine ran it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import archive

FORMAT, VERSION = "spikeport.recording", 1
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Recording:
    """Answers and counts of one simulation.

    Parameters
    ----------
    network_sha256 : the network that ran (see ``SpikingNetwork.sha256``).
    n_steps : T, the steps of a window.
    total_steps : steps until an answer is ready, T + L - 1 plus the protocol's extra steps.
    outputs : (n_samples, n_out) float; (v - v_init) / T in the units of the source network (or theta N / T for counts).
    predictions : (n_samples,) int; the answer after T steps; the lowest class of a tie; -1 where a count read-out is silent.
    predictions_at : (T, n_samples) int; row k is the answer after k + 1 steps of the read-out's window;
        None where method, encoding or recurrence depends on T.
    tied : (n_samples,) bool; samples whose largest output was reached by two classes.
    spike_counts : {population: (n_samples,) int64}; spikes of each sample (signed and burst spikes by magnitude).
    step_counts : {population: (T,) int64}; spikes of all samples in each step of the population's window.
    neuron_counts : {population: (size,) int64}; spikes of all samples of each neuron.
    synaptic_operations : {"pre->post": (n_samples,) int64}; spikes times fan-out; the port's constant current is not among them.
    decided_at : (n_samples,) int; the step of the read-out's window at which each sample was decided (T without early exit).
    sample_rates : {population: (m, size) float32}; spikes per step of the first m samples, where asked for.
    potentials, spikes : what ``record=`` asked for: {population: (samples, T, size)}, {population: (k, 3) sample, step, neuron}.
    sequence_outputs : (n_samples, n_positions, n_out) float; the outputs at every input of a sequence; None otherwise.
    info : engine, code generation target, delivery, batch size, arithmetic, encoding, read-out, versions, seconds.
    """

    network_sha256: str
    n_steps: int
    total_steps: int
    outputs: Array
    predictions: Array
    predictions_at: Array | None
    tied: Array
    spike_counts: Mapping[str, Array]
    step_counts: Mapping[str, Array]
    neuron_counts: Mapping[str, Array]
    synaptic_operations: Mapping[str, Array]
    decided_at: Array
    sample_rates: Mapping[str, Array] = field(default_factory=dict)
    potentials: Mapping[str, Array] = field(default_factory=dict)
    spikes: Mapping[str, Array] = field(default_factory=dict)
    sequence_outputs: Array | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """Number of samples that ran (positions of a sequence count as one sample each in ``outputs``)."""
        return len(self.predictions)

    def accuracy(self, labels: Array) -> float:
        """Share of samples whose answer after T steps equals its label."""
        return float(np.mean(self.predictions == np.asarray(labels)))

    def to_neo(self, dt: float = 1e-3, silent: bool = False) -> Any:
        """Return the recorded spikes as a ``neo.Block`` (see ``neuro.neo_export``); needs the extra ``neo``."""
        from .neo_export import to_neo

        return to_neo(self, dt, silent)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as ``.npz`` (no pickle)."""
        arrays: dict[str, Array] = {}
        for name in ARRAYS:
            value = getattr(self, name)
            if value is not None:
                arrays[name] = value
        for name in GROUPS:
            for key, value in getattr(self, name).items():
                arrays[f"{name}/{key}"] = value
        header = {
            "network_sha256": self.network_sha256,
            "n_steps": self.n_steps,
            "total_steps": self.total_steps,
            "info": dict(self.info),
        }
        return archive.save(path, FORMAT, VERSION, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Load what :meth:`save` wrote."""
        header, arrays = archive.load(path, FORMAT, VERSION)
        groups: dict[str, dict[str, Array]] = {name: {} for name in GROUPS}
        for key, value in arrays.items():
            group, _, member = key.partition("/")
            if member:
                groups[group][member] = value
        single: dict[str, Any] = {name: arrays.get(name) for name in ARRAYS}
        several: dict[str, Any] = groups
        return cls(
            network_sha256=header["network_sha256"],
            n_steps=header["n_steps"],
            total_steps=header["total_steps"],
            info=header["info"],
            **single,
            **several,
        )


ARRAYS = ("outputs", "predictions", "predictions_at", "tied", "decided_at", "sequence_outputs")
GROUPS = (
    "spike_counts",
    "step_counts",
    "neuron_counts",
    "synaptic_operations",
    "sample_rates",
    "potentials",
    "spikes",
)

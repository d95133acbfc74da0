"""What an engine is asked to do (Task) and where it puts what happened (Tally).

Shared by all engines, so that counting and answering cannot differ between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..encoding import encoding
from ..errors import EngineError
from ..faults import SpikeFaults, spike_faults
from ..network import Population, SpikingNetwork, fan_out
from ..progress import Progress, ProgressCallback
from ..readout import EarlyExit, Readout
from ..recording import Recording
from .lowering import Lowered, Synapses
from .protocols import layer_steps, subjects

if TYPE_CHECKING:
    from .spike_stream import SpikeStream

Array = np.ndarray


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to keep beside answers and counts.

    ``potentials``, ``spikes``: names of populations; ``samples``: indices of the samples to watch (at most these are kept);
    ``rates``: keep the spikes per step of every neuron for the first so many samples;
    ``stream_to``: path of an HDF5 file that receives the spikes instead of memory (see ``spike_stream``).
    """

    potentials: tuple[str, ...] = ()
    spikes: tuple[str, ...] = ()
    samples: tuple[int, ...] = ()
    rates: int = 0
    stream_to: str | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """One simulation: inputs, window, read-out, seed, what to record.

    ``x`` is (n_samples, n_in), or (n_samples, n_positions, n_in) for sequences; ``first_sample`` is the
    index in the data set of its first row (random encodings depend on it).
    """

    x: Array
    n_steps: int
    readout: Readout
    batch_size: int
    seed: int = 0
    early_exit: EarlyExit | None = None
    record: Record = field(default_factory=Record)
    first_sample: int = 0
    progress: ProgressCallback | None = None
    stream: SpikeStream | None = None  # open while the engine runs
    faults: SpikeFaults | None = None  # None where no spike is lost or added
    also: tuple[int, ...] = ()  # shorter windows whose answers and counts are kept as well

    @property
    def n_samples(self) -> int:
        """Rows of x."""
        return len(self.x)

    @property
    def n_positions(self) -> int:
        """Inputs of a sequence; 1 where there is none."""
        return self.x.shape[1] if self.x.ndim == 3 else 1

    def inputs(self, rows: Array | slice, position: int = 0) -> Array:
        """Return (n_rows, n_in) float64."""
        part = self.x[rows] if self.x.ndim == 2 else self.x[rows, position]
        return np.asarray(part, dtype=np.float64)

    def sample_index(self, rows: Array, position: int = 0) -> Array:
        """Return the index that keys the random stream of each row."""
        return (rows + self.first_sample) * self.n_positions + position

    def spike_faults(self, p: Population, rows: Array, position: int = 0) -> Iterator[tuple[Array, Array]] | None:
        """Return the (lost, spurious) of every step of these rows' windows; None where there are none."""
        if self.faults is None or not p.spiking:
            return None
        return spike_faults(self.faults, p, self.n_steps, self.sample_index(rows, position))

    def report(self, done: int) -> None:
        """Tell whoever listens how far the run is."""
        if self.progress is not None:
            self.progress(Progress("simulating", done, self.n_samples))


class Tally:
    """Answers and counts of a run; grows with inputs, answers and counts only."""

    def __init__(self, low: Lowered, task: Task) -> None:
        network, n, steps = low.network, task.n_samples, task.n_steps
        self._network, self._task, self._low = network, task, low
        spiking = [p.name for p in network.populations if p.spiking]
        self.outputs = np.zeros((n, network.output.size))
        self.predictions = np.zeros(n, np.int64)
        small = np.int16 if network.output.size < 2**15 else np.int32
        self.predictions_at = np.full((steps, n), -1, small)
        self.tied = np.zeros(n, bool)
        self.decided_at = np.full(n, steps, np.int64)
        self.spike_counts = {name: np.zeros(n, np.int64) for name in spiking}
        self.step_counts = {name: np.zeros(steps, np.int64) for name in spiking}
        self.neuron_counts = {name: np.zeros(network[name].size, np.int64) for name in spiking}
        self.synaptic_operations = {s.name: np.zeros(n, np.int64) for s in low.synapses}
        self.fan_out = {s.name: fan_out(s.weight) for s in low.synapses}
        self.sequence_outputs = np.zeros((n, task.n_positions, network.output.size)) if task.n_positions > 1 else None
        rec = task.record
        # Of a protocol's pre-steps: spikes of the trials, and operations of the spikes that arrived at them, over all samples.
        self.trial_spikes = {name: 0 for name in spiking}
        self.trial_operations = {s.name: 0 for s in low.synapses}
        self._watched = {int(s): i for i, s in enumerate(rec.samples)}
        self.n_rates = min(rec.rates, n)
        self.sample_rates = {name: np.zeros((self.n_rates, network[name].size), np.float32) for name in spiking if self.n_rates}
        shape = (len(rec.samples), task.n_positions * steps)
        self.potentials = {name: np.full((*shape, network[name].size), np.nan) for name in rec.potentials}
        self._spikes: dict[str, list[Array]] = {name: [] for name in rec.spikes}
        self._stream = task.stream
        self.uniform = {name: bool((counts == counts[0]).all()) for name, counts in self.fan_out.items()}
        self.shorter = {k: self._shorter() for k in task.also}
        self._before = {name: np.zeros_like(c) for name, c in self.neuron_counts.items() if task.also}
        self.spiking_wanted = set(spiking if self.n_rates else ()) | set(rec.spikes)

    def count(self, name: str, rows: Array, position: int, k: int, n: Array) -> None:
        """Count the spikes ``n`` (n_rows, size) of one step; bursts and signed spikes by magnitude."""
        size = np.abs(n)
        per_row = size.sum(axis=1)
        self.spike_counts[name][rows] += per_row
        self.step_counts[name][k] += int(per_row.sum())
        self.neuron_counts[name] += size.sum(axis=0)
        for s in self._low.synapses:
            if s.spec.pre == name and self.delivers(s, position) and k + s.lag < self._task.n_steps:
                self.synaptic_operations[s.name][rows] += size @ self.fan_out[s.name]
        self.keep(name, rows, position, k, n)
        self.passed(name, rows, k)

    def _shorter(self) -> dict[str, Any]:
        """Return room for the answers and counts of a shorter window."""
        fields = ("outputs", "tied", "spike_counts", "neuron_counts", "synaptic_operations")
        empty = {f: getattr(self, f) for f in fields}
        return {f: {k: np.zeros_like(a) for k, a in v.items()} if isinstance(v, dict) else np.zeros_like(v) for f, v in empty.items()}

    def passed(self, name: str, rows: Array, k: int) -> None:
        """Keep the counts of a population that has counted relative step ``k``, where a shorter window ends there.

        The rows of a batch keep step, and a batch ends before the next one begins.
        """
        if k + 1 in self.shorter:
            found = self.shorter[k + 1]
            found["spike_counts"][name][rows] = self.spike_counts[name][rows]
            found["neuron_counts"][name] += self.neuron_counts[name] - self._before[name]
            for s in self._low.synapses:
                if s.spec.pre == name:
                    found["synaptic_operations"][s.name][rows] = self.synaptic_operations[s.name][rows]
        if self.shorter and k + 1 == self._task.n_steps:
            self._before[name][:] = self.neuron_counts[name]

    def delivers(self, synapses: Synapses, position: int) -> bool:
        """Whether spikes of this position arrive anywhere: those of the last input of a sequence have no next one."""
        return synapses.delay is not None or position < self._task.n_positions - 1

    def wanted(self, rows: Array) -> Array:
        """Return which samples anybody asked rates or spikes of."""
        if self._spikes and not self._watched:
            return np.ones(len(rows), bool)
        return (rows < self.n_rates) | self._is_watched(rows)

    def _is_watched(self, rows: Array) -> Array:
        found = np.zeros(len(rows), bool)
        for sample in self._watched:
            found |= rows == sample
        return found

    def keep(self, name: str, rows: Array, position: int, k: int, n: Array) -> None:
        """Keep rates and spikes that were asked for."""
        if self.n_rates and rows[0] < self.n_rates:
            wanted = rows < self.n_rates
            self.sample_rates[name][rows[wanted]] += n[wanted]
        if name in self._spikes:
            self._keep_spikes(name, rows, position, k, n)

    def _keep_spikes(self, name: str, rows: Array, position: int, k: int, n: Array) -> None:
        if self._watched:
            chosen = self._is_watched(rows)
            rows, n = rows[chosen], n[chosen]
        where, neuron = np.nonzero(n)
        sample = rows[where]
        if len(where):
            times = np.abs(n[where, neuron])
            step = np.full(len(where), position * self._task.n_steps + k)
            table = np.stack([sample + self._task.first_sample, step, neuron], axis=1).astype(np.int64)
            table = np.repeat(table, times, axis=0)
            if self._stream is None:
                self._spikes[name].append(table)
            else:
                self._stream.append(name, table)

    def watch(self, name: str, rows: Array, position: int, k: int, v: Array) -> None:
        """Keep the potentials that were asked for, after the reset of the step, in the units of the source network."""
        if name not in self.potentials:
            return
        unit = self._low[name].unit
        for local in np.flatnonzero(self._is_watched(rows)):
            step = position * self._task.n_steps + k
            self.potentials[name][self._watched[int(rows[local])], step] = v[local] * unit

    def answer(self, rows: Array, position: int, k: int, outputs: Array, answers: Array, tied: Array) -> None:
        """Keep the answers after relative step ``k``; those of the last step and input of a sequence are final."""
        last = k == self._task.n_steps - 1
        if k + 1 in self.shorter:
            self.shorter[k + 1]["outputs"][rows], self.shorter[k + 1]["tied"][rows] = outputs, tied
        if position == self._task.n_positions - 1:
            self.predictions_at[k, rows] = answers
            if last:
                self.outputs[rows], self.predictions[rows], self.tied[rows] = outputs, answers, tied
        if last and self.sequence_outputs is not None:
            self.sequence_outputs[rows, position] = outputs

    def decide(self, rows: Array, steps: Array, outputs: Array, answers: Array, tied: Array) -> None:
        """Fix the answers of samples that were decided after relative step ``steps``, before their window ended."""
        self.outputs[rows], self.predictions[rows], self.tied[rows] = outputs, answers, tied
        self.decided_at[rows] = steps + 1
        later = np.arange(self._task.n_steps)[:, None] > steps
        self.predictions_at[:, rows] = np.where(later, answers, self.predictions_at[:, rows])

    def counts(self) -> dict[str, Any]:
        """Return everything that was counted, as plain arrays that travel between processes."""
        return {name: getattr(self, name) for name in (*BY_SAMPLE, *GROUPS_BY_SAMPLE, *SUMS, *OTHERS)}

    def absorb(self, part: Mapping[str, Any], first: int, n: int) -> None:
        """Take in the counts of samples [first, first + n), which ran elsewhere."""
        here = slice(first, first + n)
        for name in BY_SAMPLE:
            if getattr(self, name) is not None:
                getattr(self, name)[here] = part[name]
        self.predictions_at[:, here] = part["predictions_at"]
        for group in GROUPS_BY_SAMPLE:
            for key, values in part[group].items():
                getattr(self, group)[key][here] = values
        for group in SUMS:
            for key, values in part[group].items():
                getattr(self, group)[key] += values
        for key, values in part["sample_rates"].items():
            self.sample_rates[key][first : first + len(values)] = values
        mine = [i for sample, i in self._watched.items() if first <= sample < first + n]
        for key, values in part["potentials"].items():
            self.potentials[key][mine] = values
        for key, tables in part["_spikes"].items():
            self._spikes[key] += tables
        for k, found in part["shorter"].items():
            mine_too = self.shorter[k]
            for name in ("outputs", "tied"):
                mine_too[name][here] = found[name]
            for group in GROUPS_BY_SAMPLE:
                for key, values in found[group].items():
                    mine_too[group][key][here] = values
            for key, values in found["neuron_counts"].items():
                mine_too["neuron_counts"][key] += values

    def shorter_recording(self, n_steps: int, whole: Recording) -> Recording:
        """Return what a run of ``n_steps`` steps would have recorded, of the recording of this longer one."""
        found = self.shorter[n_steps]
        return replace(
            whole,
            n_steps=n_steps,
            total_steps=whole.total_steps - whole.n_steps + n_steps,
            predictions=self.predictions_at[n_steps - 1].astype(np.int64),
            predictions_at=self.predictions_at[:n_steps],
            step_counts={name: counts[:n_steps] for name, counts in self.step_counts.items()},
            decided_at=np.full(self._task.n_samples, n_steps, np.int64),
            info={**whole.info, "part_of_steps": whole.n_steps},
            **found,
        )

    def recording(self, info: Mapping[str, Any]) -> Recording:
        """Return the Recording of the run."""
        if self._stream is not None:
            info = {**info, "spikes_file": str(self._stream.path)}
            self._spikes = {}
        network, task = self._network, self._task
        prefix = task.n_positions == 1 and all(encoding(p.encoder).prefix for p in network.populations if p.encoder)
        extra = network.protocol.pre_steps if network.protocol else 0
        for name in self.sample_rates:
            self.sample_rates[name] /= task.n_steps * task.n_positions
        spikes = {name: _sorted(parts) for name, parts in self._spikes.items()}
        return Recording(
            network_sha256=network.sha256,
            n_steps=task.n_steps,
            total_steps=task.n_positions * (task.n_steps + extra) + network.depth - 1,
            outputs=self.outputs,
            predictions=self.predictions,
            predictions_at=self.predictions_at if prefix else None,
            tied=self.tied,
            spike_counts=self.spike_counts,
            step_counts=self.step_counts,
            neuron_counts=self.neuron_counts,
            synaptic_operations=self.synaptic_operations,
            decided_at=self.decided_at,
            sample_rates=self.sample_rates,
            potentials=self.potentials,
            spikes=spikes,
            sequence_outputs=self.sequence_outputs,
            info={
                **info,
                "network": describe(network),
                "n_positions": task.n_positions,
                "seed": task.seed,
                "protocol": self._protocol(),
            },
        )

    def _protocol(self) -> dict[str, Any] | None:
        """Return what the pre-steps cost, summed over all samples; it is not among the counts of the T steps, ``activity`` adds it."""
        protocol = self._network.protocol
        if protocol is None:
            return None
        return {
            "kind": protocol.kind,
            "pre_steps": protocol.pre_steps,
            "layer_steps": layer_steps(self._network),
            "spikes": {name: self.trial_spikes[name] for name in subjects(self._network)},
            "synaptic_operations": dict(self.trial_operations),
        }


BY_SAMPLE = ("outputs", "predictions", "tied", "decided_at", "sequence_outputs")
GROUPS_BY_SAMPLE = ("spike_counts", "synaptic_operations")
SUMS = ("step_counts", "neuron_counts", "trial_spikes", "trial_operations")
OTHERS = ("predictions_at", "sample_rates", "potentials", "_spikes", "shorter")


def _sorted(parts: list[Array]) -> Array:
    if not parts:
        return np.zeros((0, 3), np.int64)
    table = np.concatenate(parts)
    return table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]


def describe(network: SpikingNetwork) -> dict[str, Any]:
    """Return what counts and energies need to know of a network, as plain values."""
    return {
        "populations": [
            {
                "name": p.name,
                "size": p.size,
                "start": p.start,
                "reset": p.reset,
                "encoder": p.encoder,
                "max_spikes": p.max_spikes,
                "signed": p.signed,
            }
            for p in network.populations
        ],
        "projections": [
            {
                "pre": j.pre,
                "post": j.post,
                "n_pre": int(j.weight.shape[1]),
                "n_post": int(j.weight.shape[0]),
                "synapses": int(j.weight.nnz) if hasattr(j.weight, "nnz") else int(np.prod(j.weight.shape)),
                "delay": j.delay if isinstance(j.delay, str) else int(j.delay),
            }
            for j in network.projections
        ],
        "depth": network.depth,
        "input_size": network.input_size,
        "protocol_steps": network.protocol.pre_steps if network.protocol else 0,
    }


def check_record(record: Record, network: SpikingNetwork, n_samples: int) -> None:
    """Raise EngineError where ``record`` names populations or samples that do not exist."""
    names = {p.name for p in network.populations}
    for what, wanted in (("potentials", record.potentials), ("spikes", record.spikes)):
        unknown = [w for w in wanted if w not in names]
        if unknown:
            raise EngineError(f"record.{what}: no population {unknown[0]!r}; there are {', '.join(sorted(names))}")
    if record.stream_to is not None and not record.spikes:
        raise EngineError("record.stream_to needs record.spikes: which populations to stream")
    if record.potentials and not record.samples:
        raise EngineError("record.potentials needs record.samples: which samples to watch")
    outside = [s for s in record.samples if not 0 <= s < n_samples]
    if outside:
        raise EngineError(f"record.samples: {outside[0]} is not among the {n_samples} samples")

"""The plain NumPy step loop: short, slow, obviously right. Every other engine is tested against it.

All samples of a chunk advance together, step by step, population by population, as
``neuro.network`` states. Spikes are kept for as long as the longest delay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import neurons as rules
from ..encoding import spike_train
from ..network import Weight
from ..readout import Reader, decided
from .lowering import Lowered
from .task import Tally, Task

if TYPE_CHECKING:
    from . import EngineOptions

Array = np.ndarray


CHUNK = 256  # samples that advance together unless a batch size is given


def run(low: Lowered, task: Task, options: EngineOptions) -> tuple[Tally, dict[str, Any]]:
    """Run every sample of the task through the network, chunk by chunk."""
    tally = Tally(low, task)
    chunk = task.batch_size or CHUNK
    for first in range(0, task.n_samples, chunk):
        rows = np.arange(first, min(first + chunk, task.n_samples))
        before: dict[str, list[Array]] | None = None
        for position in range(task.n_positions):
            before = _window(low, task, tally, rows, position, before)
        task.report(int(rows[-1]) + 1)
    return tally, {"arithmetic": "int64" if low.exact else "float64", "batch_size": chunk, "versions": {"numpy": np.__version__}}


def _window(
    low: Lowered, task: Task, tally: Tally, rows: Array, position: int, before: dict[str, list[Array]] | None
) -> dict[str, list[Array]]:
    """Run one input (of a sequence) of these rows; return the spikes of every population and relative step."""
    n, depth = len(rows), low.network.depth
    dtype = np.int64 if low.exact else np.float64
    x = task.inputs(rows, position)
    states = {p.name: rules.initial_state(p.spec, p.v_init, n, dtype) for p in low.neurons}
    currents = {p.name: low.currents(p.name, x) for p in low.neurons}
    trains = {
        p.name: spike_train(p.spec, x, task.n_steps, task.sample_index(rows, position), task.seed)
        for p in low.neurons
        if p.spec.encoder is not None
    }
    sent: dict[str, list[Array]] = {p.name: [] for p in low.neurons}
    out = low.neurons[-1]
    reader = Reader(task.readout, out.v_init, out.unit, out.theta, task.n_steps, n)
    alive = np.ones(n, bool)  # samples that no early exit has decided; what they ran up to then counts
    for t in range(task.n_steps + depth - 1):
        for p in low.neurons:
            k = t - p.start
            if not 0 <= k < task.n_steps:
                continue
            if p.spec.encoder is not None:
                fired = next(trains[p.name]).astype(np.int64)
            else:
                drive = np.zeros((n, p.size), dtype)
                bias = p.bias_row(k)
                if bias is not None:
                    drive = drive + bias
                current = currents[p.name]
                if current is not None:
                    drive = drive + current
                for s in low.incoming(p.name):
                    source = low[s.spec.pre]
                    if s.delay is None:
                        if before is not None:
                            drive = drive + deliver(s.weight, before[source.name][k])
                    else:
                        step = t - s.delay - source.start
                        if 0 <= step < task.n_steps:
                            drive = drive + deliver(s.weight, sent[source.name][step])
                fired = rules.step(p.spec, states[p.name], drive, p.theta, p.floor, p.ceiling)
            sent[p.name].append(fired)
            if p.spec.spiking and alive.any():
                tally.count(p.name, rows[alive], position, k, fired[alive])
            tally.watch(p.name, rows[alive], position, k, states[p.name].v[alive])
        k = t - out.start
        if 0 <= k < task.n_steps:
            spikes = sent[out.name][-1] if out.spec.reset is not None else None
            outputs, answers, tied = reader.read(slice(None), k, states[out.name].v, spikes)
            tally.answer(rows[alive], position, k, outputs[alive], answers[alive], tied[alive])
            if task.early_exit is not None and k + 1 >= task.early_exit.min_steps:
                now = alive & decided(outputs, task.early_exit)
                tally.decide(rows[now], np.full(now.sum(), k), outputs[now], answers[now], tied[now])
                alive &= ~now
    return sent


def deliver(weight: Weight, spikes: Array) -> Array:
    """Return spikes (n_samples, n_pre) times weight^T, in the type of the weight."""
    return np.asarray((weight @ spikes.T).T)

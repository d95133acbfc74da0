"""The plain NumPy step loop: short, slow, obviously right. Every other engine is tested against it.

All samples of a chunk advance together, step by step, population by population, as
``neuro.network`` states. Spikes are kept for as long as the longest delay. A network with a presentation
protocol runs population by population instead, each on the whole trains of those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import neurons as rules
from ..encoding import encoding, spike_train
from ..faults import disturb
from ..network import Weight
from ..readout import Reader, decided
from . import protocols
from .lowering import Lowered, Neurons
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
        if low.network.protocol is not None:
            _presentation(low, task, tally, rows)
            task.report(int(rows[-1]) + 1)
            continue
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
    faults = {p.name: task.spike_faults(p.spec, rows, position) for p in low.neurons}
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
            broken = faults[p.name]
            if broken is not None:
                fired = disturb(fired, *next(broken))
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


# -- presentation protocols -------------------------------------------------------------------------


def _presentation(low: Lowered, task: Task, tally: Tally, rows: Array) -> None:
    """Run the protocol of a network on these rows: SRP or COS, then the T steps that count."""
    x, steps = task.inputs(rows), protocols.layer_steps(low.network)
    on = max(task.n_steps, steps)  # trains are as long as the longest listener hears them
    ordered = sorted(low.neurons, key=lambda p: p.start)
    sent = {p.name: _encoded(p, x, task, rows, on) for p in ordered if p.spec.encoder is not None}
    chosen = protocols.subjects(low.network)
    masks: dict[str, Array] = {}
    if low.network.protocol is not None and low.network.protocol.kind == "srp":
        trial = dict(sent)
        for p in ordered:
            if p.name in chosen:
                v, trial[p.name] = _train(low, p, x, trial, steps)[:2]
                masks[p.name] = protocols.mask_of(low.network, p, v[-1])
                _count_trial(low, tally, p, trial, steps)
    potentials = {}
    for p in ordered:
        if p.spec.encoder is not None:
            continue
        first, n_steps = None, task.n_steps
        if p.name in chosen and not masks:
            first, n_steps = _shifted(low, tally, p, x, sent, steps), on
        potentials[p.name], fired = _train(low, p, x, sent, n_steps, first)
        sent[p.name] = [f * masks[p.name] for f in fired] if masks and p.name in chosen else fired
    _tally_presentation(low, task, tally, rows, sent, potentials)


def _encoded(p: Neurons, x: Array, task: Task, rows: Array, n_steps: int) -> list[Array]:
    length = n_steps if encoding(str(p.spec.encoder)).prefix else task.n_steps
    train = [f.astype(np.int64) for f in spike_train(p.spec, x, length, task.sample_index(rows), task.seed)]
    return train + [np.zeros_like(train[0])] * (n_steps - length)


def _train(
    low: Lowered, p: Neurons, x: Array, sent: dict[str, list[Array]], n_steps: int, v_init: Array | None = None
) -> tuple[list[Array], list[Array]]:
    """Run one population on the trains of those below; return potentials and spikes of every relative step."""
    dtype = np.int64 if low.exact else np.float64
    state = rules.initial_state(p.spec, p.v_init if v_init is None else v_init, len(x), dtype)
    current = low.currents(p.name, x)
    potentials, fired = [], []
    for k in range(n_steps):
        drive = np.zeros((len(x), p.size), dtype)
        for part in (p.bias_row(k), current):
            drive = drive if part is None else drive + part
        for s in low.incoming(p.name):
            drive = drive + deliver(s.weight, sent[s.spec.pre][k])
        fired.append(rules.step(p.spec, state, drive, p.theta, p.floor, p.ceiling))
        potentials.append(state.v)
    return potentials, fired


def _shifted(low: Lowered, tally: Tally, p: Neurons, x: Array, sent: dict[str, list[Array]], steps: int) -> Array:
    """Run COS's pre-steps of one population; return where it starts, (n_samples, size)."""
    assert p.theta is not None
    potentials, fired = _train(low, p, x, sent, steps)
    seen = protocols.Extremes(len(x), p.size)
    for v, n in zip(potentials, fired, strict=True):
        seen.see(slice(None), v, n > 0, p.theta)
    _count_trial(low, tally, p, {**sent, p.name: fired}, steps)
    return protocols.start_of(low.network, p, potentials[-1], seen.lowest, seen.highest)


def _count_trial(low: Lowered, tally: Tally, p: Neurons, sent: dict[str, list[Array]], steps: int) -> None:
    tally.trial_spikes[p.name] += int(sum(np.abs(n).sum() for n in sent[p.name]))
    for s in low.incoming(p.name):
        heard = sum(np.abs(n).sum(axis=0) for n in sent[s.spec.pre][:steps])
        tally.trial_operations[s.name] += int(heard @ tally.fan_out[s.name])


def _tally_presentation(
    low: Lowered, task: Task, tally: Tally, rows: Array, sent: dict[str, list[Array]], potentials: dict[str, list[Array]]
) -> None:
    """Read the answers, then count what ran until each sample was decided."""
    out, rule = low.neurons[-1], task.early_exit
    reader = Reader(task.readout, out.v_init, out.unit, out.theta, task.n_steps, len(rows))
    last = np.full(len(rows), task.n_steps - 1)  # the step of the read-out at which each sample ends
    alive = np.ones(len(rows), bool)
    for k in range(task.n_steps):
        spikes = sent[out.name][k] if out.spec.reset is not None else None
        outputs, answers, tied = reader.read(slice(None), k, potentials[out.name][k], spikes)
        tally.answer(rows[alive], 0, k, outputs[alive], answers[alive], tied[alive])
        if rule is not None and k + 1 >= rule.min_steps:
            now = alive & decided(outputs, rule)
            tally.decide(rows[now], np.full(now.sum(), k), outputs[now], answers[now], tied[now])
            last[now], alive = k, alive & ~now
    begin = protocols.starts(low.network)
    for p in low.neurons:
        for k in range(task.n_steps):
            ran = begin[p.name] + k <= begin[out.name] + last
            if p.spec.spiking and ran.any():
                tally.count(p.name, rows[ran], 0, k, sent[p.name][k][ran])
            if p.name in potentials:
                tally.watch(p.name, rows[ran], 0, k, potentials[p.name][k][ran])

"""The default engine: Brian2 with a batch of replicas, one shared weight matrix, event-driven delivery.

Each population is one NeuronGroup of replicas x neurons. Four small objects join Brian2's own
in its schedule, so that one ``run()`` serves the whole data set:

* ``Presenter`` (start) lets the next sample into each slot of the batch and opens the windows of the populations;
* ``Arrivals`` (synapses) adds bias, current and the weights of spikes to the potentials of a population;
* Brian2's own update (groups, only for rules beyond plain integrate-and-fire), threshold and reset;
* ``Collector`` (end) counts spikes, keeps those that are still travelling, and reads the answer.

A slot has its own clock: a sample that enters at step s runs population p in [s + p.start, s + p.start + T),
and the next sample enters at s + T, or right after the decision where a sample is decided early. So n batches
take n T + L - 1 steps. Neurons of a slot outside their window rest at v = 0 with no drive and cannot fire.

A network with a presentation protocol is unrolled first (``protocols``): beside a population stands its trial, a population
with a window of its own; what the trial found out is used when the population's window opens.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..encoding import encoding, spike_train
from ..errors import EngineError
from ..faults import disturb
from ..readout import Reader, decided
from . import protocols
from . import replicas as batch
from .brian import brian2
from .delivery import Delivery, Firing, Spikes, load_kernels
from .lowering import Lowered, Neurons, Synapses, lower
from .model import SCHEDULE, Clock, code_object_class, compiling, interruptible, neuron_group, state_type
from .task import Tally, Task

if TYPE_CHECKING:
    from . import EngineOptions

Array = np.ndarray
T = TypeVar("T")

# Brian2 objects that are still alive when the interpreter exits print traces from their __del__.
atexit.register(gc.collect)

def run(low: Lowered, task: Task, options: EngineOptions) -> tuple[Tally, dict[str, Any]]:
    """Run every sample of the task in one Brian2 ``run()``."""
    if type(brian2.get_device()).__name__ != "RuntimeDevice":
        raise EngineError(
            "Brian2's device was set to something other than 'runtime' in this process; "
            "call brian2.set_device('runtime'), or run the simulation in a process of its own"
        )
    tally = Tally(low, task)
    replicas = batch(low.network, task.n_samples, "batched", options)
    if task.n_samples:
        plan = protocols.unrolled(low.network, task.n_steps) if low.network.protocol is not None else None
        with _old_objects_left_alone():
            described = _Simulation(low, task, options, tally, replicas, plan).run()
    else:
        described = {}
    return tally, {
        "target": options.target,
        "batch_size": replicas,
        "arithmetic": "integers" if low.exact else "float64",
        "versions": {"brian2": brian2.__version__, "numpy": np.__version__},
        **described,
    }


@contextlib.contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Keep garbage collection to what is made inside, and collect that at the end.

    Brian2 collects garbage at the start of every run, which looks at every object of the process: 0.1 to 0.4 s once
    large libraries are loaded. What a run leaves behind holds potentials of a batch and refers to itself, so it is let go here.
    """
    if gc.get_freeze_count():  # somebody else's, and not ours to undo
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()


class _Layer:
    """One population at work: its group, its arrays as (replicas, size) views, its windows and its travelling spikes."""

    def __init__(
        self,
        low: Lowered,
        neurons: Neurons,
        index: int,
        sim_args: tuple[Task, EngineOptions, int, Any],
        bound: float,
        fused: bool,
    ) -> None:
        task, options, replicas, clock = sim_args
        self.neurons, self.size = neurons, neurons.size
        self.n_steps = task.n_steps  # of its window
        self.trial: _Layer | None = None
        self.mask: Array | None = None  # of a population behind a trial of SRP: which neurons may send
        self.seen: protocols.Extremes | None = None  # of a trial of COS
        self.result: Array | None = None  # of a trial: what it found out, one row a slot
        self.neuron_counts = np.zeros(neurons.size, np.int64)
        self.encoded = neurons.spec.encoder is not None
        self.sample = np.full(replicas, -1)  # which sample a slot works on; -1: none
        self.began = np.zeros(replicas, np.int64)  # the step at which its window began
        self.rows = np.zeros(0, np.int64)  # slots inside their window
        self.graded = neurons.spec.max_spikes > 1 or neurons.spec.signed
        self.per_row = np.zeros(replicas, np.int64)
        self.trains: list[tuple[Array, Array, Iterator[Array]]] = []  # of an encoder: (slots, samples, spikes of each step)
        self.broken: list[tuple[Array, Array, Iterator[tuple[Array, Array]]]] = []  # (slots, samples, lost and spurious of each step)
        self.ring: deque[Spikes] = deque()
        self.group: Any = None
        self.firing: Firing | None = None
        if self.encoded:
            return
        kind = state_type(neurons, bound, low.exact)
        if fused and neurons.simple:
            self.firing = Firing(neurons, replicas, kind, neurons.reaches_bounds(bound))
            self.per_row = self.firing.per_row
        self.direct = neurons.plain or self.firing is not None
        self.group, _ = neuron_group(
            neurons, index, replicas, kind, clock, code_object_class(options.target), self.direct, self.firing is not None
        )
        arrays = self.group.variables
        self.v = arrays["v"].get_value().reshape(replicas, self.size)
        self.target = self.v if self.direct else arrays["I"].get_value().reshape(replicas, self.size)
        self.extra = [arrays[name].get_value().reshape(replicas, self.size) for name in ("m", "r", "n") if name in arrays]
        self.n = arrays["n"].get_value() if "n" in arrays else None
        self.v_init: Array = neurons.v_init.astype(kind)
        self.space = arrays["_spikespace"].get_value() if "_spikespace" in arrays else None
        self.has_port = any(p.post == neurons.name for p in low.ports)
        self.by_step = neurons.bias is not None and neurons.bias.ndim == 2
        bias = np.zeros(self.size) if neurons.bias is None or self.by_step else neurons.bias
        self.bias: Array = bias.astype(kind)
        own = self.has_port or self.by_step
        self.base: Array = np.zeros((replicas if own else 1, self.size), kind)
        self.own = int(own)
        if not own:
            self.base[0] = self.bias

    def rest(self, rows: Array) -> None:
        """Take these slots out of their window: nothing drives them and they cannot fire."""
        self.sample[rows] = -1
        if not self.encoded:
            self.v[rows] = 0
            self.target[rows] = 0
            for array in self.extra:
                array[rows] = 0
        self.rows = np.flatnonzero(self.sample >= 0)


class _Simulation:
    def __init__(
        self, low: Lowered, task: Task, options: EngineOptions, tally: Tally, replicas: int, plan: protocols.Unrolled | None
    ) -> None:
        self.source = low  # the network as given; ``low`` is the one that runs
        low = low if plan is None else lower(plan.network)
        self.low, self.task, self.tally, self.replicas, self.plan = low, task, tally, replicas, plan
        self.target = options.target
        self.period = task.n_steps if plan is None else plan.period
        self.t = -1
        self.depth = low.network.depth
        self.kernel_name, self.kernels = load_kernels(options.kernel)
        self.clock = Clock(dt=options.dt * brian2.second, name="spikeport_clock*")
        x_max = float(np.abs(task.x).max()) if task.x.size else 0.0
        bounds = low.largest(self.period, x_max)
        if plan is not None:
            for main, trial in plan.trials.items():  # COS starts a population as far off as its trial went
                bounds[main] += bounds[trial] + 3 * float(np.max(np.asarray(low[main].theta)))
        args = (task, options, replicas, self.clock)
        # Protocols look at potentials and masks between threshold and reset, so their neurons stay with Brian2; so do those whose
        # spikes fail, which are gone through one by one after all.
        fused = options.neurons == "auto" and self.kernel_name == "numba" and plan is None and task.faults is None
        self.layers = {n.name: _Layer(low, n, i, args, bounds[n.name], fused) for i, n in enumerate(low.neurons)}
        self.incoming: dict[str, list[tuple[_Layer, Synapses, Delivery]]] = {name: [] for name in self.layers}
        for s in low.synapses:
            pre = self.layers[s.spec.pre]
            most = low[s.spec.pre].spec.max_spikes
            delivery = Delivery(s, low.exact, self.kernel_name, options.delivery, pre.graded, most)
            self.incoming[s.spec.post].append((pre, s, delivery))
        for name, layer in self.layers.items():
            delays = [self._delay(s) for s in low.synapses if s.spec.pre == name]
            layer.ring = deque(maxlen=max(delays, default=1))
        self.trials: dict[str, str] = {}  # {trial: its population}
        if plan is not None:
            self._add_trials(plan)
        for name, layer in self.layers.items():
            if name in tally.neuron_counts and layer.n_steps == task.n_steps:
                layer.neuron_counts = tally.neuron_counts[name]
                if layer.firing is not None:
                    layer.firing.neuron_counts = layer.neuron_counts
        out = low.neurons[-1]
        self.out = self.layers[out.name]
        self.reader = Reader(task.readout, out.v_init, out.unit, out.theta, task.n_steps, replicas)
        self.alive = np.ones(task.n_samples, bool)
        self.entries: deque[tuple[Array, Array]] = deque(maxlen=self.depth)  # (slots, samples) of the last L steps
        self.next_entry = np.zeros(replicas, np.int64)
        self.position = np.zeros(replicas, np.int64)
        self.current_sample = np.full(replicas, -1)
        self.queue = 0
        self.finished = 0
        self.block: dict[str, tuple[int, int, Array]] = {}
        self.network = brian2.Network(name="spikeport_network*")
        self.network.schedule = SCHEDULE
        for layer in self.layers.values():
            if layer.group is not None:
                self.network.add(layer.group)
        for when, function in (("start", self._present), ("synapses", self._arrive_all), ("end", self._collect_all)):
            self.network.add(_Slot(when, self.clock, function))

    def _add_trials(self, plan: protocols.Unrolled) -> None:
        protocol = self.source.network.protocol
        for name, layer in self.layers.items():
            layer.n_steps = plan.windows[name]
        for main, trial in plan.trials.items():
            layer, before = self.layers[main], self.layers[trial]
            layer.trial, self.trials[trial] = before, main
            if protocol is not None and protocol.kind == "srp":
                layer.mask = np.ones((self.replicas, layer.size), bool)
                before.result = np.ones((self.replicas, layer.size), bool)
            else:
                before.seen = protocols.Extremes(self.replicas, layer.size)
                before.result = np.zeros((self.replicas, layer.size))

    def _delay(self, s: Synapses) -> int:
        if s.delay is not None:
            return s.delay
        return self.task.n_steps + self.low[s.spec.post].start - self.low[s.spec.pre].start

    def run(self) -> dict[str, Any]:
        """Run until every sample has its answer; let Brian2's objects go afterwards. Return what was used, for the Recording."""
        task = self.task
        batches = -(-task.n_samples // self.replicas)
        steps = batches * task.n_positions * self.period + self.depth - 1
        try:
            with interruptible(), compiling(self.target):
                self.network.run(steps * self.clock.dt, namespace={})
        finally:
            self.kernel_used = {d.name: d.description for found in self.incoming.values() for _, _, d in found}
            self.network.remove(*self.network.objects)
        if self.finished != task.n_samples:
            raise EngineError(f"{self.finished} of {task.n_samples} samples were answered; this is a fault of the engine")
        task.report(task.n_samples)
        versions = {} if self.kernel_name == "scipy" else {"kernel": "numba"}
        return {"delivery": self.kernel_used, "kernel": self.kernel_name, "brian2_steps": self.t + 1, **versions}

    # -- start -----------------------------------------------------------------------------------

    def _present(self) -> None:
        """Let samples enter, open windows that begin at this step, close those that ended."""
        self.t += 1
        t = self.t
        self.entries.append(self._enter(t))
        for layer in self.layers.values():
            ended = layer.rows[t - layer.began[layer.rows] >= layer.n_steps] if len(layer.rows) else layer.rows
            if len(ended):
                if layer.result is not None:
                    self._conclude(layer, layer.result, ended)
                layer.rest(ended)
            if layer.neurons.start < len(self.entries):
                slots, samples = self.entries[-1 - layer.neurons.start]
                if len(slots):
                    kept = self.alive[samples]
                    self._open(layer, slots[kept], samples[kept], t)

    def _conclude(self, trial: _Layer, result: Array, slots: Array) -> None:
        """Keep what a trial found out: masks (SRP) or initial potentials (COS) of its population."""
        network, seen, v = self.source.network, trial.seen, trial.v[slots]
        if seen is None:
            result[slots] = protocols.mask_of(network, trial.neurons, v)
        else:
            result[slots] = protocols.start_of(network, trial.neurons, v, seen.lowest[slots], seen.highest[slots])

    def _enter(self, t: int) -> tuple[Array, Array]:
        task = self.task
        slots = np.flatnonzero(self.next_entry == t)
        if not len(slots):
            return slots, slots
        again = (self.current_sample[slots] >= 0) & (self.position[slots] + 1 < task.n_positions)
        fresh = slots[~again]
        n_new = min(len(fresh), task.n_samples - self.queue)
        self.position[slots[again]] += 1
        self.position[fresh] = 0
        self.current_sample[fresh] = -1
        self.current_sample[fresh[:n_new]] = np.arange(self.queue, self.queue + n_new)
        self.next_entry[fresh[n_new:]] = -1  # nothing is left for these slots
        self.queue += n_new
        if n_new:
            task.report(self.queue - n_new)
        entered = slots[self.current_sample[slots] >= 0]
        self.next_entry[entered] = t + self.period
        return entered, self.current_sample[entered]

    def _open(self, layer: _Layer, slots: Array, samples: Array, t: int) -> None:
        if not len(slots):
            return
        task = self.task
        layer.sample[slots] = samples
        layer.began[slots] = t
        layer.rows = np.flatnonzero(layer.sample >= 0)
        position = self._position_of(layer, t)
        faults = task.spike_faults(layer.neurons.spec, samples, position)
        if faults is not None:
            layer.broken.append((slots, samples, faults))
        if layer.encoded:
            x = task.inputs(samples, position)
            length = layer.n_steps if encoding(str(layer.neurons.spec.encoder)).prefix else task.n_steps
            train = spike_train(layer.neurons.spec, x, length, task.sample_index(samples, position), task.seed)
            layer.trains.append((slots, samples, train))
            return
        layer.v[slots] = layer.v_init
        if layer.seen is not None:
            layer.seen.begin(slots)
        if layer.trial is not None and layer.trial.result is not None:
            if layer.mask is not None:
                layer.mask[slots] = layer.trial.result[slots]
            else:
                layer.v[slots] = layer.trial.result[slots]
        for array in layer.extra:
            array[slots] = 0
        if layer.has_port:
            layer.base[slots] = self._driven(layer, samples, position)
        if layer is self.out:
            self.reader.begin(slots)

    def _position_of(self, layer: _Layer, t: int) -> int:
        """Return the position in the sequence at which a population is; all slots keep step in sequences."""
        if self.task.n_positions == 1:
            return 0
        return ((t - layer.neurons.start) // self.task.n_steps) % self.task.n_positions

    def _driven(self, layer: _Layer, samples: Array, position: int) -> Array:
        """Return current and bias of the first layer; computed for blocks of samples, so that slots that refill early stay cheap."""
        name = layer.neurons.name
        first, at, block = self.block.get(name, (0, -1, np.zeros((0, 0))))
        inside = at == position and len(samples) and samples[0] >= first and samples[-1] < first + len(block)
        if not inside:
            first = int(samples[0])
            rows = np.arange(first, min(first + max(self.replicas, len(samples)), self.task.n_samples))
            computed = self.low.currents(name, self.task.inputs(rows, position))
            assert computed is not None
            block = computed.astype(layer.base.dtype)
            block += layer.bias
            self.block[name] = (first, position, block)
            if np.array_equal(rows, samples):
                return block
        return block[samples - first]

    # -- synapses --------------------------------------------------------------------------------

    def _arrive_all(self) -> None:
        for layer in self.layers.values():
            if layer.group is not None:
                self._arrive(layer)

    def _arrive(self, layer: _Layer) -> None:
        """Sum bias, current and arrivals of this step into the potentials (or the drive) of a population."""
        rows, firing = layer.rows, layer.firing
        if firing is not None:
            firing.begin()
        if not len(rows):
            return
        if not layer.direct:
            layer.target[rows] = 0
        if layer.by_step:
            self._bias_of_step(layer, rows)
        base: Array | None = layer.base
        arriving = self._arriving(layer)
        for heard, spikes, delivery in arriving:
            alone = firing if firing is not None and firing.fires and len(arriving) == 1 else None
            if len(heard) < len(rows):
                alone = None
                if base is not None:
                    self.kernels.add_base(layer.target, rows, base, layer.own)
                    base = None
            delivery.add(layer.target, heard, spikes, base, layer.own, alone)
            base = None
        if firing is not None:
            firing.apply(self.kernels, layer.v, rows, layer.base, layer.own, base is not None)
        elif base is not None:
            self.kernels.add_base(layer.target, rows, base, layer.own)

    def _arriving(self, layer: _Layer) -> list[tuple[Array, Spikes, Delivery]]:
        """Return the spikes that arrive at a population in this step, the slots that hear them, and what delivers them."""
        found = []
        for pre, s, delivery in self.incoming[layer.neurons.name]:
            delay = self._delay(s)
            if len(pre.ring) >= delay and not (s.delay is None and self._position_of(layer, self.t) == 0):
                # Over a loop, what was sent before the window began belongs to another sample.
                heard = layer.rows if not s.lag else layer.rows[self.t - layer.began[layer.rows] >= s.lag]
                if len(heard):
                    found.append((heard, pre.ring[-delay], delivery))
        return found

    def _bias_of_step(self, layer: _Layer, rows: Array) -> None:
        step = self.t - layer.began[rows]
        if layer.has_port:
            bias = layer.neurons.bias
            assert bias is not None
            layer.neurons.bias_row(int(step.max()))
            before = np.where((step > 0)[:, None], bias[np.maximum(step - 1, 0)], 0)
            layer.base[rows] += (bias[step] - before).astype(layer.base.dtype)
        else:
            for k in np.unique(step):
                layer.base[rows[step == k]] = layer.neurons.bias_row(int(k))

    # -- end -------------------------------------------------------------------------------------

    def _collect_all(self) -> None:
        for layer in self.layers.values():
            self._collect(layer)

    def _collect(self, layer: _Layer) -> None:
        """Count the spikes of a population, keep them for their delay, read the answer from the last one."""
        rows = layer.rows
        spikes = None
        if self.task.faults is not None and layer.neurons.spec.spiking:
            spikes = self._disturbed(layer)
        elif layer.encoded:
            spikes = self._encoded_spikes(layer)
        elif layer.firing is not None:
            spikes = self._fired(layer, layer.firing)
        elif layer.space is not None:
            spikes = self._spikes(layer)
        if spikes is not None:
            layer.ring.append(spikes)
            if len(rows):
                self._count(layer, rows, spikes)
        if layer.seen is not None and spikes is not None and len(rows):
            assert layer.neurons.theta is not None
            fired = self._dense(spikes, layer.size)[rows] != 0
            layer.seen.see(rows, layer.v[rows], fired, layer.neurons.theta)
        if layer.neurons.name in self.tally.potentials and len(rows):
            for k, position, part in self._by_step(layer, rows):
                self.tally.watch(layer.neurons.name, layer.sample[part], position, k, layer.v[part])
        if layer is self.out and len(rows):
            self._read(layer, rows, spikes)

    def _fired(self, layer: _Layer, firing: Firing) -> Spikes | None:
        """Return the spikes of the compiled loop; a population outside its window sends none."""
        if not firing.fires:
            return None
        if firing.spikes is None:
            layer.per_row[:] = 0
            return Spikes(np.zeros(self.replicas + 1, np.int64), np.zeros(0, np.int32), None, 0)
        return firing.spikes

    def _spikes(self, layer: _Layer) -> Spikes:
        assert layer.space is not None
        count = int(layer.space[-1])
        if layer.mask is not None:
            return self._masked(layer, layer.mask, count)
        ptr, col = np.empty(self.replicas + 1, np.int64), np.empty(count, np.int32)
        neuron = layer.neuron_counts
        if not layer.graded:
            self.kernels.split(layer.space, count, layer.size, ptr, col, layer.per_row, neuron)
            return Spikes(ptr, col, None, count)
        assert layer.n is not None
        val = np.empty(count, np.int32)
        self.kernels.split_graded(layer.space, count, layer.size, layer.n, ptr, col, val, layer.per_row, neuron)
        return Spikes(ptr, col, val, count)

    def _masked(self, layer: _Layer, mask: Array, count: int) -> Spikes:
        """Return the spikes of the neurons that SRP lets send."""
        assert layer.space is not None
        events = layer.space[:count]
        events = events[mask.reshape(-1)[events]]
        row, col = np.divmod(events, layer.size)
        val = layer.n[events].astype(np.int32) if layer.graded and layer.n is not None else None
        size = np.ones(len(col), np.int64) if val is None else np.abs(val)
        layer.neuron_counts += np.bincount(col, weights=size, minlength=layer.size).astype(np.int64)
        layer.per_row[:] = np.bincount(row, weights=size, minlength=self.replicas).astype(np.int64)
        ptr = np.zeros(self.replicas + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=self.replicas), out=ptr[1:])
        return Spikes(ptr, col.astype(np.int32), val, len(col))

    def _dense(self, spikes: Spikes, size: int) -> Array:
        """Return the spikes of a step as a (replicas, size) int64 array."""
        dense = np.zeros((self.replicas, size), np.int64)
        row = np.repeat(np.arange(self.replicas), np.diff(spikes.ptr))
        dense[row, spikes.col] = 1 if spikes.val is None else spikes.val
        return dense

    def _encoded_spikes(self, layer: _Layer) -> Spikes:
        fired = self._encoded(layer)
        slot, col = np.nonzero(fired)
        layer.per_row[:] = np.bincount(slot, minlength=self.replicas)
        layer.neuron_counts += np.bincount(col, minlength=layer.size)
        ptr = np.zeros(self.replicas + 1, np.int64)
        np.cumsum(layer.per_row, out=ptr[1:])
        return Spikes(ptr, col.astype(np.int32), None, len(col))

    def _encoded(self, layer: _Layer) -> Array:
        """Return the spikes that an encoder sends in this step, (replicas, size) bool."""
        fired = np.zeros((self.replicas, layer.size), bool)
        for slots, still, row in _advanced(layer, layer.trains):
            fired[slots] = row[still]
        return fired

    def _disturbed(self, layer: _Layer) -> Spikes:
        """Return the spikes of a step as they arrive, some lost and some added."""
        shape = (self.replicas, layer.size)
        if layer.encoded:
            sent = self._encoded(layer).astype(np.int64)
        else:
            assert layer.space is not None
            sent = np.zeros(shape, np.int64)
            events = layer.space[: int(layer.space[-1])]
            sent.reshape(-1)[events] = 1 if layer.n is None else layer.n[events]
        lost, spurious = np.zeros(shape, bool), np.zeros(shape, bool)
        for slots, still, (gone, added) in _advanced(layer, layer.broken):
            lost[slots], spurious[slots] = gone[still], added[still]
        arrived = disturb(sent, lost, spurious)
        size = np.abs(arrived)
        layer.per_row[:] = size.sum(axis=1)
        layer.neuron_counts += size.sum(axis=0)
        row, col = np.nonzero(arrived)
        ptr = np.zeros(self.replicas + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=self.replicas), out=ptr[1:])
        val = arrived[row, col].astype(np.int32) if layer.graded else None
        return Spikes(ptr, col.astype(np.int32), val, len(col))

    def _by_step(self, layer: _Layer, rows: Array) -> Iterator[tuple[int, int, Array]]:
        """Yield (relative step, position, slots) for the slots of a population; one group unless samples exit early."""
        if layer.n_steps > self.task.n_steps:  # steps beyond T are heard by a trial and not recorded
            rows = rows[self.t - layer.began[rows] < self.task.n_steps]
            if not len(rows):
                return
        steps = self.t - layer.began[rows]
        position = self._position_of(layer, self.t)
        if self.task.early_exit is None:
            yield int(steps[0]), position, rows
            return
        for k in np.unique(steps):
            yield int(k), position, rows[steps == k]

    def _count(self, layer: _Layer, rows: Array, spikes: Spikes) -> None:
        tally, name = self.tally, layer.neurons.name
        if self.plan is not None:
            rows = self._count_trials(layer, rows, spikes, self.plan)
            if not len(rows):
                return
        samples, counts = layer.sample[rows], layer.per_row[rows]
        # Without early exit the slots of a batch hold one stretch of samples in order, and a stretch is quicker than its elements.
        here = samples if self.task.early_exit is not None else slice(samples[0], samples[-1] + 1)
        tally.spike_counts[name][here] += counts
        if self.task.early_exit is not None:
            np.add.at(tally.step_counts[name], self.t - layer.began[rows], counts)
        else:
            tally.step_counts[name][self.t - layer.began[rows[0]]] += counts.sum()
        position = self._position_of(layer, self.t)
        for s in self.source.synapses:
            if s.spec.pre == name and tally.delivers(s, position):
                arriving = self._operations(s.name, layer, spikes)[rows]
                if s.lag:  # what would arrive after the window is dropped
                    arriving = arriving * (self.t - layer.began[rows] + s.lag < self.task.n_steps)
                tally.synaptic_operations[s.name][here] += arriving
        watched = rows[tally.wanted(samples)] if name in tally.spiking_wanted else rows[:0]
        if len(watched):
            dense = self._dense(spikes, layer.size)
            for k, position, part in self._by_step(layer, watched):
                tally.keep(name, layer.sample[part], position, k, dense[part])
        if tally.shorter:  # without early exit, so that all slots keep step
            tally.passed(name, samples, self.t - int(layer.began[rows[0]]))

    def _count_trials(self, layer: _Layer, rows: Array, spikes: Spikes, plan: protocols.Unrolled) -> Array:
        """Count what a protocol's pre-steps cost; return the slots whose step is one of the T that count."""
        tally, name, steps = self.tally, layer.neurons.name, self.t - layer.began[rows]
        for s in self.low.synapses:
            if s.spec.pre == name and s.spec.post in self.trials:
                source = f"{self.trials.get(name, name)}->{self.trials[s.spec.post]}"
                heard = rows[steps < plan.layer_steps]
                tally.trial_operations[source] += int(self._operations(source, layer, spikes)[heard].sum())
        if name in self.trials:
            tally.trial_spikes[self.trials[name]] += int(layer.per_row[rows].sum())
            return rows[:0]
        counted = rows[steps < self.task.n_steps]
        if layer.n_steps > self.task.n_steps:
            tally.neuron_counts[name] += np.abs(self._dense(spikes, layer.size)[counted]).sum(axis=0)
        return counted

    def _operations(self, name: str, layer: _Layer, spikes: Spikes) -> Array:
        fan_out = self.tally.fan_out[name]
        if self.tally.uniform[name]:
            return layer.per_row * fan_out[0]
        weights = fan_out[spikes.col] * (1 if spikes.val is None else np.abs(spikes.val))
        row = np.repeat(np.arange(self.replicas), np.diff(spikes.ptr))
        return np.bincount(row, weights=weights, minlength=self.replicas).astype(np.int64)

    def _read(self, layer: _Layer, rows: Array, spikes: Spikes | None) -> None:
        task, tally = self.task, self.tally
        steps = self.t - layer.began[rows]
        n = None
        if spikes is not None:
            n = self._dense(spikes, layer.size)[rows]
        # Without early exit all slots keep step.
        k = steps if task.early_exit is not None else int(steps[0])
        outputs, answers, tied = self.reader.read(rows, k, layer.v[rows], n)
        done = np.zeros(len(rows), bool)
        if task.early_exit is not None:
            done = decided(outputs, task.early_exit) & (steps + 1 >= task.early_exit.min_steps)
        for step, position, part in self._by_step(layer, rows):
            chosen = np.isin(rows, part) if task.early_exit is not None else slice(None)
            tally.answer(layer.sample[part], position, step, outputs[chosen], answers[chosen], tied[chosen])
            if step == task.n_steps - 1 and position == task.n_positions - 1:
                self.finished += int((~done[chosen]).sum())
        if done.any():
            self._decide(layer, rows[done], steps[done], outputs[done], answers[done], tied[done])

    def _decide(self, layer: _Layer, slots: Array, steps: Array, outputs: Array, answers: Array, tied: Array) -> None:
        """End these samples: drop what they still run, and let the next ones enter at the next step at the latest."""
        samples = layer.sample[slots]
        self.tally.decide(samples, steps, outputs, answers, tied)
        self.alive[samples] = False
        self.finished += len(slots)
        for other in self.layers.values():
            stopped = np.flatnonzero((other.sample >= 0) & ~self.alive[np.maximum(other.sample, 0)])
            if len(stopped):
                other.rest(stopped)
        # A slot whose next sample has entered already keeps its time; the others refill at the next step.
        waiting = self.current_sample[slots] == samples
        self.next_entry[slots[waiting]] = self.t + 1
        if self.finished == self.task.n_samples:
            self.network.stop()


def _advanced(layer: _Layer, streams: list[tuple[Array, Array, Iterator[T]]]) -> list[tuple[Array, Array, T]]:
    """Take one step of every stream of a layer: (slots that still work on the stream's samples, which they are, the step's value)."""
    found, going = [], []
    for slots, samples, stream in streams:
        value = next(stream, None)
        still = layer.sample[slots] == samples
        if value is not None and still.any():
            found.append((slots[still], still, value))
            going.append((slots, samples, stream))
    streams[:] = going
    return found


class _Slot(brian2.BrianObject):
    """A function of the simulation in one slot of Brian2's schedule."""

    def __init__(self, when: str, clock: Any, function: Callable[[], None]) -> None:
        super().__init__(clock=clock, when=when, name=f"spikeport_{when}*")
        self._function = function

    def run(self) -> None:
        """Run once a step."""
        self._function()

"""The network as a Brian2 user would write it: one replica, NeuronGroups and Synapses.

``build`` returns ordinary Brian2 objects, so that noise, plasticity or monitors can be added
before ``run``. Samples follow each other window by window in one run, as in the batched
engine with a batch of one. Device ``runtime`` (NumPy or Cython), or ``cpp_standalone``: compiled
once, run again with new inputs through ``run_args``, in a process of its own, because
Brian2's device is global; later runs of the same network take the same program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..encoding import spike_train
from ..errors import EngineError
from ..faults import SpikeFaults, check_spike_faults, disturb
from ..network import SpikingNetwork
from ..neurons import brian2_rules
from ..readout import Reader, Readout
from .brian import brian2
from .lowering import LARGEST, Lowered, Neurons, lower
from .model import SCHEDULE, code_object_class, compiling, identifier, interruptible
from .task import Tally, Task

if TYPE_CHECKING:
    from . import EngineOptions

Array = np.ndarray
BLOCK_BYTES = 32 * 2**20  # of currents and spike trains held as TimedArrays at once


@dataclass(eq=False)
class Model:
    """A built network.

    ``network`` runs with ``network.run(n_windows * n_steps + depth - 1 steps)``; see ``duration``. ``groups`` and
    ``synapses`` are by name, ``spikes`` the SpikeMonitors, ``potential`` the StateMonitor of the read-out;
    ``inputs`` the TimedArrays that hold currents, spike trains and faults, by population. Potentials are in units of each
    neuron's grid: ``units[name]`` turns them into the units of the source network.
    """

    network: Any
    duration: Any
    groups: dict[str, Any]
    synapses: dict[str, Any]
    spikes: dict[str, Any]
    potential: Any
    inputs: dict[str, Any]
    units: dict[str, Array]
    watched: dict[str, Any] = field(default_factory=dict)


def build(
    network: SpikingNetwork,
    inputs: Array,
    n_steps: int,
    *,
    dt: float = 1e-3,
    target: str | None = "numpy",
    faults: SpikeFaults | None = None,
    seed: int = 0,
) -> Model:
    """Return the network, presenting ``inputs`` one after the other, as ordinary Brian2 objects.

    Parameters
    ----------
    network : SpikingNetwork (of a deployment: ``deployment.network``).
    inputs : (n_samples, n_in) array, or (n_samples, n_positions, n_in).
    n_steps : T, steps of a window.
    dt : Brian2's time step [s].
    target : ``"numpy"``, ``"cython"``, or None for Brian2's own preference.
    faults : spikes lost and added on their way; Synapses then follow the event ``arrives`` instead of ``spike``.
    seed : of random encodings.

    Raises
    ------
    EngineError : graded spikes over a delay of more than one step, which Synapses cannot carry.
    """
    if faults is not None:
        check_spike_faults(faults)
    low = lower(network)
    task = Task(x=np.asarray(inputs), n_steps=n_steps, readout=Readout(), batch_size=1, seed=seed, faults=faults)
    arrays = input_arrays(low, task, np.arange(task.n_samples))
    return _build(low, task, arrays, task.n_samples * task.n_positions, dt, code_object_class(target) if target else None)


def input_arrays(low: Lowered, task: Task, rows: Array) -> dict[str, Array]:
    """Return currents (n_windows, size) and spike trains (n_windows * T, size) of these samples, by population.

    Beside a population whose spikes fail stands its fault of every step, (n_windows * T, size): 1 lost, 2 spurious, 3 both, whichever applies.
    """
    arrays: dict[str, list[Array]] = {}
    for row in rows:
        for position in range(task.n_positions):
            x = task.inputs(np.array([row]), position)
            for p in low.neurons:
                faults = task.spike_faults(p.spec, np.array([row]), position)
                if p.spec.encoder is not None:
                    train = spike_train(p.spec, x, task.n_steps, task.sample_index(np.array([row]), position), task.seed)
                    if faults is not None:
                        train = (disturb(sent, *gone) for sent, gone in zip(train, faults, strict=True))
                    arrays.setdefault(p.name, []).append(np.concatenate(list(train)).astype(np.float64))
                    continue
                if faults is not None:
                    codes = np.concatenate([lost + 2.0 * spurious for lost, spurious in faults])
                    arrays.setdefault(_of_faults(p.name), []).append(codes)
                if any(port.post == p.name for port in low.ports):
                    current = low.currents(p.name, x)
                    assert current is not None
                    arrays.setdefault(p.name, []).append(current.astype(np.float64))
    return {name: np.concatenate(parts) for name, parts in arrays.items()}


def _build(low: Lowered, task: Task, arrays: Mapping[str, Array], n_windows: int, dt: float, code_class: Any) -> Model:
    _check(low, task)
    clock = brian2.Clock(dt=dt * brian2.second, name="spikeport_clock*")
    inputs: dict[str, Any] = {}
    groups, synapses, spikes = {}, {}, {}
    for index, p in enumerate(low.neurons):
        span = 1 if p.spec.encoder is not None else task.n_steps
        if p.name in arrays:
            inputs[p.name] = brian2.TimedArray(
                arrays[p.name], dt=span * clock.dt, name=identifier(index, p.name).replace("*", "_in*")
            )
        if _of_faults(p.name) in arrays:
            inputs[_of_faults(p.name)] = brian2.TimedArray(
                arrays[_of_faults(p.name)], dt=clock.dt, name=identifier(index, p.name).replace("*", "_faults*")
            )
        echo = task.n_positions if any(s.delay is None and s.spec.post == p.name for s in low.synapses) else 0
        lags = sorted({s.lag for s in low.incoming(p.name) if s.lag})
        given = (inputs.get(p.name), inputs.get(_of_faults(p.name)))
        groups[p.name] = _group(p, index, task.n_steps, n_windows, clock, given, code_class, echo, lags)
    for index, s in enumerate(low.synapses):
        if not np.any(s.weight.data if sp.issparse(s.weight) else s.weight):
            continue  # Brian2 refuses Synapses without a synapse
        synapses[s.name] = _synapses(low, index, groups, task.n_steps, clock, code_class)
    for p in low.neurons:
        if p.spec.spiking:
            graded = ["n"] if _graded(p) else None
            if _event(groups[p.name]) == "spike":
                spikes[p.name] = brian2.SpikeMonitor(groups[p.name], variables=graded, codeobj_class=code_class)
            else:
                spikes[p.name] = brian2.EventMonitor(groups[p.name], _event(groups[p.name]), codeobj_class=code_class)
    out = low.neurons[-1]
    watched = {}
    for name in {out.name, *task.record.potentials}:
        watched[name] = brian2.StateMonitor(
            groups[name], "v", record=True, when="end", clock=clock, codeobj_class=code_class
        )
    net = brian2.Network(*groups.values(), *synapses.values(), *spikes.values(), *watched.values(), name="spikeport_network*")
    net.schedule = SCHEDULE
    steps = n_windows * task.n_steps + low.network.depth - 1
    units = {p.name: p.unit for p in low.neurons}
    return Model(net, steps * clock.dt, groups, synapses, spikes, watched[out.name], inputs, units, watched)


def _graded(p: Neurons) -> bool:
    return p.spec.max_spikes > 1 or p.spec.signed


def _of_faults(name: str) -> str:
    """Return the name under which the faults of a population's spikes are given."""
    return f"{name} (faults)"


def _event(group: Any) -> str:
    """Return the event of a group's spikes as they arrive."""
    return "arrives" if "arrives" in group.events else "spike"


def _check(low: Lowered, task: Task) -> None:
    if low.network.protocol is not None:
        raise EngineError(f"engine 'synapses' cannot run the protocol {low.network.protocol.kind!r}; use 'batched' or 'reference'")
    graded = [p.name for p in low.neurons if _graded(p)]
    if graded and task.faults is not None:
        raise EngineError(
            f"engine 'synapses' cannot lose or add burst or signed spikes ({', '.join(graded)}): "
            "Synapses read the value of a spike from the neuron that sent it; use 'batched' or 'reference'"
        )
    for s in low.synapses:
        if _graded(low[s.spec.pre]) and s.delay != 1:
            raise EngineError(
                f"engine 'synapses' cannot carry burst or signed spikes over {s.name} with delay {s.spec.delay}: "
                "Synapses read the spike's value when it arrives; use 'batched' or 'reference'"
            )


def _group(
    p: Neurons,
    index: int,
    n_steps: int,
    n_windows: int,
    clock: Any,
    given: tuple[Any, Any],
    code_class: Any,
    echo: int,
    lags: Sequence[int],
) -> Any:
    """Return the NeuronGroup of one population with its window as Brian2 code.

    ``given``: its current or spike train, and the faults of its spikes; None where there are none.
    ``echo``: inputs of a sequence where recurrent spikes arrive (0: none do); the first input of a sequence hears none.
    ``lags``: of loops within the window; what arrives in the first so many steps was sent in the window before.
    """
    name = identifier(index, p.name)
    values, faults = given
    if p.spec.encoder is not None:
        return brian2.NeuronGroup(
            p.size,
            "",
            # A TimedArray keeps its last row for ever; the window does not.
            threshold="train(t, i) > 0.5 and t_in_timesteps < last_step",
            reset="",
            namespace={"train": values, "last_step": n_windows * n_steps},
            clock=clock,
            name=name,
            codeobj_class=code_class,
        )
    rules = brian2_rules(p.spec, "drive", wide=True)
    namespace: dict[str, Any] = {"first_step": p.start, "n_steps": n_steps, "last_step": p.start + n_windows * n_steps}
    equations = ["v : 1", "arrivals : 1", "v_init : 1 (constant)"]
    for variable, numbers in (("theta", p.theta), ("v_floor", p.floor), ("v_ceiling", p.ceiling)):
        if numbers is not None:
            equations.append(f"{variable} : 1 (constant)")
    drive = "arrivals"
    if values is not None:
        namespace["current"] = values
        namespace["lag"] = p.start * clock.dt
        drive += " + current(t - lag, i)"
    if p.bias is not None and p.bias.ndim == 2:
        namespace["bias_by_step"] = brian2.TimedArray(p.bias.astype(np.float64), dt=clock.dt, name="spikeport_bias*")
        drive += " + bias_by_step(((t_in_timesteps - first_step) % n_steps) * dt, i)"
    elif p.bias is not None:
        equations.append("bias : 1 (constant)")
        drive += " + bias"
    if echo:
        equations.append("echo : 1")
        namespace["window_of_sequence"] = echo * n_steps
        drive += " + echo * int((t_in_timesteps - first_step) % window_of_sequence >= n_steps)"
    for lag in lags:
        equations.append(f"returned_{lag} : 1")
        drive += f" + returned_{lag} * int((t_in_timesteps - first_step) % n_steps >= {lag})"
    equations += [f"{variable} : 1" for variable in rules.variables]
    if p.spec.refractory:
        namespace["refractory_steps"] = p.spec.refractory
    events = {}
    if faults is not None:
        equations.append("fault : 1")
        namespace["fault_of_step"] = faults
        namespace["fault_lag"] = p.start * clock.dt
        lost, spurious = "(fault == 1 or fault == 3)", "fault >= 2"
        events["arrives"] = f"(({rules.threshold}) and not {lost}) or (not ({rules.threshold}) and {spurious})"
    update = [
        "running = int(t_in_timesteps >= first_step and t_in_timesteps < last_step)",
        "begins = running * int((t_in_timesteps - first_step) % n_steps == 0)",
        "v = v + begins * (v_init - v)",
        *(f"{variable} = {variable} * (1 - begins)" for variable in rules.variables if variable != "n"),
        f"drive = running * ({drive})",
        rules.update,
        *(["fault = running * fault_of_step(t - fault_lag, i)"] if events else []),
        # Outside its window a neuron rests at zero, where it cannot fire.
        "v = v * running",
        "arrivals = 0",
        *(["echo = 0"] if echo else []),
        *(f"returned_{lag} = 0" for lag in lags),
    ]
    group = brian2.NeuronGroup(
        p.size,
        "\n".join(equations),
        threshold=rules.threshold,
        reset=rules.reset or None,
        events=events,
        namespace=namespace,
        clock=clock,
        name=name,
        codeobj_class=code_class,
        dtype=np.float64,
    )
    group.run_regularly("\n".join(update), clock=clock, when="groups", codeobj_class=code_class)
    group.v_init = p.v_init.astype(np.float64)
    for variable, numbers in (("theta", p.theta), ("v_floor", p.floor), ("v_ceiling", p.ceiling)):
        if numbers is not None:
            setattr(group, variable, numbers.astype(np.float64))
    if p.bias is not None and p.bias.ndim == 1:
        group.bias = p.bias.astype(np.float64)
    return group


def _synapses(low: Lowered, index: int, groups: Mapping[str, Any], n_steps: int, clock: Any, code_class: Any) -> Any:
    s = low.synapses[index]
    pre, post = low[s.spec.pre], low[s.spec.post]
    delay = s.delay if s.delay is not None else n_steps + post.start - pre.start
    value = "w * n_pre" if _graded(pre) else "w"
    sums = "echo" if s.delay is None else f"returned_{s.lag}" if s.lag else "arrivals"
    made = brian2.Synapses(
        groups[pre.name],
        groups[post.name],
        "w : 1",
        on_pre=f"{sums}_post += {value}",
        # Synapses run before the threshold, so Brian2's delay 0 already arrives in the next step.
        delay=(delay - 1) * clock.dt,
        clock=clock,
        name=f"spikeport_synapses_{index}*",
        on_event={"pre": _event(groups[pre.name])},
        codeobj_class=code_class,
        dtype=np.float64,
    )
    matrix = sp.coo_array(s.weight)
    made.connect(i=matrix.col.astype(np.int32), j=matrix.row.astype(np.int32))
    made.w = matrix.data.astype(np.float64)
    return made


# -- running a task ---------------------------------------------------------------------------------


def run(low: Lowered, task: Task, options: EngineOptions) -> tuple[Tally, dict[str, Any]]:
    """Run every sample, one replica, in blocks of windows."""
    _check(low, task)
    if task.early_exit is not None:
        raise EngineError("engine 'synapses' runs all T steps; early exit needs 'batched' or 'reference'")
    bound = low.largest(task.n_steps, float(np.abs(task.x).max()) if task.x.size else 0.0)
    worst = max(bound, key=lambda name: bound[name])
    if low.exact and bound[worst] >= LARGEST:
        raise EngineError(f"{worst}: potentials reach {bound[worst]:.3g}, beyond exact arithmetic (2^52); use fewer steps")
    tally = Tally(low, task)
    every_step = task.faults is not None
    width = sum(n.size * (task.n_steps if n.spec.encoder or every_step else 1) for n in low.neurons) * 8 * task.n_positions
    block = max(1, task.batch_size or BLOCK_BYTES // max(width, 1))
    info = {
        "target": options.target if options.device == "runtime" else "cpp",
        "device": options.device,
        "arithmetic": "integers in float64" if low.exact else "float64",
        "batch_size": 1,
        "versions": {"brian2": brian2.__version__, "numpy": np.__version__},
    }
    if not task.n_samples:
        return tally, info
    if options.device == "cpp_standalone":
        from .standalone import run_blocks

        results = run_blocks(low, task, options, block)
    else:
        blocks = (np.arange(first, min(first + block, task.n_samples)) for first in range(0, task.n_samples, block))
        results = ((rows, _run_block(low, task, options, rows)) for rows in blocks)
    for rows, result in results:
        _tally(low, task, tally, rows, result)
        task.report(int(rows[-1]) + 1)
    return tally, info


@dataclass(frozen=True, eq=False)
class Result:
    """What a block leaves: spikes {population: (step, neuron, value)}, potentials {population: (steps, size)}."""

    spikes: Mapping[str, tuple[Array, Array, Array]]
    potentials: Mapping[str, Array]


def _run_block(low: Lowered, task: Task, options: EngineOptions, rows: Array) -> Result:
    if type(brian2.get_device()).__name__ != "RuntimeDevice":
        raise EngineError("Brian2's device is not 'runtime' in this process; call brian2.set_device('runtime')")
    n_windows = len(rows) * task.n_positions
    code_class = code_object_class(options.target)
    with compiling(options.target):  # Brian2 compiles synapses as they are made
        model = _build(low, task, input_arrays(low, task, rows), n_windows, options.dt, code_class)
        with interruptible():
            model.network.run(model.duration, namespace={})
    result = collect(model, options.dt)
    model.network.remove(*model.network.objects)
    return result


def collect(model: Model, dt: float) -> Result:
    """Return what the monitors of a model hold, times as whole steps."""
    spikes = {}
    for name, monitor in model.spikes.items():
        neuron = np.asarray(monitor.i[:], dtype=np.int64)
        # Rounded, never truncated: t / dt is a whole number up to float error.
        step = np.rint(np.asarray(monitor.t_[:]) / dt).astype(np.int64)
        value = np.rint(monitor.n[:]).astype(np.int64) if "n" in monitor.record_variables else np.ones_like(neuron)
        spikes[name] = (step, neuron, value)
    return Result(spikes, {name: np.asarray(m.v[:]).T for name, m in model.watched.items()})


def _tally(low: Lowered, task: Task, tally: Tally, rows: Array, result: Result) -> None:
    """Replay a block into the tally, window by window, with the arithmetic all engines share."""
    out = low.neurons[-1]
    steps, positions = task.n_steps, task.n_positions
    reader = Reader(task.readout, out.v_init, out.unit, out.theta, steps, 1)
    trains = {}
    for name, (step, neuron, value) in result.spikes.items():
        shape = (len(rows) * positions * steps, low[name].size)
        trains[name] = sp.csr_array((value, (step - low[name].start, neuron)), shape=shape)
    for index, row in enumerate(rows):
        one = np.array([row])
        for position in range(positions):
            first = (index * positions + position) * steps
            reader.begin(slice(None))
            for k in range(steps):
                for name, train in trains.items():
                    tally.count(name, one, position, k, train[[first + k]].toarray())
                for name in task.record.potentials:
                    v = result.potentials[name][low[name].start + first + k]
                    tally.watch(name, one, position, k, v[None])
                v = result.potentials[out.name][out.start + first + k][None]
                n = trains[out.name][[first + k]].toarray() if out.spec.reset is not None else None
                tally.answer(one, position, k, *reader.read(slice(None), k, v, n))


__all__ = ["Model", "build", "collect", "input_arrays", "run"]

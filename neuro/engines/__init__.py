"""The engines and :func:`simulate`. Brian2 and numba load when an engine runs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from ..encoding import encoding as encoding_kind
from ..encoding import with_encoder
from ..errors import EngineError, SpecError, nearest, not_finite
from ..faults import SpikeFaults, check_spike_faults
from ..network import SpikingNetwork
from ..progress import ProgressCallback
from ..readout import EarlyExit, Readout, resolve
from ..recording import Recording
from . import memory
from .lowering import Lowered, lower
from .spike_stream import streamed
from .task import Record, Tally, Task, check_record
from .workers import run_parts

Array = np.ndarray

ENGINES: dict[str, str] = {
    "batched": "Brian2 runtime, a batch of replicas, one shared weight matrix, event-driven delivery (default)",
    "synapses": "one replica with Brian2's own Synapses, as a user would write it; runtime or C++ standalone",
    "reference": "the plain NumPy step loop, the oracle of the others",
}


class EngineOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an engine works; nothing here changes a spike of a network on a grid.

    ``batch_size``: replicas in a batch (None: chosen from the cache and the free memory); ``target``: Brian2's code generation;
    ``delivery``: ``"auto"`` (event-driven, or dense where a layer is so active that it wins), ``"events"``, ``"dense"``;
    ``kernel``: ``"auto"`` (numba, or SciPy where it is absent), ``"numba"``, ``"scipy"``;
    ``neurons``: ``"auto"`` (sums, threshold and reset of simple integrate-and-fire neurons in one compiled loop where the kernel is
    numba), ``"brian2"`` (thresholds and resets of all neurons by Brian2's generated code);
    ``dt``: Brian2's time step [s]; ``device``: of the engine ``synapses`` (``"cpp_standalone"``: a C++ program, compiled by the first run
    of a network and T and kept for those that follow, where only the inputs are new);
    ``workers``: processes over disjoint samples, this one among them, whose results are those of one process. The others stay
    for later runs (``neuro.engines.processes``); the first run goes on alone for the seconds they take to start.
    """

    batch_size: int | None = None
    target: Literal["numpy", "cython"] = "numpy"
    delivery: Literal["auto", "events", "dense"] = "auto"
    kernel: Literal["auto", "numba", "scipy"] = "auto"
    neurons: Literal["auto", "brian2"] = "auto"
    dt: float = 1e-3
    device: Literal["runtime", "cpp_standalone"] = "runtime"
    workers: int = 1


ROUNDING = 2.0**-12  # of the calibrated range


# Options that only some engines heed. ``dt``, ``batch_size`` and ``workers`` are any engine's: where one has no use for them, nothing differs.
HEEDED = {
    "target": ("batched", "synapses"),
    "delivery": ("batched",),
    "kernel": ("batched",),
    "neurons": ("batched",),
    "device": ("synapses",),
}


class InputRangeWarning(UserWarning):
    """Inputs lie outside the range that the conversion was calibrated on."""


def simulate(
    network: Any,
    inputs: Array,
    n_steps: int,
    *,
    engine: str = "batched",
    encoding: str | None = None,
    readout: str | Readout = "potential",
    record: Record | None = None,
    early_exit: EarlyExit | None = None,
    faults: SpikeFaults | None = None,
    seed: int = 0,
    options: EngineOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Recording:
    """Run inputs through a spiking network or a deployment.

    Parameters
    ----------
    network : SpikingNetwork, or a Deployment (its integers run, with the chip's arithmetic).
    inputs : (n_samples, n_in) array, or (n_samples, n_positions, n_in) for a recurrent network.
    n_steps : T, steps of the window; an answer is ready after T + L - 1 steps.
    engine : a name of ``ENGINES``.
    encoding : a name of ``ENCODINGS``; None keeps the network's own (constant current unless it holds an encoder).
    readout : a name of ``READOUTS`` or a Readout.
    record : what to keep beside answers and counts.
    early_exit : when to stop a sample before T steps.
    faults : spikes lost and added on their way; faults of neurons and synapses are built into the network (``neuro.faults``).
    seed : of random encodings; each sample has its own stream.
    options : how the engine works.
    progress : called as samples are finished.

    Returns
    -------
    Recording

    Raises
    ------
    SpecError : unknown names, T < 1, inputs of the wrong shape or not finite.
    EngineError : what this engine cannot do.
    """
    rec = (record or Record(), early_exit, faults, progress)
    tally, info = _simulate(network, inputs, n_steps, engine, encoding, readout, rec, seed, options or EngineOptions())
    return tally.recording(info)


def simulate_each(
    network: Any,
    inputs: Array,
    steps: Sequence[int],
    *,
    engine: str = "batched",
    encoding: str | None = None,
    readout: str | Readout = "potential",
    seed: int = 0,
    options: EngineOptions | None = None,
    progress: ProgressCallback | None = None,
) -> dict[int, Recording]:
    """Run inputs once for the most of ``steps`` steps; return {T: Recording}, each what a run of T steps would have recorded.

    The first T steps of a longer run are a run of T steps, unless something depends on T. The other parameters are those of
    :func:`simulate`. ``info`` is that of the one run, with its seconds and, in the shorter ones, ``part_of_steps``.

    Raises
    ------
    SpecError : as :func:`simulate`; no steps.
    EngineError : as :func:`simulate`; sequences, an encoding or read-out that depends on T, or a network converted for one T.
    """
    wanted = sorted(set(steps))
    if not wanted:
        raise SpecError("steps: name at least one number of steps")
    for k in wanted[:-1]:
        _whole(k)
    rec = (Record(), None, None, progress)
    spec = (engine, encoding, readout, rec, seed, options or EngineOptions())
    tally, info = _simulate(network, inputs, wanted[-1], *spec, also=tuple(int(k) for k in wanted[:-1]))
    whole = tally.recording(info)
    return {**{int(k): tally.shorter_recording(int(k), whole) for k in wanted[:-1]}, int(wanted[-1]): whole}


def depends_on_steps(network: SpikingNetwork, encoding: str | None = None, readout: str = "potential") -> str:
    """Return why the first T steps of a longer run are no run of T steps, "" where they are."""
    if network.recurrent:
        return "the network takes sequences, of which every input lasts T steps"
    if network.looped:
        return "what returns over its loops after T steps is dropped and not counted"
    kinds = {p.encoder for p in network.populations if p.encoder} | ({encoding} if encoding else set())
    found = [k for k in kinds if not encoding_kind(k).prefix]
    if found:
        return f"the spikes of the encoding {found[0]!r} depend on T"
    if readout == "delayed":
        return "the read-out 'delayed' leaves out steps by T"
    made_for = network.info.get("calibrated_for_T")
    return f"the network was converted for T = {made_for}" if made_for is not None else ""


Kept = tuple[Record, EarlyExit | None, SpikeFaults | None, ProgressCallback | None]


def _simulate(
    network: Any,
    inputs: Array,
    n_steps: int,
    engine: str,
    encoding: str | None,
    readout: str | Readout,
    kept: Kept,
    seed: int,
    options: EngineOptions,
    also: tuple[int, ...] = (),
) -> tuple[Tally, dict[str, Any]]:
    """Check what is asked, run it; return the tally and what the Recording says of the run."""
    record, early_exit, faults, progress = kept
    net = _network(network, encoding)
    if engine not in ENGINES:
        raise SpecError(f"engine {engine!r} is not known{nearest(engine, ENGINES)}")
    _whole(n_steps)
    _check_options(options, engine)
    x = _inputs(net, inputs)
    check_record(record, net, len(x))
    if early_exit is not None and x.ndim == 3:
        raise EngineError("early exit is for single inputs; this network takes sequences")
    faults = _faults(faults, net)
    spec = resolve(readout, net)
    cause = depends_on_steps(net, readout=spec.kind) if also else ""
    if cause:
        raise EngineError(f"one run cannot stand for T = {', '.join(map(str, (*also, n_steps)))}: {cause}; simulate each T by itself")
    _warn(net, x, int(n_steps))
    task = Task(
        x=x,
        n_steps=int(n_steps),
        readout=spec,
        batch_size=options.batch_size or 0,
        seed=seed,
        early_exit=early_exit,
        record=record,
        progress=progress,
        faults=faults,
        also=also,
    )
    wanted = replicas(net, task.n_samples, engine, options)
    fitting = memory.fitting_batch(net, task, engine, wanted, options.workers, given=options.batch_size is not None)
    if fitting < wanted:
        options, task = msgspec.structs.replace(options, batch_size=fitting), replace(task, batch_size=fitting)
    began = time.perf_counter()
    with streamed(task, options.workers) as task:
        tally, info = run_task(net, task, engine, options)
    return tally, {
        "engine": engine,
        "encoding": next((p.encoder for p in net.populations if p.encoder), "constant"),
        "readout": msgspec.to_builtins(spec),
        "early_exit": msgspec.to_builtins(early_exit),
        "faults": msgspec.to_builtins(faults),
        "seconds": time.perf_counter() - began,
        **info,
    }


def _check_options(options: EngineOptions, engine: str) -> None:
    """Refuse values that no engine has, and what this engine would not heed."""
    wrong = []
    for name, kind in get_type_hints(EngineOptions).items():
        if get_origin(kind) is Literal and getattr(options, name) not in get_args(kind):
            wrong.append(f"{name} is {getattr(options, name)!r}, expected {' or '.join(map(repr, get_args(kind)))}")
    if not (isinstance(options.dt, int | float) and 0 < options.dt < np.inf):
        wrong.append(f"dt is {options.dt!r}, expected a time step above 0 [s]")
    for name in ("batch_size", "workers"):
        value = getattr(options, name)
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1
        if not whole and not (name == "batch_size" and value is None):
            wrong.append(f"{name} is {value!r}, expected an integer of 1 or more")
    if wrong:
        raise SpecError("; ".join(wrong))
    usual = EngineOptions()
    unheeded = [name for name, engines in HEEDED.items() if engine not in engines and getattr(options, name) != getattr(usual, name)]
    if unheeded:
        said = (f"{name}={getattr(options, name)!r}, which {' and '.join(map(repr, HEEDED[name]))} can" for name in unheeded)
        raise EngineError(f"engine {engine!r} cannot heed {'; '.join(said)}; leave the option out or change the engine")


def _whole(n_steps: Any) -> None:
    if isinstance(n_steps, bool) or not isinstance(n_steps, int | np.integer) or n_steps < 1:
        raise SpecError(f"n_steps is {n_steps!r}, expected an integer of 1 or more")


def run_task(net: SpikingNetwork, task: Task, engine: str, options: EngineOptions) -> tuple[Tally, dict[str, Any]]:
    """Run one task, in this process or on several; return the tally and what the engine says of itself."""
    low = lower(net)
    if options.workers > 1 and task.n_samples > 1:
        tally = Tally(low, task)
        return tally, run_parts(low, tally, task, engine, options)
    return run_here(low, task, engine, options)


def run_here(low: Lowered, task: Task, engine: str, options: EngineOptions) -> tuple[Tally, dict[str, Any]]:
    """Run one task in this process."""
    run: Callable[[Lowered, Task, EngineOptions], tuple[Tally, dict[str, Any]]] = import_module(f".{engine}", __name__).run
    return run(low, task, options)


# Bytes of potentials and drives of a batch: a round figure near the cache of a core; 100 to 500 replicas of 1,200 neurons differed by 20 %.
BATCH_BYTES = 4 * 2**20
SMALLEST_BATCH, LARGEST_BATCH = 32, 1000
REFERENCE_BATCH = 256


def replicas(net: SpikingNetwork, n_samples: int, engine: str, options: EngineOptions) -> int:
    """Return the samples of a batch: as wanted, or so that the largest population's state stays in the cache."""
    if engine == "synapses":
        return 1
    fitting = BATCH_BYTES // (8 * max(p.size for p in net.populations))
    chosen = REFERENCE_BATCH if engine == "reference" else min(max(fitting, SMALLEST_BATCH), LARGEST_BATCH)
    if options.batch_size is not None:
        return max(1, min(n_samples, options.batch_size))
    batches = max(1, -(-n_samples // chosen))
    return max(1, -(-n_samples // batches))  # batches of one size: an empty slot costs as much as a full one


def _network(network: Any, encoding: str | None) -> SpikingNetwork:
    if encoding is not None:
        encoding_kind(encoding)
    deployed = not isinstance(network, SpikingNetwork)
    net = network.network if deployed else network
    if not isinstance(net, SpikingNetwork):
        raise SpecError(f"simulate takes a SpikingNetwork or a Deployment, got {type(network).__name__}")
    own = next((p.encoder for p in net.populations if p.encoder), "constant")
    if encoding is None or encoding == own:
        return net
    if own != "constant":
        raise EngineError(f"the network's input is {own!r} already; encoding {encoding!r} cannot be put in front of it")
    if deployed or any(j.current is not None for j in net.projections):
        raise EngineError(
            f"the deployment takes {own!r} input; use neuro.encoding.with_encoder(network, {encoding!r}) before deploying"
        )
    return with_encoder(net, encoding)


def _inputs(net: SpikingNetwork, inputs: Array) -> Array:
    x = np.asarray(inputs)
    wanted = 3 if net.recurrent else 2
    expected = f"(n_samples, n_positions, {net.input_size})" if net.recurrent else f"(n_samples, {net.input_size})"
    if x.ndim not in (wanted, 3) or x.shape[-1] != net.input_size:
        raise SpecError(f"inputs have shape {x.shape}, expected {expected}")
    if not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise SpecError(f"inputs are of type {x.dtype}, expected real numbers")
    if where := not_finite(x):
        raise SpecError(f"inputs hold NaN or infinity, the first in {where}; clean them first")
    if x.ndim == 3 and x.shape[1] < 1:
        raise SpecError("sequences are empty; expected one input or more")
    return x


def _faults(faults: SpikeFaults | None, net: SpikingNetwork) -> SpikeFaults | None:
    """Return faults that can happen, or None."""
    if faults is None:
        return None
    check_spike_faults(faults)
    if not faults.lost and not faults.spurious:
        return None
    if net.protocol is not None:
        raise EngineError(
            f"spikes cannot be lost or added under the protocol {net.protocol.kind!r}: its pre-steps have no faults of their own; "
            "convert with a method without pre-steps"
        )
    return faults


def _warn(net: SpikingNetwork, x: Array, n_steps: int) -> None:
    if x.size:
        low, high = float(x.min()), float(x.max())
        # Less than the grid of the exact arithmetic is rounding, not another range.
        slack = ROUNDING * (net.input_high - net.input_low)
        if low < net.input_low - slack or high > net.input_high + slack:
            warnings.warn(
                f"inputs lie in [{low:g}, {high:g}], the conversion was calibrated on [{net.input_low:g}, {net.input_high:g}]; "
                "neurons may saturate",
                InputRangeWarning,
                stacklevel=3,
            )
    made_for = net.info.get("calibrated_for_T")
    if made_for is not None and int(made_for) != n_steps:
        warnings.warn(
            f"the network was calibrated for T = {made_for} and runs with T = {n_steps}; convert again for this T",
            UserWarning,
            stacklevel=3,
        )


__all__ = ["ENGINES", "EarlyExit", "EngineOptions", "InputRangeWarning", "Readout", "Record", "depends_on_steps", "simulate", "simulate_each"]

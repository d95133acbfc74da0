"""What a run will hold in memory, and what the machine has free: its batch is made to fit, or it is refused before it starts."""

from __future__ import annotations

from pathlib import Path

from ..encoding import CHUNK
from ..errors import EngineError
from ..faults import CHUNK as FAULT_STEPS
from ..network import SpikingNetwork
from . import processes
from .lowering import weight_count
from .task import Task

# Bytes a synapse: the weight as given, in 64-bit integers, transposed, and as floats where a layer is multiplied densely.
# Brian2's Synapses: both neurons, weight and delay queue, and the arrays they are made of.
SYNAPSE_BYTES = {"batched": 28, "reference": 28, "synapses": 52}
# Bytes a neuron and replica: potential, drive, current, block of currents, event list, spikes on their way and passing copies.
NEURON_BYTES = 56
PROCESS_BYTES = 175e6  # of a worker process by itself: Brian2, numba, NumPy; 172 MB measured
MARGIN = 0.9  # share of the free memory that a run may plan with


def free_bytes() -> int | None:
    """Return the memory a process can still have [bytes], a container's limit included; None where it cannot be told."""
    found = []
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used))
    return min(found) if found else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def weight_bytes(network: SpikingNetwork, engine: str) -> int:
    """Return what each process of a run holds of the network's weights [bytes]."""
    return SYNAPSE_BYTES[engine] * sum(weight_count(j.weight) for j in network.projections)


def result_bytes(network: SpikingNetwork, task: Task) -> int:
    """Return what answers, counts and what is recorded take, all samples together [bytes]."""
    spiking = [p for p in network.populations if p.spiking]
    n, n_out, positions = task.n_samples, network.output.size, task.n_positions
    each = 8 * (n_out + 3 + len(spiking) + len(network.projections)) + 2 * task.n_steps + 1
    if positions > 1:
        each += 8 * positions * n_out
    rates = 4 * min(task.record.rates, n) * sum(p.size for p in spiking)
    watched = len(task.record.samples) * positions * task.n_steps * 8
    potentials = watched * sum(network[name].size for name in task.record.potentials)
    return n * each + rates + potentials


def replica_bytes(network: SpikingNetwork, task: Task, engine: str) -> int:
    """Return what one more sample in a batch holds [bytes]."""
    size = sum(p.size for p in network.populations)
    if engine == "reference":  # keeps the spikes of every step of a window
        return 8 * size * (task.n_steps + 8)
    encoded = sum((4 * CHUNK + 16) * p.size for p in network.populations if p.encoder is not None)
    trials = 2 if network.protocol is not None else 1
    # What is lost and added, kept dense, and the spikes of a step as they leave and as they arrive.
    broken = 0 if task.faults is None else (2 * FAULT_STEPS + 24) * size
    return NEURON_BYTES * size * trials + encoded + broken


def base_bytes(network: SpikingNetwork, task: Task, engine: str, workers: int) -> float:
    """Return what a run holds whatever its batch, in all its processes [bytes].

    Every process has the weights. Workers have their share of the inputs, and results in parts: there, on their way, and here.
    Those that wait for work since an earlier run take no memory that is still free.
    """
    weights, results = weight_bytes(network, engine), result_bytes(network, task)
    if workers == 1:
        return weights + results
    others = workers - 1
    started = max(0, others - processes.waiting())
    return workers * weights + 3 * results + task.x.nbytes * others / workers + started * PROCESS_BYTES


def fitting_batch(network: SpikingNetwork, task: Task, engine: str, batch: int, workers: int, given: bool) -> int:
    """Return a batch size that fits the free memory: ``batch``, or less where it was not ``given`` by the user.

    Raises
    ------
    EngineError : what is needed and free [GB], and the batch size that fits, where one does.
    """
    free = free_bytes()
    if free is None:
        return batch
    workers = max(1, min(workers, task.n_samples))
    base, each = base_bytes(network, task, engine, workers), replica_bytes(network, task, engine)
    needed = base + workers * batch * each
    if needed <= MARGIN * free:
        return batch
    fitting = int((MARGIN * free - base) // (workers * each))
    if fitting >= 1 and not given:
        return fitting
    what = f"the run needs about {needed / 1e9:.3g} GB and {free / 1e9:.3g} GB are free"
    if fitting >= 1:
        raise EngineError(f"{what}; use batch_size={fitting} or less")
    raise EngineError(
        f"{what}, of which weights, answers, processes and what is recorded take {base / 1e9:.3g} GB whatever the batch size: "
        "run fewer samples at once, record less, or use fewer workers"
    )

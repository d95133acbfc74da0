"""A Recording as Neo objects, for the analysis tools of neuroscience (Elephant and others). Needs the extra ``neo``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import SpecError
from .recording import Recording

Array = np.ndarray


def to_neo(recording: Recording, dt: float = 1e-3, silent: bool = False) -> Any:
    """Return the recorded spikes as a ``neo.Block``: a Segment a sample, in it a SpikeTrain a neuron that fired.

    A spike of step k lies at t = k dt [s], k counted from the first step of the population's own window (through all positions of a
    sequence), and the trains end at T dt. A burst of n spikes in one step is n equal times. Trains are annotated
    with ``population`` and ``neuron``, segments with ``sample``.

    Parameters
    ----------
    recording : with spikes in memory, ``Record(spikes=(...))``.
    dt : length of a step [s].
    silent : also give neurons without a spike their empty train.

    Raises
    ------
    SpecError : no spikes were recorded, they were streamed to a file, ``dt`` is not positive, or Neo is not installed.
    """
    if not dt > 0:
        raise SpecError(f"dt is {dt!r}, expected the length of a step in seconds, above 0")
    if not recording.spikes:
        where = recording.info.get("spikes_file")
        raise SpecError(
            f"the recording's spikes were streamed to {where}; record fewer samples in memory to export them"
            if where
            else "the recording holds no spikes; simulate with record=Record(spikes=('hidden1',), samples=(0, 1, 2))"
        )
    try:
        import neo
    except ImportError as error:
        raise SpecError("Neo is not installed; pip install 'spikeport[neo]'") from error
    sizes = {p["name"]: p["size"] for p in recording.info["network"]["populations"]}
    stop = recording.n_steps * recording.info.get("n_positions", 1) * dt
    block = neo.Block(name="spikeport", network_sha256=recording.network_sha256)
    samples = np.unique(np.concatenate([table[:, 0] for table in recording.spikes.values()]))
    for sample in samples.tolist():
        segment = neo.Segment(name=f"sample {sample}", sample=sample)
        for name, table in recording.spikes.items():
            mine = table[table[:, 0] == sample]
            neurons = range(sizes[name]) if silent else np.unique(mine[:, 2]).tolist()
            for neuron in neurons:
                steps = mine[mine[:, 2] == neuron, 1]
                segment.spiketrains.append(
                    neo.SpikeTrain(steps * dt, units="s", t_stop=stop, name=f"{name} {neuron}", population=name, neuron=neuron)
                )
        block.segments.append(segment)
    return block

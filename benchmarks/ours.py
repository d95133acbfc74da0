"""This project's engines, and plain Brian2 as its users write it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from work import Work

Result = tuple[np.ndarray, int, int]  # answers, spikes of all hidden neurons, synaptic operations (0: not counted)
Run = Callable[[np.ndarray, int, bool], Result]  # (images, T, whether spikes must be counted)


def engine(
    name: str = "batched", chip: bool = False, workers: int = 1, neurons: str = "auto", target: str = "numpy"
) -> Callable[[Work, int], Run]:
    def build(work: Work, batch: int) -> Run:
        import neuro

        network = neuro.Deployment.load(work.folder / "deployment.npz") if chip else neuro.SpikingNetwork.load(work.folder / "snn.npz")
        options = neuro.EngineOptions(workers=workers, neurons=neurons, target=target)

        def run(x: np.ndarray, n_steps: int, count: bool) -> Result:
            recording = neuro.simulate(network, x, n_steps, engine=name, options=options)
            spikes = sum(int(counts.sum()) for counts in recording.spike_counts.values())
            return recording.predictions, spikes, sum(int(counts.sum()) for counts in recording.synaptic_operations.values())

        return run

    return build


def plain_brian2(work: Work, batch: int) -> Run:
    """One image a ``run()``: groups and Synapses are made once, state is restored for every image."""
    import brian2 as b2

    b2.prefs.codegen.target = "numpy"
    b2.defaultclock.dt = 1 * b2.ms
    groups, objects = [], []
    last = len(work.weights) - 1
    for i, size in enumerate(work.sizes[1:]):
        # A layer runs in steps [i, i + T), as in the other parties; a spike arrives one step after it was sent.
        inside = "int(t_in_timesteps >= first) * int(t_in_timesteps < final)"
        group = b2.NeuronGroup(
            size,
            "v : 1\ndrive : 1 (constant)\nfirst : integer (constant, shared)\nfinal : integer (constant, shared)",
            threshold="v >= 1 and t_in_timesteps < final" if i < last else None,
            reset="v -= 1" if i < last else None,
        )
        group.run_regularly(f"v += drive * {inside}", when="start")
        group.first = i
        groups.append(group)
        if i:
            synapses = b2.Synapses(groups[i - 1], group, "w : 1 (constant)", on_pre="v_post += w")
            synapses.connect()
            synapses.w = work.weights[i].T.ravel()
            objects.append(synapses)
    monitors = [b2.SpikeMonitor(g, record=False) for g in groups[:-1]]
    network = b2.Network(*groups, *objects, *monitors)
    network.store()

    def run(x: np.ndarray, n_steps: int, count: bool) -> Result:
        answers, spikes = [], 0
        for image in x:
            network.restore()
            for i, group in enumerate(groups):
                group.v = work.v_init if i < last else 0
                group.drive = work.weights[0] @ image + work.biases[0] if i == 0 else work.biases[i]
                group.final = i + n_steps
            network.run((n_steps + last) * b2.ms)
            answers.append(int(np.argmax(groups[-1].v)))
            spikes += sum(int(m.num_spikes) for m in monitors)
        return np.array(answers), spikes, 0

    return run

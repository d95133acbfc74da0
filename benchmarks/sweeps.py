"""Cost of the engine ``batched`` against window, width, batch and activity, on a synthetic network.

input -> hidden1 -> hidden2 -> 10 outputs, both hidden layers equally wide. Every neuron is driven by its bias to fire in the wanted share
of steps; weights are small and centred, so that arrivals cost what they cost and hardly change the activity. What was reached is measured.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

THETA = 2**16
BASE = {"n_steps": 32, "width": 1200, "batch": 250, "activity": 0.05}
AXES: dict[str, tuple[Any, ...]] = {
    "n_steps": (8, 16, 32, 64, 128),
    "width": (256, 512, 1024, 2048, 4096),
    "batch": (1, 10, 50, 100, 250, 500, 1000),
    "activity": (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5),
}
TINY: dict[str, tuple[Any, ...]] = {"n_steps": (2, 4), "width": (16, 32), "batch": (1, 5), "activity": (0.05, 0.5)}


def network(width: int, activity: float) -> Any:
    from neuro import Population, Projection, SpikingNetwork

    rng = np.random.default_rng(0)

    def hidden(name: str, start: int) -> Any:
        bias = np.full(width, np.rint(activity * THETA))
        v_init = rng.integers(0, THETA, width).astype(float)
        return Population(name, width, v_threshold=float(THETA), v_init=v_init, bias=bias, start=start, grid=1.0)

    def weight(n_post: int, n_pre: int) -> np.ndarray:
        return rng.integers(-127, 128, (n_post, n_pre)).astype(float)

    populations = (hidden("hidden1", 0), hidden("hidden2", 1), Population("output", 10, reset=None, start=2, grid=1.0))
    projections = (
        Projection("input", "hidden1", np.zeros((width, 4)), delay=0),
        Projection("hidden1", "hidden2", weight(width, width)),
        Projection("hidden2", "output", weight(10, width)),
    )
    return SpikingNetwork(populations, projections, 4)


def sweep(axes: dict[str, tuple[Any, ...]], repeats: int, samples: int, base: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return one row a point: seconds of every repeat, spikes, synaptic operations, reached activity."""
    import neuro

    base = base or BASE
    points = [(axis, value) for axis, values in axes.items() for value in values]
    rows = []
    for axis, value in points:
        at = {**base, axis: value}
        net = network(at["width"], at["activity"])
        x = np.zeros((samples if axis != "batch" else min(samples, 20 * value), 4))
        options = neuro.EngineOptions(batch_size=at["batch"])
        neuro.simulate(net, x[:1], 2, options=options)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            recording = neuro.simulate(net, x, at["n_steps"], options=options)
            seconds.append(time.perf_counter() - began)
        spikes = sum(int(counts.sum()) for counts in recording.spike_counts.values())
        rows.append(
            {
                "axis": axis,
                "value": value,
                **at,
                "samples": len(x),
                "seconds": seconds,
                "spikes": spikes,
                "synaptic_operations": sum(int(counts.sum()) for counts in recording.synaptic_operations.values()),
                "reached_activity": spikes / (len(x) * at["n_steps"] * 2 * at["width"]),
                "delivery": recording.info["delivery"]["hidden1->hidden2"],
            }
        )
    return rows

"""What this machine could do at best, from rates measured in the same run.

Seconds = first layer / BLAS rate + synaptic operations / fastest delivery rate + neuron steps x bytes / cache bandwidth.

A delivery rate is measured on the projection's own matrix and batch, with random spikes at the activity of the run, for every way of
delivery: the compiled loops, SciPy's sparse times dense, and BLAS (counted in synaptic operations, not in multiplications).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

REPEATS = 7
STATE_BYTES = 8  # a potential of four bytes, read and written once a step


def best(function: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the shortest time of a call [s]."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def blas_rate(n_in: int, n_out: int, batch: int) -> float:
    """Return multiplications and additions a second of a float32 product of this shape [MAC/s]."""
    a, b = np.random.default_rng(0).random((batch, n_in), np.float32), np.random.default_rng(1).random((n_in, n_out), np.float32)
    return batch * n_in * n_out / best(lambda: a @ b)


def delivery_rates(weight: np.ndarray, batch: int, activity: float, events_only: bool = False) -> dict[str, float]:
    """Return synaptic operations a second of every way of delivery; ``weight`` (n_post, n_pre) int64."""
    from neuro.engines import kernels
    from neuro.engines.delivery import Delivery, Spikes
    from neuro.engines.lowering import Synapses
    from neuro.network import Projection

    n_post, n_pre = weight.shape
    fired = np.random.default_rng(2).random((batch, n_pre)) < activity
    ptr = np.zeros(batch + 1, np.int64)
    np.cumsum(fired.sum(axis=1), out=ptr[1:])
    col = np.nonzero(fired)[1].astype(np.int32)
    operations, rows = len(col) * n_post, np.arange(batch)
    spikes = Spikes(ptr, col, None, len(col))
    synapses = Synapses(Projection("a", "b", weight.astype(float)), weight, 1)
    rates = {}
    for kernel, mode in (("numba", "events"), ("numba", "dense")):
        delivery = Delivery(synapses, True, kernel, mode, False, 1)
        v = np.zeros((batch, n_post), np.int32)
        base = np.zeros((1, n_post), np.int32)
        took = best(lambda d=delivery, v=v, base=base: d.add(v, rows, spikes, base, 0))
        rates[f"{delivery.description}"] = operations / took
    if events_only:
        return rates
    Wt = np.ascontiguousarray(weight.T.astype(np.float32))
    v, acc = np.zeros((batch, n_post), np.float32), np.zeros(n_post, np.float32)
    start, small = np.zeros((1, n_post), np.float32), np.zeros(n_post, np.int16)
    rates["numba float32"] = operations / best(lambda: kernels.integrate(v, rows, start, 0, np.float32(1), Wt, ptr, col, acc, small, 0))
    csr, dense = sp.csr_array(fired.astype(np.float32)), fired.astype(np.float32)
    rates["scipy float32"] = operations / best(lambda: csr @ Wt)
    rates["BLAS float32"] = operations / best(lambda: dense @ Wt)
    return rates


def cache_bandwidth(batch: int, size: int) -> float:
    """Return bytes read and written a second by an addition in place on the potentials of a batch [B/s]."""
    v = np.zeros((batch, size), np.int32)
    return STATE_BYTES * v.size / best(lambda: np.add(v, 1, out=v))


def limit(work: Any, integers: list[np.ndarray], batch: int, n_images: int, n_steps: int, spikes: list[int]) -> dict[str, Any]:
    """Return the least seconds for these images and the rates behind them.

    ``integers``: (n_post, n_pre) int64 weight of every projection but the first; ``spikes``: of every hidden layer over all images.
    """
    sizes = work.sizes
    first_rate = blas_rate(sizes[0], sizes[1], batch)
    first = n_images * sizes[0] * sizes[1] / first_rate
    deliveries, rates = 0.0, []
    for weight, total in zip(integers, spikes, strict=True):
        found = delivery_rates(weight, batch, total / (n_images * n_steps * weight.shape[1]))
        deliveries += total * weight.shape[0] / max(found.values())
        rates.append(found)
    bandwidth = cache_bandwidth(batch, max(sizes[1:]))
    steps = n_images * n_steps * sum(sizes[1:]) * STATE_BYTES / bandwidth
    return {
        "seconds": first + deliveries + steps,
        "first_layer": first,
        "delivery": deliveries,
        "neuron_steps": steps,
        "blas_macs_per_s": first_rate,
        "delivery_per_s": rates,
        "cache_bytes_per_s": bandwidth,
    }

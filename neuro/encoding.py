"""How values enter a spiking network: constant current or spikes.

Constant current delivers W x in every step. A spike-coded input is a population
with an ``encoder``: value x in [0, high] becomes spikes worth ``high`` each.

A random encoding depends on (seed, stream name, index of the sample, step, neuron) alone:
one counter-based generator a sample, rows drawn in order, so that a shorter T is a prefix
of a longer one and neither batch nor worker changes a spike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from .errors import EngineError, NetworkError, SpecError, nearest
from .network import INPUT, Population, Projection, SpikingNetwork

Array = np.ndarray
RESOLUTION = 4096  # the regular encoder rounds x / high to 1/4096, the grid of ideal networks
CHUNK = 32  # steps of random numbers drawn at once: bounds memory at any T


@dataclass(frozen=True)
class Encoding:
    """One way in: a name, its equation, and what makes its spikes (None: constant current)."""

    name: str
    equation: str
    source: str
    spikes: Callable[[Array, int, Array, int], Iterator[Array]] | None
    prefix: bool = True  # whether a run of T steps begins like a run of T + 1


def generator(seed: int, stream: str, sample: int) -> np.random.Generator:
    """Return the generator of one sample: Philox keyed by (hash(seed, stream), sample)."""
    digest = hashlib.blake2b(f"{seed}\0{stream}".encode(), digest_size=8).digest()
    key = np.array([int.from_bytes(digest, "little"), sample], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _regular(x: Array, n_steps: int, samples: Array, seed: int) -> Iterator[Array]:
    level = np.rint(x * RESOLUTION).astype(np.int64)
    before = np.full_like(level, RESOLUTION // 2)
    for _ in range(n_steps):
        after = before + level
        yield (after // RESOLUTION) > (before // RESOLUTION)
        before = after


def _poisson(x: Array, n_steps: int, samples: Array, seed: int) -> Iterator[Array]:
    generators = [generator(seed, "encoding", int(s)) for s in samples]
    n = x.shape[1]
    for first in range(0, n_steps, CHUNK):
        rows = min(CHUNK, n_steps - first)
        draws = np.empty((rows, len(x), n), dtype=np.float32)
        for i, g in enumerate(generators):
            draws[:, i] = g.random((rows, n))
        for row in draws:
            yield row < x


def _first_spike(x: Array, n_steps: int, samples: Array, seed: int) -> Iterator[Array]:
    when = np.where(x > 0, np.floor((1.0 - x) * n_steps), n_steps).astype(np.int64)
    for k in range(n_steps):
        yield when == k


ENCODINGS: dict[str, Encoding] = {
    "constant": Encoding(
        "constant",
        "I_i = sum_j W_ij x_j in every step of the window",
        "Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682, sec. 2.2",
        None,
    ),
    "regular": Encoding(
        "regular",
        "s(t) = floor(1/2 + (t + 1) x/high) - floor(1/2 + t x/high), x/high rounded to 1/4096",
        "integrate-and-fire neuron with constant drive x, v_init = high/2, reset by subtraction",
        _regular,
    ),
    "poisson": Encoding(
        "poisson",
        "s(t) = [u(t) < x/high], u uniform on [0, 1), one Philox stream a sample",
        "Bernoulli approximation of a Poisson train; Diehl et al. 2015, doi:10.1109/IJCNN.2015.7280696",
        _poisson,
    ),
    "first_spike": Encoding(
        "first_spike",
        "one spike at t = floor((1 - x/high) T) where x > 0",
        "time to first spike; Rueckauer and Liu 2018, doi:10.1109/ISCAS.2018.8351295",
        _first_spike,
        prefix=False,
    ),
}


def encoding(name: str) -> Encoding:
    """Return an encoding of the table, or raise SpecError with the nearest name."""
    if name not in ENCODINGS:
        raise SpecError(f"encoding {name!r} is not known{nearest(name, ENCODINGS)}")
    return ENCODINGS[name]


def spike_train(population: Population, x: Array, n_steps: int, samples: Array, seed: int) -> Iterator[Array]:
    """Yield (n_samples, size) bool, one array a step, for an input population.

    Raises EngineError where an input lies outside [0, high], which spikes cannot express.
    """
    kind = encoding(population.encoder or "constant")
    if kind.spikes is None:
        raise EngineError(f"{population.name}: constant current sends no spikes")
    high = float(np.max(population.amplitude)) * float(np.max(population.scale))
    low_found, high_found = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if low_found < 0 or high_found > high * (1 + 1e-6):
        raise EngineError(
            f"{kind.name} spikes stand for values in [0, {high:g}], inputs lie in [{low_found:g}, {high_found:g}]; "
            "use encoding='constant', scale the inputs, or insert the encoder with a larger range"
        )
    return kind.spikes(np.minimum(np.asarray(x, dtype=np.float64) / high, 1.0), n_steps, samples, seed)


def with_encoder(network: SpikingNetwork, name: str, high: float | None = None) -> SpikingNetwork:
    """Return the network with its constant-current input replaced by a spike-coded population.

    Parameters
    ----------
    name : ``"regular"``, ``"poisson"`` or ``"first_spike"``.
    high : value one spike stands for; default the largest input seen in calibration.

    Every population starts one step later; the port's weights become projections from ``encoder``.

    Raises
    ------
    NetworkError : inputs below zero, a range that is not positive, an encoder that is already there,
        or a projection whose currents a chip's host writes.
    """
    if encoding(name).spikes is None:
        return network
    high = network.input_high if high is None else high
    if any(p.encoder for p in network.populations):
        raise NetworkError("the network's input is spike-coded already")
    if any(j.current is not None for j in network.projections):
        raise NetworkError("the deployed network takes constant current; insert the encoder before deploying")
    if network.input_low < 0 or not high > 0:
        raise NetworkError(
            f"spikes stand for values in [0, high]; the calibrated inputs lie in "
            f"[{network.input_low:g}, {network.input_high:g}]; use encoding='constant' or scale the inputs"
        )
    first = Population("encoder", network.input_size, amplitude=float(high), encoder=name)
    port = Projection(INPUT, "encoder", sp.eye_array(network.input_size, format="csr"), delay=0)
    moved = [
        Projection("encoder", j.post, j.weight, delay=network[j.post].start + 1) if j.pre == INPUT else j
        for j in network.projections
    ]
    return replace(
        network,
        populations=(first, *(replace(p, start=p.start + 1) for p in network.populations)),
        projections=(port, *moved),
    )
